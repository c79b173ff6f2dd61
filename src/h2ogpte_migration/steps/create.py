"""Create the target collection, and give it everything that its source carries.

Two steps: the POST, which may not be repeated blindly, and the settings that follow it, which
may. What can't be carried over becomes a kept warning, never a reason to start over.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, Tuple

from h2ogpte_migration.errors import NotFound, Rejected
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Collection, Json, SourceId
from h2ogpte_migration.steps.base import Absent, Ambiguous, Context, Existing, FoundTarget, Source
from h2ogpte_migration.steps.presence import SourceGone, is_gone

_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


def read_source(gateway: Gateway, source_id: SourceId) -> Source:
    """What the source carries.

    Raises:
        SourceGone: there is nothing to migrate any more.
    """
    try:
        collection = gateway.collection(source_id)
    except NotFound as error:
        raise SourceGone from error
    metadata = collection.get("metadata_dict")
    if not isinstance(metadata, dict) or not metadata:
        # The record of a collection may leave its metadata out; only this call says so.
        metadata = _or_empty(gateway.metadata, source_id)
    return Source(
        collection=collection,
        settings=_or_empty(gateway.settings, source_id),
        chat_settings=_or_empty(gateway.chat_settings, source_id),
        metadata=metadata,
    )


def _or_empty(read: Callable[[str], Json], collection_id: str) -> Json:
    try:
        return read(collection_id)
    except NotFound:
        return {}


def source_facts(source: Source) -> Json:
    """What validation compares the target with later."""
    collection = source.collection
    return {
        "expiry_date": collection.get("expiry_date"),
        "inactivity_interval": collection.get("inactivity_interval"),
        "size_limit": collection.get("size_limit"),
        "rag_type": collection.get("rag_type"),
        "metadata": source.metadata,
    }


# -- the POST --------------------------------------------------------------------------
def run(context: Context) -> Collection:
    """Create the target. Raises ``OutcomeUnknown`` where ``find`` has to look."""
    *preferred, last = _requests(_request(context, context.source))
    for request, given_up in preferred:
        try:
            return _post(context, request, given_up)
        except NotFound:
            continue  # only the workspace is something that may not be found
        except Rejected as error:
            if error.status not in (400, 403, 422):
                raise
    return _post(context, *last)


def _post(context: Context, request: Json, given_up: str) -> Collection:
    context.before_write()
    target = context.gateway.create_collection(request)
    if given_up:
        context.warn(given_up)
    return target


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


def _request(context: Context, source: Source) -> Json:
    collection = source.collection
    request: Json = {
        "name": context.attempt.target_name,
        "description": collection.get("description") or "",
        "embedding_model": context.attempt.model,
        "collection_settings": target_settings(context, source),
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


def target_settings(context: Context, source: Source) -> Json:
    """The source's settings, with the OCR model that was asked for."""
    settings: Dict[str, Any] = dict(source.settings)
    wanted = context.how.ocr_model
    if context.how.skip_reparse or wanted is None:
        return settings
    settings["ocr_model"] = wanted
    return settings


def ocr_warning(context: Context, source: Source) -> str:
    """What to keep where the migration changes the source's OCR model; else empty."""
    had, wanted = source.settings.get("ocr_model"), context.how.ocr_model
    if context.how.skip_reparse or wanted is None or not had or had == wanted:
        return ""
    return f"the OCR model is {wanted} in the target, it was {had} in the source (--ocr-model)"


# -- looking for a target whose creation was never answered ----------------------------
def find(context: Context) -> Existing:
    """Look for the target by its name among the owner's collections.

    All of them are listed: a filter might not match a strange name, and "absent" has to be
    certain.
    """
    attempt, there = context.attempt, named(context)
    usable = [item for item in there if item.model == attempt.model and _is_empty(context, item)]
    if not there:
        return Absent()
    if not usable:
        return Ambiguous("a collection of the target's name exists, but is not the one begun here")
    usable.sort(key=lambda item: (item.created_at or _LONG_AGO, item.id))
    twins = [item for item in there if item.id != usable[0].id]
    return FoundTarget(usable[0], twins)


def named(context: Context) -> List[Collection]:
    """The owner's collections that bear the target's name."""
    wanted = normal(context.attempt.target_name)
    return [
        collection
        for collection in context.gateway.own_collections()
        if normal(collection.name) == wanted
        and collection.owner in ("", context.owner, context.attempt.owner)
    ]


def normal(name: str) -> str:
    """A name as servers may store it: outer blanks and runs of blanks do not count."""
    return " ".join(name.split())


def _is_empty(context: Context, collection: Collection) -> bool:
    return next(iter(context.gateway.documents(collection.id)), None) is None


# -- the settings ----------------------------------------------------------------------
def settle(context: Context, created: Collection, *, adopted: bool) -> None:
    """Give the target what can't be given at creation; all of it may be repeated.

    Args:
        created: the target as the server last described it; what it shows already is not
            sent again.
        adopted: the creation was never answered: settings are sent once more as well.
    """
    source, target = context.source, context.target_id
    gateway, collection = context.gateway, source.collection
    if adopted:
        _carry(
            context,
            "collection settings",
            lambda: gateway.set_settings(target, target_settings(context, source)),
        )
        if source.chat_settings:
            _carry(
                context,
                "chat settings",
                lambda: gateway.set_chat_settings(target, source.chat_settings),
            )
    rag_type = collection.get("rag_type")
    if rag_type and created.get("rag_type") != rag_type:
        _carry(context, f"rag_type {rag_type}", lambda: gateway.set_rag_type(target, rag_type))
    if source.metadata:
        _carry(
            context, "collection metadata", lambda: gateway.set_metadata(target, source.metadata)
        )
    template = collection.get("prompt_template_id")
    if template and created.get("prompt_template_id") != template:
        _carry(
            context,
            f"prompt template {template}",
            lambda: gateway.set_prompt_template(target, template),
        )
    if collection.get("exempt_from_chat_expiry") is True:
        _carry(
            context,
            "exemption from chat expiry",
            lambda: gateway.set_chat_expiry_exemption(target, True),
        )
    if collection.get("thumbnail"):
        context.warn(
            f"the thumbnail {collection.get('thumbnail')} can't be carried over; upload it again"
        )
    if ocr_warning(context, source):
        context.warn(ocr_warning(context, source))
    wanted, got = collection.get("workspace"), created.get("workspace")
    if wanted and got and wanted != got:
        # Whoever was told of the refusal may have died since; and some servers say nothing.
        context.warn(workspace_warning(wanted))


def _carry(context: Context, what: str, send: Callable[[], None]) -> None:
    """Send one thing; a refusal becomes a warning, as the rest must arrive all the same."""
    context.before_write()
    try:
        send()
    except Rejected as error:
        context.warn(f"the {what} could not be carried over: {error.message}")
    except NotFound as error:
        if is_gone(context.gateway, context.target_id):
            raise
        context.warn(f"the {what} could not be carried over: {error.message}")
