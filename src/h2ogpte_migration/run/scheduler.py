"""Works on many collections at once: who is next, who waits, when to give up.

While its import runs at the server a collection owns no thread: it is looked at again when its
next poll is due. Nothing is printed here; outcomes are values.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Callable, Deque, Dict, List, Mapping, Optional, Set, Tuple

from h2ogpte_migration import patience, pipeline
from h2ogpte_migration.errors import (
    Interrupted,
    ServerError,
    ToolError,
    TrackingError,
    Unauthorized,
)
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Job
from h2ogpte_migration.results import OutcomeKind, Result, RunResult
from h2ogpte_migration.run.job_pace import JobPace
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps import BY_NAME
from h2ogpte_migration.ui.logs import tagged
from h2ogpte_migration.ui.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much at once.

    Args:
        workers: threads.
        jobs: server imports at once; None where imports are submitted and left running.
        begun: collections begun and not ended; None for as many as there are workers.
        begun_at_first: the same until one went well: what all fail of is seen early then.
        max_failures: same failures in a row after which nothing new is started; 0: never.
    """

    workers: int
    jobs: Optional[int]
    begun: Optional[int]
    max_failures: int
    begun_at_first: Optional[int] = None


@dataclass
class _Slot:
    """One collection's place in the schedule."""

    migration: Migration
    began_at: float = 0.0
    running_since: Optional[float] = None
    holds_job: bool = False
    made_room: bool = False
    follower: Optional[_Slot] = None
    last_reason: str = ""
    changed_at: float = 0.0
    step: str = ""
    step_began_at: float = 0.0
    waiting_since: Optional[float] = None
    waited_s: float = 0.0
    pace: JobPace = field(default_factory=JobPace)

    @property
    def name(self) -> str:
        return self.migration.source.name or self.migration.source.id


class Scheduler:
    """Runs ``pipeline.advance`` over many collections.

    Args:
        owner_done: called once per owner, when the last of their collections has ended.
        stop: set when the user asks to stop.
        remarks: adds what else there is to tell of a collection that has ended; asked while
            its owner's key is still there.
        advance, release: the pipeline's; tests bring their own.
    """

    def __init__(
        self,
        limits: Limits,
        progress: Progress,
        owner_done: Callable[[str], None],
        stop: threading.Event,
        remarks: Callable[[Migration, Result], Result] = lambda _, result: result,
        advance: Callable[[Migration], Result] = pipeline.advance,
        release: Callable[[Migration], None] = pipeline.release,
    ) -> None:
        self._limits = limits
        self._progress = progress
        self._owner_done = owner_done
        self._stop = stop
        self._remarks = remarks
        self._pipeline_advance = advance
        self._release = release
        self._lock = threading.Lock()
        self._events: queue.Queue[Optional[Tuple[_Slot, Result, bool]]] = queue.Queue()
        self._result = RunResult()
        self._breaker = _Breaker(limits.max_failures)
        self._jobs_held = 0
        self._fatal: Optional[ToolError] = None
        self._todo: Deque[_Slot] = deque()
        self._held_back: Dict[str, List[_Slot]] = {}
        self._waiting: Deque[_Slot] = deque()
        self._submitting: Dict[int, _Slot] = {}
        self._due: List[Tuple[float, int, _Slot]] = []
        self._next_poll = 0.0
        self._next_request = 0.0
        self._one_went_well = False
        self._sequence = 0
        self._open: Dict[int, _Slot] = {}
        self._active = 0
        self._owners: Counter[str] = Counter()

    def run(
        self,
        migrations: List[Migration],
        importing: Set[str],
        first: Optional[Mapping[str, str]] = None,
    ) -> RunResult:
        """Bring all collections forward.

        Args:
            migrations: in the order in which they are begun.
            importing: ids of sources whose imports run already: these count as jobs from
                the start.
            first: by id of a source, the source whose migration has to end before it begins.

        A TrackingError or Unauthorized means that the run can't go on: what was under way ends,
        and the result has the error.
        """
        began = time.monotonic()
        self._todo.extend(_Slot(migration) for migration in migrations)
        self._owners.update(migration.source.owner for migration in migrations)
        for slot in self._todo:
            self._wire(slot)
            if slot.migration.source.id in importing:
                self._hold_job(slot)
        self._hold_back(first or {})
        self._progress.started([migration.source for migration in migrations])
        pool = ThreadPoolExecutor(max_workers=self._limits.workers, thread_name_prefix="worker")
        try:
            self._loop(pool)
        finally:
            pool.shutdown(wait=False)
            self._finish(began)
        return self._result

    def _hold_back(self, first: Mapping[str, str]) -> None:
        """What has to wait for another collection to end is not to be begun yet."""
        there = {slot.migration.source.id for slot in self._todo}
        for slot in [slot for slot in self._todo if first.get(slot.migration.source.id) in there]:
            self._todo.remove(slot)
            self._held_back.setdefault(first[slot.migration.source.id], []).append(slot)

    def _finish(self, began: float) -> None:
        held_back = (slot for slots in self._held_back.values() for slot in slots)
        for slot in (*self._todo, *held_back):
            self._result.results.append(
                slot.migration.result(OutcomeKind.NOT_STARTED, reason="not started")
            )
        self._result.breaker = self._breaker.tripped
        self._result.fatal = self._fatal
        self._result.elapsed_s = time.monotonic() - began

    # -- the loop ----------------------------------------------------------------------
    def _loop(self, pool: ThreadPoolExecutor) -> None:
        stopped_at: Optional[float] = None
        while True:
            if self._halted():
                self._leave_waiting()
                stopped_at = stopped_at or time.monotonic()
            else:
                self._start_ready(pool)
            nothing_begun = not self._active and not self._due and not self._waiting
            if nothing_begun and (not self._todo or self._halted() or self._breaker.tripped):
                return
            if stopped_at is not None and time.monotonic() - stopped_at > patience.STOP_PATIENCE_S:
                self._give_up_on_calls()
                return
            self._take_event()
            self._progress.tick()

    def _halted(self) -> bool:
        return self._stop.is_set() or self._fatal is not None

    def _take_event(self) -> None:
        try:
            event = self._events.get(timeout=self._until_next_due())
        except queue.Empty:
            return
        if event is not None:
            self._active -= 1
            self._settle(*event)

    def _until_next_due(self) -> float:
        if not self._due:
            return 0.5
        return min(0.5, max(0.0, self._next_look() - time.monotonic()))

    def _next_look(self) -> float:
        """When the next collection that waits is looked at: however many jobs run, not all at once."""
        due = self._due[0][0]
        return due if self._few_jobs() else max(due, self._next_poll)

    def _start_ready(self, pool: ThreadPoolExecutor) -> None:
        now = time.monotonic()
        while self._waiting and self._job_is_free():
            slot = self._waiting.popleft()
            self._hold_job(slot)  # of one free place, one of those who wait
            self._submitting[id(slot)] = slot
            slot.waited_s += now - (slot.waiting_since or now)
            self._start(pool, slot)
        while self._due and self._next_look() <= now:
            self._start(pool, heapq.heappop(self._due)[2])
            self._next_poll = max(self._next_poll, now) + 1 / patience.MOST_POLLS_A_SECOND
        if self._waiting and not self._active and not self._due:
            self._start_one_that_runs(pool)
        if self._breaker.tripped:
            return
        most = self._most_begun()
        while self._todo and (most is None or len(self._open) < most):
            if most is None and self._active >= 2 * self._limits.workers:
                return  # enough are queued to keep every worker busy
            self._begin(pool, self._todo.popleft())

    def _start_one_that_runs(self, pool: ThreadPoolExecutor) -> None:
        """All wait for a job to end that runs for a collection which is not begun: it comes first."""
        slot = next((slot for slot in self._todo if slot.holds_job), None)
        if slot is not None:
            self._todo.remove(slot)
            self._begin(pool, slot)

    def _begin(self, pool: ThreadPoolExecutor, slot: _Slot) -> None:
        self._open[id(slot)] = slot
        self._start(pool, slot)

    def _most_begun(self) -> Optional[int]:
        known = [self._limits.begun]
        if not self._one_went_well:
            known.append(self._limits.begun_at_first)
        return min((number for number in known if number is not None), default=None)

    def _start(self, pool: ThreadPoolExecutor, slot: _Slot) -> None:
        self._active += 1
        pool.submit(self._advance, slot)

    def _advance(self, slot: _Slot) -> None:
        """In a worker: one turn of a collection. Whatever happens, its slot comes back as an event."""
        migration = slot.migration
        with tagged(slot.name):
            result = self._guarded(lambda: self._turn(slot), migration)
            final = self._is_final(result)
            if final and slot.began_at:
                result = self._guarded(lambda: self._ended(slot, result), migration)
        self._events.put((slot, result, final))

    def _turn(self, slot: _Slot) -> Result:
        migration = slot.migration
        if not slot.began_at and self._breaker.tripped:
            # Queued before others failed: nothing new is started any more.
            return migration.result(OutcomeKind.NOT_STARTED)
        slot.began_at = slot.began_at or time.monotonic()
        result = self._pipeline_advance(migration)
        if self._is_final(result) or result.kind == OutcomeKind.WAITING_FOR_SLOT:
            self._end_step(slot)  # waiting for a slot is time spent in no step
        elif result.kind == OutcomeKind.RUNNING and slot.step != StepName.JOB:
            self._begin_step(slot, StepName.JOB)  # from here on it is the server's time
        return result

    def _ended(self, slot: _Slot, result: Result) -> Result:
        """The collection has ended in this run; and its owner's key goes when it was the last."""
        migration = slot.migration
        try:
            self._end_step(slot)  # of one that failed by a bug, too
            self._breaker.count(result)
            return self._with_remarks(migration, result)
        finally:
            self._count_down(migration.source.owner)
            migration.drop_details()

    def _with_remarks(self, migration: Migration, result: Result) -> Result:
        if self._halted():
            return result
        try:
            return self._remarks(migration, result)
        except (ServerError, Interrupted) as error:
            # What came of the collection stays what it is.
            log.warning("no remarks: %s", error)
            return result

    def _guarded(self, work: Callable[[], Result], migration: Migration) -> Result:
        try:
            return work()
        except (TrackingError, Unauthorized) as error:
            self._fatal = self._fatal or error  # before anything else: nothing more is begun
            log.error("%s", error)
            return migration.result(OutcomeKind.INTERRUPTED, reason=error.message)
        except Exception as error:
            log.exception("unexpected error")
            return migration.result(
                OutcomeKind.FAILED,
                reason=f"bug: {type(error).__name__}; the log has the details",
                needs_attention=True,
                cause="bug",
            )

    def _count_down(self, owner: str) -> None:
        with self._lock:
            self._owners[owner] -= 1
            last = self._owners[owner] == 0
        if not last:
            return
        try:
            self._owner_done(owner)
        except TrackingError as error:
            log.error("%s", error)
            self._fatal = self._fatal or error
        except ToolError as error:
            # What is left of this owner's is tidied up at the end of the run.
            log.warning("%s", error)

    # -- what becomes of a turn --------------------------------------------------------
    def _is_final(self, result: Result) -> bool:
        waits = self._limits.jobs is not None and not self._halted()
        return not (waits and result.kind in _GOES_ON)

    def _settle(self, slot: _Slot, result: Result, final: bool) -> None:
        """In the main thread: wait on, or book the collection as ended.

        ``final`` is what the worker went by: asked again, a stop in between would answer
        otherwise.
        """
        now = time.monotonic()
        self._let_follow(slot, now)
        self._one_went_well |= result.kind in _WENT_WELL and not result.earlier
        if not final:
            if result.kind == OutcomeKind.WAITING_FOR_SLOT:
                slot.waiting_since = now
                self._waiting.append(slot)
                self._progress.waits_for_slot(slot.migration.source)
                return
            if slot.made_room:
                slot.made_room = False
                self._follow(slot, now)
                return
            if result.kind == OutcomeKind.RUNNING:
                self._hold_job(slot)
            if not self._out_of_patience(slot, result, now):
                slot.running_since = slot.running_since or now
                waited_s, left_s = now - slot.running_since, slot.pace.left_s(now)
                self._look_again(slot, now, patience.poll_delay(waited_s, left_s))
                return
            self._count_down(slot.migration.source.owner)
            minutes = f"{patience.SETTLE_PATIENCE_S / 60:.0f} min"
            result = replace(
                result,
                needs_attention=True,
                reason=f"{result.reason}, and nothing changed in {minutes}",
                hint="Connectors and chats wait for that: run --verify later.",
            )
        if result.kind in (OutcomeKind.RUNNING, OutcomeKind.WAITING_FOR_SLOT):
            self._release(slot.migration)
        self._book(slot, result, now)

    def _look_again(self, slot: _Slot, now: float, delay_s: float) -> None:
        self._sequence += 1
        heapq.heappush(self._due, (now + delay_s, self._sequence, slot))

    def _follow(self, slot: _Slot, now: float) -> None:
        """It ended, and goes on after an import that waited for that: requests are few, as jobs are."""
        ahead = next((one for one in self._submitting.values() if one.follower is None), None)
        if ahead is None:
            self._look_again(slot, now, 0.0)
        else:
            ahead.follower = slot

    def _let_follow(self, slot: _Slot, now: float) -> None:
        """Whatever came of a submission: what ended before it goes on."""
        self._submitting.pop(id(slot), None)
        if slot.follower is not None:
            self._look_again(slot.follower, now, 0.0)
            slot.follower = None

    def _out_of_patience(self, slot: _Slot, result: Result, now: float) -> bool:
        if result.kind != OutcomeKind.DOCUMENTS_PENDING:
            return False
        if result.reason != slot.last_reason:
            slot.last_reason, slot.changed_at = result.reason, now
        return now - slot.changed_at > patience.SETTLE_PATIENCE_S

    def _book(self, slot: _Slot, result: Result, now: float) -> None:
        self._give_job_back(slot)
        self._open.pop(id(slot), None)
        self._todo.extend(self._held_back.pop(slot.migration.source.id, ()))
        self._result.results.append(result)
        if slot.began_at:
            spent = now - slot.began_at - slot.waited_s
            self._result.seconds_by_source[result.source_id] = spent
        self._progress.finished(result)

    def _leave_waiting(self) -> None:
        """The user asked to stop: what waits is left, its jobs go on at the server."""
        for entry in self._due:
            self._leave(entry[2], "interrupted; its import goes on at the server")
        for slot in self._waiting:
            self._leave(slot, "interrupted; its import was not submitted")
        self._due.clear()
        self._waiting.clear()

    def _leave(self, slot: _Slot, reason: str) -> None:
        result = slot.migration.result(OutcomeKind.INTERRUPTED, reason=reason)
        self._release(slot.migration)
        self._count_down(slot.migration.source.owner)
        self._book(slot, result, time.monotonic())

    def _give_up_on_calls(self) -> None:
        """Calls that do not end: their collections are told as interrupted, not left out."""
        for slot in list(self._open.values()):
            reason = "interrupted while a call was under way"
            result = slot.migration.result(OutcomeKind.INTERRUPTED, reason=reason)
            self._book(slot, result, time.monotonic())

    # -- job slots ---------------------------------------------------------------------
    def _wire(self, slot: _Slot) -> None:
        migration = slot.migration
        migration.may_submit = lambda: self._take_job(slot)
        migration.before_poll = self._before_poll
        migration.job_ended = lambda: self._give_job_back(slot)
        migration.makes_room = lambda: self._make_room(slot)
        migration.on_step = lambda step: self._begin_step(slot, step)
        migration.on_job = lambda job: self._job_seen(slot, job)
        migration.on_warning = lambda text: self._progress.warning(migration.source, text)

    def _job_seen(self, slot: _Slot, job: Job) -> None:
        # One that has ended foretells nothing: what is waited for then are its documents.
        slot.pace.seen(None if job.ended else job.progress_fraction, time.monotonic())
        self._progress.job(slot.migration.source, job)

    def _take_job(self, slot: _Slot) -> bool:
        with self._lock:
            if not slot.holds_job and not self._free():
                return False
            self._hold(slot)
            return True

    def _hold_job(self, slot: _Slot) -> None:
        with self._lock:
            self._hold(slot)

    def _hold(self, slot: _Slot) -> None:
        if not slot.holds_job:
            slot.holds_job = True
            self._jobs_held += 1
            self._result.peak_jobs = max(self._result.peak_jobs, self._jobs_held)

    def _free(self) -> bool:
        return self._limits.jobs is None or self._jobs_held < self._limits.jobs

    def _job_is_free(self) -> bool:
        with self._lock:
            return self._free()

    def _give_job_back(self, slot: _Slot) -> None:
        with self._lock:
            if not slot.holds_job:
                return
            slot.holds_job = False
            self._jobs_held -= 1
        if self._limits.jobs is not None:
            self._events.put(None)  # another import may begin

    def _make_room(self, slot: _Slot) -> bool:
        """Its import has ended: where others wait for that, they get the worker before it does."""
        if not self._waiting or self._halted():
            return False
        slot.made_room = True
        self._give_job_back(slot)
        return True

    def _few_jobs(self) -> bool:
        return self._limits.jobs is None or self._jobs_held <= patience.FEW_JOBS

    def _before_poll(self) -> None:
        """In a worker: whatever made polls late, the server does not get them all at once."""
        space_s = 1 / patience.MOST_POLLS_A_SECOND
        while not self._few_jobs():
            with self._lock:
                now = time.monotonic()
                at = max(now, self._next_request)
                self._next_request = at + space_s
            if at > now:
                self._stop.wait(at - now)
            if self._stop.is_set() or time.monotonic() < at + space_s:
                return  # else it woke up too late, and others may have as well

    # -- times -------------------------------------------------------------------------
    def _begin_step(self, slot: _Slot, step: str) -> None:
        self._progress.working(slot.migration.source, BY_NAME[step].verb)
        self._end_step(slot)
        slot.step, slot.step_began_at = step, time.monotonic()

    def _end_step(self, slot: _Slot) -> None:
        if not slot.step:
            return
        spent = time.monotonic() - slot.step_began_at
        with self._lock:
            times = self._result.seconds_by_step
            times[slot.step] = times.get(slot.step, 0.0) + spent
        slot.step = ""


class _Breaker:
    """Stops a run against a sick server: the same failure, again and again, nothing else.

    Told by the workers, as collections end: nothing is begun after the failure that trips it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[Tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self.tripped = ""

    def count(self, result: Result) -> None:
        with self._lock:
            if result.kind == OutcomeKind.FAILED and _is_servers_fault(result):
                self._count(result)
            elif result.kind in _WENT_WELL and not result.earlier:
                # What was merely left as it was says nothing of the server.
                self._counts.clear()

    def _count(self, result: Result) -> None:
        alike = (result.step, result.cause)
        self._counts[alike] += 1
        if self._most and self._counts[alike] >= self._most and not self.tripped:
            self.tripped = (
                f"{self._counts[alike]} collections failed alike, and none went well in "
                f"between ({result.reason.rstrip('.')}); nothing new was started."
            )


_GOES_ON = (
    OutcomeKind.RUNNING,
    OutcomeKind.WAITING_FOR_SLOT,
    OutcomeKind.DOCUMENTS_PENDING,
)
_WENT_WELL = (
    OutcomeKind.DONE,
    OutcomeKind.RUNNING,
    OutcomeKind.DOCUMENTS_PENDING,
    OutcomeKind.HELD,
)


_MATTERS_OF_ONE = ("CannotImpersonate", "Quota", "Source", "rights not taken back")
"""How causes begin that say nothing about other collections, or other owners'."""


def _is_servers_fault(result: Result) -> bool:
    """Whether others would fail alike. What concerns one owner or source is no sick server."""
    cause = result.cause
    if not cause or cause.startswith(_MATTERS_OF_ONE):
        return False
    return not result.step or BY_NAME[result.step].of_the_target
