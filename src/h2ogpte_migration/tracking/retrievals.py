"""What the checks of the retrieval came to, the last one of each attempt, and what they hold back."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from typing import Any, Dict, List, Optional

from h2ogpte_migration.model import Finding
from h2ogpte_migration.retrieval import FINDING, Retrieval
from h2ogpte_migration.states import StepName, Verdict
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.leases import Lease, held
from h2ogpte_migration.tracking.records import Attempt, Validation, utc_now
from h2ogpte_migration.tracking.rows import (
    insert,
    keep_warnings,
    update_row,
    write_validation,
)


class Retrievals:
    """The checks of one database."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def last(self, attempt: Attempt) -> Optional[Retrieval]:
        """What the last check of an attempt came to, if there was one."""
        row = self._db.row("SELECT * FROM retrievals WHERE attempt_id = :id", {"id": attempt.id})
        return None if row is None else read(row["outcome"], row["checked_at"])

    def record(
        self,
        lease: Lease,
        attempt: Attempt,
        outcome: Retrieval,
        finding: Optional[Finding],
        *,
        look_again: bool,
    ) -> None:
        """What a check came to; with it, in the last validation, what it holds back.

        Args:
            finding: what is held back by; None where enough is found, or nothing is left to hold.
            look_again: where nothing is held back any more, the documents are to be compared
                anew before anything moves.
        """
        with held(self._db, lease) as db:
            _write(db, attempt, outcome)
            problem = [outcome.words] if outcome.problem else []
            accepted = [f"{finding} (accepted)"] if finding and outcome.accepted else []
            db.execute(
                "DELETE FROM warnings WHERE attempt_id = :attempt AND step = :step",
                {"attempt": attempt.id, "step": StepName.RETRIEVAL},
            )
            keep_warnings(db, attempt, StepName.RETRIEVAL, problem + accepted)
            if finding is not None:
                _hold(db, lease, attempt, finding, accepted=outcome.accepted)
            else:
                _let_go(db, lease, attempt, look_again=look_again)

    def accept(self, lease: Lease, attempt: Attempt) -> None:
        """People accept what was found; nothing is held back by it any more."""
        with held(self._db, lease) as db:
            db.execute(
                "UPDATE validations SET ignored = 1 WHERE attempt_id = :id", {"id": attempt.id}
            )
            row = db.execute(
                "SELECT * FROM retrievals WHERE attempt_id = :id", {"id": attempt.id}
            ).fetchone()
            update_row(db, lease.source_id, {"error": None})
            if row is not None:
                outcome = read(row["outcome"], row["checked_at"])
                _write(db, attempt, replace(outcome, accepted=True), row["checked_at"])


def read(outcome: str, checked_at: str) -> Retrieval:
    """An outcome as it stands in the table."""
    return replace(Retrieval.from_json(json.loads(outcome)), checked_at=checked_at)


def _write(
    db: sqlite3.Connection, attempt: Attempt, outcome: Retrieval, checked_at: str = ""
) -> None:
    new, old = outcome.new, outcome.old
    some = new if new and new.documents else None
    before = old if old and old.documents else None
    values: Dict[str, Any] = {
        "attempt_id": attempt.id,
        "checked_at": checked_at or utc_now(),
        "seed": outcome.seed,
        "documents": new.documents if new else None,
        "found": new.found if new else None,
        "recall_at_1": some.recall_at_1 if some else None,
        "recall_at_10": some.recall_at_10 if some else None,
        "mrr": some.mrr if some else None,
        "old_documents": old.documents if old else None,
        "old_found": old.found if old else None,
        "old_recall_at_1": before.recall_at_1 if before else None,
        "old_recall_at_10": before.recall_at_10 if before else None,
        "old_mrr": before.mrr if before else None,
        "lost": len(outcome.lost),
        "min_recall": outcome.min_recall,
        "accepted": int(outcome.accepted),
        "problem": outcome.problem,
        "outcome": json.dumps(replace(outcome, checked_at="").to_json()),
    }
    insert(db, "retrievals", values, replace=True)


def _validation(db: sqlite3.Connection, attempt: Attempt) -> Optional[Validation]:
    row = db.execute(
        "SELECT * FROM validations WHERE attempt_id = :id", {"id": attempt.id}
    ).fetchone()
    return None if row is None else Validation.from_row(row)


def _others(validation: Optional[Validation]) -> List[Finding]:
    """What the validation found beside what checks of the retrieval did."""
    return [item for item in validation.findings if item.code != FINDING] if validation else []


def _hold(
    db: sqlite3.Connection, lease: Lease, attempt: Attempt, finding: Finding, *, accepted: bool
) -> None:
    validation = _validation(db, attempt)
    findings = [*_others(validation), finding]
    late = validation.late_documents if validation else 0
    write_validation(db, attempt.id, Verdict.HELD, findings, late, ignored=accepted)
    blocking = "; ".join(str(item) for item in findings if item.blocking)
    update_row(db, lease.source_id, {"error": None if accepted else f"held: {blocking}"})


def _let_go(db: sqlite3.Connection, lease: Lease, attempt: Attempt, *, look_again: bool) -> None:
    """Take back what an earlier check held back by; what else blocks goes on blocking."""
    validation = _validation(db, attempt)
    others = _others(validation)
    if validation is None or len(others) == len(validation.findings):
        return
    blocked = any(item.blocking for item in others)
    verdict = Verdict.HELD if blocked else Verdict.PENDING if look_again else Verdict.CLEAN
    write_validation(
        db,
        attempt.id,
        verdict,
        others,
        validation.late_documents,
        ignored=blocked and not look_again,
    )
    update_row(db, lease.source_id, {"error": None})
