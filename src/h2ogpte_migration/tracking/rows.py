"""How the rows of a migration are written: what several facts of the store have in common.

Each function works inside the transaction that it is given, and commits nothing.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Mapping, Optional, Sequence

from h2ogpte_migration.errors import LeaseLost
from h2ogpte_migration.model import Finding, SourceId
from h2ogpte_migration.states import JobStatus, StepName, TargetState
from h2ogpte_migration.tracking.records import (
    Attempt,
    utc_now,
)

COUNTED = "counted"
"""The checkpoint that keeps how many documents a validation counted: no step of that name.

For reports: the baseline that they were counted in goes with a clean validation."""

JOB_SEEN = "job seen"
"""The checkpoint that says how the import job stood when it was seen to change last."""

JOB_MISSED = "job missed"
"""The checkpoint that says when the import job did not show for the first time."""


def has_done(attempt: str, step: str) -> str:
    """The condition that an attempt, by its id's name in SQL, has a checkpoint."""
    return f"EXISTS (SELECT 1 FROM checkpoints WHERE attempt_id = {attempt} AND step = '{step}')"


CONNECTED = (
    "coalesce(job_status, '') != 'failed' AND coalesce(import_submitted, 0) "
    "AND coalesce(import_completed, 0) AND coalesce(connectors_migrated, 0) "
    "AND coalesce(new_collection_id, '') != ''"
)
"""The condition for the positions connected and finished."""

BRINGING_OVER = (
    "coalesce(connectors_migrated, 0) AND "
    "EXISTS (SELECT 1 FROM attempts live JOIN attempts former USING (source_id) "
    "WHERE live.source_id = old_collection_id AND live.fate = 'live' "
    "AND former.fate IN ('superseded', 'failed', 'abandoned') AND former.target_id IS NOT NULL "
    "AND former.target_id != live.target_id "
    f"AND (NOT {has_done('live.id', StepName.FORMER_CONNECTORS)} "
    f"OR coalesce(chats_migrated, 0) AND NOT {has_done('live.id', StepName.FORMER_CHATS)}))"
)
"""The condition that what former targets hold was not brought over yet, though it is its turn."""

CHATS_OPEN = (
    "(coalesce(connectors_migrated, 0) AND NOT coalesce(chats_migrated, 0) AND NOT EXISTS "
    "(SELECT 1 FROM attempts WHERE source_id = old_collection_id AND fate = 'live' "
    f"AND {has_done('attempts.id', StepName.ROLLBACK)}) "
    f"AND (substr(coalesce(error, ''), 1, {len(StepName.CHATS) + 1}) = '{StepName.CHATS}:' OR EXISTS "
    "(SELECT 1 FROM intents JOIN attempts live ON live.id = attempt_id "
    "WHERE live.source_id = old_collection_id AND live.fate = 'live' "
    f"AND step = '{StepName.CHATS}' AND state = 'open')))"
)
"""The condition that chats were asked for, and that their move failed, as ``Migration.failed`` words
it, or was begun and is not over: ``Tracked.chats_open`` in SQL."""


def write_checkpoint(
    db: sqlite3.Connection, attempt: Attempt, step: str, detail: object = None, at: str = ""
) -> None:
    """Note that something is done, or was seen, now or at another time; its last detail stays."""
    values = {
        "attempt_id": attempt.id,
        "step": step,
        "done_at": at or utc_now(),
        "detail": None if detail is None else json.dumps(detail),
    }
    insert(db, "checkpoints", values, replace=True)


def insert(
    db: sqlite3.Connection, table: str, values: Mapping[str, Any], *, replace: bool = False
) -> int:
    """A new row, or one in place of the one with its key; returns its number."""
    verb = "INSERT OR REPLACE" if replace else "INSERT"
    places = ", ".join(f":{column}" for column in values)
    # Table and columns are this project's own, never text from outside.
    cursor = db.execute(f"{verb} INTO {table} ({', '.join(values)}) VALUES ({places})", values)
    return int(cursor.lastrowid or 0)


def update_row(db: sqlite3.Connection, source_id: SourceId, values: Mapping[str, Any]) -> None:
    columns = ", ".join(f"{column} = :{column}" for column in values)
    db.execute(
        f"UPDATE collection_migrations SET {columns} WHERE old_collection_id = :source_id",
        {**values, "source_id": source_id},
    )


def complete_import(db: sqlite3.Connection, source_id: SourceId) -> None:
    update_row(
        db,
        source_id,
        {
            "job_status": JobStatus.COMPLETED,
            "import_completed": 1,
            "completed_at": utc_now(),
            "error": None,
        },
    )


def open_intent(
    db: sqlite3.Connection, attempt_id: int, source_id: str, owner: str, step: str, sends: int = 0
) -> None:
    is_open = db.execute(
        "SELECT 1 FROM intents WHERE attempt_id = :attempt AND step = :step AND state = 'open'",
        {"attempt": attempt_id, "step": step},
    ).fetchone()
    if is_open is None:
        values = {
            "attempt_id": attempt_id,
            "source_id": source_id,
            "owner": owner,
            "step": step,
            "state": "open",
            "sends": sends,
            "opened_at": utc_now(),
        }
        insert(db, "intents", values)


def update_intent(
    db: sqlite3.Connection, attempt_id: int, step: str, change: str, **values: object
) -> bool:
    """Change the open intent of a step; ``change`` names ``values``. False where none is open."""
    changed = db.execute(
        f"UPDATE intents SET {change} "
        "WHERE attempt_id = :attempt AND step = :step AND state = 'open'",
        {**values, "attempt": attempt_id, "step": step},
    )
    return changed.rowcount > 0


def count_send(db: sqlite3.Connection, attempt: Attempt, step: str) -> None:
    """A request of a step may reach the server from now on: how long ago, tells how to look."""
    open_intent(db, attempt.id, attempt.source_id, attempt.owner, step)
    update_intent(db, attempt.id, step, "sends = sends + 1, opened_at = :now", now=utc_now())


def close_intent(
    db: sqlite3.Connection,
    attempt_id: int,
    step: str,
    counts: Optional[str],
    job_id: Optional[str] = None,
) -> None:
    change = "state = 'done', counts = coalesce(:counts, counts), job_id = coalesce(:job, job_id)"
    update_intent(db, attempt_id, step, change, counts=counts, job=job_id)


def claim_job(db: sqlite3.Connection, job_id: str, kind: str, attempt_id: int) -> None:
    """Make a job ours, unless it is on record as the import of another collection.

    A server may give an id out again, once its job is over: only a row that is still being
    worked on stands against ours, whoever wrote it.
    """
    values = {"job_id": job_id, "kind": kind, "attempt_id": attempt_id}
    others = db.execute(
        "SELECT 1 FROM collection_migrations WHERE job_id = :job_id "
        "AND NOT coalesce(import_completed, 0) AND coalesce(job_status, '') != 'failed' "
        "AND old_collection_id != (SELECT source_id FROM attempts WHERE id = :attempt_id)",
        values,
    ).fetchone()
    if others is not None:
        raise LeaseLost(
            f"The job {job_id} is on record as the import of another collection.",
            "Run the same command again; it looks afresh.",
        )
    insert(db, "jobs", values, replace=True)


def end_live_attempt(
    db: sqlite3.Connection, source_id: str, state: TargetState, reason: str
) -> None:
    values = {"id": source_id, "fate": state.value, "reason": reason, "now": utc_now()}
    db.execute(
        "UPDATE intents SET state = 'void' WHERE state = 'open' AND attempt_id IN "
        "(SELECT id FROM attempts WHERE source_id = :id AND fate = 'live')",
        values,
    )
    db.execute(
        "DELETE FROM baseline WHERE attempt_id IN "
        "(SELECT id FROM attempts WHERE source_id = :id AND fate = 'live')",
        values,
    )
    db.execute(
        "UPDATE attempts SET fate = :fate, reason = :reason, ended_at = :now "
        "WHERE source_id = :id AND fate = 'live'",
        values,
    )


def forget_baseline(db: sqlite3.Connection, attempt_id: int) -> None:
    """The collection is settled: what the source held at submission is not needed any more."""
    db.execute("DELETE FROM baseline WHERE attempt_id = :id", {"id": attempt_id})
    db.execute("UPDATE attempts SET baseline_at = NULL WHERE id = :id", {"id": attempt_id})


def keep_warnings(
    db: sqlite3.Connection, attempt: Attempt, step: str, warnings: Sequence[str]
) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO warnings (attempt_id, source_id, step, text, noted_at) "
        "VALUES (:attempt, :source, :step, :text, :now)",
        [
            {
                "attempt": attempt.id,
                "source": attempt.source_id,
                "step": step,
                "text": text,
                "now": utc_now(),
            }
            for text in warnings
        ],
    )


def write_validation(
    db: sqlite3.Connection,
    attempt_id: int,
    verdict: str,
    findings: Sequence[Finding],
    late_documents: int,
    *,
    ignored: bool,
) -> None:
    listed = [
        {
            "code": finding.code,
            "text": finding.text,
            "blocking": finding.blocking,
            "samples": list(finding.samples),
        }
        for finding in findings
    ]
    values = {
        "attempt_id": attempt_id,
        "verdict": verdict,
        "ignored": int(ignored),
        "late_documents": late_documents,
        "findings": json.dumps(listed),
        "validated_at": utc_now(),
    }
    insert(db, "validations", values, replace=True)
