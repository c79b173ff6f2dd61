"""Ctrl-C and SIGTERM: nothing new is started, keys go, and the way on is told."""

from __future__ import annotations

import signal
import threading
import time
from typing import Callable

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.sandbox.faults import Action, hang
from h2ogpte_migration.sandbox.model import JobKind
from tests.crash.experiment import Experiment, experiment_with
from tests.crash.lab import Lab, Plan, Trial, until
from tests.crash.modes import MODES, Mode
from tests.support.command import Result, Running
from tests.support.earlier import let_jobs_end

BY_NAME = {mode.name: mode for mode in MODES}
IMPORT_ROUTE = "POST /collections/{collection_id}/import_collection_job"
MOVE_CHATS_ROUTE = "POST /collections/{collection_id}/migrate_chat_sessions_job"
DELETE_KEY_ROUTE = "DELETE /admin/api_keys/{key_id}"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
LONG_S = 600.0
"""How long jobs take that are to run until a test ends them."""


class Held:
    """A request whose work is done, and whose answer the test holds back."""

    def __init__(self, trial: Trial, route: str) -> None:
        self._go = threading.Event()
        trial.server.faults.add(Action(call=lambda: self._go.wait(60), after=True), route=route)

    def let_go(self) -> None:
        self._go.set()


def _arrived(trial: Trial, route: str) -> Callable[[], bool]:
    return lambda: any(request.route == route for request in trial.server.requests)


def _stopped_well(trial: Trial, result: Result, code: int) -> None:
    assert result.code == code, trial.story()
    assert "Summary:" in result.text
    assert "Next: h2ogpte-migrate" in result.text
    assert trial.world.key_of("admin") not in result.text
    assert {key.secret for key in trial.world.alive_keys()} == {
        trial.world.key_of(name) for name in ("admin", "anna", "bertil")
    }
    assert not trial.rows("SELECT 1 FROM leases")


def _goes_on(experiment: Experiment, trial: Trial, mode: Mode) -> None:
    trial.world.times.import_s = 0.04
    let_jobs_end(trial.world)
    trial.server.faults.clear()
    assert trial.run(mode.args(trial)).code == 0, trial.story()
    _as_if_never_interrupted(experiment, trial, mode)


def _as_if_never_interrupted(experiment: Experiment, trial: Trial, mode: Mode) -> None:
    mode.finish(trial)
    wrong = experiment.judge(trial, "interrupted")
    assert not wrong, wrong[0]


def _ask_to_stop(running: Running, number: int) -> None:
    """Send the first signal, and wait until it was noticed."""
    running.signal(number)
    running.wait_until(lambda: "Stopping" in running.so_far())


def _interrupt(trial: Trial, running: Running, number: int, within_s: float = 5.0) -> Result:
    began = time.monotonic()
    running.signal(number)
    return _ended(trial, running, began, within_s)


def _ended(trial: Trial, running: Running, began: float, within_s: float = 5.0) -> Result:
    result = running.wait()
    trial.results.append(result)
    assert time.monotonic() - began < within_s
    return result


@pytest.mark.parametrize("number", CODES, ids=lambda number: signal.Signals(number).name)
def test_an_interrupt_while_polling_leaves_the_servers_job_running(lab: Lab, number: int) -> None:
    mode = BY_NAME["concurrent"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    trial.world.times.import_s = LONG_S
    running = trial.start(mode.args(trial))
    until(lambda: trial.world.running_imports() == 3)
    result = _interrupt(trial, running, number)
    _stopped_well(trial, result, CODES[signal.Signals(number)])
    assert trial.world.running_imports() == 3
    _goes_on(experiment, trial, mode)


@pytest.mark.parametrize("name", ["wait", "parallel"])
def test_an_interrupt_during_submission_lets_the_call_end_and_records_its_job(
    lab: Lab, name: str
) -> None:
    mode = BY_NAME[name]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    trial.world.times.import_s = LONG_S
    held = Held(trial, IMPORT_ROUTE)
    running = trial.start(mode.args(trial))
    until(_arrived(trial, IMPORT_ROUTE))
    _ask_to_stop(running, signal.SIGINT)
    held.let_go()
    result = _ended(trial, running, time.monotonic())
    _stopped_well(trial, result, 130)
    jobs = {job.id for job in trial.world.import_jobs()}
    assert {row["job_id"] for row in trial.rows("SELECT job_id FROM jobs")} == jobs
    assert trial.world.running_imports() == len(jobs)
    _goes_on(experiment, trial, mode)


def test_an_interrupt_during_creation_leaves_no_second_target(lab: Lab) -> None:
    mode = BY_NAME["wait"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    held = Held(trial, "POST /collections")
    running = trial.start(mode.args(trial))
    until(_arrived(trial, "POST /collections"))
    _ask_to_stop(running, signal.SIGINT)
    held.let_go()
    _stopped_well(trial, _ended(trial, running, time.monotonic()), 130)
    _goes_on(experiment, trial, mode)


@pytest.mark.parametrize("kind", [JobKind.MOVE_CONNECTORS, JobKind.MOVE_CHATS])
def test_an_interrupt_while_something_moves_is_awaited_by_the_next_run(
    lab: Lab, kind: JobKind
) -> None:
    mode = BY_NAME["wait"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    durations = trial.world.times
    if kind == JobKind.MOVE_CONNECTORS:
        durations.move_s = LONG_S
    else:
        last_longer = Action(call=lambda: setattr(durations, "move_s", LONG_S))
        trial.server.faults.add(last_longer, route=MOVE_CHATS_ROUTE)
    running = trial.start(mode.args(trial))
    until(lambda: any(job.kind == kind for job in list(trial.world.jobs.values())))
    _stopped_well(trial, _interrupt(trial, running, signal.SIGINT), 130)
    (job,) = [job for job in trial.world.jobs.values() if job.running]
    durations.move_s = 0.02
    trial.server.forget_requests()
    again = trial.start(mode.args(trial))
    again.wait_until(_arrived(trial, "GET /jobs/{job_id}"))
    assert job.running
    let_jobs_end(trial.world)
    trial.results.append(again.wait())
    assert trial.results[-1].code == 0, trial.story()
    _as_if_never_interrupted(experiment, trial, mode)


def test_an_interrupt_during_a_second_look_leaves_the_import_in_doubt(lab: Lab) -> None:
    mode = BY_NAME["wait"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    trial.server.faults.add(hang(1.4, after=True), route=IMPORT_ROUTE)
    running = trial.start([*mode.args(trial), "--timeout", "1"])
    until(_arrived(trial, "GET /jobs"))
    result = _interrupt(trial, running, signal.SIGINT)
    _stopped_well(trial, result, 130)
    _goes_on(experiment, trial, mode)


def test_a_second_interrupt_ends_the_run_at_once(lab: Lab) -> None:
    mode = BY_NAME["wait"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    trial.server.faults.add(hang(20, after=True), route="POST /collections")
    running = trial.start(mode.args(trial))
    until(_arrived(trial, "POST /collections"))
    _ask_to_stop(running, signal.SIGINT)
    assert _interrupt(trial, running, signal.SIGINT, within_s=2.0).code == 130
    _goes_on(experiment, trial, mode)


def test_a_call_that_does_not_end_is_left_after_ten_seconds(lab: Lab) -> None:
    assert patience.STOP_PATIENCE_S == 10.0
    mode = BY_NAME["wait"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    trial.server.faults.add(hang(25, after=True), route="POST /collections")
    running = trial.start(mode.args(trial), Plan(stop_patience_s=1.0))
    until(_arrived(trial, "POST /collections"))
    began = time.monotonic()
    result = _interrupt(trial, running, signal.SIGTERM, within_s=14.0)
    assert time.monotonic() - began >= 1.0
    assert result.code == 143
    assert "Next: h2ogpte-migrate" in result.text
    _goes_on(experiment, trial, mode)


def test_a_server_that_does_not_answer_holds_up_neither_the_summary_nor_the_end(lab: Lab) -> None:
    """What a person presses Ctrl-C for. Nothing is asked for any more, but that the keys go."""
    mode = BY_NAME["concurrent"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    trial.world.times.import_s = LONG_S
    running = trial.start(mode.args(trial), Plan(stop_patience_s=1.0))
    until(lambda: trial.world.running_imports() == 3)
    trial.server.faults.add(hang(25), when=lambda _: True, times=None)
    result = _interrupt(trial, running, signal.SIGINT, within_s=8.0)
    assert result.code == 130
    assert "Summary:" in result.text
    assert "Next: h2ogpte-migrate" in result.text
    assert "2 temporary keys may still exist; the next run deletes them." in result.text
    (last,) = trial.rows("SELECT exit_code FROM runs ORDER BY id DESC LIMIT 1")
    assert last["exit_code"] == 130
    _goes_on(experiment, trial, mode)


def test_keys_of_many_owners_go_together_after_the_summary(lab: Lab) -> None:
    mode = BY_NAME["concurrent"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    trial.world.times.import_s = LONG_S
    running = trial.start(mode.args(trial))
    until(lambda: trial.world.running_imports() == 3)
    both, told = threading.Barrier(2, timeout=10), []

    def together() -> None:
        both.wait()
        told.append("Summary:" in running.so_far())

    trial.server.faults.add(Action(call=together), route=DELETE_KEY_ROUTE, times=2)
    _stopped_well(trial, _interrupt(trial, running, signal.SIGINT), 130)
    assert told == [True, True]
    _goes_on(experiment, trial, mode)
