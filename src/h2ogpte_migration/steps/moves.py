"""Move connectors and chat sessions: from the source to its target, by hand between any two, and back.

Moving again is harmless, and done means that the origin lists none, whatever a job said: looked
at twice, and against the counts on record. One flow for all of them; what differs between them
are the two ends and where jobs are recorded.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Callable, Dict, FrozenSet, List, Optional, Protocol

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import (
    NotFound,
    OutcomeUnknown,
    Rejected,
    ServerError,
    StepFailed,
)
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Job, JobId, JobKind, Json, SourceId, TargetId
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import Position, StepName
from h2ogpte_migration.steps import chains, ragcheck, retrieval, validate
from h2ogpte_migration.steps.presence import is_gone
from h2ogpte_migration.steps.validate import failed_if_gone
from h2ogpte_migration.ui.text import plural

CHATS_PAGE = 100
ROUND = 10
"""Pages are cut at multiples of that."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MoveKind:
    """What differs between connectors and chats.

    Args:
        rows: the listing; of chats its first page, which tells "none" from "some".
        counted: how many the server counts, apart from the listing; None where it does not.
        submit: starts the move job.
        some_stay: whether there are some that a move leaves where they are (archived chats).
    """

    noun: str
    job_kind: str
    rows: Callable[[Gateway, str], List[Json]]
    counted: Callable[[Gateway, str], Optional[int]]
    submit: Callable[[Gateway, SourceId, TargetId], JobId]
    some_stay: bool = False

    def number(self, count: int) -> str:
        """``1 chat``, ``2 chats``."""
        return plural(count, self.noun[:-1])

    def count(self, gateway: Gateway, collection_id: str) -> int:
        """How many there are, by one look; what may be a full page is counted by the server.

        Servers may fill shorter pages than were asked for, of a round number of rows.
        """
        page = self.rows(gateway, collection_id)
        if not page or len(page) % ROUND:
            return len(page)
        return max(len(page), self.counted(gateway, collection_id) or 0)


def _uncounted(_gateway: Gateway, _collection_id: str) -> None:
    """The server counts no connectors."""


def _counted_chats(gateway: Gateway, collection_id: str) -> Optional[int]:
    # It may leave out other users' sessions, and count archived ones: it only raises doubts.
    try:
        return gateway.chat_count(collection_id)
    except (NotFound, Rejected):
        return None


MOVES: Dict[str, MoveKind] = {
    StepName.CONNECTORS: MoveKind(
        "connectors",
        JobKind.CONNECTORS,
        lambda gateway, collection_id: gateway.connectors(collection_id),
        _uncounted,
        lambda gateway, source, target: gateway.move_connectors(source=source, target=target),
    ),
    StepName.CHATS: MoveKind(
        "chats",
        JobKind.CHATS,
        lambda gateway, collection_id: gateway.chats(collection_id, limit=CHATS_PAGE),
        _counted_chats,
        lambda gateway, source, target: gateway.move_chats(source=source, target=target),
        some_stay=True,
    ),
}


KINDS: Dict[str, MoveKind] = {
    **MOVES,
    StepName.CONNECTORS_BACK: MOVES[StepName.CONNECTORS],
    StepName.CHATS_BACK: MOVES[StepName.CHATS],
}
"""What each step moves."""


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


@dataclass(frozen=True)
class Left:
    """What the origin holds: how many are listed, which of them, how many are only counted."""

    listed: int = 0
    ids: FrozenSet[str] = frozenset()
    hidden: int = 0

    @property
    def total(self) -> int:
        """What a move is worth a try for: what is only counted may be hidden by a listing that lags."""
        return self.listed + self.hidden

    def words(self, kind: MoveKind, origin: str = "source") -> str:
        """What stays behind for good, for people; empty where nothing does."""
        stay = self.total
        if not stay:
            return ""
        how = "listed" if self.listed else "counted, but not listed"
        are = "is" if stay == 1 else "are"
        return (
            f"{kind.number(stay)} of the {origin} {are} still {how} there and did not move: "
            f"archived ones stay with the {origin}"
        )


def move_all(way: Way, kind: MoveKind, jobs: JobLog) -> Left:
    """Move until the origin lists none; what a job says decides nothing.

    Returns what stays there for good: moves that ended well did not touch it.

    Raises:
        StepFailed: some are still there, after several moves.
    """
    words, left, before = "", Left(), Left()
    for _ in range(patience.SENDS_PER_RUN):
        words = _move_once(way, kind, jobs)
        before, left = left, left_in(way, kind)
        if not left.listed:
            return left
    if kind.some_stay and not words and left.ids == before.ids:
        return left
    what = f"{kind.number(left.listed)} still in {way.origin} after {patience.SENDS_PER_RUN} moves"
    raise StepFailed(f"{what}: {words}".rstrip(": "), "Run it again later; it moves the rest.")


def left_in(
    way: Way, kind: MoveKind, counted: Optional[int] = None, empty_at: Optional[float] = None
) -> Left:
    """What the origin holds; nothing where it does not exist any more.

    "None" is a claim: it is looked at twice, and later where a count says otherwise.

    Args:
        counted: how many are on record; without it the server is asked, where it counts.
        empty_at: when this run has seen none there: that look counts as the first one.
    """
    try:
        if empty_at is None:
            left = _look(way, kind)
            if left.listed:
                return left
            empty_at = way.clock.now()
        if counted is None:
            counted = kind.counted(way.gateway, way.origin)
        pause_s = patience.SECOND_LOOK_S if counted else patience.EMPTY_LOOK_S
        way.clock.sleep(max(0.0, empty_at + pause_s - way.clock.now()))
        left = _look(way, kind)
        if left.listed or not counted:
            return left
        return replace(left, hidden=kind.counted(way.gateway, way.origin) or 0)
    except NotFound:
        if not is_gone(way.gateway, way.clock, way.origin):
            raise
        return Left()


def _look(way: Way, kind: MoveKind) -> Left:
    rows = kind.rows(way.gateway, way.origin)
    return Left(len(rows), frozenset(str(row.get("id")) for row in rows))


def _move_once(way: Way, kind: MoveKind, jobs: JobLog) -> str:
    """One move job, waited for; returns what went wrong, if anything is known to have."""
    jobs.before_write()
    try:
        job_id = kind.submit(way.gateway, SourceId(way.origin), TargetId(way.destination))
    except OutcomeUnknown as error:
        await_unanswered(way, kind, jobs, timed_out=error.timed_out)
        return error.message
    jobs.record_job(job_id)
    job = await_job(way, job_id, kind)
    jobs.record_job(None)
    if job is None or job.state == Job.COMPLETED or job.known_to_run:
        return ""
    words = f"the job {job.state}: {'; '.join(job.errors[:3])}".rstrip(": ")
    log.warning("moving the %s: %s", kind.noun, words)
    return words


def await_job(way: Way, job_id: JobId, kind: MoveKind) -> Optional[Job]:
    """Poll a move job until it is over; None where the server keeps no record of it.

    It is over when it says so, and also when it stands still with nothing left to move, or in
    a state that nobody knows. A job that was never seen may only not show yet.

    Raises:
        StepFailed: it did not end in time; it goes on at the server.
    """
    began = changed_at = way.clock.now()
    seen: Optional[Job] = None
    while True:
        job = way.gateway.job(job_id)
        now = way.clock.now()
        if job is None:
            late = now - began >= patience.VISIBLE_WITHIN_S
            if seen is not None or late or not _look(way, kind).listed:
                return None
        elif job.ended:
            return job
        else:
            if seen is None or seen.standing != job.standing:
                changed_at = now
            seen = job
            if now - changed_at > patience.MOVE_SETTLED_S and (
                not job.known_to_run or not _look(way, kind).listed
            ):
                log.warning("the job %s stands still (%s); it counts as over", job_id, job.standing)
                return job
        if now - began > patience.MOVE_PATIENCE_S:
            raise StepFailed(
                f"the job {job_id} that moves the {kind.noun} is still running",
                "Run the same command later; it waits for that job first.",
            )
        way.clock.sleep(patience.poll_delay(now - began))


def await_unanswered(way: Way, kind: MoveKind, jobs: JobLog, *, timed_out: bool) -> None:
    """A move may be under way without an id: let every one of this owner end first."""
    way.clock.sleep(patience.second_look(timed_out))
    for job in way.gateway.jobs():
        if job.kind == kind.job_kind and not job.ended and not jobs.is_ours(job.id):
            await_job(way, job.id, kind)


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
            KINDS[self._step].job_kind,
        )


def connectors(migration: Migration) -> Optional[Result]:
    """Move the scheduled connectors; what an earlier run found is looked at again before.

    Where chats are to follow they are looked at here for the first time: one pause serves both.
    """
    validation, checked_at = migration.record.validation, migration.seen.checked_at
    stale = checked_at is None or migration.clock.now() - checked_at > patience.FRESH_FINDINGS_S
    if stale and validation is not None and not validation.ignored:
        result = validate.run(migration)
        if result is not None or migration.reload() is None:
            return result
        if migration.record.position != Position.VALIDATED:
            return None
    if migration.policy.migrate_chats:
        # A refusal is for the step that moves them.
        with suppress(ServerError):
            if not _look(_way(migration, StepName.CHATS), MOVES[StepName.CHATS]).listed:
                migration.seen.empty_at[StepName.CHATS] = migration.clock.now()
    return _run(migration, StepName.CONNECTORS)


def chats(migration: Migration) -> Optional[Result]:
    """Move the chat sessions; a test chat must not be among them."""
    held = retrieval.held_back(migration)
    if held is not None:
        return held
    ragcheck.give_up(migration)
    return _run(migration, StepName.CHATS)


def _run(migration: Migration, step: str) -> Optional[Result]:
    kind, store = MOVES[step], migration.tracking.store
    chains.refuse_before_the_first(migration)
    way = _way(migration, step)
    try:
        empty_at = migration.seen.empty_at.pop(step, None)
        left = left_in(way, kind, _on_record(migration, step), empty_at)
        if left.listed or migration.seen.checked_at is None:
            _read_target_again(migration)
        if left.listed:
            counts: Json = {
                "source": left.listed
                if left.listed % ROUND
                else kind.count(way.gateway, way.origin),
                "target": kind.count(way.gateway, way.destination),
            }
            store.record_move_counts(migration.lease, migration.attempt, step, counts)
        if left.listed and step == StepName.CHATS:
            chains.refuse_into_the_middle(migration)
        if left.total:
            left = move_all(way, kind, StepJobs(migration, step))
            if step == StepName.CONNECTORS:
                validate.bring_the_last(migration)
        if left.words(kind):
            migration.warn(left.words(kind))
        _finish(migration, way, step, left.total)
    except NotFound as error:
        return failed_if_gone(migration, error)
    return None


def _on_record(migration: Migration, step: str) -> Optional[int]:
    """How many the source held, as far as this run or an unfinished move knows."""
    intent = migration.record.intent(step)
    if intent is not None and intent.counts:
        return int(intent.counts["source"])
    source = migration.source_counts if step == StepName.CHATS else None
    return None if source is None else source.sessions_count


def _way(migration: Migration, step: str) -> Way:
    """The ends of a step: from the source to the target, or back."""
    source_id, target_id = migration.source_id, migration.target_id
    ends = (source_id, target_id) if step in MOVES else (target_id, source_id)
    return Way(migration.gateway, migration.clock, *ends)


def _read_target_again(migration: Migration) -> None:
    """Right before a move, the target and what validation found are read again."""
    target = migration.gateway.collection(migration.target_id)
    found = migration.record.validation
    if found is None or not found.settled:
        raise StepFailed("the target is not validated, nothing was moved")
    if target.model != migration.attempt.model and not found.ignored:
        raise StepFailed(f"the target has the model {target.model} by now, nothing was moved")
    migration.seen.checked_at = migration.clock.now()


def _finish(migration: Migration, way: Way, step: str, stay: int) -> None:
    store, attempt, kind = migration.tracking.store, migration.attempt, MOVES[step]
    counts = store.moved_counts(attempt, step)
    if counts is not None:
        counts["target_after"] = kind.count(way.gateway, way.destination)
        _leave_out_what_went(migration, way, kind, counts, stay)
        log.info(
            "moved %s; the target had %s and has %s now",
            kind.number(counts["source"]),
            counts["target"],
            counts["target_after"],
        )
        migration.moved[step] = counts["source"]
    store.finish_move(migration.lease, attempt, step, counts, migration.take_warnings())


def _leave_out_what_went(
    migration: Migration, way: Way, kind: MoveKind, counts: Json, stay: int
) -> None:
    """What has left the source and is not in the target did not move: told, and not counted."""

    def missing() -> int:
        return int(counts["source"] - stay - (counts["target_after"] - counts["target"]))

    if missing() <= 0:
        return
    way.clock.sleep(patience.SECOND_LOOK_S)
    counts["target_after"] = kind.count(way.gateway, way.destination)
    lost = min(missing(), counts["source"])
    if lost > 0:
        counts["source"] -= lost
        gone = is_gone(way.gateway, way.clock, way.origin)
        why = "it was deleted before they had moved" if gone else "people may have deleted them"
        migration.warn(
            f"{kind.number(lost)} that the source held did not arrive in the target: {why}"
        )


def held_by_source(
    migration: Migration, kind: MoveKind, fits: Callable[[int, int], bool], wanted: int
) -> int:
    """How many the source holds; a number that does not fit what is wanted counts at a second look.

    Args:
        fits: takes what was found, and what is wanted, in the manner of ``operator.ge``.
    """
    found = kind.count(migration.gateway, migration.source_id)
    if not fits(found, wanted):
        migration.clock.sleep(patience.SECOND_LOOK_S)
        found = kind.count(migration.gateway, migration.source_id)
    return found


def settle_open(migration: Migration) -> None:
    """A move job that was left running is awaited before anything else happens."""
    for step, kind in KINDS.items():
        intent = migration.record.intent(step) if migration.record.attempt else None
        if intent is None:
            continue
        way, jobs = _way(migration, step), StepJobs(migration, step)
        if intent.job_id is None:
            await_unanswered(way, kind, jobs, timed_out=False)
            continue
        await_job(way, intent.job_id, kind)
        jobs.record_job(None)
        migration.reload()
