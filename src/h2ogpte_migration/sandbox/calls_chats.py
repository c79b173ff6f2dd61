"""Rules for chat sessions, their messages and references."""

from __future__ import annotations

from typing import Iterable, List

from . import render
from .calls import NO_CONTENT, Call, Reply, route
from .model import ChatSession, JobKind, SandboxError


def _page(call: Call, found: Iterable[ChatSession]) -> Reply:
    world = call.world
    rows = [
        session
        for session in found
        if (world.habits.archived_chats_listed or not session.archived)
        and not world.too_new(session.created_at, world.habits.chats_listed_after_s)
    ]
    rows.sort(key=lambda session: session.updated_at, reverse=True)
    return Reply(200, [render.session(call.world, session) for session in call.page(rows)])


def _visible_on_collection(call: Call) -> List[ChatSession]:
    """Return the collection's chats: all of them to its owner, their own to others."""
    home = call.world.readable(call.user, call.id)
    sessions = call.world.sessions_of(home.id)
    if home.username == call.user.username:
        return sessions
    return [session for session in sessions if session.username == call.user.username]


@route("GET", "/collections/{collection_id}/chats")
def list_chat_sessions_for_collection(call: Call) -> Reply:
    """List the chats of a collection."""
    username = call.query.get("username")
    sessions = _visible_on_collection(call)
    return _page(call, (s for s in sessions if username in (None, s.username)))


@route("GET", "/collections/{collection_id}/chats/count")
def get_chat_session_count_for_collection(call: Call) -> Reply:
    """Count the chats of a collection."""
    archived_count = call.world.habits.archived_chats_counted
    sessions = _visible_on_collection(call)
    return Reply(200, {"count": sum(archived_count or not s.archived for s in sessions)})


@route("POST", "/chats")
def create_chat_session(call: Call) -> Reply:
    """Create a chat session, on a collection that the caller may read or on none."""
    world = call.world
    collection_id = call.query.get("collection_id") or None
    home = world.readable(call.user, collection_id) if collection_id else None
    body = call.body if isinstance(call.body, dict) else {}
    session = ChatSession(
        id=world.new_id(),
        name=None,
        username=call.user.username,
        collection_id=home.id if home else None,
        updated_at=world.now(),
        workspace=body.get("workspace") or (home.workspace if home else None),
        created_at=world.now(),
    )
    world.sessions[session.id] = session
    return Reply(201, render.session(world, session))


@route("GET", "/chats")
def list_chat_sessions(call: Call) -> Reply:
    """List the caller's chat sessions."""
    sessions = call.world.sessions.values()
    return _page(call, (s for s in sessions if s.username == call.user.username))


@route("POST", "/chats/delete_job")
def create_delete_chat_session_job(call: Call) -> Reply:
    """Delete chat sessions of the caller in a job."""
    world = call.world
    ids: List[str] = call.required("session_ids", list)
    for session_id in ids:
        world.own_session(call.user, session_id)
    job = world.start_job(
        JobKind.DELETE_CHATS.value, call.user, world.times.delete_s, params={"session_ids": ids}
    )
    return Reply(201, render.job(world, job))


@route("GET", "/chats/{session_id}")
def get_chat_session(call: Call) -> Reply:
    """Return a chat session of the caller."""
    session = call.world.own_session(call.user, call.path["session_id"])
    return Reply(200, render.session(call.world, session))


@route("PATCH", "/chats/{session_id}")
def update_chat_session(call: Call) -> Reply:
    """Rename a chat session."""
    session = call.world.own_session(call.user, call.path["session_id"])
    session.name = call.required("name")
    return Reply(200, render.session(call.world, session))


@route("DELETE", "/chats/{session_id}")
def delete_chat_session(call: Call) -> Reply:
    """Delete a chat session with its messages."""
    call.world.drop_session(call.world.own_session(call.user, call.path["session_id"]).id)
    return NO_CONTENT


@route("PUT", "/chats/{session_id}/collection")
def update_chat_session_collection(call: Call) -> Reply:
    """Let a chat go on with another collection that the caller may read."""
    session = call.world.own_session(call.user, call.path["session_id"])
    home = call.world.readable(call.user, call.required("collection_id"))
    session.collection_id = home.id
    return Reply(200, render.session(call.world, session))


@route("DELETE", "/chats/{session_id}/collection")
def delete_chat_session_collection(call: Call) -> Reply:
    """Let a chat go on without a collection."""
    session = call.world.own_session(call.user, call.path["session_id"])
    session.collection_id = None
    return Reply(200, render.session(call.world, session))


@route("POST", "/chats/{session_id}/archive")
def archive_chat_session(call: Call) -> Reply:
    """Archive anybody's chat session, for admins (server 1.7 and later)."""
    return _archive(call, True)


@route("POST", "/chats/{session_id}/unarchive")
def unarchive_chat_session(call: Call) -> Reply:
    """Take anybody's chat session out of the archive, for admins (server 1.7 and later)."""
    return _archive(call, False)


def _archive(call: Call, archived: bool) -> Reply:
    call.world.require_admin(call.user)
    session = call.world.sessions.get(call.path["session_id"])
    if session is None:
        raise SandboxError(404, "Chat session not found")
    session.archived = archived
    return NO_CONTENT


@route("GET", "/chats/{session_id}/messages")
def get_chat_session_messages(call: Call) -> Reply:
    """List messages, the oldest first."""
    session = call.world.own_session(call.user, call.path["session_id"])
    return Reply(200, [render.message(call.world, m) for m in call.page(session.messages)])


@route("GET", "/messages/{message_id}/references")
def get_message_references(call: Call) -> Reply:
    """List the passages on which an answer rests."""
    session, message = call.world.messages.get(call.path["message_id"], (None, None))
    if session is None or message is None:
        raise SandboxError(404, "Message not found")
    call.world.own_session(call.user, session.id)
    limit = call.whole("limit", len(message.references))
    references = message.references[:limit]
    return Reply(200, [render.reference(r, number) for number, r in enumerate(references)])
