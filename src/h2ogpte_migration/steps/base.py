"""What a step of the pipeline is, and what it may see.

A step reads, calls the gateway and returns what it came to. It neither commits nor prints:
the driver (``pipeline``) does, and alone checks the lease, writes intents, looks before it
repeats and commits checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable, List, Optional, Protocol, Union

from h2ogpte_migration.errors import StepFailed
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Collection, ImportOptions, JobId, Json, SourceId, TargetId
from h2ogpte_migration.states import Step
from h2ogpte_migration.tracking.records import Attempt, Tracked


class Waiter(Protocol):
    """Time, as the steps need it; tests bring one that does not sleep."""

    def monotonic(self) -> float:
        """Seconds, for measuring."""

    def sleep(self, seconds: float) -> None:
        """Wait. Raises ``Interrupted`` as soon as the user asks to stop."""

    def check(self) -> None:
        """Raises ``Interrupted`` if the user asked to stop."""


@dataclass(frozen=True)
class Source:
    """What the source carries."""

    collection: Collection
    settings: Json
    chat_settings: Json
    metadata: Json


def _unread() -> Source:
    raise StepFailed("bug: this step does not read the source")


@dataclass
class Context:
    """What a step works with: one collection, its attempt, its owner's key.

    ``owner`` is the owner's present name; the attempt keeps the one of its beginning.
    """

    gateway: Gateway
    waiter: Waiter
    tracked: Tracked
    attempt: Attempt
    owner: str
    before_write: Callable[[], None]
    read_source: Callable[[], Source] = _unread
    source_gone: bool = False
    warnings: List[str] = field(default_factory=list)

    @property
    def source(self) -> Source:
        """What the source carries: read when first needed, then kept for this run."""
        return self.read_source()

    @property
    def source_id(self) -> SourceId:
        return self.attempt.source_id

    @property
    def target_id(self) -> TargetId:
        if self.attempt.target_id is None:
            raise StepFailed(f"bug: the attempt {self.attempt.id} has no target yet")
        return self.attempt.target_id

    @property
    def by_name(self) -> bool:
        """Whether documents are paired by name: copies have ids of their own, and a row of
        version 1.2.0 does not tell whether it copied."""
        return self.how.copy_document or self.attempt.origin == Attempt.LEGACY

    @property
    def how(self) -> ImportOptions:
        return self.attempt.import_options

    def warn(self, text: str) -> None:
        """Something could not be carried over; the driver keeps it."""
        self.warnings.append(text)


@dataclass(frozen=True)
class Absent:
    """Looked, and what was to be done is not there."""


@dataclass(frozen=True)
class Ambiguous:
    """Looked, and can't tell: the target has to be given up for a fresh one."""

    reason: str


@dataclass(frozen=True)
class FoundTarget:
    """The target whose creation was never answered, and others of its name."""

    target: Collection
    twins: List[Collection]


@dataclass(frozen=True)
class FoundImport:
    """The import whose submission was never answered; no job where it is already over."""

    job_id: Optional[JobId]


Existing = Union[Absent, Ambiguous, FoundTarget, FoundImport]


@dataclass(frozen=True)
class StepSpec:
    """One line of the pipeline.

    Args:
        step: its name.
        column: the documented column that is set when it is done; None where that is
            recorded elsewhere.
        does: the words for people.
        repeatable: whether it may be sent again without a look.
        find_existing: how to look for what an unanswered request may have done.
        gated: held back by blocking findings.
    """

    step: Step
    column: Optional[str]
    does: str
    repeatable: bool = True
    find_existing: Optional[Callable[..., Existing]] = None
    gated: bool = False

    def __post_init__(self) -> None:
        if not self.repeatable and self.find_existing is None:
            raise ValueError(f"{self.step}: what may not be repeated needs a way to look for it")
