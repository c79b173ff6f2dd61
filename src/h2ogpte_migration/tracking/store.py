"""What is on record about collections: questions and facts, each one method.

All SQL of the migration itself is here and in ``runs``. Methods that record a fact about a
collection take the lease that allows it and check it in the same transaction: a lost lease
is an answer (``LeaseLost``), not a surprise. Times are UTC, ISO 8601, and only name things.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Set

from h2ogpte_migration.errors import LeaseLost
from h2ogpte_migration.model import (
    Collection,
    Document,
    Finding,
    ImportOptions,
    JobId,
    Json,
    Permissions,
    SourceId,
    TargetId,
)
from h2ogpte_migration.states import JobStatus, Position, Step, TargetFate, Verdict
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.records import (
    Attempt,
    Intent,
    KeptWarning,
    Record,
    Tracked,
    Validation,
)

_OVER = (
    "coalesce(job_status, '') != 'failed' AND coalesce(import_submitted, 0) "
    "AND coalesce(import_completed, 0) AND coalesce(connectors_migrated, 0) "
    "AND coalesce(new_collection_id, '') != ''"
)
"""The condition for the positions connected and finished."""


def utc_now() -> str:
    """Now, as the database writes it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Lease:
    """The right to work on one source, held by one run."""

    source_id: SourceId
    run_id: int


@dataclass(frozen=True)
class NewAttempt:
    """What a fresh attempt begins with."""

    source: Collection
    owner_id: Optional[str]
    model: str
    import_options: ImportOptions
    origin: str


class Store:
    """The tracked collections of one database."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # -- questions ---------------------------------------------------------------------
    def load(self, source_id: SourceId) -> Optional[Tracked]:
        """Everything on record about a source, or None."""
        row = self._db.row(
            "SELECT * FROM collection_migrations WHERE old_collection_id = :id", {"id": source_id}
        )
        return None if row is None else self._tracked(Record.from_row(row))

    def _tracked(self, record: Record) -> Tracked:
        if self._db.version == 0:
            return Tracked(record, None, (), None)
        attempt = self._live_attempt(record.source_id)
        return Tracked(record, None, (), None) if attempt is None else self._with(record, attempt)

    def _with(self, record: Record, attempt: Attempt) -> Tracked:
        values = {"attempt": attempt.id}
        intents = self._db.rows("SELECT * FROM intents WHERE attempt_id = :attempt", values)
        row = self._db.row("SELECT * FROM validations WHERE attempt_id = :attempt", values)
        return Tracked(
            record,
            attempt,
            tuple(Intent.from_row(intent) for intent in intents),
            Validation.from_row(row) if row else None,
        )

    def _live_attempt(self, source_id: SourceId) -> Optional[Attempt]:
        row = self._db.row(
            "SELECT * FROM attempts WHERE source_id = :id AND fate = 'live'", {"id": source_id}
        )
        return Attempt.from_row(row) if row else None

    def records(self, where: str = "1") -> Iterator[Record]:
        """Rows of the documented table, the newest attempt last.

        ``where`` is a condition of this project's own, never text from outside.
        """
        sql = (
            "SELECT rowid AS place, * FROM collection_migrations "
            f"WHERE ({where}) AND rowid > :place ORDER BY rowid"
        )
        for rows in self._db.batches(sql, {}):
            for row in rows:
                yield Record.from_row(row)

    def unfinished(self, *, with_chats: bool) -> Iterator[Record]:
        """Records whose work is not over: what ``--verify`` looks at.

        Chats are a reason to look again only where they were asked for.
        """
        over = "import_completed AND connectors_migrated"
        over += " AND chats_migrated" if with_chats else ""
        return self.records(f"coalesce(job_status, '') != 'failed' AND NOT ({over})")

    def over(self) -> Dict[Position, int]:
        """How many collections are done with, counted by SQLite: they may be very many."""
        rows = self._db.rows(
            "SELECT coalesce(chats_migrated, 0) AS chats, count(*) AS n FROM collection_migrations "
            f"WHERE {_OVER} GROUP BY chats"
        )
        names = {True: Position.FINISHED, False: Position.CONNECTED}
        return {names[bool(row["chats"])]: row["n"] for row in rows}

    def not_over(self) -> Iterator[Tracked]:
        """Everything on record about the other ones."""
        for record in self.records(f"NOT ({_OVER})"):
            yield self._tracked(record)

    def kept_warnings(self) -> List[KeptWarning]:
        """Kept warnings of all live attempts."""
        rows = self._db.rows(
            "SELECT w.* FROM warnings w JOIN attempts a ON a.id = w.attempt_id "
            "WHERE a.fate = 'live' ORDER BY w.rowid"
        )
        return [KeptWarning(row["source_id"], row["step"], row["text"]) for row in rows]

    def sources_behind(self, collection_id: str) -> List[SourceId]:
        """Tracked sources that an id speaks of: itself, or that it is a target of."""
        rows = self._db.rows(
            "SELECT old_collection_id AS id FROM collection_migrations "
            "WHERE old_collection_id = :id OR new_collection_id = :id "
            "UNION SELECT source_id FROM attempts WHERE target_id = :id",
            {"id": collection_id},
        )
        return [SourceId(row["id"]) for row in rows]

    def history(self, source_id: SourceId) -> List[Attempt]:
        """Every attempt of a source, oldest first."""
        rows = self._db.rows(
            "SELECT * FROM attempts WHERE source_id = :id ORDER BY id", {"id": source_id}
        )
        return [Attempt.from_row(row) for row in rows]

    def past_targets(self) -> Set[str]:
        """Ids of every target ever made, current or not."""
        if not self._db.version:
            return set()
        rows = self._db.rows("SELECT target_id FROM attempts WHERE target_id IS NOT NULL")
        return {row["target_id"] for row in rows}

    def given_names(self) -> Dict[str, Set[str]]:
        """Names that were given out for targets, by owner, whether used or not."""
        names: Dict[str, Set[str]] = {}
        if self._db.version:
            for row in self._db.rows("SELECT owner, target_name FROM attempts"):
                names.setdefault(row["owner"], set()).add(row["target_name"])
        return names

    def record_of_target(self, target_id: str) -> Optional[Record]:
        """The record whose current target has this id."""
        row = self._db.row(
            "SELECT * FROM collection_migrations WHERE new_collection_id = :id", {"id": target_id}
        )
        return Record.from_row(row) if row else None

    def attempts_named(self, owner: str, target_name: str) -> List[Attempt]:
        """Attempts whose target was to bear a name."""
        rows = self._db.rows(
            "SELECT * FROM attempts WHERE owner = :owner AND target_name = :name ORDER BY id",
            {"owner": owner, "name": target_name},
        )
        return [Attempt.from_row(row) for row in rows]

    def job_is_claimed(self, job_id: JobId) -> bool:
        """Whether a job is on record as ours, for whatever collection."""
        claimed = self._db.row(
            "SELECT 1 FROM jobs WHERE job_id = :job UNION ALL "
            "SELECT 1 FROM collection_migrations WHERE job_id = :job LIMIT 1",
            {"job": job_id},
        )
        return claimed is not None

    def import_in_doubt(self, owner: str) -> Optional[Intent]:
        """The import of an owner that was sent without an answer on record, if any."""
        row = self._db.row(
            "SELECT * FROM intents WHERE owner = :owner AND step = 'import' "
            "AND state = 'open' AND sends > 0",
            {"owner": owner},
        )
        return Intent.from_row(row) if row else None

    def warnings(self, source_id: SourceId) -> List[KeptWarning]:
        """Kept warnings of a source's live or last attempt."""
        if not self._db.version:
            return []
        rows = self._db.rows(
            "SELECT * FROM warnings WHERE attempt_id = "
            "(SELECT max(id) FROM attempts WHERE source_id = :id AND origin != 'twin') "
            "ORDER BY rowid",
            {"id": source_id},
        )
        return [KeptWarning(row["source_id"], row["step"], row["text"]) for row in rows]

    # -- facts: an attempt's life ------------------------------------------------------
    def adopt_legacy(self, lease: Lease, import_options: ImportOptions) -> None:
        """Give a row of version 1.2.0 the attempt that its target stands for. Idempotent."""
        with self._held(lease) as db:
            row = db.execute(
                "SELECT * FROM collection_migrations WHERE old_collection_id = :id "
                "AND coalesce(new_collection_id, '') != '' AND NOT EXISTS "
                "(SELECT 1 FROM attempts WHERE source_id = :id AND origin != 'twin')",
                {"id": lease.source_id},
            ).fetchone()
            if row is None:
                return
            record = Record.from_row(row)
            failed = record.job_status == JobStatus.FAILED
            values = {
                "source_id": record.source_id,
                "source_name": record.source_name,
                "owner": record.owner,
                "target_name": record.target_name,
                "target_id": record.target_id,
                "model": record.target_model,
                "import_options": json.dumps(import_options.to_json()),
                "origin": Attempt.LEGACY,
                "fate": (TargetFate.FAILED if failed else TargetFate.LIVE).value,
                "reason": record.error if failed else None,
                "run_id": lease.run_id,
                "created_at": row["created_at"] or utc_now(),
            }
            attempt_id = _insert(db, "attempts", values)
            if record.job_id:
                _claim_job(db, record.job_id, "", attempt_id)
            if record.import_completed and record.connectors_migrated:
                # Its moves are over: there is nothing left that a validation could hold back.
                _write_validation(db, attempt_id, Verdict.CLEAN, (), 0, ignored=False)

    def begin_attempt(
        self,
        lease: Lease,
        new: NewAttempt,
        choose_name: Callable[[Set[str]], str],
        mark: Optional[str] = None,
        reason: str = "migrated anew",
    ) -> None:
        """Commit the intent to create a target, with the name that it will be found by.

        ``choose_name`` gets the names in use and returns an unused one. A live attempt of
        the source is superseded; the documented row starts over. ``mark`` says that this was
        done on demand (see ``Runs.is_marked``): in the same transaction, as a mark without
        the attempt would keep the work from being done at all.
        """
        with self._held(lease) as db:
            if mark is not None:
                db.execute(
                    "INSERT OR REPLACE INTO marks (source_id, kind, run_id) "
                    "VALUES (:source, :kind, :run)",
                    {"source": lease.source_id, "kind": mark, "run": lease.run_id},
                )
            _end_live_attempt(db, lease.source_id, TargetFate.SUPERSEDED, reason)
            self._insert_attempt(db, lease, new, choose_name)

    def restart(
        self,
        lease: Lease,
        fate: TargetFate,
        reason: str,
        choose_name: Callable[[Set[str]], str],
    ) -> None:
        """Give up the live attempt's target and begin a fresh one in the same transaction."""
        with self._held(lease) as db:
            row = db.execute(
                "SELECT * FROM attempts WHERE source_id = :id AND fate = 'live'",
                {"id": lease.source_id},
            ).fetchone()
            attempt = Attempt.from_row(row)
            record = Record.from_row(
                db.execute(
                    "SELECT * FROM collection_migrations WHERE old_collection_id = :id",
                    {"id": lease.source_id},
                ).fetchone()
            )
            _end_live_attempt(db, lease.source_id, fate, reason)
            source = Collection(
                id=record.source_id,
                name=record.source_name,
                owner=record.owner,
                model=record.source_model,
            )
            new = NewAttempt(
                source, record.owner_id, attempt.model, attempt.import_options, Attempt.RESTART
            )
            self._insert_attempt(db, lease, new, choose_name)

    def _insert_attempt(
        self,
        db: sqlite3.Connection,
        lease: Lease,
        new: NewAttempt,
        choose_name: Callable[[Set[str]], str],
    ) -> None:
        source = new.source
        taken = {
            row["target_name"]
            for row in db.execute(
                "SELECT target_name FROM attempts WHERE owner = :owner", {"owner": source.owner}
            )
        }
        now = utc_now()
        attempt = {
            "source_id": source.id,
            "source_name": source.name,
            "owner": source.owner,
            "target_name": choose_name(taken),
            "model": new.model,
            "import_options": json.dumps(new.import_options.to_json()),
            "origin": new.origin,
            "fate": TargetFate.LIVE.value,
            "run_id": lease.run_id,
            "created_at": now,
        }
        attempt_id = _insert(db, "attempts", attempt)
        _open_intent(db, attempt_id, source.id, source.owner, Step.CREATE)
        row = {
            "old_collection_id": source.id,
            "old_collection_name": source.name,
            "new_collection_name": attempt["target_name"],
            "old_model": source.model,
            "new_model": new.model,
            "job_status": JobStatus.PENDING,
            "user_id": new.owner_id,
            "username": source.owner,
            "created_at": now,
        }
        db.execute(
            "DELETE FROM collection_migrations WHERE old_collection_id = :id", {"id": source.id}
        )
        _insert(db, "collection_migrations", row)

    def record_target(
        self, lease: Lease, attempt: Attempt, target: Collection, *, adopted: bool
    ) -> None:
        """The target exists and this is its id: recorded right after the server said so."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE attempts SET target_id = :target, target_created_at = :created "
                "WHERE id = :attempt",
                {
                    "target": target.id,
                    "created": target.created_at.isoformat() if target.created_at else None,
                    "attempt": attempt.id,
                },
            )
            db.execute(
                "UPDATE collection_migrations SET new_collection_id = :target "
                "WHERE old_collection_id = :source",
                {"target": target.id, "source": lease.source_id},
            )
            counts = json.dumps({"adopted": adopted})
            _close_intent(db, attempt.id, Step.CREATE, counts)

    def record_target_time(self, lease: Lease, attempt: Attempt, created_at: datetime) -> None:
        """When the server made a target that was tracked without its time."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE attempts SET target_created_at = :at WHERE id = :attempt",
                {"at": created_at.isoformat(), "attempt": attempt.id},
            )

    def record_twin(self, owner: str, target: Collection, of: Attempt, reason: str) -> None:
        """A target of ours that appeared beside the one in use: into the history."""
        with self._db.transaction() as db:
            known = db.execute(
                "SELECT 1 FROM attempts WHERE target_id = :id", {"id": target.id}
            ).fetchone()
            if known is not None:
                return
            values = {
                "source_id": of.source_id,
                "source_name": of.source_name,
                "owner": owner,
                "target_name": target.name,
                "target_id": target.id,
                "model": of.model,
                "import_options": json.dumps(of.import_options.to_json()),
                "origin": Attempt.TWIN,
                "fate": TargetFate.ABANDONED.value,
                "reason": reason,
                "created_at": utc_now(),
                "ended_at": utc_now(),
            }
            _insert(db, "attempts", values)

    def record_source_facts(self, lease: Lease, attempt: Attempt, facts: Json) -> None:
        """What the source carried when its target was made; validation compares with it."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE attempts SET source_facts = :facts WHERE id = :attempt",
                {"facts": json.dumps(facts), "attempt": attempt.id},
            )

    def finish_settings(self, lease: Lease, attempt: Attempt, warnings: Sequence[str]) -> None:
        """Checkpoint: the target has its settings."""
        with self._held(lease) as db:
            _set(db, lease.source_id, {"collection_created": 1, "error": None})
            _keep_warnings(db, attempt, Step.SETTINGS, warnings)

    def finish_permissions(
        self, lease: Lease, attempt: Attempt, permissions: Permissions, warnings: Sequence[str]
    ) -> None:
        """Checkpoint: the target is shared as the source is."""
        with self._held(lease) as db:
            _set(db, lease.source_id, {"permissions_copied": 1, "error": None})
            db.execute(
                "UPDATE attempts SET permissions = :permissions WHERE id = :attempt",
                {"permissions": json.dumps(permissions.to_json()), "attempt": attempt.id},
            )
            _keep_warnings(db, attempt, Step.PERMISSIONS, warnings)

    def record_error(self, lease: Lease, error: Optional[str]) -> None:
        """Why the collection stands where it stands; its status stays what it is."""
        with self._held(lease) as db:
            _set(db, lease.source_id, {"error": error})

    def keep_warnings(
        self, lease: Lease, attempt: Attempt, step: Step, warnings: Sequence[str]
    ) -> None:
        """Keep warnings that came up outside of a checkpoint."""
        if warnings:
            with self._held(lease) as db:
                _keep_warnings(db, attempt, step, warnings)

    def end_attempt(self, lease: Lease, fate: TargetFate, reason: str) -> None:
        """The live attempt failed: the row says so, the target stays in the history."""
        with self._held(lease) as db:
            _end_live_attempt(db, lease.source_id, fate, reason)
            _set(db, lease.source_id, {"job_status": JobStatus.FAILED, "error": reason})

    # -- facts: intents ----------------------------------------------------------------
    def record_send(self, lease: Lease, attempt: Attempt, step: Step) -> bool:
        """Commit that a request is about to be sent.

        Returns False, and records nothing, where another import of the same owner is in
        doubt: that one has to be resolved first.
        """
        try:
            with self._held(lease) as db:
                _open_intent(db, attempt.id, attempt.source_id, attempt.owner, step)
                db.execute(
                    "UPDATE intents SET sends = sends + 1 WHERE attempt_id = :attempt "
                    "AND step = :step AND state = 'open'",
                    {"attempt": attempt.id, "step": step.value},
                )
        except sqlite3.IntegrityError:
            return False
        return True

    def record_unsent(self, lease: Lease, attempt: Attempt, step: Step) -> None:
        """The server surely did nothing: the request may be sent again without a look."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE intents SET sends = sends - 1 WHERE attempt_id = :attempt "
                "AND step = :step AND state = 'open' AND sends > 0",
                {"attempt": attempt.id, "step": step.value},
            )

    def record_absent(self, lease: Lease, attempt: Attempt, step: Step) -> None:
        """Looked twice, nothing there: nothing is in doubt until the next request."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE intents SET state = 'void' WHERE attempt_id = :attempt "
                "AND step = :step AND state = 'open'",
                {"attempt": attempt.id, "step": step.value},
            )
            if step == Step.IMPORT:
                # Version 1.2.0 may have noted a submission that never came to be.
                _set(db, lease.source_id, {"import_submitted": 0, "job_id": None})

    def record_no_answer(self, lease: Lease, attempt: Attempt, step: Step, timed_out: bool) -> None:
        """No usable answer came; a time-out wants a longer wait before the second look."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE intents SET timed_out = max(timed_out, :timed_out) "
                "WHERE attempt_id = :attempt AND step = :step AND state = 'open'",
                {"timed_out": int(timed_out), "attempt": attempt.id, "step": step.value},
            )

    def sends(self, attempt: Attempt, step: Step) -> int:
        """How often a request of a step may have reached the server, all intents together."""
        row = self._db.row(
            "SELECT coalesce(sum(sends), 0) AS n FROM intents "
            "WHERE attempt_id = :attempt AND step = :step",
            {"attempt": attempt.id, "step": step.value},
        )
        return int(row["n"]) if row else 0

    def record_import_job(
        self, lease: Lease, attempt: Attempt, job_id: JobId, kind: str, *, adopted: bool
    ) -> None:
        """The import job has this id: stored the moment that the server answers."""
        with self._held(lease) as db:
            _claim_job(db, job_id, kind, attempt.id)
            _set(
                db,
                lease.source_id,
                {
                    "job_id": job_id,
                    "job_status": JobStatus.SUBMITTED,
                    "import_submitted": 1,
                    "error": None,
                },
            )
            _close_intent(db, attempt.id, Step.IMPORT, None, job_id)
            if adopted:
                db.execute("UPDATE attempts SET adopted = 1 WHERE id = :id", {"id": attempt.id})

    def record_import_found_done(self, lease: Lease, attempt: Attempt) -> None:
        """No job on the server any more, but exactly the source's documents: it is done."""
        with self._held(lease) as db:
            _close_intent(db, attempt.id, Step.IMPORT, None)
            db.execute("UPDATE attempts SET adopted = 1 WHERE id = :id", {"id": attempt.id})
            _set(db, lease.source_id, {"import_submitted": 1, "error": None})
            _complete_import(db, lease.source_id)

    def record_job_running(self, lease: Lease) -> None:
        """The job was seen in progress."""
        with self._held(lease) as db:
            _set(db, lease.source_id, {"job_status": JobStatus.RUNNING})

    def finish_import(self, lease: Lease, attempt: Attempt, warnings: Sequence[str] = ()) -> None:
        """Checkpoint: the import job ended well."""
        with self._held(lease) as db:
            _complete_import(db, lease.source_id)
            _keep_warnings(db, attempt, Step.JOB, warnings)

    # -- facts: validation -------------------------------------------------------------
    def replace_baseline(
        self, lease: Lease, attempt: Attempt, documents: Iterable[Document], batch: int = 1000
    ) -> None:
        """Store the source's documents as they are now; read as a stream."""
        with self._held(lease) as db:
            db.execute("DELETE FROM baseline WHERE attempt_id = :id", {"id": attempt.id})
            db.execute("UPDATE attempts SET baseline_at = NULL WHERE id = :id", {"id": attempt.id})
        pending: List[Dict[str, Any]] = []
        for document in documents:
            pending.append(
                {
                    "attempt": attempt.id,
                    "id": document.id,
                    "name": document.name,
                    "status": document.status,
                }
            )
            if len(pending) >= batch:
                self._add_baseline(lease, pending)
                pending = []
        self._add_baseline(lease, pending)
        with self._held(lease) as db:
            db.execute(
                "UPDATE attempts SET baseline_at = :now WHERE id = :id",
                {"now": utc_now(), "id": attempt.id},
            )

    def _add_baseline(self, lease: Lease, rows: List[Dict[str, Any]]) -> None:
        if not rows:
            return
        with self._held(lease) as db:
            db.executemany(
                "INSERT INTO baseline (attempt_id, document_id, name, status) "
                "VALUES (:attempt, :id, :name, :status)",
                rows,
            )

    def baseline(self, attempt: Attempt) -> Iterator[Document]:
        """The documents that the source had at submission, as a stream."""
        sql = (
            "SELECT document_id, name, status, rowid AS place FROM baseline "
            "WHERE attempt_id = :id AND rowid > :place ORDER BY rowid"
        )
        index = 0
        for rows in self._db.batches(sql, {"id": attempt.id}):
            for row in rows:
                yield Document(row["document_id"], row["name"], row["status"], index)
                index += 1

    def has_baseline(self, attempt: Attempt) -> bool:
        """Whether a baseline was taken for an attempt; it may be empty."""
        row = self._db.row(
            "SELECT 1 FROM attempts WHERE id = :id AND baseline_at IS NOT NULL", {"id": attempt.id}
        )
        return row is not None

    def record_validation(
        self,
        lease: Lease,
        attempt: Attempt,
        verdict: str,
        findings: Sequence[Finding],
        late_documents: int,
        *,
        ignored: bool = False,
    ) -> None:
        """What a validation came to. A clean one settles the collection: no more baseline."""
        blocking = [str(finding) for finding in findings if finding.blocking]
        kept = [str(finding) for finding in findings if not finding.blocking]
        with self._held(lease) as db:
            _write_validation(db, attempt.id, verdict, findings, late_documents, ignored=ignored)
            _keep_warnings(db, attempt, Step.VALIDATE, kept + (blocking if ignored else []))
            held = verdict == Verdict.HELD and not ignored
            _set(db, lease.source_id, {"error": f"held: {'; '.join(blocking)}" if held else None})
            if verdict == Verdict.CLEAN:
                db.execute("DELETE FROM baseline WHERE attempt_id = :id", {"id": attempt.id})
                db.execute(
                    "UPDATE attempts SET baseline_at = NULL WHERE id = :id", {"id": attempt.id}
                )

    # -- facts: moves ------------------------------------------------------------------
    def record_move_counts(self, lease: Lease, attempt: Attempt, step: Step, counts: Json) -> None:
        """How much source and target held before a move; opens its intent."""
        with self._held(lease) as db:
            _open_intent(db, attempt.id, attempt.source_id, attempt.owner, step)
            db.execute(
                "UPDATE intents SET counts = :counts WHERE attempt_id = :attempt "
                "AND step = :step AND state = 'open'",
                {"counts": json.dumps(counts), "attempt": attempt.id, "step": step.value},
            )

    def record_move_job(
        self, lease: Lease, attempt: Attempt, step: Step, job_id: Optional[JobId], kind: str
    ) -> None:
        """The job of a move has this id; None: that job is over, another may follow."""
        with self._held(lease) as db:
            if job_id is not None:
                _claim_job(db, job_id, kind, attempt.id)
            db.execute(
                "UPDATE intents SET job_id = :job WHERE attempt_id = :attempt "
                "AND step = :step AND state = 'open'",
                {"job": job_id, "attempt": attempt.id, "step": step.value},
            )

    def finish_move(
        self, lease: Lease, attempt: Attempt, step: Step, counts: Optional[Json]
    ) -> None:
        """Checkpoint: the source holds none of these any more."""
        column = "connectors_migrated" if step == Step.CONNECTORS else "chats_migrated"
        with self._held(lease) as db:
            _close_intent(db, attempt.id, step, json.dumps(counts) if counts else None)
            _set(db, lease.source_id, {column: 1, "error": None})

    def moved_counts(self, attempt: Attempt, step: Step) -> Optional[Json]:
        """The counts of a finished or open move of an attempt, if anything was moved."""
        row = self._db.row(
            "SELECT counts FROM intents WHERE attempt_id = :attempt AND step = :step "
            "AND counts IS NOT NULL ORDER BY id DESC LIMIT 1",
            {"attempt": attempt.id, "step": step.value},
        )
        return json.loads(row["counts"]) if row else None

    # -- the lease behind every fact ---------------------------------------------------
    def _held(self, lease: Lease) -> _HeldTransaction:
        return _HeldTransaction(self._db, lease)


class _HeldTransaction:
    """A transaction that goes through only while the lease is still held."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._transaction = database.transaction()
        self._lease = lease

    def __enter__(self) -> sqlite3.Connection:
        db = self._transaction.__enter__()
        try:
            renewed = db.execute(
                "UPDATE leases SET renewed_at = :now WHERE source_id = :source AND run_id = :run",
                {"now": utc_now(), "source": self._lease.source_id, "run": self._lease.run_id},
            )
            if renewed.rowcount != 1:
                raise LeaseLost(
                    f"Another process took over collection {self._lease.source_id}.",
                    "Nothing more is done to it here; --status shows who works on it.",
                )
        except BaseException as error:
            self._transaction.__exit__(type(error), error, error.__traceback__)
            raise
        return db

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Optional[bool]:
        return self._transaction.__exit__(kind, error, trace)


def _insert(db: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> int:
    columns = ", ".join(values)
    places = ", ".join(f":{column}" for column in values)
    # Table and columns are constants of this module.
    cursor = db.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", values)
    return int(cursor.lastrowid or 0)


def _set(db: sqlite3.Connection, source_id: SourceId, values: Mapping[str, Any]) -> None:
    columns = ", ".join(f"{column} = :{column}" for column in values)
    db.execute(
        f"UPDATE collection_migrations SET {columns} WHERE old_collection_id = :source_id",
        {**values, "source_id": source_id},
    )


def _complete_import(db: sqlite3.Connection, source_id: SourceId) -> None:
    _set(
        db,
        source_id,
        {
            "job_status": JobStatus.COMPLETED,
            "import_completed": 1,
            "completed_at": utc_now(),
            "error": None,
        },
    )


def _open_intent(
    db: sqlite3.Connection, attempt_id: int, source_id: str, owner: str, step: Step
) -> None:
    is_open = db.execute(
        "SELECT 1 FROM intents WHERE attempt_id = :attempt AND step = :step AND state = 'open'",
        {"attempt": attempt_id, "step": step.value},
    ).fetchone()
    if is_open is None:
        values = {
            "attempt_id": attempt_id,
            "source_id": source_id,
            "owner": owner,
            "step": step.value,
            "state": "open",
            "opened_at": utc_now(),
        }
        _insert(db, "intents", values)


def _close_intent(
    db: sqlite3.Connection,
    attempt_id: int,
    step: Step,
    counts: Optional[str],
    job_id: Optional[str] = None,
) -> None:
    db.execute(
        "UPDATE intents SET state = 'done', counts = coalesce(:counts, counts), "
        "job_id = coalesce(:job, job_id) "
        "WHERE attempt_id = :attempt AND step = :step AND state = 'open'",
        {"counts": counts, "job": job_id, "attempt": attempt_id, "step": step.value},
    )


def _claim_job(db: sqlite3.Connection, job_id: str, kind: str, attempt_id: int) -> None:
    """Make a job ours; the primary key keeps two collections from claiming one job."""
    claimed = db.execute(
        "INSERT INTO jobs (job_id, kind, attempt_id) VALUES (:job, :kind, :attempt) "
        "ON CONFLICT (job_id) DO UPDATE SET kind = excluded.kind "
        "WHERE attempt_id = excluded.attempt_id",
        {"job": job_id, "kind": kind, "attempt": attempt_id},
    )
    if claimed.rowcount != 1:
        raise LeaseLost(
            f"Job {job_id} belongs to another collection by now.",
            "Run the same command again; it looks afresh.",
        )


def _end_live_attempt(
    db: sqlite3.Connection, source_id: str, fate: TargetFate, reason: str
) -> None:
    values = {"id": source_id, "fate": fate.value, "reason": reason, "now": utc_now()}
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


def _keep_warnings(
    db: sqlite3.Connection, attempt: Attempt, step: Step, warnings: Sequence[str]
) -> None:
    db.executemany(
        "INSERT OR IGNORE INTO warnings (attempt_id, source_id, step, text, noted_at) "
        "VALUES (:attempt, :source, :step, :text, :now)",
        [
            {
                "attempt": attempt.id,
                "source": attempt.source_id,
                "step": step.value,
                "text": text,
                "now": utc_now(),
            }
            for text in warnings
        ],
    )


def _write_validation(
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
    db.execute(
        "INSERT OR REPLACE INTO validations "
        "(attempt_id, verdict, ignored, late_documents, findings, validated_at) "
        "VALUES (:attempt, :verdict, :ignored, :late, :findings, :now)",
        {
            "attempt": attempt_id,
            "verdict": verdict,
            "ignored": int(ignored),
            "late": late_documents,
            "findings": json.dumps(listed),
            "now": utc_now(),
        },
    )


__all__ = ["Lease", "NewAttempt", "Store", "TargetId", "utc_now"]
