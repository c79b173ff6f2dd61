"""Ctrl-C and SIGTERM: nothing new is started, keys go, and the way on is told."""

from __future__ import annotations

import signal
import time
from typing import Callable

import pytest

from h2ogpte_migration.sandbox.faults import hang
from h2ogpte_migration.sandbox.model import JobKind
from tests.crash.experiment import Experiment
from tests.crash.lab import Lab, Trial, until
from tests.crash.modes import MODES, Mode
from tests.support.command import Result, Running

BY_NAME = {mode.name: mode for mode in MODES}
IMPORT_ROUTE = "POST /collections/{collection_id}/import_collection_job"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


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
    trial.server.faults.clear()
    assert trial.run(mode.args(trial)).code == 0, trial.story()
    mode.finish(trial)
    wrong = experiment.judge(trial, "interrupted")
    assert not wrong, wrong[0]


def _interrupt(trial: Trial, running: Running, number: int, within_s: float = 5.0) -> Result:
    began = time.monotonic()
    running.signal(number)
    result = running.wait()
    trial.results.append(result)
    assert time.monotonic() - began < within_s
    return result


@pytest.mark.parametrize("number", CODES, ids=lambda number: signal.Signals(number).name)
def test_an_interrupt_while_polling_leaves_the_servers_job_running(lab: Lab, number: int) -> None:
    mode = BY_NAME["concurrent"]
    experiment = Experiment(lab, mode)
    trial = experiment.begin()
    trial.world.times.import_s = 3.0
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
    experiment = Experiment(lab, mode)
    trial = experiment.begin()
    trial.world.times.import_s = 2.0
    trial.server.faults.add(hang(0.7, after=True), route=IMPORT_ROUTE)
    running = trial.start(mode.args(trial))
    until(_arrived(trial, IMPORT_ROUTE))
    result = _interrupt(trial, running, signal.SIGINT)
    _stopped_well(trial, result, 130)
    jobs = {job.id for job in trial.world.import_jobs()}
    assert {row["job_id"] for row in trial.rows("SELECT job_id FROM jobs")} == jobs
    assert trial.world.running_imports() == len(jobs)
    _goes_on(experiment, trial, mode)


def test_an_interrupt_during_creation_leaves_no_second_target(lab: Lab) -> None:
    mode = BY_NAME["wait"]
    experiment = Experiment(lab, mode)
    trial = experiment.begin()
    trial.server.faults.add(hang(0.7, after=True), route="POST /collections")
    running = trial.start(mode.args(trial))
    until(_arrived(trial, "POST /collections"))
    _stopped_well(trial, _interrupt(trial, running, signal.SIGINT), 130)
    _goes_on(experiment, trial, mode)


@pytest.mark.parametrize("kind", [JobKind.MOVE_CONNECTORS, JobKind.MOVE_CHATS])
def test_an_interrupt_while_something_moves_is_awaited_by_the_next_run(
    lab: Lab, kind: JobKind
) -> None:
    mode = BY_NAME["wait"]
    experiment = Experiment(lab, mode)
    trial = experiment.begin()
    trial.world.times.move_s = 1.0
    running = trial.start(mode.args(trial))
    until(lambda: any(job.kind == kind for job in list(trial.world.jobs.values())))
    _stopped_well(trial, _interrupt(trial, running, signal.SIGINT), 130)
    assert any(job.running for job in trial.world.jobs.values())
    trial.world.times.move_s = 0.02
    _goes_on(experiment, trial, mode)


def test_an_interrupt_during_a_second_look_leaves_the_import_in_doubt(lab: Lab) -> None:
    mode = BY_NAME["wait"]
    experiment = Experiment(lab, mode)
    trial = experiment.begin()
    trial.server.faults.add(hang(1.4, after=True), route=IMPORT_ROUTE)
    running = trial.start([*mode.args(trial), "--timeout", "1"])
    until(_arrived(trial, "GET /jobs"))
    result = _interrupt(trial, running, signal.SIGINT)
    _stopped_well(trial, result, 130)
    _goes_on(experiment, trial, mode)


def test_a_second_interrupt_ends_the_run_at_once(lab: Lab) -> None:
    mode = BY_NAME["wait"]
    experiment = Experiment(lab, mode)
    trial = experiment.begin()
    trial.server.faults.add(hang(20, after=True), route="POST /collections")
    running = trial.start(mode.args(trial))
    until(_arrived(trial, "POST /collections"))
    running.signal(signal.SIGINT)
    until(lambda: "Stopping" in running.so_far())
    assert _interrupt(trial, running, signal.SIGINT, within_s=2.0).code == 130
    _goes_on(experiment, trial, mode)


def test_a_call_that_does_not_end_is_left_after_ten_seconds(lab: Lab) -> None:
    mode = BY_NAME["wait"]
    experiment = Experiment(lab, mode)
    trial = experiment.begin()
    trial.server.faults.add(hang(25, after=True), route="POST /collections")
    running = trial.start(mode.args(trial))
    until(_arrived(trial, "POST /collections"))
    result = _interrupt(trial, running, signal.SIGTERM, within_s=14.0)
    assert result.code == 143
    assert "Next: h2ogpte-migrate" in result.text
    _goes_on(experiment, trial, mode)
