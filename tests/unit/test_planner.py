"""Every position, with every wish of a command line: what is done now."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any, Iterator, Tuple

import pytest

from h2ogpte_migration import planner
from h2ogpte_migration.model import ImportOptions
from h2ogpte_migration.planner import Action, Decision, Policy
from h2ogpte_migration.states import BEFORE_IMPORT, Position

PLAIN = Policy(ImportOptions())
FLAGS = ("verify", "wait", "migrate_chats", "retry_failed", "force", "ignore_validation")
Case = Tuple[Position, Policy, bool, bool, Decision]


def every_case() -> Iterator[Case]:
    both = (False, True)
    for values in product(both, repeat=len(FLAGS)):
        chosen: Any = dict(zip(FLAGS, values))
        for query in (None, "What is it about?"):
            policy = replace(PLAIN, verify_query=query, **chosen)
            for where, started, restarted in product(Position, both, both):
                yield (
                    where,
                    policy,
                    started,
                    restarted,
                    planner.decide(where, policy, started=started, restarted=restarted, due=True),
                )


@lru_cache(maxsize=None)
def everything() -> Tuple[Case, ...]:
    return tuple(every_case())


def decide(where: Position, policy: Policy, **more: bool) -> Decision:
    return planner.decide(
        where,
        policy,
        started=more.get("started", False),
        restarted=more.get("restarted", False),
        due=more.get("due", something_is_due(where, policy)),
    )


def something_is_due(where: Position, policy: Policy) -> bool:
    """As the table of steps says it for what is migrated."""
    chats = policy.migrate_chats and where == Position.CONNECTED
    return chats or policy.verify_query is not None


def test_verify_never_begins_a_target() -> None:
    for case in everything():
        if case[1].verify:
            assert case[4].action != Action.BEGIN, case


def test_what_is_inconsistent_is_touched_by_force_only() -> None:
    for case in everything():
        where, policy, _, _, decided = case
        if where == Position.INCONSISTENT and (policy.verify or not policy.force):
            assert decided.action == Action.LEAVE, case
            assert decided.needs_attention
            assert "--force-remigrate" in decided.reason


def test_force_that_was_not_started_begins_whatever_there_is() -> None:
    for case in everything():
        _, policy, started, _, decided = case
        if policy.force and not policy.verify and not started:
            assert decided.action == Action.BEGIN, case


def test_force_is_not_forced_twice() -> None:
    for case in everything():
        where, _, started, _, decided = case
        if started and where != Position.NEW:
            assert decided.action != Action.BEGIN, case


def test_what_failed_or_is_held_begins_anew_on_retry_only() -> None:
    for case in everything():
        where, policy, started, _, decided = case
        if policy.verify or policy.force or where not in (Position.FAILED, Position.HELD):
            continue
        if policy.retry_failed and not started:
            assert decided.action == Action.BEGIN, case
        elif where == Position.FAILED:
            assert decided.action == Action.LEAVE, case
            assert decided.needs_attention
        else:
            assert decided.action == Action.CONTINUE, case


def test_without_force_and_retry_only_what_is_new_begins() -> None:
    for case in everything():
        where, policy, _, _, decided = case
        if not policy.force and not policy.retry_failed:
            assert (decided.action == Action.BEGIN) == (
                where == Position.NEW and not policy.verify
            ), case


def test_what_was_begun_and_not_imported_is_never_left_by_a_migration() -> None:
    for case in everything():
        where, policy, _, _, decided = case
        if where in BEFORE_IMPORT and not policy.verify:
            assert decided.action != Action.LEAVE, case


def test_a_migration_leaves_what_is_finished_without_a_word_of_worry() -> None:
    for case in everything():
        where, policy, _, _, _ = case
        if where == Position.FINISHED and not (
            policy.force or policy.verify or policy.verify_query
        ):
            again = decide(where, policy, due=False)
            assert again.action == Action.LEAVE, case
            assert not again.needs_attention, case


def test_whatever_is_left_says_why() -> None:
    for case in everything():
        if case[4].action == Action.LEAVE:
            assert case[4].reason, case
        else:
            assert not case[4].needs_attention, case


def test_the_validation_flag_change_no_decision() -> None:
    decided = {case[:4]: case[4] for case in everything()}
    for where, policy, started, restarted, outcome in everything():
        other = replace(policy, ignore_validation=not policy.ignore_validation)
        assert decided[where, other, started, restarted] == outcome


@pytest.mark.parametrize(
    ("where", "policy", "action", "attention"),
    [
        (Position.NEW, PLAIN, Action.BEGIN, False),
        (Position.CREATING, PLAIN, Action.CONTINUE, False),
        (Position.CONFIGURING, PLAIN, Action.CONTINUE, False),
        (Position.CREATED, PLAIN, Action.CONTINUE, False),
        (Position.SHARED, PLAIN, Action.CONTINUE, False),
        (Position.SUBMITTING, PLAIN, Action.CONTINUE, False),
        (Position.IMPORTING, PLAIN, Action.LEAVE, False),
        (Position.IMPORTING, replace(PLAIN, wait=True), Action.CONTINUE, False),
        (Position.IMPORTED, PLAIN, Action.CONTINUE, False),
        (Position.HELD, PLAIN, Action.CONTINUE, False),
        (Position.VALIDATED, PLAIN, Action.CONTINUE, False),
        (Position.CONNECTED, PLAIN, Action.LEAVE, False),
        (Position.CONNECTED, replace(PLAIN, migrate_chats=True), Action.CONTINUE, False),
        (Position.CONNECTED, replace(PLAIN, verify_query="?"), Action.CONTINUE, False),
        (Position.FINISHED, PLAIN, Action.LEAVE, False),
        (Position.FAILED, PLAIN, Action.LEAVE, True),
        (Position.INCONSISTENT, PLAIN, Action.LEAVE, True),
    ],
)
def test_a_plain_run_goes_on_where_each_position_says(
    where: Position, policy: Policy, action: Action, attention: bool
) -> None:
    decided = decide(where, policy)
    assert (decided.action, decided.needs_attention) == (action, attention)


@pytest.mark.parametrize(
    ("where", "restarted", "action", "attention"),
    [
        (Position.NEW, False, Action.LEAVE, True),
        (Position.CREATING, False, Action.LEAVE, True),
        (Position.CREATING, True, Action.CONTINUE, False),
        (Position.CONFIGURING, False, Action.LEAVE, True),
        (Position.CONFIGURING, True, Action.CONTINUE, False),
        (Position.CREATED, False, Action.LEAVE, True),
        (Position.CREATED, True, Action.CONTINUE, False),
        (Position.SHARED, False, Action.LEAVE, True),
        (Position.SHARED, True, Action.CONTINUE, False),
        (Position.SUBMITTING, False, Action.CONTINUE, False),
        (Position.IMPORTING, False, Action.CONTINUE, False),
        (Position.IMPORTED, False, Action.CONTINUE, False),
        (Position.HELD, False, Action.CONTINUE, False),
        (Position.VALIDATED, False, Action.CONTINUE, False),
        (Position.CONNECTED, False, Action.CONTINUE, False),
        (Position.FINISHED, False, Action.CONTINUE, False),
        (Position.FAILED, False, Action.LEAVE, True),
    ],
)
def test_verify_continues_imports_and_only_its_own_restarts_before_them(
    where: Position, restarted: bool, action: Action, attention: bool
) -> None:
    decided = decide(where, replace(PLAIN, verify=True), restarted=restarted)
    assert (decided.action, decided.needs_attention) == (action, attention)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, None),
        ({"force": True}, "force"),
        ({"retry_failed": True}, "retry"),
        ({"force": True, "retry_failed": True}, "force"),
    ],
)
def test_forced_and_retried_runs_mark_what_they_start(changes: Any, start: Any) -> None:
    assert replace(PLAIN, **changes).forced_start == start
