"""Bring connectors and chats back to their sources, for what was migrated."""

from __future__ import annotations

from typing import List

from h2ogpte_migration import pipeline
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.planner import Action
from h2ogpte_migration.results import OutcomeKind, Plan, Result, RunResult
from h2ogpte_migration.run import closing
from h2ogpte_migration.run.former import not_brought_back
from h2ogpte_migration.run.preview import preview
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.run.tracked import in_scope, is_in_scope
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps import chains
from h2ogpte_migration.steps.moves import MOVES
from h2ogpte_migration.ui.text import plural


def run(session: Session) -> int:
    """Roll back everything in scope that was migrated; returns the exit code."""
    records, missing = in_scope(session, session.tracking.store.to_roll_back())
    session.check_rights(record.owner for record in records)
    policy = session.policy(rollback=True)
    migrations = [session.tracked_migration(record, policy) for record in records]
    session.console.info(f"To roll back: {plural(len(migrations), 'collection')}.")
    if session.options.dry_run:
        planned = preview(
            session,
            migrations,
            lambda migration: _look(session, migration),
            lambda migration: migration.result(OutcomeKind.PLANNED, plan=Plan("")),
        )
        return closing.tell_plan(session, RunResult([*planned, *missing]))
    session.sweep_leftovers()
    sources = (record.source_id for record in records)
    first = chains.first_back(sources, session.tracking.store.targets_by_source())
    result = session.carry_out(
        migrations,
        set(),
        remarks=lambda migration, outcome: not_brought_back(session, migration, outcome),
        first=first,
    )
    result.results += missing
    result.remarks += _still_to_come(session)
    return closing.tell(session, result)


def _still_to_come(session: Session) -> List[str]:
    """What is not imported yet is not rolled back, and goes on all the same."""
    if session.options.collections:
        return []
    records = session.tracking.store.unfinished(with_chats=False)
    number = sum(not item.import_completed and is_in_scope(session, item) for item in records)
    if not number:
        return []
    verb = "is" if number == 1 else "are"
    return [
        f"{plural(number, 'collection')} {verb} not imported yet: --verify will move what is "
        "theirs; roll back after that"
    ]


def _look(session: Session, migration: Migration) -> Result:
    """What would be moved back, as the target holds it now."""
    tracked, runs = migration.reload(), session.tracking.runs
    source_id, policy = migration.source_id, migration.policy
    decided = pipeline.decision(runs, source_id, tracked, policy, migration.model)
    target_id = tracked.record.target_id if tracked else None
    if decided.action == Action.LEAVE or target_id is None:
        return migration.result(
            OutcomeKind.PLANNED, reason=decided.reason, plan=Plan(action="leave")
        )
    connectors, chats = (
        MOVES[step].count(migration.gateway, target_id)
        for step in (StepName.CONNECTORS, StepName.CHATS)
    )
    seen = Plan(action="roll back", connectors=connectors, chats=chats)
    return migration.result(OutcomeKind.PLANNED, plan=seen)
