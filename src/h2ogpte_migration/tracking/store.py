"""What is on record about collections: questions and facts, each one method.

All SQL of the migration itself is here and in ``runs``. Methods that record a fact about a
collection take the lease that allows it and check it in the same transaction: a lost lease
is an answer (``LeaseLost``), not a surprise. Times are UTC, ISO 8601, and only name things.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from h2ogpte_migration.errors import LeaseLost
from h2ogpte_migration.model import (
    Collection,
    Document,
    Finding,
    ImportOptions,
    JobId,
    JobKind,
    Json,
    Permissions,
    SourceId,
    parse_time,
)
from h2ogpte_migration.states import JobStatus, Position, StepName, TargetFate, Verdict
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.leases import Lease
from h2ogpte_migration.tracking.records import (
    Attempt,
    Intent,
    KeptWarning,
    Record,
    Tracked,
    Validation,
    Watched,
    utc_now,
)

_OVER = (
    "coalesce(job_status, '') != 'failed' AND coalesce(import_submitted, 0) "
    "AND coalesce(import_completed, 0) AND coalesce(connectors_migrated, 0) "
    "AND coalesce(new_collection_id, '') != ''"
)
"""The condition for the positions connected and finished."""

_ROLLED_BACK = (
    "EXISTS (SELECT 1 FROM attempts JOIN checkpoints ON attempt_id = id "
    "WHERE source_id = old_collection_id AND fate = 'live' AND step = 'rolled back')"
)
"""The condition that what was moved is back in the source."""

_BRINGING_OVER = (
    "EXISTS (SELECT 1 FROM attempts live JOIN attempts former USING (source_id) "
    "WHERE live.source_id = old_collection_id AND live.fate = 'live' "
    "AND former.fate IN ('superseded', 'failed', 'abandoned') AND former.target_id IS NOT NULL "
    "AND former.target_id != live.target_id AND NOT EXISTS (SELECT 1 FROM checkpoints "
    "WHERE attempt_id = live.id AND step = 'former connectors'))"
)
"""The condition that what former targets hold was not brought over yet."""

COUNTED = "counted"
"""The checkpoint that keeps how many documents a validation counted: no step of that name."""

_JOB_SEEN = "job seen"
"""The checkpoint that says how the import job stood when it was seen to change last."""


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
        rows = self._db.rows(
            "SELECT * FROM attempts WHERE source_id = :id", {"id": record.source_id}
        )
        live = next((row for row in rows if row["fate"] == TargetFate.LIVE.value), None)
        known = any(row["target_id"] == record.target_id for row in rows)
        if live is None:
            return Tracked(record, None, (), known_target=known)
        values = {"attempt": live["id"]}
        intents = self._db.rows("SELECT * FROM intents WHERE attempt_id = :attempt", values)
        validation = self._db.row("SELECT * FROM validations WHERE attempt_id = :attempt", values)
        done = self._db.rows("SELECT step FROM checkpoints WHERE attempt_id = :attempt", values)
        return Tracked(
            record,
            Attempt.from_row(live),
            tuple(Intent.from_row(intent) for intent in intents),
            Validation.from_row(validation) if validation else None,
            frozenset(row["step"] for row in done),
            former_targets=any(_is_former(row, live) for row in rows),
            known_target=known,
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

    def unsubmitted(self) -> Iterator[Record]:
        """Records whose import was not submitted, as far as is known."""
        return self.records("NOT coalesce(import_submitted, 0)")

    def failed(self) -> Iterator[Record]:
        """Records whose import failed for good."""
        return self.records(f"job_status = '{JobStatus.FAILED}'")

    def unfinished(self, *, with_chats: bool) -> Iterator[Record]:
        """Records whose work is not over: what ``--verify`` looks at.

        Chats are a reason to look again only where they were asked for.
        """
        over = "import_completed AND connectors_migrated"
        over += " AND chats_migrated" if with_chats else ""
        return self.records(
            f"coalesce(job_status, '') != 'failed' AND NOT {_ROLLED_BACK} "
            f"AND (NOT ({over}) OR {_BRINGING_OVER})"
        )

    def imported(self) -> Iterator[Record]:
        """Records whose documents were imported: what ``--rollback`` looks at."""
        return self.records(
            f"coalesce(job_status, '') != 'failed' AND import_completed AND NOT {_ROLLED_BACK}"
        )

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

    def count_given_up(self, source_id: SourceId) -> int:
        """How many targets of a source were given up since people last asked for a fresh one."""
        row = self._db.row(
            "SELECT count(*) AS n FROM attempts WHERE source_id = :id AND fate = 'abandoned' "
            "AND origin != 'twin' AND id >= coalesce((SELECT max(id) FROM attempts "
            "WHERE source_id = :id AND origin = 'run'), 0)",
            {"id": source_id},
        )
        return int(row["n"]) if row else 0

    def past_targets(self) -> Set[str]:
        """Ids of every target ever made, current or not."""
        rows = self._db.rows("SELECT target_id FROM attempts WHERE target_id IS NOT NULL")
        return {row["target_id"] for row in rows}

    def reserved_names(self) -> Dict[str, Set[str]]:
        """Names that were given out for targets, by owner, whether used or not."""
        names: Dict[str, Set[str]] = {}
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

    def names_in_doubt(self, attempt: Attempt) -> List[str]:
        """Names of the same owner's other targets that may exist by now, without a known id."""
        rows = self._db.rows(
            "SELECT target_name FROM attempts WHERE owner = :owner AND id != :id "
            "AND fate = 'live' AND target_id IS NULL",
            {"owner": attempt.owner, "id": attempt.id},
        )
        return [row["target_name"] for row in rows]

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
        rows = self._db.rows(
            "SELECT * FROM warnings WHERE attempt_id = "
            "(SELECT max(id) FROM attempts WHERE source_id = :id AND origin != 'twin') "
            "ORDER BY rowid",
            {"id": source_id},
        )
        return [KeptWarning(row["source_id"], row["step"], row["text"]) for row in rows]

    # -- facts: an attempt's life ------------------------------------------------------
    def agree(self, lease: Lease, import_options: ImportOptions) -> str:
        """Make row and live attempt speak of the same target; returns what was taken up, in words.

        The row is what version 1.2.0 and people with ``sqlite3`` write, so it wins: the attempt
        that its target stands for becomes the live one, made where this tool has not seen it. A
        row without a target gets back that of its attempt. Idempotent.
        """
        with self._held(lease) as db:
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

    def begin_attempt(
        self,
        lease: Lease,
        new: NewAttempt,
        choose_name: Callable[[Set[str]], str],
        forced_start: Optional[str] = None,
        reason: str = "migrated anew",
    ) -> None:
        """Commit the intent to create a target, with the name that it will be found by.

        ``choose_name`` gets the names in use and returns an unused one. A live attempt of
        the source is superseded; the documented row starts over. The creation counts as sent.
        ``forced_start`` says that this was done on demand (see ``Runs.has_started``): in the same
        transaction, as without the attempt it would keep the work from being done at all.
        """
        with self._held(lease) as db:
            if forced_start is not None:
                db.execute(
                    "INSERT OR REPLACE INTO marks (source_id, kind, run_id) "
                    "VALUES (:source, :kind, :run)",
                    {"source": lease.source_id, "kind": forced_start, "run": lease.run_id},
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
        _open_intent(db, attempt_id, source.id, source.owner, StepName.CREATE, sends=1)
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
        self, lease: Lease, attempt: Attempt, target: Collection, facts: Json
    ) -> None:
        """The target exists and this is its id: recorded right after the server said so.

        ``facts`` is what the source carried then; validation compares with it.
        """
        with self._held(lease) as db:
            db.execute(
                "UPDATE attempts SET target_id = :target, target_created_at = :created, "
                "source_facts = :facts WHERE id = :attempt",
                {
                    "target": target.id,
                    "created": target.created_at.isoformat() if target.created_at else None,
                    "facts": json.dumps(facts),
                    "attempt": attempt.id,
                },
            )
            db.execute(
                "UPDATE collection_migrations SET new_collection_id = :target "
                "WHERE old_collection_id = :source",
                {"target": target.id, "source": lease.source_id},
            )
            _close_intent(db, attempt.id, StepName.CREATE, None)

    def rename_target(
        self, lease: Lease, attempt: Attempt, choose_name: Callable[[Set[str]], str]
    ) -> None:
        """The target gets another name than was begun with: the server takes a shorter one only.

        ``choose_name`` gets the names in use and returns an unused one.
        """
        with self._held(lease) as db:
            rows = db.execute(
                "SELECT target_name FROM attempts WHERE owner = :owner", {"owner": attempt.owner}
            )
            name = choose_name({row["target_name"] for row in rows})
            db.execute(
                "UPDATE attempts SET target_name = :name WHERE id = :attempt",
                {"name": name, "attempt": attempt.id},
            )
            _set(db, lease.source_id, {"new_collection_name": name})

    def record_target_time(self, lease: Lease, attempt: Attempt, created_at: datetime) -> None:
        """When the server made a target that was tracked without its time."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE attempts SET target_created_at = :at WHERE id = :attempt",
                {"at": created_at.isoformat(), "attempt": attempt.id},
            )

    def record_late_duplicate(
        self, owner: str, target: Collection, of: Attempt, reason: str
    ) -> None:
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
                "origin": Attempt.LATE_DUPLICATE,
                "fate": TargetFate.ABANDONED.value,
                "reason": reason,
                "created_at": utc_now(),
                "ended_at": utc_now(),
            }
            _insert(db, "attempts", values)

    def finish_settings(self, lease: Lease, attempt: Attempt, warnings: Sequence[str]) -> None:
        """Checkpoint: the target has its settings."""
        with self._held(lease) as db:
            _set(db, lease.source_id, {"collection_created": 1, "error": None})
            _keep_warnings(db, attempt, StepName.SETTINGS, warnings)

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
            _keep_warnings(db, attempt, StepName.PERMISSIONS, warnings)

    def record_rights(
        self, lease: Lease, attempt: Attempt, permissions: Permissions, warnings: Sequence[str] = ()
    ) -> None:
        """What the target may have been given: before it is given, and once some was taken."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE attempts SET permissions = :permissions WHERE id = :attempt",
                {"permissions": json.dumps(permissions.to_json()), "attempt": attempt.id},
            )
            _keep_warnings(db, attempt, StepName.PERMISSIONS, warnings)

    def finish_step(
        self,
        lease: Lease,
        attempt: Attempt,
        step: str,
        warnings: Sequence[str] = (),
        detail: Optional[Json] = None,
    ) -> None:
        """Checkpoint: a step without a documented column is done for this attempt."""
        with self._held(lease) as db:
            _checkpoint(db, attempt, step, detail)
            _keep_warnings(db, attempt, step, warnings)

    def record_error(self, lease: Lease, error: Optional[str]) -> None:
        """Why the collection stands where it stands; its status stays what it is."""
        with self._held(lease) as db:
            _set(db, lease.source_id, {"error": error})

    def end_attempt(self, lease: Lease, fate: TargetFate, reason: str) -> None:
        """The live attempt failed: the row says so, the target stays in the history."""
        with self._held(lease) as db:
            _end_live_attempt(db, lease.source_id, fate, reason)
            _set(db, lease.source_id, {"job_status": JobStatus.FAILED, "error": reason})

    # -- facts: intents ----------------------------------------------------------------
    def record_send(self, lease: Lease, attempt: Attempt, step: str) -> bool:
        """Commit that a request is about to be sent.

        Returns False, and records nothing, where another import of the same owner is in
        doubt: that one has to be resolved first.
        """
        try:
            with self._held(lease) as db:
                _count_send(db, attempt, step)
        except sqlite3.IntegrityError:
            return False
        return True

    def record_unsent(self, lease: Lease, attempt: Attempt, step: str) -> None:
        """The server surely did nothing: the request may be sent again without a look."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE intents SET sends = sends - 1 WHERE attempt_id = :attempt "
                "AND step = :step AND state = 'open' AND sends > 0",
                {"attempt": attempt.id, "step": step},
            )

    def record_absent(self, lease: Lease, attempt: Attempt, step: str) -> None:
        """Looked twice, nothing there: nothing is in doubt until the next request."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE intents SET state = 'void' WHERE attempt_id = :attempt "
                "AND step = :step AND state = 'open'",
                {"attempt": attempt.id, "step": step},
            )
            if step == StepName.IMPORT:
                # Version 1.2.0 may have noted a submission that never came to be.
                _set(db, lease.source_id, {"import_submitted": 0, "job_id": None})

    def record_no_answer(self, lease: Lease, attempt: Attempt, step: str, timed_out: bool) -> None:
        """No usable answer came; a time-out wants a longer wait before the second look."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE intents SET timed_out = max(timed_out, :timed_out) "
                "WHERE attempt_id = :attempt AND step = :step AND state = 'open'",
                {"timed_out": int(timed_out), "attempt": attempt.id, "step": step},
            )

    def void_doubt(self, source_id: str) -> None:
        """Nothing is in doubt any more about a source whose row is gone."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE intents SET state = 'void' WHERE source_id = :id AND state = 'open'",
                {"id": source_id},
            )

    def former_targets(self, source_id: SourceId) -> List[Attempt]:
        """Attempts of a source whose targets may still hold something, oldest first."""
        rows = self._db.rows(
            "SELECT * FROM attempts WHERE source_id = :id ORDER BY id", {"id": source_id}
        )
        live = next((row for row in rows if row["fate"] == TargetFate.LIVE.value), None)
        return [Attempt.from_row(row) for row in rows if _is_former(row, live)]

    def spare_targets(self, source_id: SourceId) -> List[Attempt]:
        """Former targets of a source, and one that was rolled back, oldest first."""
        rows = self._db.rows(
            "SELECT * FROM attempts WHERE source_id = :id AND fate = 'live' AND EXISTS "
            "(SELECT 1 FROM checkpoints WHERE attempt_id = id AND step = 'rolled back') "
            "AND NOT EXISTS "
            "(SELECT 1 FROM checkpoints WHERE attempt_id = id AND step = 'target deleted')",
            {"id": source_id},
        )
        return [*self.former_targets(source_id), *(Attempt.from_row(row) for row in rows)]

    def is_in_use(self, collection_id: str) -> bool:
        """Whether a collection is a source, or the current target of one that is not rolled back."""
        row = self._db.row(
            "SELECT 1 FROM collection_migrations WHERE old_collection_id = :id "
            f"OR (new_collection_id = :id AND coalesce(job_status, '') != 'failed' "
            f"AND NOT {_ROLLED_BACK}) LIMIT 1",
            {"id": collection_id},
        )
        return row is not None

    def job_of(self, attempt: Attempt) -> Optional[JobId]:
        """The import job of an attempt, the last one claimed."""
        row = self._db.row(
            "SELECT job_id FROM jobs WHERE attempt_id = :id AND kind IN ('', :kind) "
            "ORDER BY rowid DESC LIMIT 1",
            {"id": attempt.id, "kind": JobKind.IMPORT},
        )
        return JobId(row["job_id"]) if row else None

    def end_former(self, attempt: Attempt, fate: TargetFate) -> None:
        """What became of a target that was not in use any more.

        One that was rolled back stays the live one of its source, which is left alone.
        """
        with self._db.transaction() as db:
            if attempt.fate == TargetFate.LIVE:
                _checkpoint(db, attempt, StepName.TARGET_DELETED, None)
                return
            db.execute(
                "UPDATE attempts SET fate = :fate, ended_at = :now WHERE id = :id",
                {"fate": fate.value, "now": utc_now(), "id": attempt.id},
            )

    def sends(self, attempt: Attempt, step: str) -> int:
        """How often a request of a step may have reached the server, all intents together."""
        row = self._db.row(
            "SELECT coalesce(sum(sends), 0) AS n FROM intents "
            "WHERE attempt_id = :attempt AND step = :step",
            {"attempt": attempt.id, "step": step},
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
            _close_intent(db, attempt.id, StepName.IMPORT, None, job_id)
            if adopted:
                db.execute("UPDATE attempts SET adopted = 1 WHERE id = :id", {"id": attempt.id})

    def record_import_found_done(self, lease: Lease, attempt: Attempt) -> None:
        """No job on the server any more, but exactly the source's documents: it is done."""
        with self._held(lease) as db:
            _close_intent(db, attempt.id, StepName.IMPORT, None)
            db.execute("UPDATE attempts SET adopted = 1 WHERE id = :id", {"id": attempt.id})
            _set(db, lease.source_id, {"import_submitted": 1, "error": None})
            _complete_import(db, lease.source_id)

    def record_job_running(self, lease: Lease, attempt: Attempt, watched: Watched) -> None:
        """The job was seen in progress, and stood like this."""
        with self._held(lease) as db:
            _set(db, lease.source_id, {"job_status": JobStatus.RUNNING})
            db.execute(
                "INSERT OR REPLACE INTO checkpoints (attempt_id, step, done_at, detail) "
                "VALUES (:attempt, :step, :since, :standing)",
                {
                    "attempt": attempt.id,
                    "step": _JOB_SEEN,
                    "since": watched.since.isoformat(),
                    "standing": json.dumps(watched.standing),
                },
            )

    def job_watched(self, attempt: Attempt) -> Optional[Watched]:
        """How the job stood when it was seen to change last, by whatever run."""
        row = self._db.row(
            "SELECT * FROM checkpoints WHERE attempt_id = :attempt AND step = :step",
            {"attempt": attempt.id, "step": _JOB_SEEN},
        )
        since = parse_time(row["done_at"]) if row else None
        if row is None or since is None:
            return None
        return Watched(json.loads(row["detail"]), since)

    def finish_import(self, lease: Lease, attempt: Attempt, warnings: Sequence[str] = ()) -> None:
        """Checkpoint: the import job ended well."""
        with self._held(lease) as db:
            _complete_import(db, lease.source_id)
            _keep_warnings(db, attempt, StepName.JOB, warnings)

    # -- facts: validation -------------------------------------------------------------
    def announce_import(self, lease: Lease, attempt: Attempt, baseline: Iterable[Document]) -> bool:
        """Commit the source's documents as they are now, and that the import is about to be sent.

        Returns False, and records nothing, where another import of the same owner is in doubt:
        that one has to be resolved first.
        """
        try:
            with self._held(lease) as db:
                db.execute("DELETE FROM baseline WHERE attempt_id = :id", {"id": attempt.id})
                db.executemany(
                    "INSERT INTO baseline (attempt_id, document_id, name, status) "
                    "VALUES (?, ?, ?, ?)",
                    ((attempt.id, item.id, item.name, item.status) for item in baseline),
                )
                db.execute(
                    "UPDATE attempts SET baseline_at = :now WHERE id = :id",
                    {"now": utc_now(), "id": attempt.id},
                )
                _count_send(db, attempt, StepName.IMPORT)
        except sqlite3.IntegrityError:
            return False
        return True

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
        documents: Optional[Tuple[int, int]] = None,
    ) -> None:
        """What a validation came to. A clean one settles the collection: no more baseline.

        Args:
            documents: how many there were in the source at submission, and are in the target.
        """
        blocking = [str(finding) for finding in findings if finding.blocking]
        kept = [str(finding) for finding in findings if not finding.blocking]
        with self._held(lease) as db:
            _write_validation(db, attempt.id, verdict, findings, late_documents, ignored=ignored)
            if documents is not None:
                _keep_counts(db, attempt.id, documents)
            _keep_warnings(db, attempt, StepName.VALIDATE, kept + (blocking if ignored else []))
            held = verdict == Verdict.HELD and not ignored
            _set(db, lease.source_id, {"error": f"held: {'; '.join(blocking)}" if held else None})
            if verdict == Verdict.CLEAN:
                db.execute("DELETE FROM baseline WHERE attempt_id = :id", {"id": attempt.id})
                db.execute(
                    "UPDATE attempts SET baseline_at = NULL WHERE id = :id", {"id": attempt.id}
                )

    # -- facts: moves ------------------------------------------------------------------
    def record_move_counts(self, lease: Lease, attempt: Attempt, step: str, counts: Json) -> None:
        """How much source and target held before a move; opens its intent."""
        with self._held(lease) as db:
            _open_intent(db, attempt.id, attempt.source_id, attempt.owner, step)
            db.execute(
                "UPDATE intents SET counts = :counts WHERE attempt_id = :attempt "
                "AND step = :step AND state = 'open'",
                {"counts": json.dumps(counts), "attempt": attempt.id, "step": step},
            )

    def record_move_job(
        self, lease: Lease, attempt: Attempt, step: str, job_id: Optional[JobId], kind: str
    ) -> None:
        """The job of a move has this id; None: that job is over, another may follow."""
        with self._held(lease) as db:
            if job_id is not None:
                _claim_job(db, job_id, kind, attempt.id)
            db.execute(
                "UPDATE intents SET job_id = :job WHERE attempt_id = :attempt "
                "AND step = :step AND state = 'open'",
                {"job": job_id, "attempt": attempt.id, "step": step},
            )

    def finish_move(
        self,
        lease: Lease,
        attempt: Attempt,
        step: str,
        counts: Optional[Json],
        warnings: Sequence[str] = (),
    ) -> None:
        """Checkpoint: the origin of the move holds none any more, or only what does not move."""
        with self._held(lease) as db:
            _close_intent(db, attempt.id, step, json.dumps(counts) if counts else None)
            if step in _MOVED:
                _set(db, lease.source_id, {_MOVED[step]: 1, "error": None})
            else:
                _checkpoint(db, attempt, step, None)
            _keep_warnings(db, attempt, step, warnings)

    def finish_rollback(self, lease: Lease, attempt: Attempt) -> None:
        """Checkpoint: connectors and chats are in the source again, and the row says so."""
        with self._held(lease) as db:
            _set(db, lease.source_id, {**dict.fromkeys(_MOVED.values(), 0), "error": None})
            _checkpoint(db, attempt, StepName.ROLLED_BACK, None)

    def moved_counts(self, attempt: Attempt, step: str) -> Optional[Json]:
        """The counts of a finished or open move of an attempt, if anything was moved."""
        row = self._db.row(
            "SELECT counts FROM intents WHERE attempt_id = :attempt AND step = :step "
            "AND counts IS NOT NULL ORDER BY id DESC LIMIT 1",
            {"attempt": attempt.id, "step": step},
        )
        return json.loads(row["counts"]) if row else None

    # -- the lease behind every fact ---------------------------------------------------
    @contextmanager
    def _held(self, lease: Lease) -> Iterator[sqlite3.Connection]:
        """A transaction that goes through only while the lease is still held; renews it."""
        with self._db.transaction() as db:
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


_MOVED = {StepName.CONNECTORS: "connectors_migrated", StepName.CHATS: "chats_migrated"}
"""The documented columns that say that something was moved."""


def _checkpoint(
    db: sqlite3.Connection, attempt: Attempt, step: str, detail: Optional[Json]
) -> None:
    db.execute(
        "INSERT OR REPLACE INTO checkpoints (attempt_id, step, done_at, detail) "
        "VALUES (:attempt, :step, :now, :detail)",
        {
            "attempt": attempt.id,
            "step": step,
            "now": utc_now(),
            "detail": None if detail is None else json.dumps(detail),
        },
    )


_KEPT = (TargetFate.SUPERSEDED.value, TargetFate.FAILED.value, TargetFate.ABANDONED.value)


def _is_former(row: sqlite3.Row, live: Optional[sqlite3.Row]) -> bool:
    """Whether an attempt's target is there still, as far as is known, and another one is in use."""
    in_use = live["target_id"] if live is not None else None
    return row["fate"] in _KEPT and row["target_id"] not in (None, in_use)


def _give_back_target(db: sqlite3.Connection, live: Optional[sqlite3.Row]) -> str:
    if live is None or live["target_id"] is None:
        return ""
    _set(db, live["source_id"], {"new_collection_id": live["target_id"]})
    return f"the row named no target; it is {live['target_id']} again"


def _take_up(
    db: sqlite3.Connection, lease: Lease, row: sqlite3.Row, import_options: ImportOptions
) -> str:
    """Make the attempt live that the row's target stands for."""
    record = Record.from_row(row)
    failed = record.job_status == JobStatus.FAILED
    fate = TargetFate.FAILED if failed else TargetFate.LIVE
    _end_live_attempt(db, record.source_id, TargetFate.SUPERSEDED, "the row names another target")
    known = db.execute(
        "SELECT * FROM attempts WHERE target_id = :target", {"target": record.target_id}
    ).fetchone()
    if known is not None and known["source_id"] != record.source_id:
        return ""  # the target of another source: nothing that could be taken up
    if known is not None and known["fate"] == fate.value:
        return ""
    if known is not None:
        attempt_id = int(known["id"])
        db.execute(
            "UPDATE attempts SET fate = :fate, ended_at = NULL, origin = CASE origin "
            "WHEN 'twin' THEN 'legacy' ELSE origin END WHERE id = :id",
            {"fate": fate.value, "id": attempt_id},
        )
    else:
        attempt_id = _insert(db, "attempts", _legacy_attempt(lease, row, fate, import_options))
    if record.job_id:
        _claim_job(db, record.job_id, "", attempt_id)
    if record.import_completed and record.connectors_migrated:
        # Its moves are over: there is nothing left that a validation could hold back.
        _write_validation(db, attempt_id, Verdict.CLEAN, (), 0, ignored=False)
    return f"the row names the target {record.target_id}, which is taken up"


def _legacy_attempt(
    lease: Lease, row: sqlite3.Row, fate: TargetFate, import_options: ImportOptions
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
        "fate": fate.value,
        "reason": record.error if fate == TargetFate.FAILED else None,
        "run_id": lease.run_id,
        "created_at": row["created_at"] or utc_now(),
    }


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
        _insert(db, "intents", values)


def _count_send(db: sqlite3.Connection, attempt: Attempt, step: str) -> None:
    """A request of a step may reach the server from now on."""
    _open_intent(db, attempt.id, attempt.source_id, attempt.owner, step)
    db.execute(
        "UPDATE intents SET sends = sends + 1 WHERE attempt_id = :attempt "
        "AND step = :step AND state = 'open'",
        {"attempt": attempt.id, "step": step},
    )


def _close_intent(
    db: sqlite3.Connection,
    attempt_id: int,
    step: str,
    counts: Optional[str],
    job_id: Optional[str] = None,
) -> None:
    db.execute(
        "UPDATE intents SET state = 'done', counts = coalesce(:counts, counts), "
        "job_id = coalesce(:job, job_id) "
        "WHERE attempt_id = :attempt AND step = :step AND state = 'open'",
        {"counts": counts, "job": job_id, "attempt": attempt_id, "step": step},
    )


def _claim_job(db: sqlite3.Connection, job_id: str, kind: str, attempt_id: int) -> None:
    """Make a job ours; the primary key keeps two collections from claiming one job.

    A server may give an id out again, once its job is over: only a claim that is still
    being worked on stands against ours.
    """
    claimed = db.execute(
        "INSERT INTO jobs (job_id, kind, attempt_id) VALUES (:job, :kind, :attempt) "
        "ON CONFLICT (job_id) DO UPDATE SET kind = excluded.kind, attempt_id = excluded.attempt_id "
        "WHERE attempt_id = excluded.attempt_id OR NOT EXISTS ("
        "SELECT 1 FROM attempts a JOIN collection_migrations m "
        "ON m.old_collection_id = a.source_id WHERE a.id = jobs.attempt_id AND a.fate = 'live' "
        "AND m.job_id = jobs.job_id AND NOT coalesce(m.import_completed, 0) "
        "AND a.source_id != (SELECT source_id FROM attempts WHERE id = excluded.attempt_id))",
        {"job": job_id, "kind": kind, "attempt": attempt_id},
    )
    if claimed.rowcount != 1:
        raise LeaseLost(
            f"The job {job_id} is on record as the import of another collection.",
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


def _keep_counts(db: sqlite3.Connection, attempt_id: int, documents: Tuple[int, int]) -> None:
    """For reports: the baseline that they were counted in goes with a clean validation."""
    db.execute(
        "INSERT OR REPLACE INTO checkpoints (attempt_id, step, done_at, detail) "
        "VALUES (:attempt, :step, :now, :detail)",
        {
            "attempt": attempt_id,
            "step": COUNTED,
            "now": utc_now(),
            "detail": json.dumps(documents),
        },
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
