"""One mode of use as an experiment: where it begins, and how it ends when nobody disturbs it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from h2ogpte_migration.sandbox.model import JsonObject
from h2ogpte_migration.sandbox.world import World
from tests.crash.lab import Lab, Plan, Trial, clone, difference, end_state, problems
from tests.crash.modes import Mode, Preparation


class Experiment:
    """Repeats a mode's command from the same beginning, and compares the ends.

    ``requests`` counts those of the undisturbed command that change something, ``commits`` those
    of its database.
    """

    def __init__(self, lab: Lab, mode: Mode) -> None:
        self._lab = lab
        self.mode = mode
        self._world, self._database = beginning(lab, mode)
        trial = self.begin()
        self.runs_before = len(trial.rows("SELECT 1 FROM runs")) if self._database else 0
        self._wanted = self._undisturbed()

    def _undisturbed(self) -> JsonObject:
        trial = self.begin()
        count_into = trial.folder / "commits"
        code = trial.run(self.mode.args(trial), Plan(count_into=str(count_into))).code
        assert code == 0, trial.story()
        self.changes = [one.route for one in trial.server.requests if one.mutating]
        self.commits = int(count_into.read_text(encoding="ascii"))
        self.mode.finish(trial)
        assert not problems(trial), [*problems(trial), trial.story()]
        return end_state(trial)

    @property
    def requests(self) -> int:
        """How many requests of the undisturbed command change something; ``changes`` has their routes."""
        return len(self.changes)

    def begin(self) -> Trial:
        """Everything as it was at the beginning."""
        return self._lab.trial(self._world, self._database)

    def judge(self, trial: Trial, what: object) -> List[str]:
        """One text about everything that is wrong with an end; empty if nothing is."""
        lines = problems(trial) + difference(self._wanted, end_state(trial))
        return self.verdict(trial, what, lines)

    @staticmethod
    def verdict(trial: Trial, what: object, lines: List[str]) -> List[str]:
        """The text, with the trial's story; the trial's folder goes."""
        story = trial.story() if lines else ""
        shutil.rmtree(trial.folder)
        return ["\n  ".join([f"{what}:", *lines, story])] if lines else []


Beginning = Tuple[World, Optional[Path]]
"""A world, and a tracking database if there is one."""

_prepared: Dict[Tuple[Lab, Preparation, bool], Beginning] = {}
_known: Dict[Tuple[Lab, Mode], Experiment] = {}


def beginning(lab: Lab, mode: Mode) -> Beginning:
    """Where a mode begins; what comes before it is done once a lab for all modes that share it."""
    shared = (lab, mode.prepare, mode.notes)
    if shared not in _prepared:
        trial = lab.trial(mode.world())
        mode.prepare(trial)
        trial.world.wait_until_idle()
        kept = trial.database if trial.database.exists() else None
        _prepared[shared] = clone(trial.world), kept
    return _prepared[shared]


def experiment_with(lab: Lab, mode: Mode) -> Experiment:
    """The experiment of a mode: its beginning and its undisturbed end are found out once a lab."""
    if (lab, mode) not in _known:
        _known[lab, mode] = Experiment(lab, mode)
    return _known[lab, mode]
