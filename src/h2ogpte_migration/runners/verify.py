"""Look after what was submitted: jobs, validation, connectors, chats. Begins nothing new."""

from __future__ import annotations

from functools import partial
from typing import List, Optional, Set, Tuple

from h2ogpte_migration.errors import ToolError
from h2ogpte_migration.model import Collection, SourceId
from h2ogpte_migration.pipeline import Work
from h2ogpte_migration.runners.preflight import check_admin
from h2ogpte_migration.runners.session import RunSummary, Session
from h2ogpte_migration.runners.tidying import sweep_leftovers
from h2ogpte_migration.states import JobStatus
from h2ogpte_migration.tracking.records import Record
from h2ogpte_migration.tracking.store import Store
from h2ogpte_migration.ui.text import plural


def run(session: Session) -> RunSummary:
    """Verify everything in scope that the database knows and that is not over yet."""
    store = session.store
    if store is None:
        raise ToolError("bug: a verification needs its database")
    records, missing = _in_scope(session, store)
    if session.admin and any(record.owner != session.identity.username for record in records):
        check_admin(session.gateway, session.identity)
    sweep_leftovers(session)
    failed = failed_earlier(store)
    if failed:
        session.console.info(
            f"Left alone, as failed earlier: {plural(failed, 'import')}; --status lists them."
        )
    session.console.info(f"To verify: {plural(len(records), 'collection')}.")
    works = [_work(session, record) for record in records]
    importing = {work.source.id for work in works}
    result = session.scheduler().run(works, importing)
    return RunSummary(result, missing=tuple(missing))


def _work(session: Session, record: Record) -> Work:
    source = Collection(
        id=record.source_id, name=record.source_name, owner=record.owner, model=record.source_model
    )
    return Work(
        source=source,
        gateway=session.credentials.gateway_for(record.owner, record.owner_id),
        owner_id=partial(session.owner_id, record.owner, record.owner_id),
        model=record.target_model,
        policy=session.policy(verify=True),
    )


def _in_scope(session: Session, store: Store) -> Tuple[List[Record], List[Tuple[str, str]]]:
    options = session.options
    if options.collections:
        return _by_id(session, store)
    records = [
        record
        for record in store.unfinished(with_chats=options.migrate_chats)
        if _is_mine(session, record) and (not options.users or record.owner in options.users)
    ]
    return records, _untracked_users(session, store)


def _is_mine(session: Session, record: Record) -> bool:
    return session.admin or record.owner == session.identity.username


def _by_id(session: Session, store: Store) -> Tuple[List[Record], List[Tuple[str, str]]]:
    records: List[Record] = []
    missing: List[Tuple[str, str]] = []
    for collection_id in session.options.collections:
        record = _tracked(store, collection_id)
        if record is None:
            missing.append((collection_id, "never migrated with this database"))
        elif not _is_mine(session, record):
            missing.append((collection_id, f"owned by {record.owner}, not by you"))
        elif record not in records:
            records.append(record)
    return records, missing


def _tracked(store: Store, collection_id: str) -> Optional[Record]:
    """The record of a source; a target's id stands for its source."""
    tracked = store.load(SourceId(collection_id))
    if tracked is not None:
        return tracked.record
    return store.record_of_target(collection_id)


def _untracked_users(session: Session, store: Store) -> List[Tuple[str, str]]:
    if not session.options.users:
        return []
    owners: Set[str] = {record.owner for record in store.records()}
    return [
        (user, "nothing of this user was migrated with this database")
        for user in session.options.users
        if user not in owners
    ]


def failed_earlier(store: Store) -> int:
    """How many imports failed for good; ``--status`` lists them."""
    return sum(1 for _ in store.records(f"job_status = '{JobStatus.FAILED}'"))
