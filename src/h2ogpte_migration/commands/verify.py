"""Look after what was submitted: jobs, validation, connectors, chats. Begins nothing new."""

from __future__ import annotations

from typing import List, Optional, Set, Tuple

from h2ogpte_migration.model import SourceId, id_forms
from h2ogpte_migration.results import Result, not_available
from h2ogpte_migration.run import closing, former
from h2ogpte_migration.run.preflight import check_admin
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.run.sweep import sweep_leftovers
from h2ogpte_migration.tracking.records import Record
from h2ogpte_migration.tracking.store import Store
from h2ogpte_migration.ui.text import plural


def run(session: Session) -> int:
    """Verify everything in scope that is on record and not over yet; returns the exit code."""
    records, missing = _in_scope(session)
    if session.admin and any(record.owner != session.identity.username for record in records):
        check_admin(session.gateway, session.identity)
    sweep_leftovers(session)
    failed = session.tracking.store.count_failed()
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


def _in_scope(session: Session) -> Tuple[List[Record], List[Result]]:
    options, store = session.options, session.tracking.store
    if options.collections:
        return _by_id(session)
    records = [
        record
        for record in store.unfinished(with_chats=options.migrate_chats)
        if _is_mine(session, record) and (not options.users or record.owner in options.users)
    ]
    return records, _untracked_users(session)


def _is_mine(session: Session, record: Record) -> bool:
    return session.admin or record.owner == session.identity.username


def _by_id(session: Session) -> Tuple[List[Record], List[Result]]:
    records: List[Record] = []
    missing: List[Result] = []
    for collection_id in session.options.collections:
        record = _tracked(session.tracking.store, collection_id)
        if record is None:
            missing.append(not_available(collection_id, "never migrated with this database"))
        elif not _is_mine(session, record):
            missing.append(not_available(collection_id, f"owned by {record.owner}, not by you"))
        elif record not in records:
            records.append(record)
    return records, missing


def _tracked(store: Store, collection_id: str) -> Optional[Record]:
    """The record of a source; a target's id stands for its source."""
    for form in id_forms(collection_id):
        tracked = store.load(SourceId(form))
        record = tracked.record if tracked else store.record_of_target(form)
        if record is not None:
            return record
    return None


def _untracked_users(session: Session) -> List[Result]:
    if not session.options.users:
        return []
    owners: Set[str] = {record.owner for record in session.tracking.store.records()}
    return [
        not_available(user, "nothing of this user was migrated with this database")
        for user in session.options.users
        if user not in owners
    ]
