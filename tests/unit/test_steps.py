"""The table of steps: at every position, with every wish, at most one step is due."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from typing import Any, Dict, FrozenSet, Iterator, List, Optional, Tuple

import pytest

from h2ogpte_migration import steps
from h2ogpte_migration.model import ImportOptions, SourceId, TargetId
from h2ogpte_migration.planner import Action, Policy, decide
from h2ogpte_migration.retrieval import RetrievalCheck
from h2ogpte_migration.states import Position, StepName, TargetState
from h2ogpte_migration.steps import BY_NAME, STEPS, Step
from h2ogpte_migration.steps import due as due_of
from h2ogpte_migration.tracking.records import Attempt, Record, Tracked
from h2ogpte_migration.tracking.rows import BRINGING_OVER

PLAIN = Policy(ImportOptions())
NONE: FrozenSet[str] = frozenset()
FLAGS = ("verify", "wait", "migrate_chats", "retry_failed", "force", "ignore_validation")
ENDS = (
    Position.NEW,
    Position.ROLLING_BACK,
    Position.ROLLED_BACK,
    Position.FAILED,
    Position.INCONSISTENT,
)

# What is due where, by whether a question and chats are asked for: written out once more, so
# that a row of the table that is changed by mistake is seen.
EXPECTED: Dict[Position, Tuple[Optional[str], Optional[str], Optional[str]]] = {
    # position: (nothing asked for, a question asked, chats asked for)
    Position.NEW: (None, None, None),
    Position.CREATING: ("create", "create", "create"),
    Position.CONFIGURING: ("settings", "settings", "settings"),
    Position.CREATED: ("permissions", "permissions", "permissions"),
    Position.SHARED: ("import", "import", "import"),
    Position.SUBMITTING: ("import", "import", "import"),
    Position.IMPORTING: ("job", "job", "job"),
    Position.IMPORTED: ("validate", "validate", "validate"),
    Position.HELD: ("validate", "validate", "validate"),
    Position.VALIDATED: ("connectors", "question", "connectors"),
    Position.CONNECTED: (None, "question", "chats"),
    Position.FINISHED: (None, "question", None),
    Position.ROLLING_BACK: (None, None, None),
    Position.ROLLED_BACK: (None, None, None),
    Position.FAILED: (None, None, None),
    Position.INCONSISTENT: (None, None, None),
}


RECORD = Record(
    source_id=SourceId("s"),
    source_name="Papers",
    target_id=TargetId("t"),
    target_name="(Migrated) Papers",
    source_model="old",
    target_model="new",
    job_id=None,
    job_status="",
    owner="anna",
    owner_id=None,
    error="",
    collection_created=False,
    permissions_copied=False,
    import_submitted=False,
    import_completed=False,
    connectors_migrated=False,
    chats_migrated=False,
)
ATTEMPT = Attempt(
    id=1,
    source_id=SourceId("s"),
    source_name="Papers",
    owner="anna",
    target_name="(Migrated) Papers",
    target_id=TargetId("t"),
    target_created_at=None,
    model="new",
    import_options=ImportOptions(),
    source_facts=None,
    rights=None,
    origin=Attempt.RUN,
    adopted=False,
    state=TargetState.LIVE,
    reason="",
)


def record_at(where: Position, checkpoints: FrozenSet[str]) -> Tracked:
    """A whole record, as a row of the table may ask anything of it; but where it stands is said."""
    tracked = Tracked(RECORD, ATTEMPT, (), checkpoints=checkpoints)
    vars(tracked)["position"] = where  # in place of what is cached
    return tracked


def due(
    where: Position, policy: Policy, checkpoints: FrozenSet[str], done: FrozenSet[str]
) -> Optional[Step]:
    return due_of(record_at(where, checkpoints), policy, done)


def every_policy() -> Iterator[Policy]:
    for values in product((False, True), repeat=len(FLAGS)):
        chosen: Any = dict(zip(FLAGS, values))
        for query in (None, "What is it about?"):
            yield replace(PLAIN, verify_query=query, **chosen)


POLICIES = tuple(every_policy())


def name_of(step: Optional[Step]) -> Optional[str]:
    return step.name if step else None


@pytest.mark.parametrize("where", Position)
def test_each_position_has_the_step_that_the_table_says(where: Position) -> None:
    plain, asked, chats = EXPECTED[where]
    for policy in POLICIES:
        expected = plain
        if policy.migrate_chats:
            expected = chats
        if policy.verify_query is not None and where not in ENDS:
            expected = asked
        assert name_of(due(where, policy, NONE, NONE)) == expected, policy


@pytest.mark.parametrize("where", Position)
def test_a_question_is_asked_once_a_run_and_then_the_way_goes_on(where: Position) -> None:
    for policy in POLICIES:
        unasked = replace(policy, verify_query=None)
        after = due(where, policy, NONE, frozenset({"question"}))
        assert after == due(where, unasked, NONE, NONE)


@pytest.mark.parametrize("where", Position)
def test_documents_are_looked_for_once_a_run_before_anything_moves(where: Position) -> None:
    after_the_import = (Position.VALIDATED, Position.CONNECTED, Position.FINISHED)
    for policy in POLICIES:
        asked = replace(policy, retrieval=RetrievalCheck(10))
        expected = StepName.RETRIEVAL if where in after_the_import else None
        found = due(where, asked, NONE, NONE)
        assert (name_of(found) == StepName.RETRIEVAL) == (expected is not None)
        after = due(where, asked, NONE, frozenset({StepName.RETRIEVAL}))
        assert after == due(where, policy, NONE, NONE)


def test_a_step_with_a_checkpoint_is_not_due_again() -> None:
    for where, policy in product(Position, POLICIES):
        step = due(where, policy, NONE, NONE)
        if step is not None:
            assert due(where, policy, frozenset({step.name}), NONE) != step


def test_a_step_in_between_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new step, with a checkpoint of its own: due at its place, until it is done."""
    tags = Step("tags", lambda _: None, (Position.VALIDATED,), "tagging")
    at = [step.name for step in STEPS].index(StepName.CONNECTORS)
    monkeypatch.setattr(steps, "STEPS", (*STEPS[:at], tags, *STEPS[at:]))
    assert name_of(due(Position.VALIDATED, PLAIN, NONE, NONE)) == "tags"
    done = frozenset({"tags"})
    assert name_of(due(Position.VALIDATED, PLAIN, done, NONE)) == StepName.CONNECTORS
    for where in set(Position) - {Position.VALIDATED}:
        assert due(where, PLAIN, NONE, NONE) == due(where, PLAIN, done, NONE)


def test_what_is_due_after_the_connectors_is_known_to_whoever_asks_for_what_is_open() -> None:
    """Else it is done only where its collection is named: --verify would pass it over, and the
    status call it done. SQLite finds what is open among all, so that the condition stands there."""
    copied = replace(ATTEMPT, import_options=ImportOptions(copy_document=True))
    anything = replace(record_at(Position.CONNECTED, NONE), attempt=copied, former_targets=True)
    owed = {
        step.name
        for step in STEPS
        if {Position.CONNECTED, Position.FINISHED} & set(step.at)
        and step.wanted(PLAIN, anything)
        and not step.once_a_run
    }
    assert owed == set(re.findall("step = '([^']+)'", BRINGING_OVER))


def test_what_the_planner_continues_has_a_step_or_is_done() -> None:
    """Else a collection would be claimed only to be told that nothing is to be done."""
    over = (Position.CONNECTED, Position.FINISHED)
    for where, policy in product(Position, POLICIES):
        decided = decide(
            where,
            policy,
            started=True,
            restarted=True,
            due=due(where, policy, NONE, NONE) is not None,
        )
        if decided.action == Action.CONTINUE:
            assert due(where, policy, NONE, NONE) is not None or where in over, (where, policy)


def test_the_rows_are_in_the_order_of_the_way_and_named_once() -> None:
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)
    assert list(BY_NAME.values()) == list(STEPS)
    order = list(Position)
    back = (StepName.ROLLBACK, StepName.CONNECTORS_BACK, StepName.CHATS_BACK, StepName.ROLLED_BACK)
    there = [step for step in STEPS if step.name not in (*back, "look")]
    firsts: List[int] = [order.index(step.at[0]) for step in there]
    assert firsts == sorted(firsts)
    told_otherwise = {StepName.LATECOMERS, StepName.LATE_SHARES, StepName.TARGET_DELETED}
    spoken_of = {value for key, value in vars(StepName).items() if key.isupper()} - told_otherwise
    assert spoken_of <= set(names), "every step that the record speaks of is in the table"


def test_every_row_says_what_people_read_and_steps_until_the_import_are_the_targets() -> None:
    order = list(Position)
    for step in STEPS:
        assert step.verb
        before = order.index(step.at[0]) <= order.index(Position.IMPORTING)
        assert step.of_the_target == before, step.name
