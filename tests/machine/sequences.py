"""Random sequences of commands, crashes, faults and changes at the server.

Each command is a real process on a real database; after each step the invariants are checked,
and at the end of each sequence everything is recovered with the documented commands.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from h2ogpte_migration.sandbox.faults import Action, close, late, reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import JobKind
from tests.crash.lab import Lab, Plan, small_organisation
from tests.crash.modes import QUESTION, SCOPE, VERIFY, WAIT
from tests.crash.points import KILLED, Executioner, Point
from tests.machine.organisation import Organisation

# Second looks that are long enough for what comes to effect late: an import that is even later
# than that, and than the import sent in its place, can't be told from one that people start.
LATE_S = 0.1
PLAN = Plan(looks_s=(0.2, 0.3))
COMMANDS = {
    "wait": (*SCOPE, *WAIT),
    "concurrent": (*SCOPE, *WAIT, "--max-concurrent-jobs", "3"),
    "parallel": SCOPE,
    "verify": VERIFY,
    "verify and ask": (*VERIFY, *QUESTION),
    "ask": (*SCOPE, *WAIT, *QUESTION),
    "retry": (*SCOPE, *WAIT, "--retry-failed"),
    "force": (*SCOPE, "--force-remigrate"),
}
FAULTS = {
    "reset after": close(after=True),
    "reset before": close(),
    "502 after": reply(502, after=True),
    "500 before": reply(500),
    "late": late(LATE_S),
}
FATES = [
    *[
        (JobKind.IMPORT, fate)
        for fate in (Fate.FAIL, Fate.CANCEL, Fate.PARTLY_FAIL, Fate.LOSE_SOME, Fate.ERRORS_ONLY)
    ],
    *[
        (kind, fate)
        for kind in (JobKind.MOVE_CONNECTORS, JobKind.MOVE_CHATS)
        for fate in (Fate.FAIL, Fate.LOSE_SOME, Fate.FAIL_AFTER_ALL)
    ],
]
POINTS = st.one_of(
    st.builds(Point, st.just("request"), st.integers(1, 15), st.booleans()),
    st.builds(Point, st.just("commit"), st.integers(1, 60), st.booleans()),
)
FAULT_LISTS = st.lists(
    st.tuples(st.sampled_from(sorted(FAULTS)), st.integers(0, 15)), min_size=1, max_size=3
)
ANY = st.sampled_from(sorted(COMMANDS))
FRESH = st.sampled_from(["wait", "concurrent", "parallel", "force"])


class Machine(RuleBasedStateMachine):
    """An organisation to which things happen. ``folder`` is set before it runs."""

    folder: Path
    numbers = itertools.count(1)

    def __init__(self) -> None:
        super().__init__()
        place = self.folder / f"example-{next(self.numbers)}"
        place.mkdir()
        self.lab = Lab(place)
        self.lab.server.start()
        self.trial = self.lab.trial(small_organisation(notes=True))
        self.organisation = Organisation(self.trial)
        self.done: List[str] = []

    # -- commands
    @rule(name=ANY)
    def run_command(self, name: str) -> None:
        self._run(name)

    @rule(name=FRESH, point=POINTS)
    def begin_and_die(self, name: str, point: Point) -> None:
        self._run(name, point)

    @rule(name=ANY, point=POINTS)
    def run_and_die(self, name: str, point: Point) -> None:
        self._run(name, point)

    @rule(name=ANY, faults=FAULT_LISTS)
    def run_in_a_storm(self, name: str, faults: Any) -> None:
        for fault, skip in faults:
            self._add(FAULTS[fault], skip)
        self._run(name)
        if any(fault == "late" for fault, _ in faults):
            time.sleep(0.2)

    def _run(self, name: str, point: Optional[Point] = None) -> None:
        if COMMANDS[name][0] == "--verify" and not self.trial.database.exists():
            return
        self._command(COMMANDS[name], point)

    def _add(self, action: Action, skip: int) -> None:
        self.trial.server.faults.add(action, mutating=True, skip=skip)

    def _command(self, words: Sequence[str], point: Optional[Point] = None) -> int:
        trial = self.trial
        plan = point.plan(PLAN) if point else PLAN
        executioner = Executioner(trial, point) if point else None
        running = trial.start(trial.args(*words), plan)
        if executioner:
            executioner.take(running)
        result = running.wait()
        trial.results.append(result)
        trial.server.faults.clear()
        assert result.code in (0, 1, KILLED), trial.story()
        assert "bug" not in result.text, trial.story()
        return result.code

    # -- changes at the server
    @rule(number=st.integers(0, 3), fate=st.sampled_from(FATES), times=st.integers(1, 2))
    def jobs_will_fail(self, number: int, fate: Tuple[JobKind, Fate], times: int) -> None:
        source = self._source(number)
        if source:
            self.trial.world.set_fate(source, fate[1], times=times, kind=fate[0])

    @rule(
        change=st.sampled_from(
            ["collection", "collection", "document", "chat", "gone", "target gone", "canceled"]
        ),
        number=st.integers(0, 5),
    )
    def somebody_works_there(self, change: str, number: int) -> None:
        source, targets = self._source(number), self.organisation.targets()
        if change == "collection":
            self.organisation.add_collection(f"New {next(self.numbers)}")
        elif change == "document" and source:
            self.organisation.add_document(source, f"late {next(self.numbers)}.pdf")
        elif change == "chat" and source:
            self.organisation.add_chat(source, f"chat late {next(self.numbers)}")
        elif change == "gone" and source and len(self.organisation.sources) > 2:
            self.organisation.delete(source)
        elif change == "target gone" and targets:
            self.organisation.delete(targets[number % len(targets)].id)
        elif change == "canceled":
            self._cancel()

    def _cancel(self) -> None:
        world = self.trial.world
        with world.lock:
            world.advance()
            for job in list(world.jobs.values()):
                if job.kind == JobKind.IMPORT and job.running:
                    world.cancel(job, "admin")

    @rule(seconds=st.sampled_from([0.5, 0.04, 0.0]))
    def imports_take(self, seconds: float) -> None:
        self.trial.world.times.import_s = seconds

    def _source(self, number: int) -> Optional[str]:
        sources = list(self.organisation.sources)
        return sources[number % len(sources)] if sources else None

    # -- what must hold
    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        self.trial.world.wait_until_idle()
        self.organisation.check()

    def teardown(self) -> None:
        try:
            self._recover()
        finally:
            self.lab.server.stop()

    def _recover(self) -> None:
        """All that people have to do: run it again until it says that all is well."""
        world = self.trial.world
        world.times.import_s = 0.04
        for source in list(self.organisation.sources):
            for kind in (JobKind.IMPORT, JobKind.MOVE_CONNECTORS, JobKind.MOVE_CHATS):
                world.set_fate(source, Fate.SUCCEED, kind=kind)
        for words in (COMMANDS["retry"], COMMANDS["retry"], COMMANDS["verify"], COMMANDS["wait"]):
            self._command(words)
            world.wait_until_idle()
        self.organisation.check_the_end()


def try_sequences(folder: Path, examples: int, steps: int) -> None:
    """Try so many random sequences of so many steps each; always the same ones."""
    machine = type("MachineHere", (Machine,), {"folder": folder})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],  # a sequence takes seconds: making it shorter takes hours
            suppress_health_check=list(HealthCheck),
        ),
    )
