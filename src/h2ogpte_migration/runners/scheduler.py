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
from typing import Callable, Deque, Dict, List, Optional, Set, Tuple

from h2ogpte_migration.errors import (
    Interrupted,
    ServerError,
    ToolError,
    TrackingError,
    Unauthorized,
)
from h2ogpte_migration.pipeline import Ending, Outcome, Pipeline, Work
from h2ogpte_migration.states import Step
from h2ogpte_migration.steps.moves import poll_delay
from h2ogpte_migration.ui.logs import tagged
from h2ogpte_migration.ui.progress import Progress

SETTLE_PATIENCE_S = 900.0
"""How long documents that do not change any more are waited for."""
STOP_PATIENCE_S = 10.0
"""How long calls under way may take to end after the user asked to stop."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much at once.

    Args:
        workers: threads.
        jobs: server imports at once; None where imports are submitted and left running.
        begun: collections begun and not ended; None for as many as there are workers.
        max_failures: same failures in a row after which nothing new is started; 0: never.
    """

    workers: int
    jobs: Optional[int]
    begun: Optional[int]
    max_failures: int


@dataclass
class RunResult:
    """What came of all collections, and what was not begun any more."""

    outcomes: List[Outcome] = field(default_factory=list)
    not_started: List[Work] = field(default_factory=list)
    breaker: str = ""
    peak_jobs: int = 0
    seconds_by_step: Dict[str, float] = field(default_factory=dict)
    seconds_by_source: Dict[str, float] = field(default_factory=dict)


@dataclass
class _Slot:
    """One collection's place in the schedule."""

    work: Work
    began_at: float = 0.0
    running_since: Optional[float] = None
    holds_job: bool = False
    last_reason: str = ""
    changed_at: float = 0.0
    step: Optional[Step] = None
    step_began_at: float = 0.0


class Scheduler:
    """Runs ``Pipeline.advance`` over many collections.

    Args:
        owner_done: called once per owner, when the last of their collections has ended.
        stop: set when the user asks to stop.
        remarks: what else to tell of a collection that has ended; asked while its owner's
            key is still there.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        limits: Limits,
        progress: Progress,
        owner_done: Callable[[str], None],
        stop: threading.Event,
        remarks: Callable[[Work, Outcome], List[str]] = lambda _work, _outcome: [],
    ) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._progress = progress
        self._owner_done = owner_done
        self._stop = stop
        self._remarks = remarks
        self._lock = threading.Lock()
        self._events: queue.Queue[Optional[Tuple[_Slot, Outcome, bool]]] = queue.Queue()
        self._result = RunResult()
        self._breaker = _Breaker(limits.max_failures)
        self._jobs_held = 0
        self._fatal: Optional[ToolError] = None
        self._parked: Deque[_Slot] = deque()
        self._due: List[Tuple[float, int, _Slot]] = []
        self._sequence = 0
        self._open: Dict[int, _Slot] = {}
        self._active = 0
        self._owners: Counter[str] = Counter()

    def run(self, works: List[Work], importing: Set[str]) -> RunResult:
        """Bring all collections forward.

        Args:
            works: in the order in which they are begun.
            importing: ids of sources whose imports run already: these count as jobs from
                the start.

        Raises:
            TrackingError, Unauthorized: the run can't go on; what was under way has ended.
        """
        todo = deque(_Slot(work) for work in works)
        self._owners.update(work.source.owner for work in works)
        for slot in todo:
            self._wire(slot)
            if slot.work.source.id in importing:
                self._hold_job(slot)
        self._progress.started(len(works))
        pool = ThreadPoolExecutor(max_workers=self._limits.workers, thread_name_prefix="worker")
        try:
            self._loop(pool, todo)
        finally:
            pool.shutdown(wait=False)
        self._result.not_started = [slot.work for slot in todo]
        self._result.breaker = self._breaker.tripped
        if self._fatal is not None:
            raise self._fatal
        return self._result

    @property
    def partial(self) -> RunResult:
        """What is known so far, also after ``run`` raised."""
        return self._result

    # -- the loop ----------------------------------------------------------------------
    def _loop(self, pool: ThreadPoolExecutor, todo: Deque[_Slot]) -> None:
        stopped_at: Optional[float] = None
        while True:
            if self._halted():
                self._leave_waiting()
                stopped_at = stopped_at or time.monotonic()
            else:
                self._start_ready(pool, todo)
            nothing_begun = not self._active and not self._due and not self._parked
            if nothing_begun and (not todo or self._halted() or self._breaker.tripped):
                return
            if stopped_at is not None and time.monotonic() - stopped_at > STOP_PATIENCE_S:
                self._give_up_on_calls()
                return
            self._take_event()

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
        return min(0.5, max(0.0, self._due[0][0] - time.monotonic()))

    def _start_ready(self, pool: ThreadPoolExecutor, todo: Deque[_Slot]) -> None:
        while self._parked and self._job_is_free():
            self._start(pool, self._parked.popleft())
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            self._start(pool, heapq.heappop(self._due)[2])
        if self._breaker.tripped:
            return
        most = self._limits.begun
        while todo and (most is None or len(self._open) < most):
            if most is None and self._active >= 2 * self._limits.workers:
                return  # enough are queued to keep every worker busy
            slot = todo.popleft()
            slot.began_at = time.monotonic()
            self._open[id(slot)] = slot
            self._start(pool, slot)

    def _start(self, pool: ThreadPoolExecutor, slot: _Slot) -> None:
        self._active += 1
        pool.submit(self._advance, slot)

    def _advance(self, slot: _Slot) -> None:
        """In a worker: one call of the driver, and the owner's key when that was the last."""
        work = slot.work
        with tagged(work.source.name or work.source.id):
            outcome = self._guarded(lambda: self._pipeline.advance(work), work)
            final = self._is_final(outcome)
            if final:
                self._end_step(slot)
                outcome = self._guarded(lambda: self._with_remarks(work, outcome), work)
                self._count_down(work.source.owner)
        self._events.put((slot, outcome, final))

    def _with_remarks(self, work: Work, outcome: Outcome) -> Outcome:
        if self._halted():
            return outcome
        try:
            remarks = self._remarks(work, outcome)
        except (ServerError, Interrupted) as error:
            # What came of the collection stays what it is.
            log.warning("no remarks: %s", error)
            return outcome
        return replace(outcome, notes=(*outcome.notes, *remarks))

    def _guarded(self, advance: Callable[[], Outcome], work: Work) -> Outcome:
        try:
            return advance()
        except (TrackingError, Unauthorized) as error:
            log.error("%s", error)
            self._fatal = self._fatal or error
            return _broken(work, Ending.STOPPED, error.message)
        except Exception as error:
            log.exception("unexpected error")
            return _broken(
                work, Ending.FAILED, f"bug: {type(error).__name__}; the log has the details"
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

    # -- what becomes of an outcome ----------------------------------------------------
    def _is_final(self, outcome: Outcome) -> bool:
        waits = self._limits.jobs is not None and not self._halted()
        return not (waits and outcome.ending in (Ending.RUNNING, Ending.PARKED, Ending.UNSETTLED))

    def _settle(self, slot: _Slot, outcome: Outcome, final: bool) -> None:
        """In the main thread: wait on, or book the collection as ended.

        ``final`` is what the worker went by: asked again, a stop in between would answer
        otherwise.
        """
        now = time.monotonic()
        if not final:
            if outcome.ending == Ending.PARKED:
                self._parked.append(slot)
                return
            if outcome.ending == Ending.RUNNING:
                self._hold_job(slot)
            if not self._out_of_patience(slot, outcome, now):
                self._look_again(slot, now)
                self._progress.waiting(self._jobs_held)
                return
            self._count_down(slot.work.source.owner)
            outcome = replace(
                outcome,
                attention=True,
                reason=f"{outcome.reason}, and nothing changed in {SETTLE_PATIENCE_S / 60:.0f} min",
                hint="Connectors and chats wait for that: run --verify later.",
            )
        if outcome.ending in (Ending.RUNNING, Ending.PARKED):
            self._pipeline.release(slot.work)
        self._book(slot, outcome, now)

    def _look_again(self, slot: _Slot, now: float) -> None:
        slot.running_since = slot.running_since or now
        self._sequence += 1
        due = now + poll_delay(now - slot.running_since)
        heapq.heappush(self._due, (due, self._sequence, slot))

    def _out_of_patience(self, slot: _Slot, outcome: Outcome, now: float) -> bool:
        if outcome.ending != Ending.UNSETTLED:
            return False
        if outcome.reason != slot.last_reason:
            slot.last_reason, slot.changed_at = outcome.reason, now
        return now - slot.changed_at > SETTLE_PATIENCE_S

    def _book(self, slot: _Slot, outcome: Outcome, now: float) -> None:
        self._give_job_back(slot)
        self._open.pop(id(slot), None)
        self._result.outcomes.append(outcome)
        self._result.seconds_by_source[outcome.source_id] = now - (slot.began_at or now)
        self._breaker.saw(outcome)
        self._progress.finished(outcome.source_name or outcome.source_id, outcome.ending.value)

    def _leave_waiting(self) -> None:
        """The user asked to stop: what waits is left, its jobs go on at the server."""
        waiting = [entry[2] for entry in self._due] + list(self._parked)
        self._due.clear()
        self._parked.clear()
        for slot in waiting:
            outcome = _broken(slot.work, Ending.STOPPED, "interrupted; its import goes on")
            self._pipeline.release(slot.work)
            self._count_down(slot.work.source.owner)
            self._book(slot, outcome, time.monotonic())

    def _give_up_on_calls(self) -> None:
        """Calls that do not end: their collections are told as interrupted, not left out."""
        for slot in list(self._open.values()):
            outcome = _broken(slot.work, Ending.STOPPED, "interrupted while a call was under way")
            self._book(slot, outcome, time.monotonic())

    # -- job slots ---------------------------------------------------------------------
    def _wire(self, slot: _Slot) -> None:
        slot.work.may_submit = lambda: self._take_job(slot)
        slot.work.job_ended = lambda: self._give_job_back(slot)
        slot.work.on_step = lambda step: self._begin_step(slot, step)

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
        self._events.put(None)

    # -- times -------------------------------------------------------------------------
    def _begin_step(self, slot: _Slot, step: Step) -> None:
        self._progress.collection(slot.work.source.name or slot.work.source.id, step.value)
        self._end_step(slot)
        slot.step, slot.step_began_at = step, time.monotonic()

    def _end_step(self, slot: _Slot) -> None:
        if slot.step is None:
            return
        spent = time.monotonic() - slot.step_began_at
        with self._lock:
            times = self._result.seconds_by_step
            times[slot.step.value] = times.get(slot.step.value, 0.0) + spent
        slot.step = None


class _Breaker:
    """Stops a run against a sick server: the same failure, again and again, nothing else."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[Tuple[Optional[Step], str]] = Counter()
        self.tripped = ""

    def saw(self, outcome: Outcome) -> None:
        if outcome.ending == Ending.FAILED and _is_servers_fault(outcome):
            kind = (outcome.step, outcome.kind)
            self._counts[kind] += 1
            if self._most and self._counts[kind] >= self._most and not self.tripped:
                self.tripped = (
                    f"{self._counts[kind]} collections failed alike, and none went well in "
                    f"between ({outcome.reason}); nothing new was started."
                )
        elif outcome.ending in _WENT_WELL and (outcome.step is not None or not outcome.reason):
            # What was merely left as it was, with a reason, says nothing of the server.
            self._counts.clear()


_WENT_WELL = (Ending.DONE, Ending.RUNNING, Ending.UNSETTLED, Ending.HELD)
_BREAKING = (None, Step.CREATE, Step.SETTINGS, Step.PERMISSIONS, Step.IMPORT, Step.JOB)
"""Steps up to the end of the job; before the first one, the source is read."""


def _is_servers_fault(outcome: Outcome) -> bool:
    """Whether others would fail alike. An owner that no key can be made for is no sick server."""
    kind = outcome.kind
    return bool(kind) and not kind.startswith("CannotImpersonate") and outcome.step in _BREAKING


def _broken(work: Work, ending: Ending, reason: str) -> Outcome:
    return Outcome(
        ending=ending,
        source_id=work.source_id,
        source_name=work.source.name,
        owner=work.source.owner,
        reason=reason,
        attention=ending == Ending.FAILED,
        kind="bug" if ending == Ending.FAILED else "",
        notes=tuple(work.notes),
    )
