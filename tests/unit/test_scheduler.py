"""Many collections at once: who is next, who waits, when to give up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Union

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.errors import (
    Interrupted,
    ToolError,
    TrackingError,
    Unauthorized,
    Unavailable,
)
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, ImportOptions, Job, JobId, JobKind
from h2ogpte_migration.planner import Policy
from h2ogpte_migration.results import OutcomeKind, Result, RunResult
from h2ogpte_migration.run.scheduler import Limits, Scheduler
from h2ogpte_migration.states import StepName
from h2ogpte_migration.ui.progress import Progress

Answer = Union[Result, Exception, Callable[[Migration], Result]]

DONE, FAILED, RUNNING = OutcomeKind.DONE, OutcomeKind.FAILED, OutcomeKind.RUNNING
WAITING_FOR_SLOT = OutcomeKind.WAITING_FOR_SLOT
NO_WAITING = Limits(workers=4, jobs=None, begun=None, max_failures=5)


def work(ident: str, owner: str = "anna") -> Migration:
    nothing: Any = None
    unused: Any = SimpleNamespace(guarded=lambda _: nothing)
    return Migration(
        nothing,
        Collection(ident, f"name of {ident}", owner, "old"),
        unused,
        owner_id=lambda: None,
        model="new",
        policy=Policy(ImportOptions()),
    )


def outcome(one: Migration, kind: OutcomeKind = DONE, **more: Any) -> Result:
    return one.result(kind, **more)


def failure(
    reason: str = "no room", cause: str = "Rejected 400", step: str = StepName.CREATE
) -> Any:
    return lambda one: outcome(
        one, FAILED, reason=reason, cause=cause, step=step, needs_attention=True
    )


def ends(kind: OutcomeKind, **more: Any) -> Any:
    return lambda one: outcome(one, kind, **more)


class Server:
    """Jobs that take a number of polls; counts how many run at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.left: Dict[str, int] = {}
        self.now = 0
        self.most = 0

    def begin(self, ident: str, polls: int) -> None:
        with self.lock:
            self.left[ident] = polls
            self.now += 1
            self.most = max(self.most, self.now)

    def poll(self, ident: str) -> bool:
        """Whether the job has ended."""
        with self.lock:
            self.left[ident] -= 1
            if self.left[ident] > 0:
                return False
            del self.left[ident]
            self.now -= 1
            return True


class ScriptedPipeline:
    """Answers what its script says; by default, imports go through a server's jobs."""

    def __init__(self, script: Optional[Dict[str, List[Any]]] = None, polls: int = 2) -> None:
        self.script = script or {}
        self.polls = polls
        self.server = Server()
        self.lock = threading.Lock()
        self.calls: List[str] = []
        self.released: List[str] = []
        self.made_room: List[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.pause: Callable[[Migration], None] = lambda _: None

    def advance(self, one: Migration) -> Result:
        ident = one.source.id
        with self.lock:
            self.calls.append(ident)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.pause(one)
            answers = self.script.get(ident)
            if answers is None:
                return self.import_it(one)
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, Exception):
                raise answer
            result: Result = answer(one)
            return result
        finally:
            with self.lock:
                self.at_once -= 1

    def import_it(self, one: Migration) -> Result:
        ident = one.source.id
        if ident in self.made_room:
            return outcome(one, DONE)
        if ident not in self.server.left:
            if not one.may_submit():
                return outcome(one, WAITING_FOR_SLOT)
            one.on_step(StepName.IMPORT)
            self.server.begin(ident, self.polls)
            return outcome(one, RUNNING)
        if not self.server.poll(ident):
            return outcome(one, RUNNING)
        if one.makes_room():
            self.made_room.append(ident)
            return outcome(one, RUNNING)
        one.job_ended()
        return outcome(one, DONE)

    def release(self, one: Migration) -> None:
        self.released.append(one.source.id)


class Bench:
    """A scheduler on a scripted pipeline, and what it told its observers."""

    def __init__(self, pipeline: ScriptedPipeline, limits: Limits) -> None:
        self.pipeline = pipeline
        self.owners: List[Tuple[str, Tuple[str, ...]]] = []
        self.owner_trouble: Optional[Exception] = None
        self.stop = threading.Event()
        self.remarks: Callable[[Migration, Result], Result] = lambda _, result: result
        self.scheduler = Scheduler(
            limits,
            Progress(),
            self.owner_done,
            self.stop,
            lambda one, came_of_it: self.remarks(one, came_of_it),
            pipeline.advance,
            pipeline.release,
        )

    def owner_done(self, owner: str) -> None:
        self.owners.append((owner, tuple(self.pipeline.calls)))
        if self.owner_trouble is not None:
            raise self.owner_trouble

    def run(self, works: List[Migration], importing: Optional[Set[str]] = None) -> RunResult:
        return self.scheduler.run(works, importing or set())


@pytest.fixture(autouse=True)
def _polls_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "poll_delay", lambda *_: 0.005)


NOT_STARTED = OutcomeKind.NOT_STARTED


def begun(result: RunResult) -> List[Result]:
    """What became of those that were begun; every one of the run is told once."""
    assert len({one.source_id for one in result.results}) == len(result.results)
    return [one for one in result.results if one.kind != NOT_STARTED]


def not_started(result: RunResult) -> List[str]:
    return [one.source_id for one in result.of(NOT_STARTED)]


def endings(result: RunResult) -> Dict[str, OutcomeKind]:
    return {one.source_id: one.kind for one in begun(result)}


def several(number: int) -> List[Migration]:
    return [work(f"c{index:02}") for index in range(number)]


def bench(
    script: Optional[Dict[str, List[Any]]] = None, limits: Limits = NO_WAITING, polls: int = 2
) -> Bench:
    return Bench(ScriptedPipeline(script, polls), limits)


def waiting(jobs: int, **more: Any) -> Limits:
    """One job at a time means one collection at a time; else some are prepared meanwhile."""
    return Limits(
        workers=more.get("workers", 8),
        jobs=jobs,
        begun=1 if jobs == 1 else 2 * jobs,
        max_failures=more.get("failures", 5),
    )


# -- what has to end first -----------------------------------------------------------------
@pytest.mark.parametrize("limits", [NO_WAITING, waiting(2)])
def test_a_collection_begins_once_what_has_to_be_first_has_ended(limits: Limits) -> None:
    made = bench(limits=limits)
    works = [work("last"), work("middle"), work("other"), work("first")]
    first = {"last": "middle", "middle": "first", "other": "not in this run"}
    result = made.scheduler.run(works, set(), first)
    assert len(begun(result)) == 4
    order = [ident for ident in made.pipeline.calls if ident != "other"]
    assert sorted(order, key=["first", "middle", "last"].index) == order


def test_what_waits_for_another_is_told_as_not_started_after_a_stop() -> None:
    made = bench({"first": [ends(FAILED)]})
    made.stop.set()
    result = made.scheduler.run([work("last"), work("first")], set(), {"last": "first"})
    assert sorted(not_started(result)) == ["first", "last"]


def test_an_import_that_runs_for_a_collection_not_begun_yet_does_not_keep_its_slot_for_ever() -> (
    None
):
    """The first of two found running needs a fresh target, and a slot for its import."""

    def gives_its_slot_back(one: Migration) -> Result:
        one.job_ended()
        return outcome(one, WAITING_FOR_SLOT) if not one.may_submit() else outcome(one)

    made = bench({"first": [gives_its_slot_back], "second": [ends(DONE)]}, limits=waiting(1))
    result = made.run([work("first"), work("second")], {"first", "second"})
    assert endings(result) == {"first": DONE, "second": DONE}


# -- without waiting -----------------------------------------------------------------------
def test_every_collection_is_advanced_once_and_booked_once() -> None:
    desk = bench()
    result = desk.run(several(40))
    assert set(endings(result).values()) == {RUNNING}
    assert Counter(desk.pipeline.calls) == Counter(one.source.id for one in several(40))
    assert sorted(desk.pipeline.released) == sorted(desk.pipeline.calls), "leases are given back"
    assert (not_started(result), result.breaker) == ([], "")


def test_nothing_to_do_is_done_at_once() -> None:
    result = bench(limits=waiting(3)).run([])
    assert result.results == []


def test_collections_are_begun_in_their_order() -> None:
    desk = bench(limits=Limits(workers=1, jobs=None, begun=None, max_failures=0))
    desk.run(several(12))
    assert desk.pipeline.calls == [one.source.id for one in several(12)]


def test_several_are_worked_on_at_once_and_not_more_than_there_are_workers() -> None:
    desk = bench(limits=Limits(workers=3, jobs=None, begun=None, max_failures=0))
    together = threading.Barrier(3)
    desk.pipeline.pause = lambda _: together.wait(10) and None
    desk.run(several(9))
    assert desk.pipeline.most_at_once == 3


@pytest.mark.parametrize("ending", sorted(set(OutcomeKind) - {FAILED, OutcomeKind.NOT_STARTED}))
def test_without_waiting_every_answer_is_final(ending: OutcomeKind) -> None:
    result = bench({"c00": [ends(ending)]}).run(several(1))
    assert endings(result) == {"c00": ending}


# -- waiting for jobs ----------------------------------------------------------------------
@pytest.mark.parametrize("jobs", [1, 2, 3, 7])
@pytest.mark.parametrize("polls", [1, 3])
def test_job_slots_are_never_exceeded_and_all_are_used(jobs: int, polls: int) -> None:
    desk = bench(limits=waiting(jobs), polls=polls)
    result = desk.run(several(20))
    assert set(endings(result).values()) == {DONE}
    assert len(begun(result)) == 20
    assert desk.pipeline.server.most == jobs
    assert result.peak_jobs == jobs


def test_a_run_that_may_look_at_everything_keeps_to_its_job_slots_all_the_same() -> None:
    desk = bench(limits=Limits(workers=4, jobs=2, begun=None, max_failures=5), polls=3)
    result = desk.run(several(20))
    assert set(endings(result).values()) == {DONE}
    assert desk.pipeline.server.most == 2


def test_with_one_job_at_a_time_one_collection_is_finished_before_the_next_is_begun() -> None:
    desk = bench(limits=waiting(1))
    desk.run(several(5))
    assert desk.pipeline.most_at_once == 1
    assert desk.pipeline.calls == sorted(desk.pipeline.calls)


def test_the_next_import_begins_as_soon_as_one_has_ended() -> None:
    """A long job holds back nobody but itself."""
    desk = bench(limits=waiting(2), polls=2)
    real = desk.pipeline.server.begin
    desk.pipeline.server.begin = (  # type: ignore[method-assign]
        lambda ident, polls: real(ident, 60 if ident == "c00" else polls)
    )
    result = desk.run(several(8))
    assert [one.source_id for one in begun(result)][-1] == "c00"
    assert desk.pipeline.server.most == 2


def test_what_waits_for_an_end_is_submitted_before_what_ended_is_gone_on_with() -> None:
    desk = bench(limits=waiting(2, workers=1), polls=2)
    submitted: List[str] = []
    submitted_by: Dict[str, int] = {}
    begin, goes_on = desk.pipeline.server.begin, desk.pipeline.import_it

    def begin_and_note(ident: str, polls: int) -> None:
        submitted.append(ident)
        begin(ident, polls)

    def import_it(one: Migration) -> Result:
        result = goes_on(one)
        if result.kind == DONE:
            submitted_by[one.source.id] = len(submitted)
        return result

    desk.pipeline.server.begin = begin_and_note  # type: ignore[method-assign]
    desk.pipeline.import_it = import_it  # type: ignore[method-assign]
    result = desk.run(several(4))
    assert set(endings(result).values()) == {DONE}
    assert desk.pipeline.made_room[:2] == ["c00", "c01"], "they ended while others waited"
    assert submitted_by["c00"] >= 3
    assert submitted_by["c01"] == 4
    assert desk.pipeline.calls.count("c02") == desk.pipeline.calls.count("c03")
    assert desk.pipeline.server.most == 2


def test_what_ended_goes_on_once_the_submission_that_waited_for_it_is_through() -> None:
    """Requests at once are few: those of submissions come first, however many threads there are."""
    desk = bench(limits=waiting(2, workers=4), polls=3)
    wait: Set[str] = set()
    order: List[Tuple[str, str]] = []
    poll, goes_on = desk.pipeline.server.poll, desk.pipeline.import_it

    def import_it(one: Migration) -> Result:
        ident = one.source.id
        if ident in desk.pipeline.made_room:
            order.append(("goes on", ident))
        elif ident in wait and ident not in desk.pipeline.server.left:
            time.sleep(0.03)  # a submission takes its requests
            order.append(("submitted", ident))
        result = goes_on(one)
        if result.kind == WAITING_FOR_SLOT:
            wait.add(ident)
        return result

    desk.pipeline.import_it = import_it  # type: ignore[method-assign]
    desk.pipeline.server.poll = (  # type: ignore[method-assign]
        lambda ident: len(wait) == 2 and poll(ident)
    )
    result = desk.run(several(4))
    assert set(endings(result).values()) == {DONE}
    assert not wait.intersection(desk.pipeline.made_room[:2])
    # Whoever of them goes on first: as many submissions are through by then.
    went_on = sorted(order.index(("goes on", ident)) for ident in desk.pipeline.made_room[:2])
    for number, at in enumerate(went_on, start=1):
        assert sum(what == "submitted" for what, _ in order[:at]) >= number


def test_one_free_slot_starts_one_of_those_that_wait_for_it() -> None:
    desk = bench(limits=waiting(2, workers=1), polls=2)
    waits: Counter[str] = Counter()
    begin, goes_on = desk.pipeline.server.begin, desk.pipeline.import_it
    desk.pipeline.server.begin = (  # type: ignore[method-assign]
        lambda ident, polls: begin(ident, 40 if ident == "c01" else polls)
    )

    def import_it(one: Migration) -> Result:
        result = goes_on(one)
        waits[one.source.id] += result.kind == WAITING_FOR_SLOT
        return result

    desk.pipeline.import_it = import_it  # type: ignore[method-assign]
    assert set(endings(desk.run(several(6))).values()) == {DONE}
    assert max(waits.values()) == 1, "none is started for nothing"


def test_the_next_look_at_a_job_comes_when_it_tells_that_it_will_be_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = bench(limits=waiting(1), polls=3)
    goes_on, told = desk.pipeline.import_it, iter([0.5, 0.75, 1.0])
    foreseen: List[Optional[float]] = []

    def import_it(one: Migration) -> Result:
        if one.source.id in desk.pipeline.server.left:
            job = Job(JobId("j"), JobKind.IMPORT, Job.RUNNING, progress_fraction=next(told))
            one.on_job(job)
        return goes_on(one)

    def poll_delay(_elapsed_s: float, left_s: Optional[float] = None) -> float:
        foreseen.append(left_s)
        return 0.05

    monkeypatch.setattr(patience, "poll_delay", poll_delay)
    desk.pipeline.import_it = import_it  # type: ignore[method-assign]
    assert endings(desk.run(several(1))) == {"c00": DONE}
    at_first, after_one, after_two = foreseen
    assert (at_first, after_one) == (None, None), "one look tells no pace"
    assert after_two is not None
    assert after_two > 0.04, "as long as the quarter before took"


def test_documents_that_are_waited_for_after_the_end_of_a_job_are_looked_at_as_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look at them is a listing: an end that was foreseen once is not looked for any more."""
    foreseen: List[Optional[float]] = []

    def looks(one: Migration) -> Result:
        told = (0.5, 0.9, 1.0)[min(len(foreseen), 2)]
        state = Job.COMPLETED if told == 1.0 else Job.RUNNING
        one.on_job(Job(JobId("j"), JobKind.IMPORT, state, progress_fraction=told))
        if len(foreseen) == 4:
            return outcome(one, DONE)
        waits = OutcomeKind.DOCUMENTS_PENDING if told == 1.0 else RUNNING
        return outcome(one, waits, reason=str(len(foreseen)))

    def poll_delay(_elapsed_s: float, left_s: Optional[float] = None) -> float:
        foreseen.append(left_s)
        return 0.02

    monkeypatch.setattr(patience, "poll_delay", poll_delay)
    desk = bench({"c00": [looks]}, limits=waiting(1))
    assert endings(desk.run(several(1))) == {"c00": DONE}
    assert foreseen[1] is not None
    assert foreseen[2:] == [None, None]


def test_targets_are_prepared_while_other_jobs_run_but_not_without_end() -> None:
    desk = bench(limits=waiting(2), polls=40)
    begun_at_first_end: List[int] = []
    real = desk.pipeline.server.poll

    def poll(ident: str) -> bool:
        ended = real(ident)
        if ended and not begun_at_first_end:
            begun_at_first_end.append(len(set(desk.pipeline.calls)))
        return ended

    desk.pipeline.server.poll = poll  # type: ignore[method-assign]
    desk.run(several(12))
    assert begun_at_first_end == [4]


def test_a_collection_that_waits_keeps_no_thread() -> None:
    desk = bench(limits=waiting(6, workers=1), polls=5)
    result = desk.run(several(6))
    assert set(endings(result).values()) == {DONE}
    assert desk.pipeline.server.most == 6


def test_what_runs_already_counts_as_a_job() -> None:
    desk = bench(limits=waiting(2), polls=3)
    for ident in ("c00", "c01"):
        desk.pipeline.server.begin(ident, 30)
    result = desk.run(several(5), {"c00", "c01"})
    assert set(endings(result).values()) == {DONE}
    assert desk.pipeline.server.most == 2


def test_an_import_that_turns_out_to_run_counts_as_a_job() -> None:
    """An adopted one was never asked for a slot: no other is submitted beside it."""
    desk = bench(limits=waiting(2), polls=3)
    running = outcome_of_an_adopted_import(desk.pipeline)
    desk.pipeline.script = {"c00": [running], "c01": [running]}

    def wait_for_them(one: Migration) -> None:
        deadline = time.monotonic() + 2
        while one.source.id > "c01" and desk.scheduler._jobs_held < 2:
            if "c00" not in desk.pipeline.server.left or time.monotonic() > deadline:
                return
            time.sleep(0.001)

    desk.pipeline.pause = wait_for_them
    result = desk.run(several(6))
    assert set(endings(result).values()) == {DONE}
    assert result.peak_jobs == 2
    assert desk.pipeline.server.most == 2


def outcome_of_an_adopted_import(pipeline: ScriptedPipeline) -> Callable[[Migration], Result]:
    """The job of a dead run is found, and polled until it ends."""
    polls: Counter[str] = Counter()

    def advance(one: Migration) -> Result:
        polls[one.source.id] += 1
        if polls[one.source.id] == 1:
            pipeline.server.begin(one.source.id, 20)
        if not pipeline.server.poll(one.source.id):
            return outcome(one, RUNNING)
        one.job_ended()
        return outcome(one, DONE)

    return advance


def test_more_running_already_than_slots_are_all_waited_for() -> None:
    desk = bench(limits=waiting(1), polls=3)
    for ident in ("c00", "c01", "c02"):
        desk.pipeline.server.begin(ident, 4)
    result = desk.run(several(5), {"c00", "c01", "c02"})
    assert set(endings(result).values()) == {DONE}
    assert desk.pipeline.server.most == 3, "no more than ran before"


def test_a_slot_is_free_again_whatever_its_collection_came_to() -> None:
    def takes_and_fails(one: Migration) -> Result:
        assert one.may_submit()
        return outcome(one, FAILED, cause="x", reason="no")

    script = {one.source.id: [takes_and_fails] for one in several(3)}
    desk = bench(script, waiting(1, failures=0))
    result = desk.run([*several(3), work("last")])
    assert endings(result)["last"] == DONE


def test_documents_in_work_are_waited_for() -> None:
    script = {"c00": [*[ends(OutcomeKind.DOCUMENTS_PENDING, reason="3 in work")] * 4, ends(DONE)]}
    desk = bench(script, waiting(1))
    assert endings(desk.run(several(1))) == {"c00": DONE}
    assert len(desk.pipeline.calls) == 5


def test_documents_that_do_not_change_any_more_are_left_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "SETTLE_PATIENCE_S", 0.2)
    desk = bench({"c00": [ends(OutcomeKind.DOCUMENTS_PENDING, reason="3 in work")]}, waiting(1))
    assert endings(desk.run([*several(1), work("next")])) == {
        "c00": OutcomeKind.DOCUMENTS_PENDING,
        "next": DONE,
    }
    assert [owner for owner, _ in desk.owners] == ["anna"]


# -- owners --------------------------------------------------------------------------------
@pytest.mark.parametrize("limits", [NO_WAITING, waiting(2)])
def test_an_owner_is_done_once_after_the_last_of_their_collections(limits: Limits) -> None:
    desk = bench(limits=limits)
    works = [work(f"{owner}-{number}", owner) for number in range(4) for owner in ("anna", "bo")]
    desk.run(works)
    assert sorted(owner for owner, _ in desk.owners) == ["anna", "bo"]
    for owner, calls_before in desk.owners:
        mine = [ident for ident in desk.pipeline.calls if ident.startswith(owner)]
        assert [ident for ident in calls_before if ident.startswith(owner)] == mine


def test_an_owner_whose_collections_fail_is_done_too() -> None:
    desk = bench({"c00": [RuntimeError("bug")], "c01": [failure()]})
    desk.run(several(3))
    assert [owner for owner, _ in desk.owners] == ["anna"]


def test_a_database_that_fails_at_an_owners_end_ends_the_run_and_does_not_hang() -> None:
    desk = bench()
    desk.owner_trouble = TrackingError("the disk is full")
    result = desk.run([work("c00", "anna"), work("c01", "bo")])
    assert result.fatal is desk.owner_trouble


def test_a_stop_while_a_key_is_deleted_does_not_hang_the_run() -> None:
    desk = bench()
    desk.owner_trouble = Interrupted("stopped")
    assert set(endings(desk.run(several(2)))) == {"c00", "c01"}


def test_remarks_are_asked_for_while_the_owners_key_is_still_there() -> None:
    desk = bench({"c00": [ends(DONE, notes=("first",))]})
    desk.remarks = lambda one, result: replace(
        result, notes=(*result.notes, f"{one.source.id}, {len(desk.owners)} owners done")
    )
    (found,) = begun(desk.run(several(1)))
    assert found.notes == ("first", "c00, 0 owners done")


@pytest.mark.parametrize("trouble", [Interrupted("stopped"), Unavailable("down", status=503)])
def test_remarks_that_cannot_be_had_do_not_turn_a_success_into_a_failure(
    trouble: ToolError,
) -> None:
    def no_remarks(*_: Any) -> Result:
        raise trouble

    desk = bench({"c00": [ends(DONE)]})
    desk.remarks = no_remarks
    assert endings(desk.run(several(1))) == {"c00": DONE}
    assert [owner for owner, _ in desk.owners] == ["anna"]


@pytest.mark.parametrize("where", ["step", "owner", "details"])
def test_a_bug_at_a_collections_end_is_its_result_and_does_not_hang_the_run(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = bench({"c00": [ends(DONE)]})

    def oops(*_: Any) -> Any:
        raise RuntimeError("oops")

    if where == "owner":
        desk.owner_trouble = RuntimeError("oops")
    elif where == "step":
        monkeypatch.setattr(desk.scheduler, "_end_step", oops)
    else:
        monkeypatch.setattr(Migration, "drop_details", oops)
    results: List[Result] = []
    running = threading.Thread(
        target=lambda: results.extend(begun(desk.run(several(1)))), daemon=True
    )
    running.start()
    running.join(10)
    assert not running.is_alive(), "nobody came back to tell"
    (found,) = results
    assert (found.kind, found.needs_attention) == (FAILED, True)
    assert "bug: RuntimeError" in found.reason
    assert [owner for owner, _ in desk.owners] == ["anna"], "the owner's key goes all the same"


# -- when to give up -----------------------------------------------------------------------
ONE_WORKER = Limits(workers=1, jobs=None, begun=None, max_failures=3)


def run_to_breaker(answers: List[Any], limits: Limits = ONE_WORKER, more: int = 20) -> RunResult:
    script = {f"c{index:02}": [answer] for index, answer in enumerate(answers)}
    return bench(script, limits).run(several(len(answers) + more))


@pytest.mark.parametrize("limits", [ONE_WORKER, waiting(1, failures=3)])
def test_after_several_failures_alike_nothing_new_is_started(limits: Limits) -> None:
    result = run_to_breaker([failure()] * 20, limits, more=0)
    # What was handed to a worker already may still fail; nothing else is begun.
    assert 3 <= len(begun(result)) <= 6
    assert len(begun(result)) + len(not_started(result)) == 20
    assert "no room" in result.breaker
    assert "3 collections" in result.breaker


@pytest.mark.parametrize("most", [1, 3, 5])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_only_what_other_workers_were_at_is_begun_beside_the_failures_that_trip_it(
    workers: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the main thread is late: workers have everything it queued before it looks."""
    script = {f"c{n:02}": [failure()] for n in range(40)}
    desk = bench(script, Limits(workers=workers, jobs=None, begun=None, max_failures=most))
    real, events = desk.scheduler._settle, desk.scheduler._events
    tick = threading.Event()

    def late(*args: Any) -> None:
        while events.qsize() < desk.scheduler._active:  # what it has queued comes to an answer
            tick.wait(0.001)
        real(*args)

    monkeypatch.setattr(desk.scheduler, "_settle", late)
    result = desk.run(several(40))
    assert most <= len(desk.pipeline.calls) <= most + workers - 1
    assert len(begun(result)) == len(desk.pipeline.calls)
    assert len(result.results) == 40
    assert result.breaker


def test_before_one_went_well_no_more_are_prepared_than_requests_may_be_under_way() -> None:
    """What all would fail of shows before targets are made that have to wait for a job."""
    desk = bench(limits=replace(waiting(8, workers=16), begun_at_first=4))
    desk.pipeline.script = {f"c{n:02}": [failure()] for n in range(40)}
    result = desk.run(several(40))
    assert 5 <= len(begun(result)) <= 5 + 4 - 1


def test_once_an_import_was_taken_the_next_collections_are_prepared_while_jobs_run() -> None:
    desk = bench(limits=replace(waiting(4, workers=8), begun_at_first=2), polls=30)
    waits = threading.Event()
    desk.pipeline.pause = lambda _: waits.wait(0.001) and None
    desk.run(several(12))
    parked = [call for call in desk.pipeline.calls[:30] if call > "c03"]
    assert parked, "some were begun while the jobs of the first four ran"


def test_however_many_jobs_run_the_server_is_asked_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "MOST_POLLS_A_SECOND", 100)
    desk = bench(limits=waiting(50, workers=50), polls=3)
    began = time.monotonic()
    desk.run(several(50))
    took = time.monotonic() - began
    # The last few are asked each for itself.
    asked = 3 * 50 - 3 * patience.FEW_JOBS
    assert took >= asked / 100 * 0.9


def test_jobs_that_are_asked_late_are_not_asked_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers that were busy otherwise come to their polls at the same moment."""
    monkeypatch.setattr(patience, "MOST_POLLS_A_SECOND", 100)
    desk = bench(limits=waiting(30, workers=30), polls=1)
    asked: List[float] = []

    def pause(one: Migration) -> None:
        one.before_poll()
        asked.append(time.monotonic())

    desk.pipeline.pause = pause
    desk.run(several(30), {one.source.id for one in several(30)})
    assert asked[21] - asked[0] >= 21 / 100 * 0.9


@pytest.mark.parametrize(
    "reasons",
    [
        [f"collection 0f{n}a8e2c-1111-4222-8333-94445555666{n} is gone" for n in range(4)],
        [f"job j-{n}{n} failed after {n}.{n} s" for n in range(4)],
        [f"cannot write '{name}'" for name in ("Anna", "Bo's", "Carl", "D")],
        [f'cannot write "{name}"' for name in ("Anna", "Bo", "Carl", "D")],
    ],
)
def test_ids_numbers_and_names_in_messages_do_not_make_failures_different(
    reasons: List[str],
) -> None:
    reasons = [reason for reason in reasons if "'Bo's'" not in reason]
    assert run_to_breaker([failure(reason) for reason in reasons]).breaker


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([failure(), failure()] * 1, id="too few"),
        pytest.param([failure(), failure(), ends(DONE)] * 3, id="a success in between"),
        pytest.param([failure(), failure(), ends(RUNNING)] * 3, id="a submission in between"),
        pytest.param([failure(), failure(), ends(OutcomeKind.HELD)] * 3, id="an import in between"),
        pytest.param([failure(cause="a"), failure(cause="b")] * 2, id="other kinds"),
        pytest.param([failure(), failure(step=StepName.IMPORT)] * 2, id="other steps"),
        pytest.param([failure(step=StepName.CONNECTORS)] * 9, id="a move, not an import"),
        pytest.param([failure(cause="CannotImpersonate 403")] * 9, id="an owner without a key"),
        pytest.param([failure(cause="")] * 9, id="no server trouble"),
        pytest.param([ends(OutcomeKind.LEASED_ELSEWHERE)] * 9, id="worked on elsewhere"),
        pytest.param([ends(OutcomeKind.LEFT, needs_attention=True)] * 9, id="left as they are"),
    ],
)
def test_what_is_not_the_same_trouble_again_and_again_stops_nothing(answers: List[Any]) -> None:
    result = run_to_breaker(answers)
    assert result.breaker == ""
    assert len(begun(result)) == len(answers) + 20


@pytest.mark.parametrize("between", [OutcomeKind.LEFT, OutcomeKind.LEASED_ELSEWHERE])
def test_what_is_left_alone_in_between_is_no_success(between: OutcomeKind) -> None:
    assert run_to_breaker([failure(), ends(between)] * 4).breaker


def test_a_failure_of_one_owner_in_between_is_no_success() -> None:
    """What says nothing of the server does not make it well, either."""
    causes = ["Rejected 400", "CannotImpersonate 403"]
    script = {f"c{n:02}": [failure(cause=causes[n % 2])] for n in range(8)}
    limits = Limits(workers=1, jobs=None, begun=None, max_failures=3)
    result = bench(script, limits).run(several(8))
    assert result.breaker


def test_two_kinds_in_turn_do_not_hide_each_other() -> None:
    assert run_to_breaker([failure(cause="a"), failure(cause="b")] * 4).breaker


def test_what_was_finished_before_is_no_success() -> None:
    skipped = ends(DONE, reason="already migrated", earlier=True)
    assert run_to_breaker([failure(), skipped] * 4).breaker


def test_zero_means_never() -> None:
    limits = Limits(workers=1, jobs=None, begun=None, max_failures=0)
    result = run_to_breaker([failure()] * 50, limits, more=0)
    assert (len(begun(result)), result.breaker) == (50, "")


def test_what_was_begun_before_is_brought_to_its_end() -> None:
    script: Dict[str, List[Any]] = {f"c{n:02}": [failure()] for n in range(1, 30)}
    desk = bench(script, waiting(2, failures=3), polls=40)
    result = desk.run(several(30))
    assert endings(result)["c00"] == DONE
    assert result.breaker
    assert not_started(result)


def test_bugs_are_failures_of_their_collection_and_trip_the_breaker_too() -> None:
    result = run_to_breaker([RuntimeError("oops")])
    first = begun(result)[0]
    assert (first.kind, first.needs_attention) == (FAILED, True)
    assert "bug" in first.reason
    assert len(begun(result)) == 21
    assert run_to_breaker([RuntimeError("oops")] * 9).breaker


@pytest.mark.parametrize("limits", [NO_WAITING, waiting(3)])
@pytest.mark.parametrize("error", [TrackingError("disk full"), Unauthorized("no", status=401)])
def test_what_no_collection_can_go_on_with_ends_the_run(limits: Limits, error: ToolError) -> None:
    desk = bench({"c05": [error]}, limits)
    result = desk.run(several(60))
    assert (result.fatal, result.stopped_early, result.exit_code) == (error, error.message, 1)
    assert endings(result)["c05"] == OutcomeKind.INTERRUPTED
    assert len(begun(result)) + len(not_started(result)) == 60
    assert len(begun(result)) < 60


# -- a stop --------------------------------------------------------------------------------
def test_a_stop_before_the_start_starts_nothing() -> None:
    desk = bench()
    desk.stop.set()
    result = desk.run(several(5))
    assert desk.pipeline.calls == []
    assert len(not_started(result)) == 5


def test_a_stop_leaves_what_waits_and_starts_nothing_new() -> None:
    desk = bench(limits=waiting(2), polls=10_000)
    threading.Timer(0.3, desk.stop.set).start()
    result = desk.run(several(9))
    found = endings(result)
    # One that was just being looked at is known to run; the others were waiting.
    assert set(found.values()) <= {OutcomeKind.INTERRUPTED, OutcomeKind.RUNNING}
    assert set(found) == {"c00", "c01", "c02", "c03"}, "two run, two are prepared"
    assert sorted(set(desk.pipeline.released)) == sorted(found), "leases are given back"
    assert not_started(result) == ["c04", "c05", "c06", "c07", "c08"]
    assert [one for one in begun(result) if one.needs_attention] == []


def test_after_a_stop_calls_under_way_end_and_count() -> None:
    desk = bench({"c00": [ends(DONE)]})

    def pause(_: Migration) -> None:
        desk.stop.set()
        time.sleep(0.2)

    desk.pipeline.pause = pause
    result = desk.run(several(1))
    assert endings(result) == {"c00": DONE}
    assert [owner for owner, _ in desk.owners] == ["anna"]


@pytest.mark.parametrize("ending", [RUNNING, WAITING_FOR_SLOT, OutcomeKind.DOCUMENTS_PENDING])
def test_a_stop_between_an_answer_and_its_booking_still_ends_the_owner(
    ending: OutcomeKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = bench({"c00": [ends(ending)]}, waiting(2))
    real = desk.scheduler._settle

    def settle(*args: Any) -> None:
        desk.stop.set()
        real(*args)

    monkeypatch.setattr(desk.scheduler, "_settle", settle)
    result = desk.run(several(1))
    assert len(begun(result)) == 1
    assert [owner for owner, _ in desk.owners] == ["anna"]


def test_calls_that_do_not_end_after_a_stop_are_not_waited_for_and_not_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "STOP_PATIENCE_S", 0.3)
    desk = bench(limits=Limits(workers=2, jobs=None, begun=None, max_failures=0))
    never = threading.Event()

    def pause(_: Migration) -> None:
        desk.stop.set()
        never.wait(20)

    desk.pipeline.pause = pause
    began = time.monotonic()
    result = desk.run(several(1))
    assert time.monotonic() - began < 10
    never.set()
    assert endings(result) == {"c00": OutcomeKind.INTERRUPTED}


# -- times ---------------------------------------------------------------------------------
def test_times_are_told_by_step_and_by_collection() -> None:
    result = bench(limits=waiting(2), polls=3).run(several(4))
    assert set(result.seconds_by_step) == {"import", "job"}
    assert result.seconds_by_step["import"] > 0
    assert set(result.seconds_by_source) == {f"c{n:02}" for n in range(4)}
    assert all(0 < seconds < 60 for seconds in result.seconds_by_source.values())
