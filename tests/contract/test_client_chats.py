"""The unmodified client chats over the websocket and looks after sessions."""

from __future__ import annotations

import h2ogpte
import pytest
from h2ogpte import errors
from h2ogpte.errors import ObjectNotFoundError, UnauthorizedError

from h2ogpte_migration.sandbox.habits import ChatFate

ForbiddenError = getattr(errors, "ForbiddenError", UnauthorizedError)  # new in 1.7


@pytest.fixture
def home(world):
    return world.add_collection("anna", "Papers", documents=5, chats={"anna": 2, "bertil": 1})


def ask(client, session_id, timeout=5):
    with client.connect(session_id, max_connect_retries=1) as session:
        return session.query("What is it about?", timeout=timeout, retries=1)


def test_answer_refers_to_documents_of_the_collection(anna, world, home):
    session_id = anna.create_chat_session(home.id)
    answer = ask(anna, session_id)
    assert answer.content
    references = anna.list_chat_message_references(answer.id)
    assert {r.collection_id for r in references} == {home.id}
    assert {r.document_id for r in references} <= {m.document.id for m in home.documents}
    messages = anna.list_chat_messages_full(session_id, 0, 10)
    assert [bool(m.reply_to) for m in messages] == [False, True]
    assert [m.total_references for m in messages] == [0, 3]


def test_partial_answers_come_first(anna, home):
    seen = []
    with anna.connect(anna.create_chat_session(home.id)) as session:
        answer = session.query("What?", timeout=5, callback=seen.append)
    assert [type(m).__name__ for m in seen] == ["PartialChatMessage", "ChatMessage"]
    assert answer.content.startswith(seen[0].content)


def test_fates_of_questions(anna, world, home):
    other = world.add_collection("anna", "Other")
    session_id = anna.create_chat_session(home.id)
    world.set_chat_fate(ChatFate.NO_REFERENCES)
    assert anna.list_chat_message_references(ask(anna, session_id).id) == []
    world.set_chat_fate(ChatFate.FOREIGN_REFERENCES, home.id)
    references = anna.list_chat_message_references(ask(anna, session_id).id)
    assert {r.collection_id for r in references} == {other.id}
    world.set_chat_fate(ChatFate.ERROR, home.id)
    with pytest.raises(h2ogpte.types.SessionError, match="not available"):
        ask(anna, session_id)
    world.set_chat_fate(ChatFate.SILENCE, home.id)
    with pytest.raises(TimeoutError):
        ask(anna, session_id, timeout=0.3)
    world.set_chat_fate(ChatFate.HANG_UP, home.id)
    with pytest.raises(ConnectionError):
        ask(anna, session_id)


def test_websocket_refuses_unknown_keys(anna, world, home, server):
    session_id = anna.create_chat_session(home.id)
    world.expire_keys("anna")
    with pytest.raises(UnauthorizedError):
        h2ogpte.session.Session(
            server.url, session_id, client=anna, max_connect_retries=1
        ).connect()


def test_owner_sees_all_chats_of_a_collection_and_others_their_own(anna, connect, world, home):
    home.shares["bertil"] = None
    assert len(anna.list_chat_sessions_for_collection(home.id, 0, 10)) == 3
    assert len(anna.list_chat_sessions_for_collection(home.id, 2, 10)) == 1
    bertil = connect("bertil")
    assert [s.name for s in bertil.list_chat_sessions_for_collection(home.id, 0, 10)] == [
        "chat 0 of bertil"
    ]
    assert bertil.count_chat_sessions_for_collection(home.id) == 1


def test_sessions_are_renamed_and_deleted_by_their_owner(anna, connect, world, home):
    session_id = anna.create_chat_session(home.id)
    anna.rename_chat_session(session_id, "test")
    assert "test" in [s.name for s in anna.list_recent_chat_sessions(0, 10)]
    with pytest.raises(ForbiddenError):
        connect("bertil").delete_chat_sessions([session_id])
    anna.delete_chat_sessions([session_id])
    with pytest.raises(ObjectNotFoundError):
        anna.list_chat_messages(session_id, 0, 10)


def test_session_needs_a_collection_that_may_be_read(connect, home):
    with pytest.raises(ForbiddenError):
        connect("bertil").create_chat_session(home.id)
