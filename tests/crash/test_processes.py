"""Several processes on one tracking database."""

from __future__ import annotations

import signal
from typing import List, Sequence

import pytest

from h2ogpte_migration.sandbox.habits import Fate
from tests.crash.experiment import experiment_with
from tests.crash.lab import MODEL, Lab, Trial, problems, until
from tests.crash.modes import MODES, QUESTION, SCOPE, VERIFY, WAIT, Mode
from tests.support.command import Result, Running

BY_NAME = {mode.name: mode for mode in MODES}
TERMINALS = 3
"""One that works, and two that wait for what it holds at the same time."""


def at_once(trial: Trial, commands: Sequence[Sequence[str]]) -> List[Result]:
    """Run these commands side by side."""
    running = [trial.start(words) for words in commands]
    results = [one.wait() for one in running]
    trial.results += results
    return results


def quiet_and_well(trial: Trial, results: Sequence[Result]) -> None:
    """Nobody complained."""
    for result in results:
        assert result.code == 0, trial.story()
        assert "locked" not in result.text
        assert "Traceback" not in result.text
    assert not any("locked" in log.read_text("utf-8") for log in trial.folder.glob("*.log"))


def run_at_once(trial: Trial, mode: Mode) -> None:
    """The same command in several terminals; each says what became of each collection."""
    results = at_once(trial, [mode.args(trial)] * TERMINALS)
    quiet_and_well(trial, results)
    for row in trial.rows("SELECT old_collection_id AS id FROM collection_migrations"):
        for result in results:
            assert row["id"] in result.out, f"one does not say what became of {row}"
    # Those that start in one second have files of their own.
    assert len(list(trial.folder.glob("*.log"))) == TERMINALS


@pytest.mark.parametrize("name", ["wait", "concurrent", "query", "self-service", "force"])
def test_the_same_command_in_several_terminals_does_everything_once(lab: Lab, name: str) -> None:
    mode = BY_NAME[name]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    run_at_once(trial, mode)
    wrong = experiment.judge(trial, "several terminals")
    assert not wrong, wrong[0]


def test_several_submissions_and_then_several_verifications_do_everything_once(lab: Lab) -> None:
    mode = BY_NAME["parallel"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    run_at_once(trial, mode)
    trial.world.wait_until_idle()
    quiet_and_well(trial, at_once(trial, [trial.args(*VERIFY, *QUESTION)] * TERMINALS))
    asked = sum(request.route == "POST /chats" for request in trial.server.requests)
    assert asked >= len(trial.rows("SELECT 1 FROM collection_migrations"))
    wrong = experiment.judge(trial, "several verifications")
    assert not wrong, wrong[0]


@pytest.mark.parametrize("name", ["concurrent", "parallel"])
def test_a_verification_from_cron_disturbs_no_running_migration(lab: Lab, name: str) -> None:
    mode = BY_NAME[name]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    trial.world.times.import_s = 0.3
    migration = trial.start(mode.args(trial))
    until(lambda: trial.world.running_imports() > 0)
    overlapping = 0
    while migration.poll() is None:
        quiet_and_well(trial, at_once(trial, [trial.args(*VERIFY)] * 2))
        overlapping += 1
    trial.results.append(migration.wait())
    quiet_and_well(trial, trial.results)
    assert overlapping
    mode.finish(trial)
    wrong = experiment.judge(trial, "verified meanwhile")
    assert not wrong, wrong[0]


def test_disjoint_scopes_in_several_terminals_end_as_one_run_does(lab: Lab) -> None:
    mode = BY_NAME["concurrent"]
    experiment = experiment_with(lab, mode)
    trial = experiment.begin()
    ids = [c.id for c in trial.world.collections.values() if c.username == "anna"]
    scopes = [["--users", "bertil"], *(["--collections", one] for one in ids)]
    commands = [trial.args(*scope, "--target-model", MODEL, *WAIT) for scope in scopes]
    quiet_and_well(trial, at_once(trial, commands))
    wrong = experiment.judge(trial, "disjoint scopes")
    assert not wrong, wrong[0]


def _holding(trial: Trial) -> Running:
    """A migration that waits for its first import, which lasts."""
    trial.world.times.import_s = 1.5
    running = trial.start(trial.args(*SCOPE, *WAIT))
    until(lambda: trial.world.running_imports() > 0)
    return running


def test_a_killed_holder_is_taken_over_at_once(lab: Lab) -> None:
    experiment = experiment_with(lab, BY_NAME["wait"])
    trial = experiment.begin()
    holder = _holding(trial)
    holder.kill()
    trial.world.times.import_s = 0.04
    result = trial.run(trial.args(*SCOPE, *WAIT))
    quiet_and_well(trial, [result])
    assert "works on it" not in result.text
    wrong = experiment.judge(trial, "taken over")
    assert not wrong, wrong[0]


def test_a_living_holder_is_never_displaced_however_long_it_is_silent(lab: Lab) -> None:
    experiment = experiment_with(lab, BY_NAME["wait"])
    trial = experiment.begin()
    holder = _holding(trial)
    holder.signal(signal.SIGSTOP)
    trial.world.times.import_s = 0.04
    try:
        result = trial.run(trial.args(*SCOPE, *WAIT))
        quiet_and_well(trial, [result])
        assert f"process {holder.pid}" in result.text
        assert trial.rows("SELECT 1 FROM collection_migrations WHERE NOT import_completed")
    finally:
        holder.signal(signal.SIGCONT)
    quiet_and_well(trial, [holder.wait()])
    wrong = experiment.judge(trial, "a silent holder")
    assert not wrong, wrong[0]


@pytest.mark.parametrize("first", ["--retry-failed", "--force-remigrate"])
def test_fresh_starts_on_demand_are_made_once_by_several_terminals(lab: Lab, first: str) -> None:
    mode = Mode("again", (*SCOPE, *WAIT, first))
    trial = lab.trial(mode.world())
    source = trial.world.find("Papers").id
    trial.world.set_fate(source, Fate.FAIL, times=1)
    assert trial.run(mode.args(trial), timeout_s=60).code in (0, 1)
    quiet_and_well(trial, at_once(trial, [mode.args(trial)] * TERMINALS))
    assert not problems(trial), trial.story()
    attempts = trial.rows("SELECT 1 FROM attempts WHERE source_id = :source", source=source)
    assert len(attempts) == 2, trial.story()
