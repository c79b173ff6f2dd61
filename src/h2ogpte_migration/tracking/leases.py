"""Who works on which collection: one process at a time, over all that share the database."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, Optional, Union

from h2ogpte_migration.errors import LeaseLost
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.records import RunInfo, utc_now
from h2ogpte_migration.tracking.rows import insert
from h2ogpte_migration.tracking.runs import Runs, is_over


@dataclass(frozen=True)
class Lease:
    """The right to work on one source, held by one run."""

    source_id: SourceId
    run_id: int


@contextmanager
def held(database: Database, lease: Lease, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
    """A transaction that goes through only while the lease is still held; renews it.

    Args:
        durable: as ``Database.transaction`` has it.

    Raises:
        LeaseLost: another process has it.
    """
    with database.transaction(durable=durable) as db:
        renewed = db.execute(
            "UPDATE leases SET renewed_at = :now WHERE source_id = :source AND run_id = :run",
            {"now": utc_now(), "source": lease.source_id, "run": lease.run_id},
        )
        if renewed.rowcount != 1:
            raise LeaseLost(
                f"Another process took over collection {lease.source_id}.",
                "Nothing more is done to it here; --status shows who works on it.",
            )
        yield db


class Leases:
    """The leases of one database, as one run sees them.

    They need not survive a power cut, as their process does not: their commits are not waited for.
    """

    def __init__(self, database: Database, runs: Runs) -> None:
        self._db = database
        self._runs = runs

    def claim(self, source_id: SourceId) -> Union[Lease, RunInfo]:
        """Take a source for this run, or learn who holds it.

        A holder whose process is gone is replaced at once; a living one never is.
        """
        with self._db.transaction(durable=False) as db:
            holder = self.holder(source_id)
            if holder is not None and holder.id != self._runs.run_id:
                return holder
            values = {
                "source_id": source_id,
                "run_id": self._runs.run_id,
                "renewed_at": utc_now(),
            }
            insert(db, "leases", values, replace=True)
        return Lease(source_id, self._runs.run_id)

    def still_holds(self, lease: Lease) -> bool:
        """Whether a lease is still this run's; asked right before every mutating call.

        Where the run was silent for a while, as its computer slept, it shows first that it lives:
        from then on nobody takes over what was not taken over yet.
        """
        self._runs.show_life()
        row = self._db.row(
            "SELECT 1 FROM leases WHERE source_id = :source AND run_id = :run",
            {"source": lease.source_id, "run": lease.run_id},
        )
        return row is not None

    def release(self, lease: Lease) -> None:
        """Give a source back."""
        with self._db.transaction(durable=False) as db:
            db.execute(
                "DELETE FROM leases WHERE source_id = :source AND run_id = :run",
                {"source": lease.source_id, "run": lease.run_id},
            )

    def holder(self, source_id: SourceId) -> Optional[RunInfo]:
        """Who works on a source right now, this run included."""
        row = self._db.row(
            "SELECT runs.* FROM leases JOIN runs ON runs.id = leases.run_id "
            "WHERE leases.source_id = :source",
            {"source": source_id},
        )
        if row is None or is_over(row):
            return None
        return RunInfo.from_row(row)
