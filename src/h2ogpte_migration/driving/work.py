"""One collection's share of a run: what is to be done, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Callable, List, Optional, Tuple

from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Collection, Finding, JobId, SourceId
from h2ogpte_migration.planner import Policy
from h2ogpte_migration.states import Position, Step
from h2ogpte_migration.steps import create
from h2ogpte_migration.steps.base import Source
from h2ogpte_migration.tracking.store import Lease


class Ending(str, Enum):
    """How a collection stands when the driver returns."""

    DONE = "done"
    RUNNING = "running"  # the import runs at the server
    PARKED = "parked"  # ready, but no import may be submitted right now
    UNSETTLED = "unsettled"  # imported; documents are still being worked on
    HELD = "held"
    FAILED = "failed"
    ELSEWHERE = "elsewhere"  # another process works on it
    LEFT = "left"  # nothing to do for this run
    STOPPED = "stopped"  # the user asked to stop


@dataclass(frozen=True)
class Outcome:
    """What came of one collection, in one run.

    ``kind`` says what sort of failure it was, free of ids; ``attention`` that people have to
    look at it; ``notes`` are remarks for the summary.
    """

    ending: Ending
    source_id: SourceId
    source_name: str
    owner: str
    target_id: Optional[str] = None
    target_name: str = ""
    position: Position = Position.NEW
    step: Optional[Step] = None
    reason: str = ""
    hint: str = ""
    kind: str = ""
    attention: bool = False
    job_id: Optional[JobId] = None
    findings: Tuple[Finding, ...] = ()
    notes: Tuple[str, ...] = ()


@dataclass
class Work:
    """One collection to bring forward, with its owner's key.

    ``source`` may be bare (id, name, owner) for what is tracked already. The scheduler sets
    the callables; the rest gathers over the calls of one run.
    """

    source: Collection
    gateway: Gateway
    owner_id: Callable[[], Optional[str]]
    model: str
    policy: Policy
    may_submit: Callable[[], bool] = lambda: True
    job_ended: Callable[[], None] = lambda: None
    on_step: Callable[[Step], None] = lambda _: None
    notes: List[str] = field(default_factory=list)
    lease: Optional[Lease] = None
    carried: Optional[Source] = None
    asked: bool = False
    prepared: bool = False
    target_seen: bool = False
    restarts: int = 0

    @property
    def source_id(self) -> SourceId:
        return SourceId(self.source.id)

    def read_source(self) -> Source:
        """What the source carries, read once per run."""
        if self.carried is None:
            self.carried = create.read_source(self.gateway, self.source_id)
        return self.carried
