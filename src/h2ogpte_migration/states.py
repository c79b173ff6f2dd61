"""The state machine of one collection's migration, on one screen. Pure.

The columns of the documented table are the storage; everything above the tracking store
speaks of a ``Position``. ``position`` folds what is on record into exactly one of them,
``STANDINGS`` says what each means, and ``steps.STEPS`` which step is due there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Dict, Optional


class StepName:
    """What record, times and reports call the steps, and what else is sent or done but once."""

    CREATE = "create"
    SETTINGS = "settings"
    PERMISSIONS = "permissions"
    IMPORT = "import"
    JOB = "job"
    VALIDATE = "validate"
    RETRIEVAL = "retrieval"
    ROLLBACK = "rollback"
    CONNECTORS_BACK = "connectors back"
    CHATS_BACK = "chats back"
    ROLLED_BACK = "rolled back"
    TARGET_DELETED = "target deleted"
    LATECOMERS = "late documents"
    LATE_SHARES = "late shares"
    CONNECTORS = "connectors"
    CHATS = "chats"
    FORMER_CONNECTORS = "former connectors"
    FORMER_CHATS = "former chats"
    QUESTION = "question"
    LOOK = "look"


class JobStatus:
    """The documented words of the column ``job_status``: of the import job alone."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class TargetState(str, Enum):
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
    PENDING = "unsettled"


def settled(verdict: str, ignored: bool) -> bool:
    """Whether moves may go ahead without another validation."""
    return verdict == Verdict.CLEAN or (verdict == Verdict.HELD and ignored)


class Position(str, Enum):
    """Where a collection's migration stands."""

    NEW = "new"
    CREATING = "creating"
    CONFIGURING = "configuring"
    CREATED = "created"
    SHARED = "shared"
    SUBMITTING = "submitting"
    IMPORTING = "importing"
    IMPORTED = "imported"
    HELD = "held"
    VALIDATED = "validated"
    CONNECTED = "connected"
    FINISHED = "finished"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"
    INCONSISTENT = "inconsistent"


@dataclass(frozen=True)
class Standing:
    """A row of the table: what a position means, what comes next, what people may type.

    Args:
        resumed: how a run that finds a collection here says it; empty for a new one.
        advice: what to type, where it does not go on by itself.
    """

    evidence: str
    following: str
    resumed: str = ""
    advice: str = ""


_AGAIN = "run the migration command again"

STANDINGS: Dict[Position, Standing] = {
    Position.NEW: Standing("no attempt", "create the target", advice="run the migration command"),
    Position.CREATING: Standing(
        "creation begun",
        "look for the target by its name: adopt it, or create",
        "interrupted while creating",
        _AGAIN,
    ),
    Position.CONFIGURING: Standing(
        "the target is known", "give it its settings", "interrupted while creating", _AGAIN
    ),
    Position.CREATED: Standing(
        "target made with its settings", "permissions", "interrupted before the import", _AGAIN
    ),
    Position.SHARED: Standing(
        "target shared",
        "permissions as they are now, import",
        "interrupted before the import",
        _AGAIN,
    ),
    Position.SUBMITTING: Standing(
        "import begun, no job known",
        "look through the owner's jobs: submit, adopt, or abandon the target",
        "interrupted while submitting",
        _AGAIN,
    ),
    Position.IMPORTING: Standing(
        "import job running", "wait for the job, or come back later", "importing", "--verify"
    ),
    Position.IMPORTED: Standing("documents imported", "validate", "imported", "--verify"),
    Position.HELD: Standing(
        "imported, with blocking findings",
        "validate again; moves are held back",
        "held",
        "mend it and run --verify; or --retry-failed for a new target, or "
        "--verify --ignore-validation to accept it",
    ),
    Position.VALIDATED: Standing("validated", "move connectors", "imported", "--verify"),
    Position.CONNECTED: Standing("connectors moved", "chats, if asked for", "done"),
    Position.FINISHED: Standing("all that was asked for", "nothing", "done"),
    Position.ROLLING_BACK: Standing(
        "a rollback begun",
        "bring connectors and chats back to the source",
        "interrupted while rolling back",
        "--rollback",
    ),
    Position.ROLLED_BACK: Standing(
        "connectors and chats are back in the source",
        "nothing; --force-remigrate migrates it anew",
        "rolled back",
    ),
    Position.FAILED: Standing(
        "the import failed",
        "nothing, or a fresh attempt with --retry-failed",
        "failed",
        "--retry-failed makes a new target",
    ),
    Position.INCONSISTENT: Standing(
        "a combination that cannot arise",
        "touch nothing, say what was seen",
        "inconsistent",
        "look at the row; nothing is done to it",
    ),
}

BEFORE_IMPORT = (
    Position.CREATING,
    Position.CONFIGURING,
    Position.CREATED,
    Position.SHARED,
    Position.SUBMITTING,
)
"""Begun, and nothing was imported for certain."""

AFTER_IMPORT = (
    Position.IMPORTED,
    Position.HELD,
    Position.VALIDATED,
    Position.CONNECTED,
    Position.FINISHED,
)
"""Imported, and not given back."""


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
    validated: bool = False
    rolling_back: bool = False
    rolled_back: bool = False


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
        return Position.CONFIGURING if evidence.has_target else Position.CREATING
    if not evidence.has_target:
        return Position.INCONSISTENT
    if evidence.import_intent_sent is None or evidence.import_intent_sent:
        return Position.SUBMITTING
    return Position.SHARED if evidence.permissions_copied else Position.CREATED


def _after_import(evidence: Evidence) -> Position:
    if not evidence.has_target or not evidence.import_submitted:
        return Position.INCONSISTENT
    if evidence.rolled_back:
        return Position.ROLLED_BACK
    if evidence.rolling_back:
        return Position.ROLLING_BACK
    if evidence.chats_migrated and not evidence.connectors_migrated:
        return Position.INCONSISTENT
    if evidence.held:
        return Position.HELD
    if not evidence.connectors_migrated:
        return Position.VALIDATED if evidence.validated else Position.IMPORTED
    return Position.FINISHED if evidence.chats_migrated else Position.CONNECTED
