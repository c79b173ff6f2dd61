"""Server jobs: they take time, show progress, and end as their fate wants.

Nothing runs in the background. Whoever looks at the world first lets the jobs catch up with its
clock (``advance``), so that a test with a clock of its own decides when a job ends.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Dict, List, Optional, Tuple

from .documents import BAD, DocumentWorld
from .habits import Fate
from .model import Collection, Job, JobKind, JsonObject, SandboxError, User

_HALF_WAY = (Fate.FAIL, Fate.CANCEL, Fate.NEVER_END)
_LEAVE_SOME = (Fate.LOSE_SOME, Fate.FAIL_ON_SOME)
_MOVES = (JobKind.MOVE_CONNECTORS, JobKind.MOVE_CHATS)


class _AwaitedFate:
    """A fate that a source collection meets, for a number of jobs or for good."""

    def __init__(self, fate: Fate, times: Optional[int], documents: int) -> None:
        self.fate = fate
        self.times = times
        self.documents = documents

    def strike(self) -> bool:
        """Return whether the fate meets one job more, and count it."""
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class JobWorld(DocumentWorld):
    """The part of the world that knows jobs."""

    def __init__(self, *, clock: Callable[[], float], seed: int) -> None:
        super().__init__(clock=clock, seed=seed)
        self.peak_running_imports = 0
        self._running: Dict[str, Job] = {}
        self._fates: Dict[Tuple[str, str], _AwaitedFate] = {}
        self._free_job_ids: List[str] = []

    # -- for tests

    def set_fate(
        self,
        source_id: str,
        fate: Fate,
        *,
        times: Optional[int] = None,
        documents: int = 1,
        kind: JobKind = JobKind.IMPORT,
    ) -> None:
        """Decide how jobs on this source end.

        Args:
            source_id: the collection that is imported from, or moved from.
            fate: what happens.
            times: for how many jobs; None is for good.
            documents: how many documents (connectors, chats) a partial fate strikes.
            kind: which jobs: the import, or one of the moves.
        """
        with self.lock:
            self._fates[(kind.value, source_id)] = _AwaitedFate(fate, times, documents)

    def running_imports(self) -> int:
        """Return how many import jobs run at this moment."""
        with self.lock:
            self.advance()
            return sum(job.kind == JobKind.IMPORT for job in self._running.values())

    # -- starting

    def start_job(
        self,
        kind: str,
        user: User,
        duration_s: float,
        *,
        source_id: Optional[str] = None,
        target_id: Optional[str] = None,
        params: Optional[JsonObject] = None,
    ) -> Job:
        """Start a job and return it; the rules of its kind are the caller's to check."""
        fate, documents = self._next_fate(kind, source_id)
        if fate is Fate.REFUSE:
            raise SandboxError(400, "The job was refused")
        job = Job(
            id=self._new_job_id(),
            kind=kind,
            username=user.username,
            created_at=self.now(),
            duration_s=duration_s,
            fate=fate,
            failed_documents=documents,
            source_id=source_id,
            target_id=target_id,
            params=params or {},
            secret=self.secret,
        )
        self.jobs[job.id] = self._running[job.id] = job
        return job

    def start_import(self, user: User, source: Collection, target_id: str, how: JsonObject) -> Job:
        """Start an import of what the source holds at this moment."""
        duration_s = self.times.import_s + self.times.import_per_document_s * len(source.documents)
        job = self.start_job(
            JobKind.IMPORT.value,
            user,
            duration_s,
            source_id=source.id,
            target_id=target_id,
            params=how,
        )
        job.planned = [replace(m, metadata=dict(m.metadata)) for m in source.documents]
        good = [m for m in job.planned if m.status not in BAD]
        if self.habits.failed_job_brings_rest and len(good) < len(job.planned):
            job.fate, job.failed_documents, job.planned = Fate.FAIL_ON_SOME, 0, good
        if not self.habits.bad_documents_arrive:
            job.planned = good
        self.peak_running_imports = max(self.peak_running_imports, self.running_imports())
        return job

    def _new_job_id(self) -> str:
        if self.habits.job_ids_reused and self._free_job_ids:
            return self._free_job_ids.pop()
        return self.new_id()

    def _next_fate(self, kind: str, source_id: Optional[str]) -> Tuple[Fate, int]:
        awaited = self._fates.get((kind, source_id or ""))
        if awaited is None or not awaited.strike():
            return Fate.SUCCEED, 1
        return awaited.fate, awaited.documents

    # -- running

    def advance(self) -> None:
        """Let every running job catch up with the clock."""
        now = self.now()
        for job in list(self._running.values()):
            self._advance_job(job, now)
        forget_after_s = self.habits.forget_ended_jobs_after_s
        if forget_after_s is not None:
            for job in list(self.jobs.values()):
                if job.ended_at is not None and job.ended_at + forget_after_s < now:
                    self.drop_job(job.id)
        if self.habits.expiry_archives:
            self._archive_expired(now)

    def _archive_expired(self, now: float) -> None:
        for collection in self.collections.values():
            if collection.expiry_date is not None and collection.expiry_date < now:
                collection.status = "archived"

    def _advance_job(self, job: Job, now: float) -> None:
        share = (now - job.created_at) / job.duration_s if job.duration_s > 0 else 1.0
        over = share >= 1.0
        job.progress = min(1.0, share) * (0.5 if job.fate in _HALF_WAY else 1.0)
        if job.target_id is not None and job.target_id not in self.collections:
            self._end(job, "failed", now, "The target collection does not exist")
            return
        if job.kind == JobKind.IMPORT:
            self._import_up_to(job, job.progress)
        if not over or job.fate is Fate.NEVER_END:
            return
        if not self._is_zombie(job):
            self._finish(job)
        elif not job.work_done:
            self._do_the_work(job)
            self._settle_arrived(job, len(job.placed))

    def _is_zombie(self, job: Job) -> bool:
        """Return whether the job does its work and then goes on for ever."""
        which = self.habits.zombie_jobs
        return (
            job.fate is Fate.ZOMBIE
            or (which in ("imports", "all") and job.kind == JobKind.IMPORT)
            or (which in ("moves", "all") and job.kind in _MOVES)
        )

    def _finish(self, job: Job) -> None:
        ended_at = job.created_at + job.duration_s
        if job.fate is Fate.FAIL:
            self._end(job, "failed", ended_at, "The embedding model gave no answer")
        elif job.fate is Fate.CANCEL:
            job.canceled_by = "system"
            self._end(job, "canceled", ended_at)
        else:
            self._do_the_work(job)
            failed = job.fate in (Fate.FAIL_AFTER_ALL, Fate.FAIL_ON_SOME)
            errors = failed or job.fate in (Fate.PARTLY_FAIL, Fate.ERRORS_ONLY)
            message = "Some of the work could not be done" if errors else None
            self._end(job, "failed" if failed else "completed", ended_at, message)

    def _end(self, job: Job, status: str, when: float, error: Optional[str] = None) -> None:
        """End a job; what it was working on is brought to its end."""
        self._settle_arrived(job, len(job.placed))
        self._running.pop(job.id, None)
        job.status = status
        job.ended_at = when
        if status == "completed":
            job.progress = 1.0
        if error and self.habits.errors_echo_key:
            error += f" (headers: Authorization: Bearer {job.secret})"
        if error:
            job.errors.append(error)

    def cancel(self, job: Job, by: str) -> None:
        """Cancel a running job; an ended one stays as it is."""
        if job.running:
            job.canceled_by = by
            self._end(job, "canceled", self.now())

    def drop_job(self, job_id: str) -> None:
        """Remove a job's record, and with it what the job had still to do."""
        if self.jobs.pop(job_id, None) is not None:
            self._free_job_ids.append(job_id)
        self._running.pop(job_id, None)

    def _do_the_work(self, job: Job) -> None:
        if job.work_done:
            return
        job.work_done = True
        work = {
            JobKind.IMPORT.value: self._complete_import,
            JobKind.MOVE_CONNECTORS.value: self._move_connectors,
            JobKind.MOVE_CHATS.value: self._move_chats,
            JobKind.DELETE_COLLECTIONS.value: self._delete_collections,
            JobKind.DELETE_CHATS.value: self._delete_chats,
            JobKind.DELETE_DOCUMENTS.value: self._delete_documents,
            JobKind.REMOVE_DOCUMENTS.value: self._remove_documents,
            JobKind.INSERT_DOCUMENT.value: self._insert_document,
            JobKind.INGEST_UPLOADS.value: self._ingest,
            JobKind.INGEST_TEXT.value: self._ingest,
        }.get(job.kind)
        if work is not None:
            work(job)

    # -- imports

    def _import_up_to(self, job: Job, progress: float) -> None:
        """Let documents arrive; the newest of them is still being worked on."""
        arriving = len(job.planned)
        if job.fate in _LEAVE_SOME:
            arriving = max(0, arriving - job.failed_documents)
        wanted = min(arriving, int(progress * len(job.planned)) + 1 if progress > 0 else 0)
        if job.fate in _HALF_WAY:
            wanted = min(wanted, len(job.planned) // 2)
        target = self.collections[job.target_id or ""]
        while len(job.placed) < wanted:
            target.imported = True
            planned = job.planned[len(job.placed)]
            arrived = self.arrive(
                target,
                planned,
                job.username,
                copy=bool(job.params.get("copy_document")),
                with_metadata=bool(job.params.get("preserve_metadata")),
            )
            job.placed.append(arrived)
        self._settle_arrived(job, len(job.placed) - 1)

    def _settle_arrived(self, job: Job, how_many: int) -> None:
        """Give the first arrived documents of the job the status with which they stay."""
        while job.settled < how_many:
            job.placed[job.settled].status = self._final_status(job, job.settled)
            job.settled += 1

    def _final_status(self, job: Job, index: int) -> str:
        planned = job.planned[index]
        if planned.status in BAD:
            return planned.status
        struck = index >= len(job.planned) - job.failed_documents
        if job.fate is Fate.PARTLY_FAIL and struck:
            return "failed"
        if planned.status == "agent_only" and job.params.get("preserve_document_status"):
            return "agent_only"
        return "agent_only" if job.params.get("ingest_mode") == "agent_only" else "completed"

    def _complete_import(self, job: Job) -> None:
        self._import_up_to(job, 1.0)
        source = self.collections.get(job.source_id or "")
        if source is None:
            return
        target = self.collections[job.target_id or ""]
        if job.params.get("copy_lifecycle_settings"):
            target.expiry_date = source.expiry_date
            target.inactivity_interval = source.inactivity_interval
            target.size_limit = source.size_limit
        if job.params.get("migrate_scheduled_connectors"):
            self._move_connectors(job)

    # -- moves and deletions

    def _left_behind(self, job: Job) -> int:
        return job.failed_documents if job.fate in (*_LEAVE_SOME, Fate.PARTLY_FAIL) else 0

    def _move_connectors(self, job: Job) -> None:
        source = self.collections.get(job.source_id or "")
        target = self.collections[job.target_id or ""]
        if source is None:
            return
        keep = min(self._left_behind(job), len(source.connectors))
        target.connectors += source.connectors[keep:]
        source.connectors = source.connectors[:keep]
        self.touch(source, target)

    def _move_chats(self, job: Job) -> None:
        sessions = [
            session
            for session in self.sessions_of(job.source_id or "")
            if self.habits.archived_chats_move or not session.archived
        ]
        for session in sessions[self._left_behind(job) :]:
            session.collection_id = job.target_id
        self.touch(self.collections[job.target_id or ""])

    def _delete_collections(self, job: Job) -> None:
        ids: List[str] = job.params["collection_ids"]
        for collection_id in ids:
            self.drop_collection(collection_id)

    def _delete_chats(self, job: Job) -> None:
        ids: List[str] = job.params["session_ids"]
        for session_id in ids:
            self.drop_session(session_id)

    # -- documents

    def _delete_documents(self, job: Job) -> None:
        self.drop_documents(job.params["document_ids"])

    def _remove_documents(self, job: Job) -> None:
        self.take_out(self.collections[job.target_id or ""], job.params["document_ids"])

    def _insert_document(self, job: Job) -> None:
        target = self.collections[job.target_id or ""]
        if job.username in self.users and self.memberships(job.params["document_id"]):
            user = self.users[job.username]
            self.insert_document(user, target, job.params["document_id"], job.params)

    def _ingest(self, job: Job) -> None:
        target = self.collections[job.target_id or ""]
        for planned in job.planned:
            self.arrive(
                target,
                planned,
                job.username,
                copy=False,
                with_metadata=True,
                status=planned.status,
            )
