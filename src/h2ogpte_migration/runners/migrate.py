"""The migration: find the scope, check, then bring every collection forward."""

from __future__ import annotations

import logging
from collections import Counter
from functools import partial
from typing import Dict, List, Optional, Set, Tuple

from h2ogpte_migration.errors import Rejected, ToolError, Unauthorized
from h2ogpte_migration.model import Collection, SourceId
from h2ogpte_migration.pipeline import Work
from h2ogpte_migration.runners import recovery
from h2ogpte_migration.runners.preflight import no_admin
from h2ogpte_migration.runners.scope import (
    Known,
    Missing,
    Scope,
    Selected,
    Skipped,
    Wanted,
    find_as_admin,
    find_own,
    select,
)
from h2ogpte_migration.runners.session import RunSummary, Session, target_models_exist
from h2ogpte_migration.runners.tidying import sweep_leftovers
from h2ogpte_migration.states import JobStatus, Position, TargetFate
from h2ogpte_migration.tracking.records import Attempt, Record
from h2ogpte_migration.tracking.store import Store
from h2ogpte_migration.ui.text import plural

STANDING = {
    Position.CREATING: "interrupted while creating",
    Position.CREATED: "interrupted before the import",
    Position.SUBMITTING: "interrupted while submitting",
    Position.IMPORTING: "importing",
    Position.IMPORTED: "imported",
    Position.HELD: "held back",
    Position.CONNECTED: "done",
    Position.FINISHED: "done",
    Position.FAILED: "failed",
    Position.INCONSISTENT: "inconsistent",
}

log = logging.getLogger(__name__)


def run(session: Session) -> RunSummary:
    """Migrate everything that the command line names."""
    store, runs = session.store, session.runs
    if store is None or runs is None:
        raise ToolError("bug: a migration needs its database")
    found = discover(session, store)
    target_models_exist(session, {item.model for item in found.selected})
    announce(session, found)
    sweep_leftovers(session)
    works, importing = _works(session, store, found)
    works += _sources_gone(session, store, found)
    scheduler = session.scheduler(lambda work, outcome: recovery.notes_for(session, work, outcome))
    result = scheduler.run(works, importing)
    if not session.stop.is_set() and not result.breaker:
        runs.clear_marks([work.source.id for work in works])
    return RunSummary(result, found.skipped_rows, found.missing_rows, found.guests)


class Found:
    """A scope, decided."""

    def __init__(self, scope: Scope, decided: List[object]) -> None:
        self.scope = scope
        self.selected = [item for item in decided if isinstance(item, Selected)]
        self.skipped = [item for item in decided if isinstance(item, Skipped)]
        self.missing = [item for item in decided if isinstance(item, Missing)]
        self.missing += scope.missing
        self.guests = scope.guests

    @property
    def skipped_rows(self) -> Tuple[Tuple[str, str, str], ...]:
        return tuple((i.collection.id, i.collection.name, i.reason) for i in self.skipped)

    @property
    def missing_rows(self) -> Tuple[Tuple[str, str], ...]:
        return tuple((item.what, item.reason) for item in self.missing)


def discover(session: Session, store: Optional[Store]) -> Found:
    """Find the scope and decide about each collection. Reads only, but for late twins."""
    wanted = wanted_of(session)
    if session.admin:
        scope = _find_as_admin(session, wanted)
    else:
        scope = find_own(session.gateway, session.identity.username, wanted)
    known = knowledge(store, scope)
    if store is not None and not session.options.dry_run:
        _record_twins(store, scope, known)
    found = Found(scope, list(select(scope, wanted, known)))
    found.missing += _unknown_users(session, scope)
    return found


def _find_as_admin(session: Session, wanted: Wanted) -> Scope:
    """The first listing also shows whether the key is an administrator's."""
    try:
        return find_as_admin(session.gateway, wanted)
    except (Rejected, Unauthorized) as error:
        raise no_admin(session.identity, error) from error


def wanted_of(session: Session) -> Wanted:
    """The scope as the command line words it."""
    options = session.options
    return Wanted(
        users=options.users,
        all_users=options.all_users,
        collections=options.collections,
        mappings=options.mappings,
        target_model=options.target_model or None,
        source_model=options.source_model or None,
        force=options.force_remigrate,
    )


def knowledge(store: Optional[Store], scope: Scope) -> Known:
    """What the database knows of sources and targets.

    Names given out to an owner are also theirs under a new name, which the scope tells.
    """
    if store is None:
        return Known({}, {}, set(), {})
    records: Dict[str, Record] = {record.source_id: record for record in store.records()}
    targets: Dict[str, Record] = {
        record.target_id: record for record in records.values() if record.target_id is not None
    }
    names = store.given_names()
    for collection in scope.collections:
        record = records.get(collection.id)
        if record is not None and record.owner != collection.owner:
            names.setdefault(collection.owner, set()).update(names.get(record.owner, set()))
    return Known(records, targets, store.past_targets(), names)


def _unknown_users(session: Session, scope: Scope) -> List[Missing]:
    owners = {item.owner for item in scope.collections}
    return [
        Missing(user, "no such user")
        for user in dict.fromkeys(session.options.users)
        if user not in owners and not session.credentials.knows_user(user)
    ]


def _record_twins(store: Store, scope: Scope, known: Known) -> None:
    """Targets that came to effect late, beside or instead of the one in use: into the history."""
    for collection in scope.listed:
        if collection.id in known.past_targets or collection.id in known.targets:
            continue
        if collection.name not in known.given_names.get(collection.owner, set()):
            continue
        attempt = _of_a_settled_attempt(store, collection)
        if attempt is not None:
            store.record_twin(collection.owner, collection, attempt, "appeared late")


def _of_a_settled_attempt(store: Store, collection: Collection) -> Optional[Attempt]:
    """The attempt whose name it bears, unless that one is still looking for its target."""
    attempts = [
        attempt
        for attempt in store.attempts_named(collection.owner, collection.name)
        if attempt.origin != Attempt.TWIN
    ]
    for attempt in attempts:
        if attempt.fate == TargetFate.LIVE and attempt.target_id is None:
            return None
    return attempts[0] if attempts else None


def announce(session: Session, found: Found) -> None:
    """The scope in words, before the first write; a resumed run says what it found."""
    models = ", ".join(sorted({item.model for item in found.selected}))
    if models:
        session.console.info(f"Target models, all of them on the server: {models}.")
    session.console.info(f"Tracking database: {session.options.db_path}, writable.")
    session.console.info(
        f"Scope: {plural(len(found.selected), 'collection')} to migrate, "
        f"{len(found.skipped)} skipped, {len(found.missing)} not available."
    )
    if found.guests:
        session.console.info(f"Skipped {plural(found.guests, 'guest account')}.")
    note_skipped(found)
    counts = Counter(_standing(session.store, item) for item in found.selected)
    del counts[""]
    if counts:
        words = ", ".join(f"{number} {standing}" for standing, number in counts.items())
        session.console.info(f"Found from earlier runs: {words}.")


def note_skipped(found: Found) -> None:
    """All of them into the log; the terminal shows a few."""
    for item in found.skipped:
        log.info("skipped: %s (%s): %s", item.collection.name, item.collection.id, item.reason)


def _standing(store: Optional[Store], item: Selected) -> str:
    """Where a tracked collection stands, in words; empty for a new one."""
    tracked = store.load(SourceId(item.collection.id)) if store else None
    return STANDING.get(tracked.position, "") if tracked else ""


def _works(session: Session, store: Store, found: Found) -> Tuple[List[Work], Set[str]]:
    """The work in the order in which it is begun: what runs already comes first."""
    policy = session.policy(verify=False)
    works, importing = [], set()
    for item in found.selected:
        source = item.collection
        tracked = store.load(SourceId(source.id))
        record = tracked.record if tracked else None
        if tracked is not None and tracked.position in (Position.SUBMITTING, Position.IMPORTING):
            importing.add(source.id)
        works.append(
            Work(
                source=source,
                gateway=session.credentials.gateway_for(source.owner, _owner_id(record)),
                owner_id=partial(session.owner_id, source.owner, _owner_id(record)),
                model=item.model,
                policy=policy,
            )
        )
    works.sort(key=lambda work: work.source.id not in importing)
    return works, importing


def _owner_id(record: Optional[Record]) -> Optional[str]:
    return record.owner_id if record else None


def _sources_gone(session: Session, store: Store, found: Found) -> List[Work]:
    """Tracked migrations of this scope, begun and not submitted, whose source is not listed.

    Worked on, they turn out to be without a source, and are ended as failed.
    """
    options, listed = session.options, {item.id for item in found.scope.collections}
    works = []
    for record in store.records("NOT coalesce(import_submitted, 0)"):
        in_scope = (
            record.source_id in options.collections
            if options.collections
            else options.all_users
            or record.owner in options.users
            or (not session.admin and record.owner == session.identity.username)
        )
        if not in_scope or record.source_id in listed or record.job_status == JobStatus.FAILED:
            continue
        source = Collection(record.source_id, record.source_name, record.owner, record.source_model)
        works.append(
            Work(
                source=source,
                gateway=session.credentials.gateway_for(record.owner, record.owner_id),
                owner_id=partial(session.owner_id, record.owner, record.owner_id),
                model=record.target_model,
                policy=session.policy(verify=False),
            )
        )
    return works
