"""Facts about collections, each one method; what is on record already is for ``questions``.

Methods that record a fact about a collection take the lease that allows it and check it in the
same transaction: a lost lease is an answer (``LeaseLost``), not a surprise. Times are UTC, ISO
8601, and only name things.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import (
    Callable,
    ContextManager,
    Iterable,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from h2ogpte_migration import naming
from h2ogpte_migration.model import (
    Collection,
    Document,
    Finding,
    ImportOptions,
    JobId,
    Json,
    Permissions,
)
from h2ogpte_migration.states import JobStatus, StepName, TargetState, Verdict
from h2ogpte_migration.tracking import agreement
from h2ogpte_migration.tracking.leases import Lease, held
from h2ogpte_migration.tracking.questions import Questions
from h2ogpte_migration.tracking.records import (
    Attempt,
    Intent,
    Record,
    Watched,
    utc_now,
)
from h2ogpte_migration.tracking.rows import (
    COUNTED,
    JOB_MISSED,
    JOB_SEEN,
    claim_job,
    close_intent,
    complete_import,
    count_send,
    end_live_attempt,
    forget_baseline,
    insert,
    keep_warnings,
    open_intent,
    update_intent,
    update_row,
    write_checkpoint,
    write_validation,
)


@dataclass(frozen=True)
class NewAttempt:
    """What a fresh attempt begins with."""

    source: Collection
    owner_id: Optional[str]
    model: str
    import_options: ImportOptions
    origin: str


class Store(Questions):
    """The tracked collections of one database."""

    # -- facts: an attempt's life ------------------------------------------------------
    def agree(self, lease: Lease, import_options: ImportOptions) -> str:
        """Make row and live attempt speak of the same target; returns what was taken up, in words.

        Idempotent.
        """
        with self._held(lease) as db:
            return agreement.agree(db, lease, import_options)

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
                start = {
                    "source_id": lease.source_id,
                    "kind": forced_start,
                    "run_id": lease.run_id,
                }
                insert(db, "marks", start, replace=True)
            end_live_attempt(db, lease.source_id, TargetState.SUPERSEDED, reason)
            self._insert_attempt(db, lease, new, choose_name)

    def restart(
        self,
        lease: Lease,
        state: TargetState,
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
            end_live_attempt(db, lease.source_id, state, reason)
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
        now = utc_now()
        attempt = {
            "source_id": source.id,
            "source_name": source.name,
            "owner": source.owner,
            "target_name": choose_name(_taken_names(db, source.owner)),
            "model": new.model,
            "import_options": json.dumps(new.import_options.to_json()),
            "origin": new.origin,
            "fate": TargetState.LIVE.value,
            "run_id": lease.run_id,
            "created_at": now,
        }
        attempt_id = insert(db, "attempts", attempt)
        open_intent(db, attempt_id, source.id, source.owner, StepName.CREATE, sends=1)
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
        insert(db, "collection_migrations", row)

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
            close_intent(db, attempt.id, StepName.CREATE, None)

    def rename_target(
        self, lease: Lease, attempt: Attempt, choose_name: Callable[[Set[str]], str]
    ) -> None:
        """The target gets another name than was begun with: the server takes a shorter one only.

        ``choose_name`` gets the names in use, folded, and returns an unused one.
        """
        with self._held(lease) as db:
            name = choose_name(_taken_names(db, attempt.owner))
            db.execute(
                "UPDATE attempts SET target_name = :name WHERE id = :attempt",
                {"name": name, "attempt": attempt.id},
            )
            update_row(db, lease.source_id, {"new_collection_name": name})

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
                "fate": TargetState.ABANDONED.value,
                "reason": reason,
                "created_at": utc_now(),
                "ended_at": utc_now(),
            }
            insert(db, "attempts", values)

    def finish_settings(self, lease: Lease, attempt: Attempt, warnings: Sequence[str]) -> None:
        """Checkpoint: the target has its settings."""
        with self._checkpoint(lease) as db:
            update_row(db, lease.source_id, {"collection_created": 1, "error": None})
            keep_warnings(db, attempt, StepName.SETTINGS, warnings)

    def finish_permissions(
        self, lease: Lease, attempt: Attempt, permissions: Permissions, warnings: Sequence[str]
    ) -> None:
        """Checkpoint: the target is shared as the source is."""
        with self._checkpoint(lease) as db:
            update_row(db, lease.source_id, {"permissions_copied": 1, "error": None})
            _write_rights(db, attempt, permissions, warnings)

    def record_rights(
        self, lease: Lease, attempt: Attempt, permissions: Permissions, warnings: Sequence[str] = ()
    ) -> None:
        """What the target may have been given: before it is given, and once some was taken."""
        with self._held(lease) as db:
            _write_rights(db, attempt, permissions, warnings)

    def record_late_rights(
        self, lease: Lease, attempt: Attempt, permissions: Permissions, late: Permissions
    ) -> None:
        """What the target may have by now, with what is about to be given after its import.

        ``late`` is empty once that was given.
        """
        with self._held(lease) as db:
            db.execute(
                "UPDATE attempts SET permissions = :permissions WHERE id = :attempt",
                {"permissions": json.dumps(permissions.to_json()), "attempt": attempt.id},
            )
            write_checkpoint(db, attempt, StepName.LATE_SHARES, late.to_json())

    def finish_step(
        self,
        lease: Lease,
        attempt: Attempt,
        step: str,
        warnings: Sequence[str] = (),
    ) -> None:
        """Checkpoint: a step without a documented column is done for this attempt."""
        with self._checkpoint(lease) as db:
            write_checkpoint(db, attempt, step)
            keep_warnings(db, attempt, step, warnings)

    def record_error(self, lease: Lease, error: Optional[str]) -> None:
        """Why the collection stands where it stands; its status stays what it is."""
        with self._held(lease) as db:
            update_row(db, lease.source_id, {"error": error})

    def end_attempt(self, lease: Lease, state: TargetState, reason: str) -> None:
        """The live attempt failed: the row says so, the target stays in the history."""
        with self._held(lease) as db:
            end_live_attempt(db, lease.source_id, state, reason)
            update_row(db, lease.source_id, {"job_status": JobStatus.FAILED, "error": reason})

    # -- facts: intents ----------------------------------------------------------------
    def record_send(self, lease: Lease, attempt: Attempt, step: str) -> bool:
        """Commit that a request is about to be sent.

        Returns False, and records nothing, where another import of the same owner is in
        doubt: that one has to be resolved first.
        """
        try:
            with self._held(lease) as db:
                count_send(db, attempt, step)
        except sqlite3.IntegrityError:
            return False
        return True

    def record_unsent(self, lease: Lease, attempt: Attempt, step: str) -> None:
        """The server surely did nothing: the request may be sent again without a look."""
        with self._held(lease) as db:
            update_intent(db, attempt.id, step, "sends = max(0, sends - 1)")

    def date_back(self, lease: Lease, attempt: Attempt, intent: Intent) -> None:
        """What a clock that was ahead has dated counts as sent right now."""
        with self._held(lease) as db:
            db.execute(
                "UPDATE intents SET opened_at = :now "
                "WHERE attempt_id = :attempt AND step = :step AND opened_at = :was",
                {
                    "now": utc_now(),
                    "attempt": attempt.id,
                    "step": intent.step,
                    "was": intent.opened_at,
                },
            )

    def record_absent(self, lease: Lease, attempt: Attempt, step: str) -> None:
        """Looked twice, nothing there: nothing is in doubt until the next request.

        What is not in doubt, as it was booked meanwhile, stays as it is.
        """
        with self._held(lease) as db:
            was_open = update_intent(db, attempt.id, step, "state = 'void'")
            if was_open and step == StepName.IMPORT:
                # Version 1.2.0 may have noted a submission that never came to be.
                update_row(db, lease.source_id, {"import_submitted": 0, "job_id": None})

    def record_no_answer(self, lease: Lease, attempt: Attempt, step: str, timed_out: bool) -> None:
        """No usable answer came; a time-out wants a longer wait before the second look."""
        with self._held(lease) as db:
            change = "timed_out = max(timed_out, :timed_out)"
            update_intent(db, attempt.id, step, change, timed_out=int(timed_out))

    def void_doubt(self, source_id: str) -> None:
        """Nothing is in doubt any more about a source whose row is gone."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE intents SET state = 'void' WHERE source_id = :id AND state = 'open'",
                {"id": source_id},
            )

    def end_former(self, attempt: Attempt, state: TargetState) -> None:
        """What became of a target that was not in use any more.

        One that was rolled back stays the live one of its source, which is left alone.
        """
        with self._db.transaction() as db:
            if attempt.state == TargetState.LIVE:
                write_checkpoint(db, attempt, StepName.TARGET_DELETED)
                return
            db.execute(
                "UPDATE attempts SET fate = :fate, ended_at = :now WHERE id = :id",
                {"fate": state.value, "now": utc_now(), "id": attempt.id},
            )

    def record_import_job(
        self, lease: Lease, attempt: Attempt, job_id: JobId, kind: str, *, adopted: bool
    ) -> None:
        """The import job has this id: stored the moment that the server answers."""
        with self._held(lease) as db:
            claim_job(db, job_id, kind, attempt.id)
            update_row(
                db,
                lease.source_id,
                {
                    "job_id": job_id,
                    "job_status": JobStatus.SUBMITTED,
                    "import_submitted": 1,
                    "error": None,
                },
            )
            close_intent(db, attempt.id, StepName.IMPORT, None, job_id)
            if adopted:
                db.execute("UPDATE attempts SET adopted = 1 WHERE id = :id", {"id": attempt.id})

    def record_import_found_done(self, lease: Lease, attempt: Attempt) -> None:
        """No job on the server any more, but exactly the source's documents: it is done."""
        with self._held(lease) as db:
            close_intent(db, attempt.id, StepName.IMPORT, None)
            db.execute("UPDATE attempts SET adopted = 1 WHERE id = :id", {"id": attempt.id})
            update_row(db, lease.source_id, {"import_submitted": 1, "error": None})
            complete_import(db, lease.source_id)

    def record_job_running(self, lease: Lease, attempt: Attempt, watched: Watched) -> None:
        """The job was seen in progress, and stood like this."""
        with self._checkpoint(lease) as db:
            update_row(db, lease.source_id, {"job_status": JobStatus.RUNNING})
            write_checkpoint(db, attempt, JOB_SEEN, watched.standing, watched.since.isoformat())

    def record_job_missed(self, lease: Lease, attempt: Attempt, since: datetime) -> None:
        """The job did not show, and nothing else tells how long ago it was submitted."""
        with self._checkpoint(lease) as db:
            write_checkpoint(db, attempt, JOB_MISSED, at=since.isoformat())

    def finish_import(self, lease: Lease, attempt: Attempt, warnings: Sequence[str] = ()) -> None:
        """Checkpoint: the import job ended well."""
        with self._checkpoint(lease) as db:
            complete_import(db, lease.source_id)
            keep_warnings(db, attempt, StepName.JOB, warnings)

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
                count_send(db, attempt, StepName.IMPORT)
        except sqlite3.IntegrityError:
            return False
        return True

    # -- facts: validation -------------------------------------------------------------
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
        """What a validation came to.

        Args:
            documents: how many there were in the source at submission, and are in the target.
        """
        blocking = [str(finding) for finding in findings if finding.blocking]
        kept = [str(finding) for finding in findings if not finding.blocking]
        with self._checkpoint(lease) as db:
            write_validation(db, attempt.id, verdict, findings, late_documents, ignored=ignored)
            if documents is not None:
                write_checkpoint(db, attempt, COUNTED, documents)
            keep_warnings(db, attempt, StepName.VALIDATE, kept + (blocking if ignored else []))
            error = (
                f"held: {'; '.join(blocking)}" if verdict == Verdict.HELD and not ignored else None
            )
            update_row(db, lease.source_id, {"error": error})

    # -- facts: moves ------------------------------------------------------------------
    def record_move_counts(self, lease: Lease, attempt: Attempt, step: str, counts: Json) -> None:
        """How much source and target held before a move; opens its intent."""
        with self._held(lease) as db:
            open_intent(db, attempt.id, attempt.source_id, attempt.owner, step)
            update_intent(db, attempt.id, step, "counts = :counts", counts=json.dumps(counts))

    def record_move_job(
        self, lease: Lease, attempt: Attempt, step: str, job_id: Optional[JobId], kind: str
    ) -> None:
        """The job of a move has this id; None: that job is over, another may follow."""
        with self._held(lease) as db:
            if job_id is not None:
                claim_job(db, job_id, kind, attempt.id)
            change = "job_id = :job, sends = sends + (:job IS NOT NULL)"
            update_intent(db, attempt.id, step, change, job=job_id)

    def finish_move(
        self,
        lease: Lease,
        attempt: Attempt,
        step: str,
        counts: Optional[Json],
        warnings: Sequence[str] = (),
    ) -> None:
        """Checkpoint: the origin of the move holds none any more, or only what does not move.

        Once nothing feeds the source any more, what it held at submission is not needed.
        """
        with self._checkpoint(lease) as db:
            if step == StepName.CONNECTORS:
                forget_baseline(db, attempt.id)
            close_intent(db, attempt.id, step, json.dumps(counts) if counts else None)
            if step in _MOVED:
                update_row(db, lease.source_id, {_MOVED[step]: 1, "error": None})
            else:
                write_checkpoint(db, attempt, step)
            keep_warnings(db, attempt, step, warnings)

    def finish_rollback(self, lease: Lease, attempt: Attempt) -> None:
        """Checkpoint: connectors and chats are in the source again, and the row says so."""
        with self._held(lease) as db:
            update_row(db, lease.source_id, {**dict.fromkeys(_MOVED.values(), 0), "error": None})
            write_checkpoint(db, attempt, StepName.ROLLED_BACK)

    # -- the lease behind every fact ---------------------------------------------------
    def _held(self, lease: Lease) -> ContextManager[sqlite3.Connection]:
        """A transaction that goes through only while the lease is still held; renews it."""
        return held(self._db, lease)

    def _checkpoint(self, lease: Lease) -> ContextManager[sqlite3.Connection]:
        """The same for what is merely done again where a power cut takes it back.

        Whatever is sent because of it has a fact of its own on disk before, and this with it.
        """
        return held(self._db, lease, durable=False)


_MOVED = {StepName.CONNECTORS: "connectors_migrated", StepName.CHATS: "chats_migrated"}
"""The documented columns that say that something was moved."""


def _write_rights(
    db: sqlite3.Connection, attempt: Attempt, permissions: Permissions, warnings: Sequence[str]
) -> None:
    db.execute(
        "UPDATE attempts SET permissions = :permissions WHERE id = :attempt",
        {"permissions": json.dumps(permissions.to_json()), "attempt": attempt.id},
    )
    keep_warnings(db, attempt, StepName.PERMISSIONS, warnings)


def _taken_names(db: sqlite3.Connection, owner: str) -> Set[str]:
    """The names that were given to an owner's targets, folded."""
    rows = db.execute("SELECT target_name FROM attempts WHERE owner = :owner", {"owner": owner})
    return {_folded(row["target_name"]) for row in rows}


_folded = lru_cache(maxsize=1 << 16)(naming.folded)
