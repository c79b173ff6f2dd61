"""The state machine of one collection's migration, on one screen. Pure.

The columns of the documented table are the storage; everything above the tracking store
speaks of a ``Position``. ``position`` folds what is on record into exactly one of them, and
``TRANSITIONS`` says what comes next.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Dict, Optional


class Step(str, Enum):
    """The steps of the pipeline, in their order."""

    CREATE = "create"
    SETTINGS = "settings"
    PERMISSIONS = "permissions"
    IMPORT = "import"
    JOB = "job"
    VALIDATE = "validate"
    CONNECTORS = "connectors"
    CHATS = "chats"


class JobStatus:
    """The documented words of the column ``job_status``: of the import job alone."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class TargetFate(str, Enum):
    """What became of a target that was made; none is ever forgotten."""

    LIVE = "live"  # the one that its source is migrated into
    FAILED = "failed"  # its import failed
    SUPERSEDED = "superseded"  # a forced migration made a newer one
    ABANDONED = "abandoned"  # given up for a fresh one, as its content was in doubt
    VANISHED = "vanished"  # deleted at the server by somebody
    DELETED = "deleted"  # deleted by --cleanup


class Verdict:
    """What the last validation of a target came to."""

    CLEAN = "clean"
    HELD = "held"
    UNSETTLED = "unsettled"


class Position(str, Enum):
    """Where a collection's migration stands."""

    NEW = "new"
    CREATING = "creating"
    CREATED = "created"
    SUBMITTING = "submitting"
    IMPORTING = "importing"
    IMPORTED = "imported"
    HELD = "held"
    CONNECTED = "connected"
    FINISHED = "finished"
    FAILED = "failed"
    INCONSISTENT = "inconsistent"


@dataclass(frozen=True)
class Transition:
    """A row of the table: the step that a position leads to, and the words for people."""

    step: Optional[Step]
    meaning: str
    next_action: str


TRANSITIONS: Dict[Position, Transition] = {
    Position.NEW: Transition(Step.CREATE, "no attempt", "create the target"),
    Position.CREATING: Transition(
        Step.CREATE, "creation begun", "look for the target by its name: adopt it, or create"
    ),
    Position.CREATED: Transition(
        Step.PERMISSIONS, "target made with its settings", "permissions, then import"
    ),
    Position.SUBMITTING: Transition(
        Step.IMPORT,
        "import begun, no job known",
        "look through the owner's jobs: submit, adopt, or abandon the target",
    ),
    Position.IMPORTING: Transition(
        Step.JOB, "import job running", "wait for the job, or come back later"
    ),
    Position.IMPORTED: Transition(Step.VALIDATE, "documents imported", "validate, then connectors"),
    Position.HELD: Transition(
        Step.VALIDATE, "imported, with blocking findings", "validate again; moves are held back"
    ),
    Position.CONNECTED: Transition(Step.CHATS, "connectors moved", "chats, if asked for"),
    Position.FINISHED: Transition(None, "all that was asked for", "nothing"),
    Position.FAILED: Transition(
        None, "the import failed", "nothing, or a fresh attempt with --retry-failed"
    ),
    Position.INCONSISTENT: Transition(
        None, "a combination that cannot arise", "touch nothing, say what was seen"
    ),
}


@dataclass(frozen=True)
class Evidence:
    """What is on record about one source, in the terms that ``position`` decides by.

    ``import_intent_sent`` is None for rows that were written by version 1.2.0, which kept
    no intents: an import of theirs may have been started without a trace.
    """

    has_attempt: bool
    has_target: bool
    has_job: bool
    job_status: Optional[str]
    collection_created: bool
    permissions_copied: bool
    import_submitted: bool
    import_completed: bool
    connectors_migrated: bool
    chats_migrated: bool
    import_intent_sent: Optional[bool]
    held: bool


def position(evidence: Optional[Evidence]) -> Position:
    """Fold the record of one source into its position; total over all combinations."""
    if evidence is None:
        return Position.NEW
    if evidence.job_status == JobStatus.FAILED:
        return Position.FAILED
    if not evidence.has_attempt:
        return Position.INCONSISTENT if _any_step_done(evidence) else Position.NEW
    if evidence.import_completed:
        return _after_import(evidence)
    if evidence.connectors_migrated or evidence.chats_migrated:
        return Position.INCONSISTENT
    return _before_import(evidence)


def _any_step_done(evidence: Evidence) -> bool:
    return (
        evidence.has_job
        or evidence.collection_created
        or evidence.permissions_copied
        or evidence.import_submitted
        or evidence.import_completed
        or evidence.connectors_migrated
        or evidence.chats_migrated
    )


def _before_import(evidence: Evidence) -> Position:
    if evidence.import_submitted:
        if not evidence.has_target:
            return Position.INCONSISTENT
        return Position.IMPORTING if evidence.has_job else Position.SUBMITTING
    if not evidence.collection_created:
        return Position.CREATING
    if not evidence.has_target:
        return Position.INCONSISTENT
    if evidence.import_intent_sent is None or evidence.import_intent_sent:
        return Position.SUBMITTING
    return Position.CREATED


def _after_import(evidence: Evidence) -> Position:
    if not evidence.has_target or not evidence.import_submitted:
        return Position.INCONSISTENT
    if evidence.chats_migrated and not evidence.connectors_migrated:
        return Position.INCONSISTENT
    if evidence.held:
        return Position.HELD
    if not evidence.connectors_migrated:
        return Position.IMPORTED
    return Position.FINISHED if evidence.chats_migrated else Position.CONNECTED
