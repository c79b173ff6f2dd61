"""Create the target collection, exactly once.

An unanswered creation is looked for by the target's unique name among the owner's collections.
What the server refuses to take over (a workspace, a setting) becomes a kept warning.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import List, Optional, Set, Tuple, Union

from h2ogpte_migration import naming, patience
from h2ogpte_migration.errors import NotFound, OutcomeUnknown, Rejected, ServerError
from h2ogpte_migration.migration import Carried, Migration
from h2ogpte_migration.model import Collection, Document, Json, SourceId
from h2ogpte_migration.results import Result
from h2ogpte_migration.sending import Absent, Ambiguous, in_doubt, send_once, settle_doubt
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps import refusals
from h2ogpte_migration.steps.presence import read_when_visible
from h2ogpte_migration.steps.source import SETTINGS, carried, facts

_SETTINGS = ("collection_settings", "chat_settings")
_SERVER_ERROR = 500
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """The target as the server described it; others of its name, if it was looked for."""

    collection: Collection
    adopted: bool = False
    duplicates: Tuple[Collection, ...] = ()


def run(migration: Migration) -> Optional[Result]:
    """Look for a target that an unanswered request may have made; else make one."""
    timed_out = in_doubt(migration, StepName.CREATE)

    def find() -> Union[Absent, Ambiguous, Target]:
        return _find(migration)

    def book(target: Target) -> None:
        _book(migration, target)

    if timed_out is not None and settle_doubt(
        migration, StepName.CREATE, find, book, timed_out=timed_out
    ):
        return None
    creation: List[_Creation] = []

    def send() -> Target:
        # Made when first needed, and kept: what was refused once need not be asked again.
        if not creation:
            creation.append(_Creation(migration))
        return creation[0].send()

    send_once(migration, StepName.CREATE, send, find, book)
    return None


def _book(migration: Migration, target: Target) -> None:
    """The target exists and this is its id."""
    store, attempt, created = migration.tracking.store, migration.attempt, target.collection
    source = carried(migration)
    asked = {**facts(source), "settings": _wanted_settings(migration, source)}
    store.record_target(migration.lease, attempt, created, asked)
    migration.seen.created_at = migration.clock.now()
    if not target.adopted:
        migration.seen.created = created
        log.info("created the target %s (%s)", created.id, attempt.target_name)
        return
    log.info("adopted the target %s, whose creation was never answered", created.id)
    for duplicate in target.duplicates:
        store.record_late_duplicate(attempt.owner, duplicate, attempt, "made twice")


# -- the request -------------------------------------------------------------------------
class _Creation:
    """The request, with what the server refused left out.

    A refusal did nothing, so asking again is safe: without what it names, without the workspace
    (which may be another one's), without nulls (which a strict server may not take), and without
    any settings, which the next step brings. Encryption is never given up.
    """

    def __init__(self, migration: Migration) -> None:
        self._migration = migration
        self._ways = _ways(_request(migration, carried(migration)))
        self._left_out: Set[str] = set()
        self._shortened = 0

    def send(self) -> Target:
        """Ask, and again for less, until the server takes or refuses it for good."""
        while True:
            request = self._reduced(self._ways[0])
            try:
                self._migration.before_write()
                target = Target(self._migration.gateway.create_collection(request))
            except (Rejected, NotFound) as error:
                if not self._ask_for_less(error):
                    raise
            except OutcomeUnknown as error:
                # Whether nothing was done is yet to be found out; if so, this comes next.
                if error.status == _SERVER_ERROR:
                    self._after_an_error(error)
                raise
            else:
                self._tell(request)
                return target

    def _tell(self, request: Json) -> None:
        self._migration.refused_settings |= self._left_out
        wanted = carried(self._migration).collection.get("workspace")
        if wanted and "workspace" not in request:
            self._migration.warn(workspace_warning(wanted))

    def _reduced(self, request: Json) -> Json:
        """The request with the present name, and without what was refused by name."""
        reduced = {key: value for key, value in request.items() if key not in self._left_out}
        for key in _SETTINGS:
            if key in reduced:
                values = reduced[key].items()
                reduced[key] = {name: v for name, v in values if name not in self._left_out}
        return {**reduced, "name": self._migration.attempt.target_name}

    def _ask_for_less(self, error: ServerError) -> bool:
        refusals.raise_if_quota(error, self._migration.owner)
        if refusals.is_about_the_length_of_the_name(error):
            return self._shorten(error)
        if not refusals.may_be_about_a_part(error):
            return False
        return self._leave_out(error) or self._next_way()

    def _after_an_error(self, error: ServerError) -> None:
        """An internal error may be about some setting: the next step brings those one by one."""
        if self._leave_out(error):
            return
        bare = [way for way in self._ways if not any(name in way for name in _SETTINGS)]
        self._ways = bare if len(bare) < len(self._ways) else self._ways[-1:]

    def _leave_out(self, error: ServerError) -> bool:
        request = self._reduced(self._ways[0])
        keys = [key for name in _SETTINGS for key in request.get(name) or {}]
        named = refusals.named(error, [*keys, *(["workspace"] if "workspace" in request else [])])
        self._left_out.update(named)
        return bool(named)

    def _next_way(self) -> bool:
        if len(self._ways) < 2:
            return False
        del self._ways[0]
        return True

    def _shorten(self, error: ServerError) -> bool:
        """A shorter name, on record before it is sent: it is what the target is found by."""
        migration, name = self._migration, self._migration.attempt.target_name
        limit = refusals.longest_allowed(error, len(name)) or naming.next_shorter(len(name))
        self._shortened += 1
        if limit is None or self._shortened > patience.MOST_SHORTENINGS:
            return False
        return rename(migration, limit)


def rename(migration: Migration, limit: int) -> bool:
    """Reserve a name of at most ``limit`` characters in place of the attempt's; False: too few."""
    if naming.shortened(migration.attempt.target_name, limit, ()) is None:
        return False
    wanted = migration.attempt.target_name
    migration.tracking.store.rename_target(
        migration.lease,
        migration.attempt,
        lambda taken: naming.shortened(wanted, limit, taken) or wanted,
    )
    migration.reload()
    log.info("the target is to be named %s", migration.attempt.target_name)
    return True


def _ways(full: Json) -> List[Json]:
    """The request, then what to ask for where the server refuses it without saying why."""
    bare = {key: value for key, value in full.items() if key not in _SETTINGS}
    ways: List[Json] = []
    for request in (full, refusals.without_nulls(full), bare):
        rest = {key: value for key, value in request.items() if key != "workspace"}
        ways += [way for way in (request, rest) if way not in ways]
    return ways


def workspace_warning(workspace: object) -> str:
    """What to keep where the target is in another workspace than its source."""
    return f"the workspace {workspace} was refused; the target is in its owner's default one"


def _request(migration: Migration, source: Carried) -> Json:
    collection = source.collection
    request: Json = {
        "name": migration.attempt.target_name,
        "description": description(source),
        "embedding_model": migration.attempt.model,
    }
    settings = _wanted_settings(migration, source)
    if settings is not None:
        request["collection_settings"] = settings
    if source.chat_settings:
        request["chat_settings"] = source.chat_settings
    for key in ("workspace", "vex_encryption"):
        if collection.get(key):
            request[key] = collection.get(key)
    return request


def _wanted_settings(migration: Migration, source: Carried) -> Optional[Json]:
    """The settings to ask for; None where the source's can't be read."""
    return None if SETTINGS in source.unread else target_settings(migration, source)


def description(source: Carried) -> str:
    """The target's description: that of its source."""
    return str(source.collection.get("description") or "")


def target_settings(migration: Migration, source: Carried) -> Json:
    """The source's settings, with the OCR model that was asked for."""
    settings: Json = dict(source.settings)
    wanted = migration.how.ocr_model
    if migration.how.skip_reparse or wanted is None:
        return settings
    settings["ocr_model"] = wanted
    return settings


# -- looking for a target whose creation was never answered ------------------------------
def _find(migration: Migration) -> Union[Absent, Ambiguous, Target]:
    """Look for the target by its name among the owner's collections.

    All of them are listed: a filter might not match a strange name, and "absent" has to be
    certain.
    """
    attempt, listed = migration.attempt, _listed(migration)
    there = [_with_model(migration, item) for item in named(migration, listed)]
    if not there:
        return _find_cut(migration, listed)
    usable = [item for item in there if item.model == attempt.model]
    if not usable:
        return Ambiguous("a collection of the target's name exists, but is not the one begun here")
    # A database from a backup may have missed that it was imported into: that one is in use.
    usable.sort(
        key=lambda item: (_is_empty(migration, item), item.created_at or _LONG_AGO, item.id)
    )
    duplicates = tuple(item for item in there if item.id != usable[0].id)
    return Target(usable[0], adopted=True, duplicates=duplicates)


def _with_model(migration: Migration, listed: Collection) -> Collection:
    """A collection with its model, which a listing may leave out."""
    return listed if listed.model else migration.gateway.collection(listed.id)


def _find_cut(migration: Migration, listed: List[Collection]) -> Union[Absent, Ambiguous, Target]:
    """The target under a name that the server cut off, and with it what makes it unique.

    It counts only where nothing else can be meant: one empty collection that nobody knows, and no
    other target of that beginning under way.
    """
    store, attempt = migration.tracking.store, migration.attempt
    known = store.past_targets()
    there = [
        item
        for item in listed
        if naming.is_cut(item.name, attempt.target_name)
        and _with_model(migration, item).model == attempt.model
        and item.id not in known
        and store.load(SourceId(item.id)) is None
        and _is_empty(migration, item)
    ]
    if not there:
        return Absent()
    rivals = [
        name
        for name in store.names_in_doubt(attempt)
        if any(naming.is_cut(item.name, name) for item in there)
    ]
    if len(there) > 1 or rivals:
        return Ambiguous(f"it can't be told whether {there[0].name} ({there[0].id}) is the target")
    return Target(there[0], adopted=True)


def _listed(migration: Migration) -> List[Collection]:
    rows = migration.gateway.own_collections()
    return [item for item in rows if migration.is_owners(item.owner)]


def named(migration: Migration, listed: Optional[List[Collection]] = None) -> List[Collection]:
    """The owner's collections that bear the target's name, as servers may write it.

    What is on record as another target is not this one, nor what bears another one's very name.
    """
    store, attempt = migration.tracking.store, migration.attempt
    wanted = naming.folded(attempt.target_name)
    rows = _listed(migration) if listed is None else listed
    found = [item for item in rows if naming.folded(item.name) == wanted]
    others = set(store.names_in_doubt(attempt)) if found else set()
    return [
        item
        for item in found
        if item.id == attempt.target_id
        or not (store.is_past_target(item.id) or item.name in others)
    ]


def _is_empty(migration: Migration, collection: Collection) -> bool:
    def first() -> Optional[Document]:
        return next(iter(migration.gateway.documents(collection.id)), None)

    try:
        return first() is None
    except NotFound:
        # It is listed, and may not be readable yet.
        gateway, clock, within_s = migration.gateway, migration.clock, patience.VISIBLE_WITHIN_S
        read_when_visible(gateway, clock, collection.id, within_s)
        return first() is None


def note_late_duplicates(migration: Migration) -> None:
    """A creation that was sent again may have come to effect twice, the first one late."""
    store = migration.tracking.store
    if not store.sent_again(migration.source_id, StepName.CREATE):
        return
    if migration.tracked is None:
        migration.reload()  # it has ended in this run, and its record was dropped
    attempt = migration.attempt
    for duplicate in named(migration):
        if duplicate.id != attempt.target_id:
            store.record_late_duplicate(attempt.owner, duplicate, attempt, "appeared late")
