"""What arrives, end to end, at servers that are otherwise: every value of every habit, alone.

python -m pytest -m slow tests/e2e/test_every_habit.py      scenarios of each kind of run
python -m pytest tests/e2e --habit page_cap=7               everything here under one habit
"""

from __future__ import annotations

from typing import Any, Callable

import pytest

from h2ogpte_migration.sandbox.cases import CASES, Case
from h2ogpte_migration.sandbox.world import World
from tests.e2e import test_what_is_migrated
from tests.e2e.habits import reason_to_leave_out
from tests.support.terminal import M3, MAPPED, Operator

Scenario = Callable[[Operator, World], Any]


def submit_and_verify(operator: Operator, world: World) -> None:
    """Two commands, as cron runs them."""
    source = world.add_collection(
        "anna", "Alpha", M3, documents=3, connectors=1, chats=1, shares={"bertil": ["read"]}
    )
    operator.admin("--users", "anna", MAPPED)
    world.wait_until_idle()
    operator.admin("--verify", "--migrate-chats")
    target = operator.target_of(source.id)
    assert (len(target.documents), len(target.connectors)) == (3, 1)
    assert len(world.sessions_of(target.id)) == 1
    assert target.shares == {"bertil": ["read"]}
    assert operator.row(source.id)["chats_migrated"] == 1


def an_owner_for_herself(operator: Operator, world: World) -> None:
    """With a key of one's own; again, it has nothing to do."""
    source = world.add_collection("anna", "Alpha", M3, documents=2, connectors=1)
    words = (MAPPED, "--wait-for-completion", "--migrate-chats")
    operator.user("anna", *words)
    before = operator.changes()
    operator.user("anna", *words)
    assert operator.changes() == before
    assert len(operator.target_of(source.id).documents) == 2


SCENARIOS = (
    submit_and_verify,
    an_owner_for_herself,
    test_what_is_migrated.test_connectors_and_chats_of_all_users_move,
    test_what_is_migrated.test_documents_are_copied_on_demand,
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenarios_end_alike_under_each_habit_alone(
    case: Case, scenario: Scenario, operator: Operator, world: World
) -> None:
    reason = reason_to_leave_out(scenario.__name__, case.words)
    if reason:
        pytest.skip(reason)
    for name, value in case.settings.items():
        # The tool's patience is shorter in tests, and so is the server's lateness.
        setattr(world.habits, name, value / 40 if name.endswith("_after_s") else value)
    scenario(operator, world)


def test_scenarios_hold_at_a_server_as_assumed(operator: Operator, world: World) -> None:
    submit_and_verify(operator, world)
