"""A reply is lost, and the one command must end right all the same: nobody runs it again."""

from __future__ import annotations

from dataclasses import replace
from typing import Dict, List, Mapping, Sequence, Tuple

import pytest

from h2ogpte_migration.sandbox.faults import Action, close, hang, late, reply
from tests.crash.experiment import Experiment, experiment_with
from tests.crash.lab import HURRIED, TRUE_LOOKS_S, Lab, Plan, problems, until
from tests.crash.modes import MODES, QUESTION, SCOPE, VERIFY, Mode

TIMEOUT = ("--timeout", "0.7")
TOO_LONG_S = 0.9
LATE_S = 0.2

LOSSES: Dict[str, Action] = {
    "reset after the work": close(after=True),
    "502 after the work": reply(502, after=True, html=True),
    "time-out after the work": hang(TOO_LONG_S, after=True),
    "reset before the work": close(),
    "502 before the work": reply(502),
    "time-out, never done": Action(hang_s=TOO_LONG_S, close=True),
    "time-out, done later": hang(TOO_LONG_S),
    "reset, done later": late(LATE_S),
    "502, done later": late(LATE_S, status=502),
}
IN_DOUBT = "SELECT 1 FROM temp_keys WHERE state = 'making'"
SAMPLED = ("query",)
MATRIX = (
    "query",
    "concurrent",
    "parallel",
    "verify",
    "force",
    "self-service",
    "rollback",
    "check-server",
)


def lose(experiment: Experiment, losses: Mapping[int, str], plan: Plan = HURRIED) -> List[str]:
    """Spoil the answers to some requests of a run, by their numbers; what is wrong with the end."""
    mode, trial = experiment.mode, experiment.begin()
    if any("later" in loss for loss in losses.values()):
        # What comes to effect late is found while the collection is worked on; what comes
        # even later has a test of its own.
        trial.world.times.import_s = LATE_S + 0.2
        # A run that does not wait for its imports may be over before that: keys are looked for
        # for so long after its end.
        plan = replace(plan, looks_s=(plan.looks_s[0], max(plan.looks_s[1], 4 * LATE_S)))
    rules = []
    for number, loss in sorted(losses.items()):
        route = experiment.changes[number - 1]
        before = experiment.changes[: number - 1].count(route)
        # A test chat that is opened late is found only within the second look: see below.
        if "later" not in loss or route != "POST /chats":
            rules.append(trial.server.faults.add(LOSSES[loss], route=route, skip=before))
    # Where nothing times out on purpose, nothing shall because this machine is slow.
    in_time = not any("time-out" in loss for loss in losses.values())
    trial.run([*mode.args(trial), *(() if in_time else TIMEOUT)], plan)
    until(lambda: not trial.server.at_work)  # late, but not later than the next command
    if trial.results[0].code == 0:
        mode.finish(trial)
    if trial.rows(IN_DOUBT):
        # A key whose making was never answered is looked for once more by the next run.
        trial.run(trial.args("--verify"))
    if list(trial.folder.glob("*.check-server*")):
        trial.run(mode.args(trial), plan)  # that of a check by the next check
    what = f"{losses} ({sum(rule.hits for rule in rules)} hits)"
    wrong = [f"it ended with {result.code}" for result in trial.results if result.code != 0]
    return experiment.verdict(trial, what, wrong) if wrong else experiment.judge(trial, what)


def _modes(names: Tuple[str, ...]) -> List[Mode]:
    return [mode for mode in MODES if mode.name in names]


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("mode", _modes(MATRIX), ids=lambda mode: mode.name)
def test_whichever_reply_is_lost_one_command_ends_as_if_nothing_had_happened(
    lab: Lab, mode: Mode, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = experiment_with(lab, mode)
    wrong: List[str] = []
    with capsys.disabled():
        for number in range(1, experiment.requests + 1):
            for loss in LOSSES:
                found = lose(experiment, {number: loss})
                print(
                    "".join(f"\n{mode.name}: {text[:1000]}" for text in found), end="", flush=True
                )
                wrong += found
        total = experiment.requests * len(LOSSES)
        print(f"\n{mode.name}, lost replies: same end state: {total - len(wrong)} of {total}")
    assert not wrong, f"{len(wrong)} of {total}\n" + "\n".join(wrong[:5])


@pytest.mark.parametrize(
    "together",
    [
        ("reset after the work", "502 after the work"),
        ("reset before the work", "502 before the work"),
        ("time-out after the work", "time-out, never done"),
        ("reset, done later", "502, done later"),
        ("time-out, done later",),
    ],
    ids=" + ".join,
)
def test_a_sample_of_lost_replies_ends_as_if_nothing_had_happened(
    lab: Lab, together: Sequence[str]
) -> None:
    experiment = experiment_with(lab, _modes(SAMPLED)[0])
    losses: Dict[int, str] = {}
    for loss in together:
        place = list(LOSSES).index(loss)
        numbers = range(2 + 2 * place, experiment.requests + 1, 2 * len(LOSSES))
        losses.update(dict.fromkeys(numbers, loss))
    wrong = lose(experiment, losses)
    assert not wrong, wrong[0]


def test_a_target_that_appears_after_everything_goes_into_the_history_with_the_next_run(
    lab: Lab,
) -> None:
    # With a key of his own: a temporary one would be gone before the work is done.
    mode = _modes(("self-service",))[0]
    trial = lab.trial(mode.world())
    trial.server.faults.add(
        late(1.5), route="POST /collections", when=lambda request: "Papers" in request.body["name"]
    )
    assert trial.run(mode.args(trial)).code == 0
    until(lambda: len(trial.world.targets_of("Papers")) == 2)
    assert trial.run(mode.args(trial)).code == 0, trial.story()
    assert not problems(trial)
    twins = trial.rows(
        "SELECT target_id FROM attempts WHERE origin = 'twin' AND fate = 'abandoned'"
    )
    assert [row["target_id"] in trial.world.collections for row in twins] == [True]


def test_test_chats_that_open_within_the_second_look_are_deleted(lab: Lab) -> None:
    experiment = experiment_with(lab, _modes(("query",))[0])
    trial = experiment.begin()
    losses = ("reset, done later", "502, done later", "time-out, done later")
    # Each strikes a chat of its own, one after the other.
    rules = [trial.server.faults.add(LOSSES[loss], route="POST /chats") for loss in losses]
    words = [*experiment.mode.args(trial), *TIMEOUT]
    assert trial.run(words, Plan(looks_s=(LATE_S + 0.2, LATE_S + 0.4))).code == 0
    assert [rule.hits for rule in rules] == [1] * len(losses)
    wrong = experiment.judge(trial, losses)
    assert not wrong, wrong[0]


def test_a_chat_that_was_moved_is_never_taken_for_a_lost_test_chat(lab: Lab) -> None:
    # The chats of the organisation hold the very question that is asked.
    experiment = experiment_with(lab, _modes(("query",))[0])
    trial = experiment.begin()
    words = trial.args(*SCOPE, "--wait-for-completion", *QUESTION)
    trial.server.faults.add(close(), route="POST /chats", times=3)
    assert trial.run(words).code == 0
    assert trial.run(trial.args(*VERIFY)).code == 0
    assert trial.run(words).code == 0
    wrong = experiment.judge(trial, "moved after a lost test chat")
    assert not wrong, wrong[0]


def test_a_lost_creation_is_not_made_twice_with_the_true_waits(lab: Lab) -> None:
    experiment = experiment_with(lab, MODES[0])
    unhurried = Plan(hurry=False, looks_s=TRUE_LOOKS_S)
    assert not lose(experiment, {2: "reset, done later"}, unhurried)
