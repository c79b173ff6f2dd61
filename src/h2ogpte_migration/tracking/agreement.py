"""Row and live attempt must speak of the same target: what is true is taken up.

The row is what version 1.2.0 and people with ``sqlite3`` write.
"""

from __future__ import annotations

import json
import sqlite3
from typing import (
    Any,
    Dict,
    Optional,
)

from h2ogpte_migration.model import (
    ImportOptions,
)
from h2ogpte_migration.states import JobStatus, TargetState, Verdict
from h2ogpte_migration.tracking.leases import Lease
from h2ogpte_migration.tracking.records import (
    Attempt,
    Record,
    utc_now,
)
from h2ogpte_migration.tracking.rows import (
    claim_job,
    end_live_attempt,
    insert,
    update_row,
    write_validation,
)


def agree(db: sqlite3.Connection, lease: Lease, import_options: ImportOptions) -> str:
    """Take up what the row says; returns what was taken up, in words, or nothing.

    The row wins: the attempt that its target stands for becomes the live one, made where this
    tool has not seen it. A row without a target gets back that of its attempt.
    """
    row = db.execute(
        "SELECT * FROM collection_migrations WHERE old_collection_id = :id",
        {"id": lease.source_id},
    ).fetchone()
    if row is None:
        return ""
    record = Record.from_row(row)
    live = db.execute(
        "SELECT * FROM attempts WHERE source_id = :id AND fate = 'live'",
        {"id": lease.source_id},
    ).fetchone()
    if record.target_id is None:
        return _give_back_target(db, live)
    if live is not None and live["target_id"] == record.target_id:
        return ""
    return _take_up(db, lease, row, import_options)


def _give_back_target(db: sqlite3.Connection, live: Optional[sqlite3.Row]) -> str:
    if live is None or live["target_id"] is None:
        return ""
    update_row(db, live["source_id"], {"new_collection_id": live["target_id"]})
    return f"the row named no target; it is {live['target_id']} again"


def _take_up(
    db: sqlite3.Connection, lease: Lease, row: sqlite3.Row, import_options: ImportOptions
) -> str:
    """Make the attempt live that the row's target stands for."""
    record = Record.from_row(row)
    failed = record.job_status == JobStatus.FAILED
    state = TargetState.FAILED if failed else TargetState.LIVE
    others = db.execute(
        "SELECT 1 FROM attempts WHERE target_id = :target AND source_id != :source",
        {"target": record.target_id, "source": record.source_id},
    ).fetchone()
    if others is not None:
        return ""  # the target of another source: nothing that could be taken up
    end_live_attempt(db, record.source_id, TargetState.SUPERSEDED, "the row names another target")
    known = db.execute(
        "SELECT * FROM attempts WHERE target_id = :target", {"target": record.target_id}
    ).fetchone()
    if known is not None and known["fate"] == state.value:
        return ""
    if known is not None:
        attempt_id = int(known["id"])
        db.execute(
            "UPDATE attempts SET fate = :fate, ended_at = NULL, origin = CASE origin "
            f"WHEN '{Attempt.LATE_DUPLICATE}' THEN '{Attempt.LEGACY}' ELSE origin END "
            "WHERE id = :id",
            {"fate": state.value, "id": attempt_id},
        )
    else:
        attempt_id = insert(db, "attempts", _legacy_attempt(lease, row, state, import_options))
    if record.job_id:
        claim_job(db, record.job_id, "", attempt_id)
    if record.import_completed and record.connectors_migrated:
        # Its moves are over: there is nothing left that a validation could hold back.
        write_validation(db, attempt_id, Verdict.CLEAN, (), 0, ignored=False)
    return f"the row names the target {record.target_id}, which is taken up"


def _legacy_attempt(
    lease: Lease, row: sqlite3.Row, state: TargetState, import_options: ImportOptions
) -> Dict[str, Any]:
    """The attempt that a row stands for which this tool did not write."""
    record = Record.from_row(row)
    return {
        "source_id": record.source_id,
        "source_name": record.source_name,
        "owner": record.owner,
        "target_name": record.target_name,
        "target_id": record.target_id,
        "model": record.target_model,
        "import_options": json.dumps(import_options.to_json()),
        "origin": Attempt.LEGACY,
        "fate": state.value,
        "reason": record.error if state == TargetState.FAILED else None,
        "run_id": lease.run_id,
        "created_at": row["created_at"] or utc_now(),
    }
