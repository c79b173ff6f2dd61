"""A check of the server that is stopped, or killed for good, leaves nothing that the next one does not sweep."""

from __future__ import annotations

import json
import signal

import pytest

from h2ogpte_migration.sandbox.faults import call
from tests.crash.lab import MODEL, Lab, Trial, difference, small_organisation
from tests.crash.points import Executioner, Point
from tests.support.command import Running

CHECK = ("--check-server", "--target-model", MODEL)


def left(trial: Trial, before: object) -> list:
    """What differs from before, and records that should be gone."""
    trial.world.wait_until_idle()
    found = difference(before, trial.world.snapshot())
    return found + [path.name for path in trial.folder.glob("*.check-server*")]


@pytest.mark.promise("check-server.leaves-nothing")
@pytest.mark.parametrize("number", [2, 6, 9, 14])
def test_ctrl_c_deletes_what_was_made(lab: Lab, number: int) -> None:
    trial = lab.trial(small_organisation())
    before = trial.world.snapshot()
    victim: list = []

    def stop() -> None:
        running: Running = victim[0]
        running.signal(signal.SIGINT)

    trial.server.faults.add(call(stop), mutating=True, skip=number - 1)
    report = trial.folder / "check.json"
    victim.append(trial.start(trial.args(*CHECK, "--report", report.name, user="anna")))
    result = victim[0].wait()
    assert result.code == 130, result.text
    assert json.loads(report.read_text(encoding="utf-8"))["exit_code"] == 130
    assert left(trial, before) == [], result.text


@pytest.mark.promise("check-server.leaves-nothing")
def test_a_check_that_is_killed_is_swept_by_one_that_is_killed_by_one_that_is_not(
    lab: Lab,
) -> None:
    trial = lab.trial(small_organisation())
    before = trial.world.snapshot()
    for number in (9, 2):  # in the middle, then while it sweeps
        trial.server.faults.clear()
        executioner = Executioner(trial, Point("request", number, after=True))
        running = trial.start(trial.args(*CHECK, user="anna"))
        executioner.take(running)
        assert running.wait().code == -9
    trial.server.faults.clear()
    result = trial.run(trial.args(*CHECK, user="anna"))
    assert result.code == 0, result.text
    assert left(trial, before) == []


def test_two_checks_at_once_in_one_folder_do_not_sweep_each_other(lab: Lab) -> None:
    trial = lab.trial(small_organisation())
    before = trial.world.snapshot()
    said: list = []

    def second() -> None:
        if not said:
            said.append("")
            said.append(trial.run(trial.args(*CHECK, user="anna")))

    trial.server.faults.add(call(second), route="POST /chats")
    first = trial.run(trial.args(*CHECK, user="anna"))
    assert first.code == 0, first.text
    assert said[1].code == 1
    assert "Another check works in this folder" in said[1].text
    assert left(trial, before) == []
