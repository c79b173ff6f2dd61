"""Move connectors and chat sessions: from the source to its target, by hand between any two, and back.

Moving again is harmless, and done means that the origin lists none, whatever a job said. One
flow for all of them; what differs between them are the two ends and where jobs are recorded.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Protocol

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import NotFound, OutcomeUnknown, StepFailed
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Job, JobId, JobKind, Json, SourceId, TargetId
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps import ragcheck
from h2ogpte_migration.steps.presence import is_gone
from h2ogpte_migration.steps.validate import failed_if_gone

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MoveKind:
    """What differs between connectors and chats."""

    noun: str
    job_kind: str
    count: Callable[[Gateway, str], int]
    submit: Callable[[Gateway, SourceId, TargetId], JobId]


def _count_connectors(gateway: Gateway, collection_id: str) -> int:
    return len(gateway.connectors(collection_id))


def _count_chats(gateway: Gateway, collection_id: str) -> int:
    # The listing decides, as a count may leave out other users' sessions; it also answers
    # the common case, none, with one request.
    page = gateway.chats(collection_id, limit=100)
    return len(page) if len(page) < 100 else max(len(page), gateway.chat_count(collection_id))


MOVES: Dict[str, MoveKind] = {
    StepName.CONNECTORS: MoveKind(
        "connectors",
        JobKind.CONNECTORS,
        _count_connectors,
        lambda gateway, source, target: gateway.move_connectors(source=source, target=target),
    ),
    StepName.CHATS: MoveKind(
        "chats",
        JobKind.CHATS,
        _count_chats,
        lambda gateway, source, target: gateway.move_chats(source=source, target=target),
    ),
}


# -- one flow ----------------------------------------------------------------------------
class JobLog(Protocol):
    """Where a move's jobs are recorded, and what must hold before one is started."""

    def before_write(self) -> None:
        """Right before the request: it may still be made."""

    def record_job(self, job_id: Optional[JobId]) -> None:
        """The job of this move; None: it is over, another may follow."""

    def is_ours(self, job_id: JobId) -> bool:
        """Whether a job is on record already, for whatever collection."""


@dataclass(frozen=True)
class Way:
    """From where to where, with whose key."""

    gateway: Gateway
    clock: Clock
    origin: str
    destination: str


def move_all(way: Way, kind: MoveKind, jobs: JobLog) -> None:
    """Move until the origin lists none; what a job says decides nothing.

    Raises:
        StepFailed: some are still there, after several moves.
    """
    words, left = "", 0
    for _ in range(patience.SENDS_PER_RUN):
        words = _move_once(way, kind, jobs)
        left = left_in(way, kind)
        if not left:
            return
    what = f"{left} {kind.noun} are still in {way.origin} after {patience.SENDS_PER_RUN} moves"
    raise StepFailed(f"{what}: {words}".rstrip(": "), "Run it again later; it moves the rest.")


def left_in(way: Way, kind: MoveKind) -> int:
    """How many the origin holds; none where it does not exist any more."""
    try:
        return kind.count(way.gateway, way.origin)
    except NotFound:
        if not is_gone(way.gateway, way.clock, way.origin):
            raise
        return 0


def _move_once(way: Way, kind: MoveKind, jobs: JobLog) -> str:
    """One move job, waited for; returns what went wrong, if anything is known to have."""
    jobs.before_write()
    try:
        job_id = kind.submit(way.gateway, SourceId(way.origin), TargetId(way.destination))
    except OutcomeUnknown as error:
        await_unanswered(way, kind, jobs, timed_out=error.timed_out)
        return error.message
    jobs.record_job(job_id)
    job = await_job(way, job_id, kind.noun)
    jobs.record_job(None)
    if job is None or job.state == Job.COMPLETED:
        return ""
    words = f"the job {job.state}: {'; '.join(job.errors[:3])}".rstrip(": ")
    log.warning("moving the %s: %s", kind.noun, words)
    return words


def await_job(way: Way, job_id: JobId, noun: str) -> Optional[Job]:
    """Poll a move job to its end; None where the server keeps no record of it.

    Raises:
        StepFailed: it did not end in time; it goes on at the server.
    """
    began = way.clock.now()
    while True:
        job = way.gateway.job(job_id)
        if job is None or job.ended:
            return job
        elapsed = way.clock.now() - began
        if elapsed > patience.MOVE_PATIENCE_S:
            raise StepFailed(
                f"the job {job_id} that moves the {noun} is still running",
                "Run the same command later; it waits for that job first.",
            )
        way.clock.sleep(patience.poll_delay(elapsed))


def await_unanswered(way: Way, kind: MoveKind, jobs: JobLog, *, timed_out: bool) -> None:
    """A move may be under way without an id: let every one of this owner end first."""
    way.clock.sleep(patience.second_look(timed_out))
    for job in way.gateway.jobs():
        if job.kind == kind.job_kind and not job.ended and not jobs.is_ours(job.id):
            await_job(way, job.id, kind.noun)


# -- the steps ---------------------------------------------------------------------------
class StepJobs:
    """The jobs of a move that is a step of a migration."""

    def __init__(self, migration: Migration, step: str) -> None:
        self._migration = migration
        self._step = step
        self.before_write = migration.before_write
        self.is_ours = migration.tracking.store.job_is_claimed

    def record_job(self, job_id: Optional[JobId]) -> None:
        self._migration.tracking.store.record_move_job(
            self._migration.lease,
            self._migration.attempt,
            self._step,
            job_id,
            MOVES[self._step].job_kind,
        )


def connectors(migration: Migration) -> Optional[Result]:
    """Move the scheduled connectors."""
    return _run(migration, StepName.CONNECTORS)


def chats(migration: Migration) -> Optional[Result]:
    """Move the chat sessions; a test chat must not be among them."""
    leftovers = migration.tracking.leftovers
    ragcheck.sweep(migration.gateway, leftovers, migration.source_id)
    ragcheck.give_up(leftovers, migration.source_id)
    return _run(migration, StepName.CHATS)


def _run(migration: Migration, step: str) -> Optional[Result]:
    kind, store = MOVES[step], migration.tracking.store
    way = _way(migration)
    try:
        left = left_in(way, kind)
        if left or migration.seen_at is None:
            _read_target_again(migration)
        if left:
            counts: Json = {"source": left, "target": kind.count(way.gateway, way.destination)}
            store.record_move_counts(migration.lease, migration.attempt, step, counts)
            move_all(way, kind, StepJobs(migration, step))
        _finish(migration, way, step)
    except NotFound as error:
        return failed_if_gone(migration, error)
    return None


def _way(migration: Migration) -> Way:
    return Way(migration.gateway, migration.clock, migration.source_id, migration.target_id)


def _read_target_again(migration: Migration) -> None:
    """Right before a move, the target and what validation found are read again."""
    target = migration.gateway.collection(migration.target_id)
    found = migration.record.validation
    if found is None or not found.settled:
        raise StepFailed("the target is not validated, nothing was moved")
    if target.model != migration.attempt.model and not found.ignored:
        raise StepFailed(f"the target has the model {target.model} by now, nothing was moved")
    migration.seen_at = migration.clock.now()


def _finish(migration: Migration, way: Way, step: str) -> None:
    store, attempt, kind = migration.tracking.store, migration.attempt, MOVES[step]
    counts = store.moved_counts(attempt, step)
    if counts is not None:
        counts["target_after"] = kind.count(way.gateway, way.destination)
        log.info(
            "moved %s %s; the target had %s and has %s now",
            counts["source"],
            kind.noun,
            counts["target"],
            counts["target_after"],
        )
        migration.moved[step] = counts["source"]
    store.finish_move(migration.lease, attempt, step, counts)


def settle_open(migration: Migration) -> None:
    """A move job that was left running is awaited before anything else happens."""
    for step, kind in MOVES.items():
        intent = migration.record.intent(step) if migration.record.attempt else None
        if intent is None:
            continue
        way, jobs = _way(migration), StepJobs(migration, step)
        if intent.job_id is None:
            await_unanswered(way, kind, jobs, timed_out=False)
            continue
        await_job(way, intent.job_id, kind.noun)
        jobs.record_job(None)
