"""Look after what was submitted: jobs, validation, connectors, chats. Begins nothing new."""

from __future__ import annotations

from h2ogpte_migration.run import closing, former
from h2ogpte_migration.run.preflight import check_admin
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.run.sweep import sweep_leftovers
from h2ogpte_migration.run.tracked import in_scope
from h2ogpte_migration.ui.text import plural


def run(session: Session) -> int:
    """Verify everything in scope that is on record and not over yet; returns the exit code."""
    store = session.tracking.store
    candidates = store.unfinished(with_chats=session.options.migrate_chats)
    records, missing = in_scope(session, candidates)
    if session.admin and any(record.owner != session.identity.username for record in records):
        check_admin(session.gateway, session.identity)
    sweep_leftovers(session)
    failed = store.count_failed()
    if failed:
        session.console.info(
            f"Left alone, as failed earlier: {plural(failed, 'import')}; --status lists them."
        )
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
    result.results += missing
    return closing.tell(session, result)
