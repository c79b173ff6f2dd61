"""Rules for collections themselves: create, list, read, change, delete."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Iterable, List, Optional

from . import limits, render
from .calls import NO_CONTENT, Call, Reply, route
from .model import (
    NEWER_RAG_TYPES,
    RAG_TYPES,
    Collection,
    JobKind,
    JsonObject,
    Membership,
    SandboxError,
)
from .world import World

# -- create


@route("POST", "/collections")
def create_collection(call: Call) -> Reply:
    """Create a collection; sent twice, there are two of that name."""
    world, body = call.world, call.object()
    _check_nulls(world, body)
    limits.check_collections(call)
    chat_settings = _object_or_empty(body, "chat_settings")
    limits.check_settings(call, chat_settings)
    now = world.now()
    item = Collection(
        id=world.new_id(),
        name=limits.collection_name(world, call.required("name")),
        description=call.required("description"),
        username=call.user.username,
        embedding_model=_model(world, body.get("embedding_model")),
        created_at=now,
        updated_at=now,
        workspace=workspace_of(call, body.get("workspace")),
        vex_encryption=_vex_encryption(world, body.get("vex_encryption")),
        settings=limits.settings(call, _object_or_empty(body, "collection_settings"), new=True),
        chat_settings=chat_settings,
        expiry_date=limits.expiry(call, moment_of(body.get("expiry_date"))),
        has_default_guardrails=bool(world.habits.server_defaults),
    )
    _share_at_once(world, item)
    world.collections[item.id] = item
    return Reply(201, render.collection(world, item))


def _share_at_once(world: World, item: Collection) -> None:
    item.is_public = world.habits.created_shared == "public"
    if world.habits.created_shared == "users":
        others = (user.username for user in world.users.values())
        item.shares = {name: ["read"] for name in others if name != item.username}


def _check_nulls(world: World, body: JsonObject) -> None:
    for name in ("collection_settings", "chat_settings"):
        if world.habits.refuse_null_settings and name in body and body[name] is None:
            raise SandboxError(400, f"{name!r} must not be null")


def _object_or_empty(body: JsonObject, name: str) -> JsonObject:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SandboxError(400, f"{name!r} must be an object")
    return dict(value)


def _model(world: World, name: Optional[str]) -> str:
    if name is None:
        return next(iter(world.models))
    if name not in world.models:
        raise SandboxError(400, f"Unknown embedding model: {name}")
    return name


def workspace_of(call: Call, name: Optional[str]) -> str:
    """Return a workspace of the caller: the named one, or the default."""
    if name is None or name in call.user.workspaces:
        return name or call.user.default_workspace
    if call.world.habits.strict_workspaces:
        raise SandboxError(400, f"Unknown workspace: {name}")
    return call.user.default_workspace


def _vex_encryption(world: World, value: Optional[str]) -> Optional[str]:
    if value not in (None, "enabled", "disabled"):
        raise SandboxError(400, "vex_encryption must be enabled or disabled")
    return None if world.habits.vex_encryption_ignored else value


def moment_of(text: Optional[str]) -> Optional[float]:
    """Return a date or date-time as seconds since the epoch; without a zone it is UTC."""
    if text is None:
        return None
    plain = re.sub(r"Z$", "+00:00", str(text))
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        raise SandboxError(400, f"Not a date: {text}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


# -- list

_Key = Callable[[Collection], Any]


def _sort_keys(counts: Dict[Optional[str], int]) -> Dict[str, _Key]:
    return {
        "updated_at": lambda c: c.updated_at,
        "name": lambda c: c.name,
        "document_count": lambda c: len(c.documents),
        "document_size": lambda c: c.size,
        "sessions_count": lambda c: counts.get(c.id, 0),
        "username": lambda c: c.username,
        "expiry_date": lambda c: c.expiry_date or 0.0,
        "status": lambda c: c.status,
        "inactivity_interval": lambda c: c.inactivity_interval or 0,
        "archived_at": lambda _: 0,
    }


def _listing(call: Call, found: Iterable[Collection]) -> Reply:
    world = call.world
    counts = world.session_counts()
    keys = _sort_keys(dict(counts))
    column = call.query.get("sort_column", "updated_at")
    if column not in keys:
        raise SandboxError(400, f"Unknown sort column: {column}")
    hidden_s = world.habits.collections_listed_after_s
    rows = [item for item in found if not world.too_new(item.created_at, hidden_s)]
    if world.habits.shuffle_ties:
        world.random.shuffle(rows)
    rows.sort(key=keys[column], reverse=not call.flag("ascending"))
    return Reply(200, [render.collection(world, c, counts=counts) for c in call.page(rows)])


def _contains(world: World, text: str, *fields: str) -> bool:
    if world.habits.filter_ignores_case:
        return any(text.lower() in field.lower() for field in fields)
    return any(text in field for field in fields)


def _json_query(call: Call, name: str) -> JsonObject:
    text = call.query.get(name)
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SandboxError(400, f"{name!r} must be a JSON object")
    return value


@route("GET", "/collections")
def list_collections(call: Call) -> Reply:
    """List what the caller owns or may read."""
    world, user = call.world, call.user
    wanted = _json_query(call, "metadata_filter").items()
    text = call.query.get("name_filter", "")
    own_only = call.flag("current_user_only")
    return _listing(
        call,
        (
            c
            for c in world.collections.values()
            if (c.username == user.username or (not own_only and world.may_read(user, c)))
            and _contains(world, text, c.name)
            and wanted <= c.metadata.items()
        ),
    )


@route("GET", "/collections/all")
def list_all_collections(call: Call) -> Reply:
    """List everybody's collections, for admins."""
    world = call.world
    world.require_admin(call.user)
    text = call.query.get("filter", "")
    return _listing(
        call,
        (c for c in world.collections.values() if _contains(world, text, c.name, c.id, c.username)),
    )


@route("GET", "/collections/count")
def get_collection_count(call: Call) -> Reply:
    """Count what the caller owns or may read."""
    found = [c for c in call.world.collections.values() if call.world.may_read(call.user, c)]
    return Reply(200, {"count": len(found)})


# -- one collection


@route("GET", "/collections/{collection_id}")
def get_collection(call: Call) -> Reply:
    """Return a collection."""
    return Reply(200, render.collection(call.world, call.world.readable(call.user, call.id)))


@route("PATCH", "/collections/{collection_id}")
def update_collection(call: Call) -> Reply:
    """Change name, description or RAG type, whichever is given."""
    item = changing(call)
    body = call.object()
    if call.world.habits.patch_blanks:
        item.name = item.description = ""
        item.rag_type = None
    rag_type = body.get("rag_type")
    if rag_type not in (None, *RAG_TYPES, *NEWER_RAG_TYPES):
        raise SandboxError(400, f"Unknown rag_type: {rag_type}")
    if body.get("name"):
        item.name = limits.collection_name(call.world, body["name"])
    item.description = body.get("description", item.description)
    item.rag_type = rag_type or item.rag_type
    return Reply(200, render.collection(call.world, item))


@route("DELETE", "/collections/{collection_id}")
def delete_collection(call: Call) -> Reply:
    """Delete a collection at once."""
    call.world.drop_collection(call.world.owned(call.user, call.id).id)
    return NO_CONTENT


@route("POST", "/collections/delete_job")
def create_delete_collection_job(call: Call) -> Reply:
    """Delete collections of the caller in a job."""
    world = call.world
    ids: List[str] = call.required("collection_ids", list)
    for collection_id in ids:
        world.owned(call.user, collection_id)
    job = world.start_job(
        JobKind.DELETE_COLLECTIONS.value,
        call.user,
        world.times.delete_s,
        params={"collection_ids": ids},
    )
    return Reply(201, render.job(world, job))


def changing(call: Call) -> Collection:
    """Return the collection that the caller is about to change, and record the change."""
    item = call.world.owned(call.user, call.id)
    call.world.check_not_archived(item)
    call.world.touch(item)
    return item


@route("POST", "/collections/{collection_id}/archive")
def archive_collection(call: Call) -> Reply:
    """Archive a collection."""
    changing(call).status = "archived"
    return NO_CONTENT


@route("POST", "/collections/{collection_id}/unarchive")
def unarchive_collection(call: Call) -> Reply:
    """Take a collection out of the archive."""
    call.world.owned(call.user, call.id).status = "active"
    return NO_CONTENT


# -- what is in it


@route("GET", "/collections/{collection_id}/documents")
def list_documents_for_collection(call: Call) -> Reply:
    """List documents, the last changed first."""
    world = call.world
    wanted = _json_query(call, "metadata_filter").items()
    rows: List[Membership] = [
        line
        for line in world.readable(call.user, call.id).documents
        if not world.too_new(line.added_at, world.habits.documents_listed_after_s)
    ]
    if wanted:
        rows = [m for m in rows if wanted <= m.metadata.items()]
    if world.habits.shuffle_ties:
        world.random.shuffle(rows)
    rows.sort(key=lambda m: m.updated_at, reverse=True)
    return Reply(200, [render.document(world, m) for m in call.page(rows)])


@route("GET", "/collections/{collection_id}/documents/count")
def get_document_count_for_collection(call: Call) -> Reply:
    """Count documents."""
    return Reply(200, {"count": len(call.world.readable(call.user, call.id).documents)})


@route("GET", "/collections/{collection_id}/scheduled_connectors")
def list_scheduled_connectors_for_collection(call: Call) -> Reply:
    """List scheduled connectors, all at once."""
    world = call.world
    home = world.readable(call.user, call.id)
    owner = world.users.get(home.username)
    return Reply(200, [render.connector(world, owner, home, item) for item in home.connectors])
