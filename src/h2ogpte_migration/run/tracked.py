"""The scope of commands that work on what is on record: verify, rollback, cleanup."""

from __future__ import annotations

from typing import Iterable, List, Optional, Tuple

from h2ogpte_migration.model import SourceId, id_forms, spelled
from h2ogpte_migration.results import Result, not_available
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.tracking.records import Record
from h2ogpte_migration.tracking.store import Store
from h2ogpte_migration.ui.text import did_you_mean


def in_scope(session: Session, candidates: Iterable[Record]) -> Tuple[List[Record], List[Result]]:
    """The records that the command line names, and a result for whatever it names in vain.

    Args:
        candidates: what is worked on where no ids are given.
    """
    options = session.options
    if options.collections:
        return _by_id(session)
    records = [record for record in candidates if is_in_scope(session, record)]
    return records, _untracked_users(session)


def is_in_scope(session: Session, record: Record) -> bool:
    """Whether a record is one that the command line names, where it names no collections."""
    users = session.options.users
    chosen = not users or record.owner in users
    return chosen and _is_mine(session, record)


def count_in_scope(session: Session) -> int:
    """How many records the command line names; they may be very many."""
    if session.options.collections:
        named = spelled(session.options.collections)
        records = session.tracking.store.records()
        return sum(not named.isdisjoint((item.source_id, item.target_id)) for item in records)
    owners = session.tracking.store.owners()
    return sum(number for owner, number in owners.items() if _is_one_of_them(session, owner))


def _is_mine(session: Session, record: Record) -> bool:
    """Also under another name: an account may be renamed."""
    me = session.identity
    return session.admin or record.owner == me.username or record.owner_id == me.user_id


def _is_one_of_them(session: Session, owner: str) -> bool:
    """Whether all of an owner's are in scope, where the command line names no collections."""
    mine = session.admin or owner == session.identity.username
    return mine and (not session.options.users or owner in session.options.users)


def _by_id(session: Session) -> Tuple[List[Record], List[Result]]:
    records: List[Record] = []
    missing: List[Result] = []
    for collection_id in session.options.collections:
        record = _tracked(session.tracking.store, collection_id)
        if record is None:
            missing.append(not_available(collection_id, "not on record in this database"))
        elif not _is_mine(session, record):
            missing.append(
                not_available(collection_id, f"it is not yours, but owned by {record.owner}")
            )
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
    owners = session.tracking.store.owners()
    return [
        not_available("", f"nothing of this user is on record{did_you_mean(user, owners)}", user)
        for user in session.options.users
        if user not in owners
    ]
