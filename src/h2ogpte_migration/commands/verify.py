"""Look after what was submitted: jobs, validation, connectors, chats. Begins nothing new."""

from __future__ import annotations

from typing import List, Optional, Set, Tuple

from h2ogpte_migration.model import SourceId
from h2ogpte_migration.results import OutcomeKind, Result, not_available
from h2ogpte_migration.run import closing
from h2ogpte_migration.run.preflight import check_admin
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.run.sweep import sweep_leftovers
from h2ogpte_migration.states import STANDINGS, Position
from h2ogpte_migration.tracking.records import Record
from h2ogpte_migration.tracking.store import Store
from h2ogpte_migration.ui.text import plural


def run(session: Session) -> int:
    """Verify everything in scope that is on record and not over yet; returns the exit code."""
    records, missing = _in_scope(session)
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
    result = session.carry_out(migrations, importing)
    result.results += [*failed, *missing]
    result.total = _tracked_in_scope(session)
    return closing.tell(session, result)


def _in_scope(session: Session) -> Tuple[List[Record], List[Result]]:
    options, store = session.options, session.tracking.store
    if options.collections:
        return _by_id(session)
    unfinished = store.unfinished(with_chats=options.migrate_chats)
    records = [record for record in unfinished if _is_in_scope(session, record)]
    return records, _untracked_users(session)


def _is_in_scope(session: Session, record: Record) -> bool:
    options = session.options
    if options.collections:
        return record.source_id in options.collections or record.target_id in options.collections
    return _is_mine(session, record) and (not options.users or record.owner in options.users)


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
        if _is_in_scope(session, record)
    ]


def _tracked_in_scope(session: Session) -> int:
    records = session.tracking.store.records()
    return sum(_is_in_scope(session, record) for record in records)


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
    tracked = store.load(SourceId(collection_id))
    return tracked.record if tracked else store.record_of_target(collection_id)


def _untracked_users(session: Session) -> List[Result]:
    if not session.options.users:
        return []
    owners: Set[str] = {record.owner for record in session.tracking.store.records()}
    return [
        not_available(user, "nothing of this user was migrated with this database")
        for user in session.options.users
        if user not in owners
    ]
