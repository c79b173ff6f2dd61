"""What the tracking store hands out: rows as frozen values, in the tool's own words."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Dict, FrozenSet, Optional, Tuple

from h2ogpte_migration.errors import StepFailed
from h2ogpte_migration.model import (
    Finding,
    ImportOptions,
    JobId,
    Json,
    Permissions,
    SourceId,
    TargetId,
    parse_time,
)
from h2ogpte_migration.states import (
    Evidence,
    Position,
    StepName,
    TargetState,
    Verdict,
    position,
    settled,
)


def utc_now() -> str:
    """Now, as the database writes it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Intent:
    """Something that was about to be sent. ``sends`` counts requests that may have arrived."""

    source_id: SourceId
    owner: str
    step: str
    open: bool
    sends: int
    timed_out: bool
    job_id: Optional[JobId]
    counts: Optional[Json]
    opened_at: str = ""

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Intent:
        return cls(
            source_id=SourceId(row["source_id"]),
            owner=row["owner"],
            step=row["step"],
            open=row["state"] == "open",
            sends=row["sends"],
            timed_out=bool(row["timed_out"]),
            job_id=row["job_id"],
            counts=json.loads(row["counts"]) if row["counts"] else None,
            opened_at=row["opened_at"],
        )


@dataclass(frozen=True)
class Attempt:
    """One target, made or begun, and what became of it."""

    id: int
    source_id: SourceId
    source_name: str
    owner: str
    target_name: str
    target_id: Optional[TargetId]
    target_created_at: Optional[datetime]
    model: str
    import_options: ImportOptions
    source_facts: Optional[Json]
    rights: Optional[str]
    origin: str
    adopted: bool
    state: TargetState
    reason: str

    # Where an attempt comes from.
    RUN = "run"  # a migration was asked for
    RESTART = "restart"  # in place of one that had to be abandoned
    LEGACY = "legacy"  # found in a database of version 1.2.0
    LATE_DUPLICATE = "twin"  # a target that appeared late, beside the one that is used

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Attempt:
        facts = row["source_facts"]
        return cls(
            id=row["id"],
            source_id=SourceId(row["source_id"]),
            source_name=row["source_name"],
            owner=row["owner"],
            target_name=row["target_name"],
            target_id=row["target_id"],
            target_created_at=parse_time(row["target_created_at"]),
            model=row["model"],
            import_options=ImportOptions.from_json(json.loads(row["import_options"])),
            source_facts=json.loads(facts) if facts else None,
            rights=row["permissions"] or None,
            origin=row["origin"],
            adopted=bool(row["adopted"]),
            state=TargetState(row["fate"]),
            reason=row["reason"] or "",
        )

    @cached_property
    def permissions(self) -> Optional[Permissions]:
        """What the target may have been given; None where that is not on record.

        Raises:
            StepFailed: the record can't be read.
        """
        return None if self.rights is None else recorded_rights(self.rights)


def recorded_rights(text: str) -> Permissions:
    """Rights as they are on record; who can't be named there can't be taken anything back.

    Raises:
        StepFailed: somebody wrote something else there.
    """
    try:
        return Permissions.from_json(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:
        raise StepFailed(
            "inconsistent: the record of what the target was given can't be read",
            "Was the database edited? --force-remigrate makes a new target and leaves it alone.",
            "inconsistent",
        ) from error


@dataclass(frozen=True)
class Moved:
    """What an attempt moved to its target.

    Args:
        came_back: whether it was rolled back.
        counts: how many, by step, as far as is on record.
    """

    target_id: Optional[TargetId]
    state: TargetState
    came_back: bool
    counts: Dict[str, int]

    def settled(self, *, newest: bool) -> bool:
        """Whether nothing of it is to be looked for: it came back, or was told as failed before."""
        told = self.state == TargetState.FAILED and not newest
        gone = self.state in (TargetState.VANISHED, TargetState.DELETED)
        return self.came_back or told or gone


@dataclass(frozen=True)
class Validation:
    """What the last validation of an attempt came to."""

    verdict: str
    ignored: bool
    late_documents: int
    findings: Tuple[Finding, ...]

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Validation:
        findings = tuple(
            Finding(item["code"], item["text"], item["blocking"], tuple(item["samples"]))
            for item in json.loads(row["findings"])
        )
        return cls(row["verdict"], bool(row["ignored"]), row["late_documents"], findings)

    @property
    def settled(self) -> bool:
        """Whether moves may go ahead without another validation."""
        return settled(self.verdict, self.ignored)


@dataclass(frozen=True)
class Watched:
    """How a job stood when it was seen to change last."""

    standing: str
    since: datetime


@dataclass(frozen=True)
class Record:
    """A row of the documented table."""

    source_id: SourceId
    source_name: str
    target_id: Optional[TargetId]
    target_name: str
    source_model: str
    target_model: str
    job_id: Optional[JobId]
    job_status: str
    owner: str
    owner_id: Optional[str]
    error: str
    collection_created: bool
    permissions_copied: bool
    import_submitted: bool
    import_completed: bool
    connectors_migrated: bool
    chats_migrated: bool

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Record:
        return cls(
            source_id=SourceId(row["old_collection_id"]),
            source_name=row["old_collection_name"] or "",
            target_id=row["new_collection_id"] or None,
            target_name=row["new_collection_name"] or "",
            source_model=row["old_model"] or "",
            target_model=row["new_model"] or "",
            job_id=row["job_id"] or None,
            job_status=row["job_status"] or "",
            owner=row["username"] or "",
            owner_id=row["user_id"] or None,
            error=row["error"] or "",
            collection_created=bool(row["collection_created"]),
            permissions_copied=bool(row["permissions_copied"]),
            import_submitted=bool(row["import_submitted"]),
            import_completed=bool(row["import_completed"]),
            connectors_migrated=bool(row["connectors_migrated"]),
            chats_migrated=bool(row["chats_migrated"]),
        )


@dataclass(frozen=True)
class Tracked:
    """All that is on record about one source: its row, its live attempt, open intents.

    Args:
        former_targets: whether there are targets that were superseded, failed or given up.
        known_target: whether the row's target is that of an attempt.
    """

    record: Record
    attempt: Optional[Attempt]
    intents: Tuple[Intent, ...]
    validation: Optional[Validation] = None
    checkpoints: FrozenSet[str] = frozenset()
    former_targets: bool = False
    known_target: bool = False

    def intent(self, step: str) -> Optional[Intent]:
        """The open intent of a step, if there is one."""
        for intent in self.intents:
            if intent.step == step and intent.open:
                return intent
        return None

    @property
    def chats_open(self) -> bool:
        """Whether chats were asked for, and their move failed or is not over."""
        record = self.record
        if not record.connectors_migrated or record.chats_migrated:
            return False
        begun = self.intent(StepName.CHATS) is not None
        failed = record.error.startswith(f"{StepName.CHATS}:")
        return (begun or failed) and StepName.ROLLBACK not in self.checkpoints

    @property
    def was_restarted(self) -> bool:
        """Whether the live attempt was begun by the tool itself, in place of an abandoned one."""
        return self.attempt is not None and self.attempt.origin == Attempt.RESTART

    @property
    def evidence(self) -> Evidence:
        """The record in the terms of the state machine."""
        record, attempt = self.record, self.attempt
        legacy = attempt is None or attempt.origin == Attempt.LEGACY
        has_attempt = attempt is not None or record.target_id is not None
        return Evidence(
            has_attempt=has_attempt,
            has_target=(attempt.target_id if attempt else record.target_id) is not None,
            has_job=record.job_id is not None,
            job_status=record.job_status,
            collection_created=record.collection_created,
            permissions_copied=record.permissions_copied,
            import_submitted=record.import_submitted,
            import_completed=record.import_completed,
            connectors_migrated=record.connectors_migrated,
            chats_migrated=record.chats_migrated,
            import_intent_sent=self._import_intent_sent(legacy),
            held=self.validation is not None
            and self.validation.verdict == Verdict.HELD
            and not self.validation.ignored
            and not record.connectors_migrated,
            validated=self.validation is not None and self.validation.settled,
            rolling_back=StepName.ROLLBACK in self.checkpoints,
            rolled_back=StepName.ROLLED_BACK in self.checkpoints,
        )

    def _import_intent_sent(self, legacy: bool) -> Optional[bool]:
        imports = [intent for intent in self.intents if intent.step == StepName.IMPORT]
        if not imports:
            return None if legacy else False
        return any(intent.open and intent.sends > 0 for intent in imports)

    @cached_property
    def position(self) -> Position:
        return position(self.evidence)


@dataclass(frozen=True)
class RunInfo:
    """A line of the log of runs."""

    id: int
    started_at: str
    ended_at: Optional[str]
    host: str
    pid: int
    version: str
    command: str
    exit_code: Optional[int]
    folder: str

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> RunInfo:
        return cls(
            row["id"],
            row["started_at"],
            row["ended_at"],
            row["host"],
            row["pid"],
            row["version"],
            row["command"],
            row["exit_code"],
            row["folder"],
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.started_at})"


@dataclass(frozen=True)
class TempKey:
    """A temporary key on record; ``key_id`` is None when no answer brought it.

    ``certain`` is False where its run is another machine's and only silent for long: before
    anything is done about it, the server has to show the key under its name.
    """

    name: str
    run_id: int
    username: str
    key_id: Optional[str]
    certain: bool = True


@dataclass(frozen=True)
class TestChat:
    """A test chat on record; ``session_id`` is None when no answer brought it.

    ``asked_at`` is when it was asked for, by the server's clock.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    id: int
    run_id: int
    target_id: TargetId
    owner: str
    known_sessions: Tuple[str, ...]
    session_id: Optional[str]
    asked_at: Optional[datetime] = None


@dataclass(frozen=True)
class KeptWarning:
    """Something that could not be carried over, as kept for summary and status."""

    source_id: SourceId
    step: str
    text: str
    source_name: str = ""
