"""Create the target collection, exactly once.

An unanswered creation is looked for by the target's unique name among the owner's collections.
What the server refuses to take over (a workspace) becomes a kept warning.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, List, Mapping, Optional, Tuple, Union

from h2ogpte_migration.errors import NotFound, Rejected
from h2ogpte_migration.migration import (
    Absent,
    Ambiguous,
    Carried,
    Migration,
    in_doubt,
    send_once,
    settle_doubt,
)
from h2ogpte_migration.model import Collection, Json
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps.source import carried, facts

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
    send_once(migration, StepName.CREATE, lambda: _send(migration), find, book)
    return None


def _book(migration: Migration, target: Target) -> None:
    """The target exists and this is its id."""
    store, attempt, created = migration.tracking.store, migration.attempt, target.collection
    store.record_target(migration.lease, attempt, created, facts(carried(migration)))
    migration.created_at = migration.clock.now()
    if not target.adopted:
        migration.created = created
        log.info("created the target %s (%s)", created.id, attempt.target_name)
        return
    log.info("adopted the target %s, whose creation was never answered", created.id)
    for duplicate in target.duplicates:
        store.record_late_duplicate(attempt.owner, duplicate, attempt, "made twice")


# -- the request -------------------------------------------------------------------------
def _send(migration: Migration) -> Target:
    *preferred, last = _requests(_request(migration, carried(migration)))
    for request, given_up in preferred:
        try:
            return _post(migration, request, given_up)
        except NotFound:
            continue  # only the workspace is something that may not be found
        except Rejected as error:
            if error.status not in (400, 403, 422):
                raise
    return _post(migration, *last)


def _post(migration: Migration, request: Json, given_up: str) -> Target:
    migration.before_write()
    target = migration.gateway.create_collection(request)
    if given_up:
        migration.warn(given_up)
    return Target(target)


def _requests(full: Json) -> List[Tuple[Json, str]]:
    """The request, then what to ask for where the server refuses it.

    A refusal did nothing, so asking again is safe: without the workspace (which may be
    another one's), and without nulls (which a strict server may not take). Encryption is
    never given up.
    """
    workspace = full.get("workspace")
    without = workspace_warning(workspace)
    requests: List[Tuple[Json, str]] = []
    for request in (full, _without_nulls(full)):
        if (request, "") in requests:
            continue
        requests.append((request, ""))
        if workspace:
            rest = {key: value for key, value in request.items() if key != "workspace"}
            requests.append((rest, without))
    return requests


def workspace_warning(workspace: object) -> str:
    """What to keep where the target is in another workspace than its source."""
    return f"the workspace {workspace} was refused; the target is in its owner's default one"


def _request(migration: Migration, source: Carried) -> Json:
    collection = source.collection
    request: Json = {
        "name": migration.attempt.target_name,
        "description": collection.get("description") or "",
        "embedding_model": migration.attempt.model,
        "collection_settings": target_settings(migration, source),
    }
    if source.chat_settings:
        request["chat_settings"] = source.chat_settings
    for key in ("workspace", "vex_encryption"):
        if collection.get(key):
            request[key] = collection.get(key)
    return request


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


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
    attempt, there = migration.attempt, named(migration)
    usable = [item for item in there if item.model == attempt.model and _is_empty(migration, item)]
    if not there:
        return Absent()
    if not usable:
        return Ambiguous("a collection of the target's name exists, but is not the one begun here")
    usable.sort(key=lambda item: (item.created_at or _LONG_AGO, item.id))
    duplicates = tuple(item for item in there if item.id != usable[0].id)
    return Target(usable[0], adopted=True, duplicates=duplicates)


def named(migration: Migration) -> List[Collection]:
    """The owner's collections that bear the target's name."""
    wanted = normalise(migration.attempt.target_name)
    return [
        collection
        for collection in migration.gateway.own_collections()
        if normalise(collection.name) == wanted
        and collection.owner in ("", migration.owner, migration.attempt.owner)
    ]


def normalise(name: str) -> str:
    """A name as servers may store it: outer blanks and runs of blanks do not count."""
    return " ".join(name.split())


def _is_empty(migration: Migration, collection: Collection) -> bool:
    return next(iter(migration.gateway.documents(collection.id)), None) is None


def note_late_duplicates(migration: Migration) -> None:
    """A creation that was sent again may have come to effect twice, the first one late."""
    attempt, store = migration.attempt, migration.tracking.store
    if store.sends(attempt, StepName.CREATE) < 2:
        return
    for duplicate in named(migration):
        if duplicate.id != attempt.target_id:
            store.record_late_duplicate(attempt.owner, duplicate, attempt, "appeared late")
