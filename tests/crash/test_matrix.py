"""Kill the command at every instant that matters, recover, and compare the ends.

The instants: before and after each request that changes something, before and after each commit
of the tracking database. The end: that of a run that nobody disturbed.
"""

from __future__ import annotations

from typing import Iterator, List

import pytest

from tests.crash.experiment import Experiment, experiment_with
from tests.crash.lab import HURRIED, TRUE_LOOKS_S, Lab, Plan, Trial
from tests.crash.modes import MODES, Mode
from tests.crash.points import KILLED, Executioner, Point


def points(experiment: Experiment) -> Iterator[Point]:
    """All instants of the undisturbed command."""
    for what, count in (("request", experiment.requests), ("commit", experiment.commits)):
        for number in range(1, count + 1):
            yield Point(what, number, after=False)
            yield Point(what, number, after=True)


def crash(experiment: Experiment, point: Point, base: Plan = HURRIED) -> List[str]:
    """Crash at ``point``, recover; what is wrong with the end."""
    mode, trial = experiment.mode, experiment.begin()
    executioner = Executioner(trial, point)
    running = trial.start(mode.args(trial), point.plan(base))
    executioner.take(running)
    crashed = running.wait()
    trial.results.append(crashed)
    trial.server.faults.clear()
    if crashed.code not in (KILLED, 0):  # 0: with several workers there may be fewer commits
        return experiment.verdict(trial, point, [f"it ended with {crashed.code}"])
    if mode.forced and ended(experiment, trial):
        mode.finish(trial)  # all was told: the same command would be a new demand
    elif trial.run(mode.args(trial), base).code == 0:
        mode.finish(trial)
    wrong = [f"the recovery ended with {r.code}" for r in trial.results[1:] if r.code != 0]
    return experiment.verdict(trial, point, wrong) if wrong else experiment.judge(trial, point)


def ended(experiment: Experiment, trial: Trial) -> bool:
    """Whether the command is on record as ended: it died behind its last word."""
    runs = trial.rows("SELECT ended_at FROM runs ORDER BY id")[experiment.runs_before :]
    return bool(runs) and runs[0]["ended_at"] is not None


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_wherever_it_is_killed_the_recovery_ends_as_if_nothing_had_happened(
    lab: Lab, mode: Mode, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = experiment_with(lab, mode)
    wrong: List[str] = []
    total = 0
    with capsys.disabled():
        for point in points(experiment):
            total += 1
            found = crash(experiment, point)
            print("".join(f"\n{mode.name}: {text[:1000]}" for text in found), end="", flush=True)
            wrong += found
        print(
            f"\n{mode.name}: same end state: {total - len(wrong)} of {total} "
            f"({experiment.requests} requests, {experiment.commits} commits)"
        )
    assert not wrong, f"{len(wrong)} of {total}\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_a_sample_of_crashes_ends_as_if_nothing_had_happened(lab: Lab, mode: Mode) -> None:
    experiment = experiment_with(lab, mode)
    all_of_them = list(points(experiment))
    # Another place in each mode: a prime to the kinds of points, and to their number.
    point = all_of_them[(MODES.index(mode) + 1) * 13 % len(all_of_them)]
    wrong = crash(experiment, point)
    assert not wrong, "\n".join(wrong)


def test_a_lost_creation_is_found_again_with_the_true_waits(lab: Lab) -> None:
    experiment = experiment_with(lab, MODES[0])
    first_creation = Point("request", 2, after=True)  # the first one makes a temporary key
    unhurried = Plan(hurry=False, looks_s=TRUE_LOOKS_S)
    assert not crash(experiment, first_creation, unhurried)
