"""Chat over a websocket: questions in, answers with references to documents out."""

from __future__ import annotations

import json
from typing import List, Optional

from aiohttp import WSMsgType, web

from .habits import ChatFate
from .model import ChatSession, Collection, JsonObject, Reference, SandboxError, User
from .world import World

_REFERENCES = 3


async def converse(
    world: World, user: User, session_id: str, socket: web.WebSocketResponse
) -> None:
    """Answer the questions that arrive on an open websocket until it is closed."""
    async for incoming in socket:
        if incoming.type is not WSMsgType.TEXT:
            continue
        question = json.loads(incoming.data)
        if question.get("t") != "cq":
            continue
        for frame in answer(world, user, session_id, question):
            if frame is None:
                await socket.close()
                return
            await socket.send_str(json.dumps(frame))


def answer(
    world: World, user: User, session_id: str, question: JsonObject
) -> List[Optional[JsonObject]]:
    """Record a question and its answer; return the frames to send (None: hang up)."""
    with world.lock:
        try:
            session = world.own_session(user, session_id)
        except SandboxError as refusal:
            return [_error_frame(session_id, "", refusal.message)]
        asked = world.add_message(session, user.username, str(question.get("body", "")))
        acknowledgement: JsonObject = {
            "t": "cx",
            "session_id": session.id,
            "correlation_id": question.get("correlation_id", ""),
            "message_id": asked.id,
            "username": user.username,
            "body": asked.content,
        }
        strange = {"t": "cz", "session_id": session.id, "body": "a frame of a newer server"}
        novelties = [strange] if world.habits.unknown_frames else []
        return [acknowledgement, *novelties, *_answer(world, session, asked.id)]


def _answer(world: World, session: ChatSession, asked_id: str) -> List[Optional[JsonObject]]:
    fates = world.chat_fates
    fate = fates.get(session.collection_id, fates.get(None, ChatFate.ANSWER))
    if fate is ChatFate.SILENCE:
        return []
    if fate is ChatFate.HANG_UP:
        return [None]
    if fate is ChatFate.ERROR:
        return [_error_frame(session.id, asked_id, "The language model is not available")]
    references = _references(world, session, fate)
    text = f"I found {len(references)} passages about this."
    given = world.add_message(
        session, session.username, text, reply_to=asked_id, references=references
    )
    return [
        _response(kind, session.id, given.id, asked_id, body)
        for kind, body in (("cp", text[:10]), ("ca", text))
    ]


def _references(world: World, session: ChatSession, fate: ChatFate) -> List[Reference]:
    home = world.collections.get(session.collection_id or "")
    if home is None or fate is ChatFate.NO_REFERENCES:
        return []
    if fate is ChatFate.FOREIGN_REFERENCES:
        home = _another_with_documents(world, home)
    found = [m.document for m in home.documents if m.status == "completed"]
    return [Reference(home.id, d.id, d.name) for d in found[:_REFERENCES]]


def _another_with_documents(world: World, home: Collection) -> Collection:
    for other in world.collections.values():
        if other is not home and other.documents:
            return other
    return home


def _response(kind: str, session_id: str, given_id: str, asked_id: str, body: str) -> JsonObject:
    return {
        "t": kind,
        "session_id": session_id,
        "message_id": given_id,
        "reply_to_id": asked_id,
        "body": body,
        "error": "",
    }


def _error_frame(session_id: str, asked_id: str, message: str) -> JsonObject:
    return {**_response("ce", session_id, "", asked_id, ""), "error": message}
