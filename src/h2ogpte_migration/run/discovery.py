"""Find what the command line names, and decide about each collection. Reads only, but for late duplicates."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from h2ogpte_migration import naming, patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import NotFound, Rejected, ServerError, Unauthorized
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, SourceId
from h2ogpte_migration.results import Result, not_available, skipped
from h2ogpte_migration.run.foreign import Targets
from h2ogpte_migration.run.preflight import no_admin
from h2ogpte_migration.run.scope import (
    Known,
    Lister,
    Missing,
    Scope,
    Selected,
    Skipped,
    Wanted,
    find_as_admin,
    find_own,
    select,
    with_models,
)
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.states import TargetState
from h2ogpte_migration.steps.create import note_late_duplicates
from h2ogpte_migration.tracking.records import Attempt, Record
from h2ogpte_migration.tracking.store import Store
from h2ogpte_migration.ui.progress import Progress
from h2ogpte_migration.ui.text import did_you_mean, safe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Discovered:
    """A scope, decided: what to work on, and a result for everything that is not."""

    scope: Scope
    selected: Tuple[Selected, ...]
    left_out: Tuple[Result, ...]
    missing: Tuple[Result, ...]


def discover(session: Session) -> Discovered:
    """Find the scope and decide about each collection."""
    wanted = _wanted(session)
    listing = _Watched(session.gateway, session.progress, session.clock)
    if session.admin:
        scope = find_for_admin(session, listing, wanted)
    else:
        scope = find_own(listing, session.identity.username, wanted)
    scope = with_models(scope, partial(_model_of, session))
    store = session.tracking.store
    known = _knowledge(store, scope)
    _doubt_source_model(session, scope, known)
    if not session.options.dry_run:
        _record_late_duplicates(store, scope, known)
    decided = list(select(scope, wanted, known))
    missing = [item for item in decided if isinstance(item, Missing)]
    missing += [*scope.missing, *listing.missing, *_unknown_users(session, scope)]
    found = Discovered(
        scope,
        tuple(item for item in decided if isinstance(item, Selected)),
        tuple(skipped(i.collection, i.reason, i.cause) for i in decided if isinstance(i, Skipped)),
        tuple(not_available(i.collection_id, i.reason, i.name, i.owner) for i in missing),
    )
    for result in found.left_out:
        log.info("skipped: %s (%s): %s", result.source_name, result.source_id, result.reason)
    for result in found.missing:
        what = f"{result.source_name} {result.source_id}".strip()
        log.warning("not available: %s: %s", what, result.reason)
    return found


def _doubt_source_model(session: Session, scope: Scope, known: Known) -> None:
    """A misspelt ``--source-model`` would find nothing to migrate, as one does that is retired for good.

    It may have left the server, and with it all that had it: then a record has it.
    """
    wanted, models = session.options.source_model, {item.model for item in scope.listed}
    if not wanted or not scope.collections or wanted in models:
        return
    if any(record.source_model == wanted for record in known.records.values()):
        return
    close = did_you_mean(wanted, models - {""})
    session.console.attention(
        f"Warning: no collection in scope has the model {safe(wanted)} of --source-model{close or '.'}"
    )


class _Watched:
    """The listings of a gateway, with whoever watches told how long they are."""

    def __init__(self, gateway: Gateway, progress: Progress, clock: Clock) -> None:
        self._gateway = gateway
        self._progress = progress
        self._clock = clock
        self._seen = 0
        self._why: Dict[str, None] = {}

    @property
    def missing(self) -> List[Missing]:
        """What may not have been listed."""
        return [Missing("", reason, "collections") for reason in self._why]

    def _incomplete(self, reason: str) -> None:
        self._why[reason] = None

    def all_collections(self, filter_text: str = "") -> Iterator[Collection]:
        read = partial(self._gateway.all_collections, filter_text, self._incomplete)
        return self._looked_at_twice(read)

    def own_collections(self) -> Iterator[Collection]:
        return self._looked_at_twice(partial(self._gateway.own_collections, self._incomplete))

    def collection(self, collection_id: str) -> Collection:
        return self._gateway.collection(collection_id)

    def _looked_at_twice(self, read: Callable[[], Iterator[Collection]]) -> Iterator[Collection]:
        """That there is nothing at all is not believed from one look."""
        first = next(rows := self._told(read()), None)
        if first is None:
            self._clock.sleep(patience.EMPTY_LOOK_S)
            yield from self._told(read())
            return
        yield first
        yield from rows

    def _told(self, rows: Iterator[Collection]) -> Iterator[Collection]:
        self._progress.looking("collections listed", self._seen)
        for row in rows:
            self._seen += 1
            self._progress.looking("collections listed", self._seen)
            yield row


def find_for_admin(session: Session, listing: Lister, wanted: Wanted) -> Scope:
    """The first listing also shows whether the key is an administrator's.

    Raises:
        ToolError: it is not.
    """
    try:
        return find_as_admin(listing, wanted)
    except (Rejected, NotFound, Unauthorized) as error:
        raise no_admin(session.identity, error) from error


def _model_of(session: Session, collection: Collection) -> Optional[str]:
    """The model as it is on record, or by the collection's own record; None where neither tells it."""
    tracked = session.tracking.store.load(SourceId(collection.id))
    if tracked is not None and tracked.record.source_model:
        return tracked.record.source_model
    try:
        gateway = session.credentials.gateway_for(collection.owner)
        model = gateway.collection(collection.id).get("embedding_model")
    except ServerError as error:
        log.warning("the model of %s can't be read: %s", collection.id, error.message)
        return None
    return model if isinstance(model, str) else None


def _wanted(session: Session) -> Wanted:
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


def _knowledge(store: Store, scope: Scope) -> Known:
    """What the database knows of sources and targets.

    Names given out to an owner are also theirs under a new name, which the scope tells.
    """
    records: Dict[str, Record] = {record.source_id: record for record in store.records()}
    made_for, listed = store.past_targets(), {item.id: item for item in scope.listed}
    targets: Dict[str, Record] = {
        record.target_id: record
        for record in records.values()
        if record.target_id is not None and _may_be_its_target(record, made_for, listed)
    }
    names = {
        owner: set(map(naming.folded, given)) for owner, given in store.reserved_names().items()
    }
    for collection in scope.collections:
        record = records.get(collection.id)
        if record is not None and record.owner != collection.owner:
            names.setdefault(collection.owner, set()).update(names.get(record.owner, set()))
    return Known(records, targets, made_for.keys(), names, store.undone())


def _may_be_its_target(
    record: Record, made_for: Mapping[str, str], listed: Mapping[str, Collection]
) -> bool:
    """Whether what a row names as its target can be that: the row is a claim.

    What can't be counts as a collection like any other here; that the row is wrong is told when
    its source is worked on (``reconcile.agree``). Of what was never seen made, owner and model tell.
    """
    target_id, source_id = str(record.target_id), str(record.source_id)
    if target_id == source_id or made_for.get(target_id, source_id) != source_id:
        return False
    shown = listed.get(target_id)
    if target_id in made_for or shown is None:
        return True
    source = listed.get(source_id)
    owners = {"", record.owner, shown.owner if source is None else source.owner}
    return shown.owner in owners and record.target_model in ("", shown.model)


def _unknown_users(session: Session, scope: Scope) -> List[Missing]:
    owners: Set[str] = {item.owner for item in scope.collections}
    unknown = [
        user
        for user in dict.fromkeys(session.options.users)
        if user not in owners and not session.credentials.knows_user(user)
    ]
    names = session.credentials.usernames() | owners
    return [Missing("", f"no such user{did_you_mean(user, names)}", user) for user in unknown]


def _record_late_duplicates(store: Store, scope: Scope, known: Known) -> None:
    """Targets that came to effect late, beside or instead of the one in use: into the history."""
    for collection in scope.listed:
        if collection.id in known.past_targets or collection.id in known.targets:
            continue
        if not known.is_reserved(collection):
            continue
        attempt = _settled_attempt(store, collection)
        if attempt is not None:
            store.record_late_duplicate(collection.owner, collection, attempt, "appeared late")


def _settled_attempt(store: Store, collection: Collection) -> Optional[Attempt]:
    """The attempt whose name it bears, unless that one is still looking for its target."""
    attempts = [
        attempt
        for attempt in store.attempts_named(collection.owner, collection.name)
        if attempt.origin != Attempt.LATE_DUPLICATE
    ]
    for attempt in attempts:
        if attempt.state == TargetState.LIVE and attempt.target_id is None:
            return None
    return attempts[0] if attempts else None


def unknown_targets(session: Session, migrations: Sequence[Migration], seen: Set[str]) -> List[str]:
    """Targets of sources that were begun just now, and that this database knows nothing of.

    Two databases may have been used at the same moment; before the run, neither saw the other's.
    One of our own that appeared late, as its request was never answered, goes into the history.

    Args:
        migrations: all of one owner, worked on in this run.
        seen: ids of collections that were there before the run, and were decided about then.
    """
    begun = [item for item in migrations if item.seen.created is not None]
    if not begun:
        return []
    for migration in begun:
        note_late_duplicates(migration)
    store, there = session.tracking.store, list(begun[0].gateway.own_collections())
    unknown = [
        item
        for item in there
        if item.id not in seen
        and naming.matches_migrated_name(item.name)
        and not store.is_past_target(item.id)
    ]
    foreign = Targets(unknown, there)
    return [
        f"{item.source.name} ({item.source.id}) was migrated twice: {other.name} ({other.id}) is "
        "not of this database. Was another one used at the same time? Delete the target that is "
        "not wanted."
        for item in begun
        for other in foreign.of(item.source, item.model)
    ]
