"""What became, or would become, of collections and of a run: one form for every way of telling it.

Summary, status, dry run and reports read these; the exit code follows from them. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Dict, List, Optional, Tuple

from h2ogpte_migration.errors import ExitCode, ToolError
from h2ogpte_migration.model import Collection, Finding
from h2ogpte_migration.retrieval import Retrieval
from h2ogpte_migration.states import Position


class OutcomeKind(str, Enum):
    """How a collection stands when a run leaves it. The words are those that people read."""

    DONE = "done"
    RUNNING = "importing"  # the import runs at the server
    WAITING_FOR_SLOT = "waiting"  # ready, but no import may be submitted right now
    DOCUMENTS_PENDING = "documents pending"  # imported; documents are still being worked on
    HELD = "held"
    FAILED = "failed"
    LEASED_ELSEWHERE = "in work"  # another process has it at this moment
    LEFT = "left"  # nothing for this run to do
    ROLLED_BACK = "rolled back"  # what was moved is in the source again
    INTERRUPTED = "interrupted"  # the user asked to stop
    SKIPPED = "skipped"  # left out by what was asked for
    NOT_AVAILABLE = "not available"  # asked for, and can't be worked on
    NOT_STARTED = "not started"
    PLANNED = "planned"  # a dry run: what would be done


OVER = (OutcomeKind.DONE, OutcomeKind.ROLLED_BACK)
"""Kinds in which nothing is left to do."""

WELL = (
    OutcomeKind.DONE,
    OutcomeKind.RUNNING,
    OutcomeKind.DOCUMENTS_PENDING,
    OutcomeKind.ROLLED_BACK,
)
"""Kinds in which all goes as it should."""


@dataclass(frozen=True)
class Plan:
    """What a dry run found out about one collection, and what would be done with it.

    ``action`` is one of create, resume, roll back, leave; counts are None where they could not be read.
    """

    action: str
    permissions: Tuple[str, ...] = ()
    lifecycle: Tuple[str, ...] = ()
    import_settings: Tuple[str, ...] = ()
    documents: Optional[int] = None
    size_bytes: Optional[int] = None
    connectors: Optional[int] = None
    chats: Optional[int] = None


@dataclass(frozen=True)
class Recorded:
    """What the tracking database has on record about one collection, beyond where it stands.

    Times are UTC in ISO 8601, empty where they are not known; counts are None then.

    Args:
        since: when it came to stand where it stands, as far as that was noted.
        documents_before: how many the source held when its import was submitted.
        documents_after: how many the target held at the last validation.
        accepted: whether people accepted what the validation found.
        retrieval: what the last check of the retrieval came to; None without one.
    """

    begun_at: str = ""
    imported_at: str = ""
    validated_at: str = ""
    since: str = ""
    verdict: str = ""
    accepted: bool = False
    documents_before: Optional[int] = None
    documents_after: Optional[int] = None
    size_bytes: Optional[int] = None
    connectors_moved: Optional[int] = None
    chats_moved: Optional[int] = None
    retrieval: Optional[Retrieval] = None


@dataclass(frozen=True)
class Result:
    """One collection: what became of it in this run, or would become.

    Args:
        step: the step that it came to, by name.
        cause: the sort of failure, free of ids: what failures are grouped by.
        way_out: the flags, with their values, that help where the same command does not.
        needs_attention: whether people have to look at it.
        earlier: whether it was done before this run.
        notes: remarks that are not kept.
        left_behind: what former targets still hold, each with the command that brings it over.
        warnings: what could not be carried over, as kept.
        documents: how many the target holds, where that was counted in this run.
        moved: connectors and chats that were moved, by step name.
        recorded: evidence from the tracking database, for status and reports.
        retrieval: what this run's check of the retrieval came to; None without one.
    """

    kind: OutcomeKind
    source_id: str
    source_name: str = ""
    owner: str = ""
    source_model: str = ""
    target_id: Optional[str] = None
    target_name: str = ""
    target_model: str = ""
    position: Position = Position.NEW
    step: str = ""
    reason: str = ""
    hint: str = ""
    cause: str = ""
    way_out: Tuple[str, ...] = ()
    needs_attention: bool = False
    earlier: bool = False
    findings: Tuple[Finding, ...] = ()
    warnings: Tuple[str, ...] = ()
    notes: Tuple[str, ...] = ()
    left_behind: Tuple[str, ...] = ()
    documents: Optional[int] = None
    moved: Tuple[Tuple[str, int], ...] = ()
    plan: Optional[Plan] = None
    recorded: Optional[Recorded] = None
    retrieval: Optional[Retrieval] = None

    @property
    def well(self) -> bool:
        """Done, or going as it should."""
        return self.kind in WELL


RAG_CHECK = "RAG check"
RAG_PASSED = "RAG check passed"
RAG_LEFT_OUT = "RAG check left out"
"""How the notes of a question to a new collection begin, those of an answer that is as wanted, and
those of none."""


SOURCE_DELETED = "source deleted"
"""The cause of a failure that no command mends: there is nothing to move back to."""

NEGLECTED = "in work for something else"
"""The cause where another command holds a collection and does not do what was asked for here."""

OWN_TARGET = "target of this tool"
"""The cause of a skip that is none: nobody takes the new collections for work to do."""


def skipped(collection: Collection, reason: str, cause: str = "") -> Result:
    """A collection that a filter leaves out: no failure."""
    return Result(
        OutcomeKind.SKIPPED,
        collection.id,
        collection.name,
        collection.owner,
        collection.model,
        reason=reason,
        cause=cause,
    )


def not_available(collection_id: str, reason: str, name: str = "", owner: str = "") -> Result:
    """Something that was asked for and can't be worked on: a failure.

    Args:
        collection_id: empty for what is no collection, such as a user.
        name: what it is called.
    """
    return Result(
        OutcomeKind.NOT_AVAILABLE, collection_id, name, owner, reason=reason, needs_attention=True
    )


@dataclass
class RunResult:
    """All collections of a run, and how the run itself went.

    ``total`` is how many the run is about, where that is more than it has results of.

    ``breaker`` says why nothing new was started, if so; ``fatal`` is what no collection could go
    on with, to be raised once all that is known was told. ``seconds_by_step`` holds the time spent
    in each step, ``seconds_by_source`` that of each collection from its first step to its last.
    """

    results: List[Result] = field(default_factory=list)
    breaker: str = ""
    fatal: Optional[ToolError] = None
    guests: int = 0
    total: Optional[int] = None
    elapsed_s: float = 0.0
    peak_jobs: int = 0
    peak_requests: int = 0
    requests: int = 0
    seconds_by_step: Dict[str, float] = field(default_factory=dict)
    seconds_by_source: Dict[str, float] = field(default_factory=dict)
    remarks: List[str] = field(default_factory=list)
    """What to say of the run as a whole, each a line that needs attention."""

    def of(self, *kinds: OutcomeKind) -> List[Result]:
        """The results of some kinds, in their order."""
        return [result for result in self.results if result.kind in kinds]

    @property
    def stopped_early(self) -> str:
        """Why the run did not get to everything; empty where it did, or people stopped it."""
        return self.fatal.message if self.fatal is not None else self.breaker

    @property
    def exit_code(self) -> ExitCode:
        """0 where all that was asked for is done or running as it should, else 1 or the error's."""
        if self.fatal is not None:
            return self.fatal.exit_code
        bad = any(
            result.needs_attention
            or result.kind in (OutcomeKind.INTERRUPTED, OutcomeKind.NOT_STARTED)
            for result in self.results
        )
        return ExitCode.ATTENTION if bad or self.breaker or self.remarks else ExitCode.OK
