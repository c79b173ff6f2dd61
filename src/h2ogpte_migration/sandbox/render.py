"""Records as the JSON that the server sends, with its habits."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List, Mapping, Optional

from .model import (
    ALL_RIGHTS,
    ApiKey,
    ChatMessage,
    ChatSession,
    Collection,
    Connector,
    EmbeddingModel,
    Job,
    JsonObject,
    Membership,
    PromptTemplate,
    Reference,
    User,
)
from .state import State

_KIND_NAMES = {"I": "Importing", "M": "Moving", "D": "Deleting"}


def stamp(world: State, when: float) -> str:
    """Return a moment as the server writes it, by its own clock."""
    return wire_time(world, when + world.habits.clock_offset_h * 3600)


def wire_time(world: State, when: float) -> str:
    """Return a moment in the server's form, whatever its clock says."""
    moment = datetime.fromtimestamp(when, timezone.utc)
    if world.habits.timestamps == "offset":
        return moment.astimezone(timezone(timedelta(hours=2))).isoformat()
    plain = moment.replace(tzinfo=None).isoformat()
    return plain if world.habits.timestamps == "naive" else plain + "Z"


def _without_none(values: Dict[str, Any]) -> JsonObject:
    return {name: value for name, value in values.items() if value is not None}


def _novelties(world: State) -> JsonObject:
    """Return what a newer server adds to each record."""
    if not world.habits.newer_server:
        return {}
    return {"residency": {"zone": "eu"}, "novelty_score": 0.5}


def collection(
    world: State, item: Collection, *, counts: Optional[Mapping[Optional[str], int]] = None
) -> JsonObject:
    """Return a collection; with ``counts`` of sessions it is a line of a listing."""
    listing = counts is not None
    sparse = listing and world.habits.listings_are_sparse
    sessions = counts.get(item.id, 0) if counts is not None else world.counted_sessions(item.id)
    stale = world.habits.stale_document_counts
    values = {
        "id": item.id,
        "name": item.name,
        "description": item.description,
        "embedding_model": item.embedding_model,
        "document_count": item.counted_documents if stale else len(item.documents),
        "document_size": item.size,
        "created_at": stamp(world, item.created_at),
        "updated_at": stamp(world, item.updated_at),
        "user_count": 1 + len(item.shares),
        "is_public": item.is_public,
        "username": item.username,
        "sessions_count": sessions,
        "status": item.status,
        "thumbnail": item.thumbnail,
        "size_limit": item.size_limit,
        "expiry_date": None if item.expiry_date is None else wire_time(world, item.expiry_date),
        "inactivity_interval": item.inactivity_interval,
        "workspace": item.workspace,
        "has_default_guardrails": item.has_default_guardrails,
        "exempt_from_chat_expiry": item.exempt_from_chat_expiry,
    }
    result = {**_without_none(values), "vex_encryption": item.vex_encryption}
    if not sparse:
        details = {"rag_type": item.rag_type, "prompt_template_id": item.prompt_template_id}
        if item.metadata and (listing or world.habits.collection_has_metadata):
            details["metadata_dict"] = item.metadata  # type: ignore[assignment]
        result.update(_without_none(details))
    if world.habits.newer_server and not item.archived:
        result["status"] = "hibernating"
    return {**result, **_novelties(world)}


def document(world: State, item: Membership) -> JsonObject:
    """Return one line of a collection's documents."""
    record = item.document
    return {
        "id": record.id,
        "name": record.name,
        "username": record.username,
        "type": record.name.rpartition(".")[2],
        "size": record.size,
        "page_count": record.page_count,
        "status": item.status,
        "created_at": stamp(world, record.created_at),
        "updated_at": stamp(world, item.updated_at),
        **({"metadata_dict": item.metadata} if world.habits.documents_have_metadata else {}),
        **({} if record.uri is None else {"uri": record.uri}),
        **_novelties(world),
    }


def _overall_status(world: State, item: Job) -> str:
    habits = world.habits
    words = {
        "completed": habits.job_success_word,
        "failed": habits.job_failure_word,
        "in progress": habits.job_running_word,
    }
    word = words.get(item.status, item.status)
    return word.upper() if habits.job_words_in_capitals else word


def job(world: State, item: Job) -> JsonObject:
    """Return a job; nothing in it tells which collections it is about."""
    unit = 100.0 if world.habits.percentages == "percent" else 1.0
    end = world.now() if item.ended_at is None else item.ended_at
    seconds = max(0.0, end - item.created_at)
    failed = len(item.errors) / max(1, len(item.planned)) if item.errors else 0.0
    values = {
        "id": item.id,
        "name": _KIND_NAMES.get(item.kind[0], "Working"),
        "overall_status": _overall_status(world, item),
        "status": "Running" if item.running else "Finished",
        "passed_percentage": item.progress * unit * (1 - failed),
        "failed_percentage": failed * unit,
        "progress": item.progress * unit,
        "created_at": stamp(world, item.created_at),
        "updated_at": stamp(world, end),
        "kind": item.kind,
        "statuses": [{"id": item.id, "status": item.status}],
        "errors": item.errors,
        "duration": f"{seconds:.0f}s",
        "duration_seconds": seconds,
        "canceled_by": item.canceled_by,
        "timeout": item.params.get("timeout"),
        "start_time": item.created_at + world.habits.clock_offset_h * 3600,
    }
    return {**_without_none(values), **_novelties(world)}


def connector(world: State, owner: Optional[User], home: Collection, item: Connector) -> JsonObject:
    """Return a scheduled connector of a collection."""
    return {
        "id": item.id,
        "user_id": owner.id if owner else "",
        "user_name": home.username,
        "user_email": owner.email if owner else "",
        "collection_id": home.id,
        "collection_name": home.name,
        "type": item.type,
        "config": item.config,
        "schedule": item.schedule,
        "created_at": stamp(world, item.created_at),
        **_novelties(world),
    }


def session(world: State, item: ChatSession) -> JsonObject:
    """Return a chat session."""
    home = world.collections.get(item.collection_id or "")
    values = {
        "id": item.id,
        "name": item.name,
        "collection_id": home.id if home else None,
        "collection_name": home.name if home else None,
        "latest_message_content": item.messages[-1].content if item.messages else None,
        "updated_at": stamp(world, item.updated_at),
        "workspace": item.workspace,
        "username": item.username,
    }
    return {**_without_none(values), **_novelties(world)}


def message(world: State, item: ChatMessage) -> JsonObject:
    """Return a chat message."""
    values = {
        "id": item.id,
        "content": item.content,
        "votes": 0,
        "created_at": stamp(world, item.created_at),
        "has_references": bool(item.references),
        "total_references": len(item.references),
        "username": item.username,
        "reply_to": item.reply_to,
    }
    return _without_none(values)


def reference(item: Reference, number: int) -> JsonObject:
    """Return a reference of an answer to a document."""
    return {
        "collection_id": item.collection_id,
        "document_id": item.document_id,
        "document_name": item.document_name,
        "chunk_id": number,
        "pages": "1",
        "score": 0.9,
        "content": "A passage of " + item.document_name,
        "were_references_deleted": False,
    }


def api_key(world: State, item: ApiKey) -> JsonObject:
    """Return what may be known about a key, which is not its secret."""
    home = world.collections.get(item.collection_id or "")
    values = {
        "id": item.id,
        "username": item.username,
        "name": item.name,
        "hint": item.secret[:5] + "..." + item.secret[-2:],
        "created_at": stamp(world, item.created_at),
        "expires_at": None if item.expires_at is None else stamp(world, item.expires_at),
        "last_used_at": None if item.last_used_at is None else stamp(world, item.last_used_at),
        "inactivity_interval": item.inactivity_interval,
        "total_calls": item.total_calls,
        "is_active": world.key_is_alive(item),
        "collection_name": home.name if home else None,
        "collection_id": item.collection_id,
        "is_global_key": item.collection_id is None,
    }
    return _without_none(values)


def share(name: str, who: str, rights: Optional[List[str]]) -> JsonObject:
    """Return a share with a user or group, which may lack the list of rights."""
    return _without_none({name: who, "permissions": rights})


def public_rights(world: State, item: Collection) -> Optional[List[str]]:
    """Return the rights that everybody has."""
    if not item.is_public:
        return []
    if item.public_permissions is None:
        return None if world.habits.public_null_for_all_rights else list(ALL_RIGHTS)
    return item.public_permissions


def prompt(world: State, item: PromptTemplate) -> JsonObject:
    """Return a prompt template."""
    return {
        "id": item.id,
        "name": item.name,
        "username": item.username,
        "user_id": world.users[item.username].id if item.username in world.users else "",
        "lang": "en",
        "system_prompt": "You are " + item.name,
        "is_default": False,
        "is_public": item.is_public,
        "is_system_default": False,
    }


def embedding_model(item: EmbeddingModel) -> JsonObject:
    """Return an embedding model."""
    return {
        "id": item.id,
        "display_name": item.id.rpartition("/")[2],
        "description": "The model " + item.id,
        "languages": item.languages,
    }


def meta(world: State, user: User) -> JsonObject:
    """Return the answer of ``/rpc/meta``: the server's version, and who asks."""
    return {
        "version": world.version,
        "build": "sandbox",
        "username": user.username,
        "user_id": user.id,
        "subject": user.id,
        "email": user.email,
        "is_guest": user.is_guest,
        "license_expired": False,
        "license_expiry_date": "2099-12-31",
        "global_configs": [],
        "user_configs": [],
        "picture": None,
        "groups": [world.groups[group] for group in user.groups],
        "workspaces": user.workspaces,
        "permissions": ["admin"] if user.is_admin else [],
        "ui_config": {
            "logo": "",
            "chat_logo": "",
            "primary_color": "",
            "chat_name": "",
            "greeting": "",
            "show_private_button": False,
            "show_workers_status": False,
            "show_live_logs": False,
            "show_eval": False,
            "show_extractors": False,
            "public_mode": False,
        },
    }
