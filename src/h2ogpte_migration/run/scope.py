"""Which collections a run is about: selected, skipped with a reason, or missing.

Exact ids and names only: the server's filters match parts of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import (
    AbstractSet,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Protocol,
    Sequence,
    Set,
    Tuple,
    Union,
)

from h2ogpte_migration import naming
from h2ogpte_migration.errors import NotFound, Rejected
from h2ogpte_migration.model import GUEST_PREFIX, Collection, id_forms
from h2ogpte_migration.results import OWN_TARGET
from h2ogpte_migration.run.foreign import Targets
from h2ogpte_migration.states import JobStatus
from h2ogpte_migration.tracking.records import Record

SINGLE_LOOKUPS = 10
"""Up to so many ids are looked up one by one; beyond, listing everything is cheaper."""

HAS_IT = "they have a new model already"
NOT_MAPPED = "their model is not in the mapping"

_PLAIN = re.compile(r"[A-Za-z0-9.@+-][A-Za-z0-9 .@+-]*")
"""What a filter surely matches literally."""


@dataclass(frozen=True)
class Selected:
    """A collection to migrate, and the model that it shall have."""

    collection: Collection
    model: str


@dataclass(frozen=True)
class Skipped:
    """A collection that is left out on purpose: no failure.

    ``cause`` is the sort of reason, free of names: what skips are counted by.
    """

    collection: Collection
    reason: str
    cause: str


@dataclass(frozen=True)
class Missing:
    """Something that was asked for and can't be worked on: a failure.

    Args:
        collection_id: empty for what is no collection, such as a user.
        name: what it is called.
    """

    collection_id: str
    reason: str
    name: str = ""
    owner: str = ""


Found = Union[Selected, Skipped, Missing]


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for."""

    users: Tuple[str, ...] = ()
    all_users: bool = False
    collections: Tuple[str, ...] = ()
    mappings: Optional[Mapping[str, str]] = None
    target_model: Optional[str] = None
    source_model: Optional[str] = None
    force: bool = False

    def model_for(self, collection: Collection) -> Optional[str]:
        """The model that a collection shall get; None where none is mapped."""
        if self.mappings is not None:
            return self.mappings.get(collection.model)
        return self.target_model


@dataclass(frozen=True)
class Scope:
    """The collections that the command line names, before anything is filtered out.

    ``listed`` is everything that was seen on the way; other targets are found in it. ``modelless``
    are the ids of what the server tells no model of.
    """

    collections: Tuple[Collection, ...]
    missing: Tuple[Missing, ...]
    listed: Tuple[Collection, ...]
    guests: int = 0
    modelless: AbstractSet[str] = frozenset()


# -- finding -----------------------------------------------------------------------------
class Lister(Protocol):
    """What the scope is read from: a ``Gateway``, or one that is watched."""

    def all_collections(self, filter_text: str = "") -> Iterator[Collection]:
        """Everybody's collections, as ``Gateway`` lists them."""

    def own_collections(self) -> Iterator[Collection]:
        """Those of the key's user."""

    def collection(self, collection_id: str) -> Collection:
        """One of them."""


def find_as_admin(gateway: Lister, wanted: Wanted) -> Scope:
    """The collections of a scope as an administrator finds them."""
    if wanted.all_users:
        return _of_everybody(gateway)
    if wanted.users:
        return _of_users(gateway, wanted.users)
    return _by_id(gateway, wanted.collections)


def _of_everybody(gateway: Lister) -> Scope:
    listed = tuple(gateway.all_collections())
    guests = {item.owner for item in listed if item.owner.startswith(GUEST_PREFIX)}
    chosen = tuple(item for item in listed if item.owner not in guests)
    return Scope(chosen, (), listed, guests=len(guests))


def _of_users(gateway: Lister, users: Sequence[str]) -> Scope:
    chosen: List[Collection] = []
    for user in dict.fromkeys(users):
        chosen += [item for item in _matching(gateway, user) if item.owner == user]
    return Scope(tuple(chosen), (), tuple(chosen))


def _by_id(gateway: Lister, ids: Sequence[str]) -> Scope:
    wanted = list(dict.fromkeys(ids))
    if len(wanted) > SINGLE_LOOKUPS:
        listed = tuple(gateway.all_collections())
    else:
        listed = tuple(item for one in wanted for item in _with_id(gateway, one))
    by_id = {item.id: item for item in listed}
    found = {one: _pick(by_id, one) for one in wanted}
    missing = tuple(Missing(one, "no such collection") for one in wanted if found[one] is None)
    chosen = tuple(dict.fromkeys(item for item in found.values() if item is not None))
    if len(wanted) <= SINGLE_LOOKUPS:
        listed += _others_of(gateway, {item.owner for item in chosen})
    return Scope(chosen, missing, listed)


def _with_id(gateway: Lister, one: str) -> List[Collection]:
    """The collection of that id; a filter may mind the case in which it was typed."""
    for form in id_forms(one):
        found = [item for item in _matching(gateway, form) if item.id in id_forms(one)]
        if found:
            return found
    return []


def _pick(by_id: Mapping[str, Collection], one: str) -> Optional[Collection]:
    return next((by_id[form] for form in id_forms(one) if form in by_id), None)


def _others_of(gateway: Lister, owners: Iterable[str]) -> Tuple[Collection, ...]:
    """What else these owners have: targets of another database may be among it."""
    return tuple(
        item
        for owner in sorted(owners)
        for item in _matching(gateway, owner)
        if item.owner == owner
    )


def _matching(gateway: Lister, text: str) -> Iterator[Collection]:
    """Collections that a filter finds; all of them where it might not take the text literally."""
    return gateway.all_collections(text if _PLAIN.fullmatch(text) else "")


def find_own(gateway: Lister, username: str, wanted: Wanted) -> Scope:
    """The collections of a scope as their owner finds them."""
    listed = tuple(item for item in gateway.own_collections() if item.owner in ("", username))
    if not wanted.collections:
        return Scope(listed, (), listed)
    by_id = {item.id: item for item in listed}
    chosen, missing = [], []
    for one in dict.fromkeys(wanted.collections):
        item = _pick(by_id, one)
        if item is not None:
            chosen.append(item)
        else:
            missing.append(Missing(one, _why_not_own(gateway, one)))
    return Scope(tuple(dict.fromkeys(chosen)), tuple(missing), listed)


def _why_not_own(gateway: Lister, collection_id: str) -> str:
    try:
        other = gateway.collection(collection_id)
    except NotFound:
        return "no such collection"
    except Rejected:
        return "it is not yours"
    return f"it is not yours, but owned by {other.owner or 'somebody else'}"


def with_models(scope: Scope, model_of: Callable[[Collection], Optional[str]]) -> Scope:
    """The scope, with the models that its listings did not tell: unknown is not another one.

    Args:
        model_of: asks for the model of a single collection; None where it can't be read.
    """
    models = {
        item.id: model_of(item)
        for item in _once(scope.collections)
        if not item.model and not item.owner.startswith(GUEST_PREFIX)
    }
    if not models:
        return scope

    def told(items: Iterable[Collection]) -> Tuple[Collection, ...]:
        return tuple(replace(item, model=models.get(item.id) or item.model) for item in items)

    unread = frozenset(name for name, model in models.items() if model is None)
    return replace(
        scope, collections=told(scope.collections), listed=told(scope.listed), modelless=unread
    )


# -- filtering ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Known:
    """What the tracking database knows, as far as it decides what is a source.

    Args:
        reserved: names given to targets, by owner, as ``naming.folded`` has them.
        undone: sources whose migration was rolled back, or is being rolled back.
    """

    records: Mapping[str, Record]
    targets: Mapping[str, Record]
    past_targets: AbstractSet[str]
    reserved: Mapping[str, Set[str]]
    undone: Set[str]

    def is_reserved(self, collection: Collection) -> bool:
        """Whether a collection bears the name that was given to a target of its owner."""
        return naming.folded(collection.name) in self.reserved.get(collection.owner, ())

    def is_current(self, collection_id: str) -> bool:
        """Whether a collection is the target that a source was migrated into, and all is well."""
        record = self.targets.get(collection_id)
        return (
            record is not None
            and record.job_status != JobStatus.FAILED
            and record.source_id not in self.undone
        )

    def why_no_source(self, collection_id: str) -> str:
        """Why a target is not to be migrated on itself; empty where it stands for its source."""
        if not self.is_current(collection_id):
            record = self.targets.get(collection_id)
            if record is not None and record.source_id in self.undone:
                return "it is a target that was rolled back (--cleanup deletes those)"
            return "it is a target that failed or was given up (--cleanup deletes those)"
        return ""

    def is_over(self, collection_id: str) -> bool:
        """Whether all that a target was made for is done: it stands for its source then."""
        record = self.targets[collection_id]
        return record.import_completed and record.connectors_migrated


def select(scope: Scope, wanted: Wanted, known: Known) -> Iterator[Found]:
    """Decide about each collection of a scope, once."""
    migrated_on = _migrated_on(scope, wanted, known)
    foreign = Targets(_unknown_targets(scope, known), scope.listed)
    for collection in _once(scope.collections):
        yield _decide(collection, wanted, known, migrated_on, foreign, scope)


def _once(collections: Iterable[Collection]) -> Iterator[Collection]:
    seen: Set[str] = set()
    for collection in collections:
        if collection.id not in seen:
            seen.add(collection.id)
            yield collection


def _decide(
    collection: Collection,
    wanted: Wanted,
    known: Known,
    migrated_on: Mapping[str, str],
    foreign: Targets,
    scope: Scope,
) -> Found:
    if collection.id in scope.modelless and not collection.out_of_use:
        return _missing(collection, "its model can't be read")
    model = wanted.model_for(collection)
    why = _why_skip(collection, wanted, known, model)
    if why is not None:
        return Skipped(collection, *why)
    if collection.id in known.targets and not known.is_over(collection.id):
        source = known.targets[collection.id].source_id
        reason = f"it is the target of {source}, whose migration is not over"
        if wanted.force:
            return Skipped(collection, reason, OWN_TARGET)
        return _missing(collection, f"{reason}; finish that with --verify")
    if collection.id in migrated_on:
        target = migrated_on[collection.id]
        if not _asked_alone(collection, target, wanted, scope):
            return Skipped(
                collection,
                f"its migrated collection {target} stands for it",
                "their migrated collection stands for them",
            )
        if not wanted.force:
            return _missing(
                collection,
                f"its migrated collection {target} stands for it: --collections {target} migrates "
                "that one on",
            )
    if model is None:
        if collection.model in (wanted.mappings or {}).values():
            reason = f"it has the model {collection.model} already"
            return Skipped(collection, reason, HAS_IT)
        shown = collection.model or "(none)"
        return Skipped(collection, f"its model {shown} is not in the mapping", NOT_MAPPED)
    conflict = _conflict(collection, wanted, known, model, foreign)
    if conflict is not None:
        return _missing(collection, conflict)
    return Selected(collection, model)


def _why_skip(
    collection: Collection, wanted: Wanted, known: Known, model: Optional[str]
) -> Optional[Tuple[str, str]]:
    """Why a filter leaves it out, and the sort of that reason; None where it does not."""
    record = known.records.get(collection.id)
    if collection.out_of_use and not (record and record.import_submitted):
        return f"it is {collection.out_of_use}", "they are out of use"
    if wanted.source_model and collection.model != wanted.source_model:
        return (
            f"its model is {collection.model}, not {wanted.source_model}",
            "they have another model than --source-model",
        )
    if collection.id in known.past_targets or collection.id in known.targets:
        reason = known.why_no_source(collection.id)
        if reason:
            return reason, OWN_TARGET
        if model is None or model == collection.model:
            return "it is a target of this tool, and has the wanted model", OWN_TARGET
    elif known.is_reserved(collection):
        return "it bears the name of a target that was begun by this tool", OWN_TARGET
    elif model == collection.model and not _asked_for_by_name(collection, wanted):
        return f"it has the model {model} already", HAS_IT
    return None


def _missing(collection: Collection, reason: str) -> Missing:
    return Missing(collection.id, reason, collection.name, collection.owner)


def _asked_alone(collection: Collection, target: str, wanted: Wanted, scope: Scope) -> bool:
    """Whether a source is named by its id, and the target that stands for it is not in scope."""
    by_id = any(collection.id in id_forms(one) for one in wanted.collections)
    return by_id and all(item.id != target for item in scope.collections)


def _asked_for_by_name(collection: Collection, wanted: Wanted) -> bool:
    by_id = any(collection.id in id_forms(one) for one in wanted.collections)
    return by_id or wanted.source_model == collection.model


def _conflict(
    collection: Collection,
    wanted: Wanted,
    known: Known,
    model: str,
    foreign: Targets,
) -> Optional[str]:
    record = known.records.get(collection.id)
    if wanted.force:
        return None
    if (
        record is None
        or record.job_status == JobStatus.FAILED
        or (not record.target_id and not record.collection_created)
    ):
        others = foreign.of(collection, model)
        if others:
            has = "has" if others[0].model else "may have"
            return (
                "another database seems to have migrated it already: use that one (--db-path), "
                "or --force-remigrate to migrate it again; "
                f"{others[0].id} {has} the wanted model: {others[0].name}"
            )
    if record is None or record.source_id in known.undone:
        return None
    if record.target_model != model and record.job_status != JobStatus.FAILED:
        return (
            f"it is being migrated, or was, to {record.target_model}, not to {model}; "
            "finish that with --verify, or use --force-remigrate"
        )
    return None


def _migrated_on(scope: Scope, wanted: Wanted, known: Known) -> Dict[str, str]:
    """Sources whose migrated collection is itself to be migrated on, to another model."""
    migrated_on = {}
    for collection in scope.listed:
        if not collection.model:
            continue  # a listing does not tell it, and only those in scope were read
        record = known.targets.get(collection.id)
        if record is None or not known.is_current(collection.id):
            continue
        model = wanted.model_for(collection)
        if wanted.source_model and collection.model != wanted.source_model:
            continue
        if model is not None and model != collection.model and known.is_over(collection.id):
            migrated_on[record.source_id] = collection.id
    return {str(source): target for source, target in migrated_on.items()}


def _unknown_targets(scope: Scope, known: Known) -> Iterator[Collection]:
    """Collections that look like targets of this tool, but that this database does not know."""
    for collection in scope.listed:
        if not naming.matches_migrated_name(collection.name):
            continue
        if collection.id in known.past_targets or collection.id in known.targets:
            continue
        if collection.id not in known.records and not known.is_reserved(collection):
            yield collection
