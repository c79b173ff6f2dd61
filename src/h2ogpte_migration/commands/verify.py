"""Look after what was submitted: jobs, validation, connectors, chats. Begins nothing new."""

from __future__ import annotations

from typing import List

from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.run import closing, former
from h2ogpte_migration.run.preflight import check_admin
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.run.sweep import sweep_leftovers
from h2ogpte_migration.run.tracked import count_in_scope, in_scope, is_in_scope
from h2ogpte_migration.states import STANDINGS, Position
from h2ogpte_migration.ui.text import plural


def run(session: Session) -> int:
    """Verify everything in scope that is on record and not over yet; returns the exit code."""
    store = session.tracking.store
    candidates = store.unfinished(with_chats=session.options.migrate_chats)
    records, missing = in_scope(session, candidates)
    if session.admin and any(record.owner != session.identity.username for record in records):
        check_admin(session.gateway, session.identity)
    sweep_leftovers(session)
    failed = _failed_in_scope(session)
    session.console.info(f"To verify: {plural(len(records), 'collection')}.")
    policy = session.policy(verify=True)
    migrations = [session.tracked_migration(record, policy) for record in records]
    importing = {
        str(record.source_id)
        for record in records
        if record.import_submitted and not record.import_completed
    }
    result = session.carry_out(
        migrations,
        importing,
        lambda migration, outcome: former.remarks(session, migration, outcome),
    )
    result.results += [*failed, *missing]
    result.total = count_in_scope(session)
    return closing.tell(session, result)


def _failed_in_scope(session: Session) -> List[Result]:
    """Imports that failed for good: nothing is done about them, and they stay open."""
    if session.options.collections:
        return []  # looked at one by one
    return [
        Result(
            OutcomeKind.FAILED,
            record.source_id,
            record.source_name,
            record.owner,
            record.source_model,
            target_id=record.target_id,
            target_name=record.target_name,
            target_model=record.target_model,
            position=Position.FAILED,
            reason=record.error or STANDINGS[Position.FAILED].evidence,
            needs_attention=True,
            earlier=True,
        )
        for record in session.tracking.store.failed()
        if is_in_scope(session, record)
    ]
