"""What goes over the wire for each thing that the tool wants, and what is made of the answers."""

from __future__ import annotations

import json
import socket
import sys
import threading
from contextlib import suppress
from datetime import datetime, timezone
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.support.client import prepare_client

from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import (
    BadReply,
    ClientUnusable,
    Conflict,
    Forbidden,
    Interrupted,
    NotFound,
    OutcomeUnknown,
    Rejected,
    ServerError,
    TlsRefused,
    Unauthorized,
    Unavailable,
)
from h2ogpte_migration.gateway import chat as chat_module
from h2ogpte_migration.gateway.chat import CONNECT_AGAIN_S, ChatServer
from h2ogpte_migration.gateway.paging import ListingShifted
from h2ogpte_migration.gateway.rest import Gateway, Server
from h2ogpte_migration.gateway.transport import Transport
from h2ogpte_migration.model import (
    Answer,
    ApiKey,
    ChunkMatch,
    Collection,
    Document,
    Identity,
    ImportOptions,
    JobId,
    Reference,
    Share,
    SourceId,
    TargetId,
    User,
)
from h2ogpte_migration.redact import Secret, scrub

KEY = Secret("sk-fedcba9876543210")
SOURCE, TARGET = SourceId("source-1"), TargetId("target-1")


class Wire(ThreadingHTTPServer):
    """Answers by method and path, and remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: Dict[str, Any] = {}
        self.asked: List[Asked] = []

    def on(self, call: str, answer: Any = None, status: int = 200) -> None:
        """What to answer to e.g. ``GET /jobs``; a callable is given the query."""
        self.answers[call] = (status, answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def calls(self) -> List[str]:
        return [asked.call for asked in self.asked]


class Asked:
    def __init__(self, call: str, query: Dict[str, str], body: Any, headers: Any) -> None:
        self.call, self.query, self.body, self.headers = call, query, body, headers


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # what is written in two goes need not wait for an ACK
    server: Wire

    def act(self) -> None:
        parts = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        call = f"{self.command} {parts.path.replace('/api/v1', '')}"
        query = dict(parse_qsl(parts.query))
        self.server.asked.append(
            Asked(call, query, json.loads(data) if data else None, self.headers)
        )
        unknown = (404, {"code": 404, "message": "not found"})
        status, answer = self.server.answers.get(call, unknown)
        answer = answer(query) if callable(answer) else answer
        reply = b"" if answer is None else json.dumps(answer).encode()
        self.send_response_only(status)
        if status != 204:
            self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = act  # noqa: N815

    def log_message(self, *args: Any) -> None:
        """Not in the test's output."""


@pytest.fixture
def wire() -> Iterator[Wire]:
    server = Wire()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server(wire: Wire) -> Iterator[Server]:
    rest = Server(Transport(wire.url, retries=0, timeout_s=5, clock=Clock(threading.Event())))
    yield rest
    rest.close()


@pytest.fixture
def gateway(server: Server) -> Gateway:
    return server.as_key(KEY)


def paged(rows: List[Any], cap: int = 10_000) -> Callable[[Dict[str, str]], List[Any]]:
    def answer(query: Dict[str, str]) -> List[Any]:
        offset, limit = int(query["offset"]), int(query["limit"])
        return rows[offset : offset + min(limit, cap)]

    return answer


# -- who and what --------------------------------------------------------------------------
def test_identity_is_asked_outside_of_the_api(wire: Wire, gateway: Gateway):
    meta = {"username": "ada", "user_id": "u1", "version": "v1.7.5", "is_guest": False, "new": 1}
    wire.on("GET /rpc/meta", meta)
    assert gateway.identity() == Identity("ada", "u1", "v1.7.5", is_guest=False)
    assert wire.asked[0].headers["Authorization"] == f"Bearer {KEY.reveal()}"


def test_identity_without_a_name_is_a_bad_reply(wire: Wire, gateway: Gateway):
    wire.on("GET /rpc/meta", {"error": "not here"})
    with pytest.raises(BadReply):
        gateway.identity()


def test_each_key_is_sent_with_its_own_requests(wire: Wire, server: Server):
    wire.on("GET /embedding_models", [{"id": "m"}])
    other = Secret("sk-another-key-00")
    server.as_key(KEY).embedding_models()
    server.as_key(other).embedding_models()
    sent = [asked.headers["Authorization"] for asked in wire.asked]
    assert sent == [f"Bearer {KEY.reveal()}", f"Bearer {other.reveal()}"]


class Renewable:
    """A temporary key and what replaces it; gives up after one renewal."""

    def __init__(self, *keys: str) -> None:
        self.keys = [Secret(key) for key in keys]

    def current(self) -> Secret:
        return self.keys[0]

    def renew(self, stale: Secret) -> Optional[Secret]:
        if len(self.keys) == 1:
            return None
        assert self.keys.pop(0) == stale
        return self.current()


@pytest.mark.parametrize("read", [Gateway.jobs, lambda gateway: gateway.create_chat("c1")])
def test_a_refused_key_is_renewed_once(wire: Wire, server: Server, read: Any):
    wire.on("GET /rpc/meta", {"message": "expired"}, 401)
    wire.on("GET /jobs", {"message": "expired"}, 401)
    wire.on("POST /chats", {"message": "expired"}, 401)
    with pytest.raises(Unauthorized):
        read(server.as_owner(Renewable("sk-first-key-1", "sk-second-key")))
    sent = [
        asked.headers["Authorization"]
        for asked, call in zip(wire.asked, wire.calls)
        if "meta" not in call
    ]
    assert sent == ["Bearer sk-first-key-1", "Bearer sk-second-key"]
    with pytest.raises(Unauthorized):
        read(server.as_key(KEY))


def test_embedding_models(wire: Wire, gateway: Gateway):
    wire.on("GET /embedding_models", [{"id": "a/b", "x": 1}, {"display_name": "?"}, {"id": "c"}])
    assert gateway.embedding_models() == ["a/b", "c"]


# -- listings ------------------------------------------------------------------------------
def test_all_collections_in_a_lasting_order(wire: Wire, gateway: Gateway):
    row = {
        "id": "c1",
        "name": "One",
        "username": "ada",
        "embedding_model": "m",
        "document_count": 3,
        "created_at": "2026-05-01T10:00:00Z",
        "is_public": True,
        "rag_type": "brand_new",
    }
    wire.on("GET /collections/all", paged([row, {"name": "no id"}, None, {"id": "c2"}]))
    first, second = gateway.all_collections("ada")
    assert first == Collection(
        id="c1",
        name="One",
        owner="ada",
        model="m",
        document_count=3,
        created_at=datetime(2026, 5, 1, 10, tzinfo=timezone.utc),
        is_public=True,
    )
    assert first.raw is None
    assert second.id == "c2"
    assert wire.asked[0].query == {
        "sort_column": "name",
        "ascending": "true",
        "filter": "ada",
        "offset": "0",
        "limit": "500",
    }


def test_all_collections_over_pages(wire: Wire, gateway: Gateway):
    rows = [{"id": f"c{number}"} for number in range(1234)]
    wire.on("GET /collections/all", paged(rows))
    assert [item.id for item in gateway.all_collections()] == [row["id"] for row in rows]
    assert [asked.query["offset"] for asked in wire.asked] == ["0", "490", "980", "1224"]
    assert "filter" not in wire.asked[0].query


def test_own_collections(wire: Wire, gateway: Gateway):
    wire.on("GET /collections", paged([{"id": "c1"}]))
    assert [item.id for item in gateway.own_collections()] == ["c1"]
    query = wire.asked[0].query
    assert query["current_user_only"] == "true"
    assert (query["sort_column"], query["ascending"]) == ("name", "true")


def test_users(wire: Wire, gateway: Gateway):
    wire.on("GET /users", paged([{"id": "u1", "username": "ada", "email": "a@b"}]))
    assert list(gateway.users()) == [User("u1", "ada")]


def test_users_where_long_pages_are_refused(wire: Wire, gateway: Gateway):
    rows = [{"id": f"u{number}", "username": "x"} for number in range(150)]

    def refuse_once(query: Dict[str, str]) -> Any:
        wire.on("GET /users", paged(rows))
        return {"code": 400, "message": "limit too large"}

    wire.on("GET /users", refuse_once, 400)
    assert len(list(gateway.users())) == 150
    assert [asked.query["limit"] for asked in wire.asked][:2] == ["500", "100"]


def test_documents_with_their_positions(wire: Wire, gateway: Gateway):
    rows = [
        {"id": "d1", "name": "One", "status": "completed"},
        {"name": "nothing"},
        None,
        {"id": "d1", "name": "One", "status": "frozen_by_version_9"},
    ]
    wire.on("GET /collections/c1/documents", paged(rows))
    assert list(gateway.documents("c1", expected=4)) == [
        Document("d1", "One", "completed", index=0),
        Document("d1", "One", "frozen_by_version_9", index=3),
    ]
    assert len(wire.asked) == 1


def test_documents_are_asked_for_page_by_page(wire: Wire, gateway: Gateway):
    rows = [{"id": f"d{number}"} for number in range(1000)]
    wire.on("GET /collections/c1/documents", paged(rows))
    documents = gateway.documents("c1")
    next(documents)
    assert len(wire.asked) == 1
    assert [document.index for document in documents] == list(range(1, 1000))


def test_documents_that_shift_are_not_taken_for_the_truth(wire: Wire, gateway: Gateway):
    rows = [{"id": f"d{number}"} for number in range(1000)]
    wire.on("GET /collections/c1/documents", paged(rows))
    documents = gateway.documents("c1")
    next(documents)
    del rows[5]
    with pytest.raises(ListingShifted) as caught:
        list(documents)
    assert isinstance(caught.value, ServerError)


def test_connectors_and_chats_are_raw(wire: Wire, gateway: Gateway):
    connector, chat = {"id": "k", "config": {"deep": [1]}}, {"id": "s", "name": "Chat"}
    wire.on("GET /collections/c1/scheduled_connectors", [connector, {}])
    wire.on("GET /collections/c1/chats", [chat])
    wire.on("GET /collections/c1/chats/count", {"count": 7})
    assert gateway.connectors("c1") == [connector]
    assert gateway.chats("c1", limit=3) == [chat]
    assert gateway.chat_count("c1") == 7
    assert wire.asked[1].query == {"offset": "0", "limit": "3"}


def test_connectors_and_chats_without_a_usable_id_are_there_all_the_same(
    wire: Wire, gateway: Gateway
):
    rows = [{"id": 17}, {"id": None, "name": "nightly"}, {"id": None}, {}, None]
    wire.on("GET /collections/c1/scheduled_connectors", rows)
    wire.on("GET /collections/c1/chats", [{"id": 5, "name": "hers"}])
    assert len(gateway.connectors("c1")) == 2, "what says nothing is nothing"
    assert len(gateway.chats("c1")) == 1


@pytest.mark.parametrize("answer", [{}, {"count": "7"}, {"count": True}])
def test_chat_count_that_is_no_number(wire: Wire, gateway: Gateway, answer: Any):
    wire.on("GET /collections/c1/chats/count", answer)
    with pytest.raises(BadReply):
        gateway.chat_count("c1")


# -- one collection, reading ---------------------------------------------------------------
def test_collection_keeps_what_is_unknown(wire: Wire, gateway: Gateway):
    wire.on("GET /collections/c1", {"id": "c1", "name": "One", "rag_type": "x", "new": {"a": 1}})
    collection = gateway.collection("c1")
    assert collection.name == "One"
    assert collection.get("new") == {"a": 1}


@pytest.mark.parametrize("what", ["settings", "chat_settings", "metadata"])
def test_settings_are_raw(wire: Wire, gateway: Gateway, what: str):
    wire.on(f"GET /collections/c1/{what}", {"unheard_of": [1, {"x": None}]})
    read = getattr(gateway, what)
    assert read("c1") == {"unheard_of": [1, {"x": None}]}
    with pytest.raises(NotFound):
        read("c2")


def test_permissions(wire: Wire, gateway: Gateway):
    wire.on("GET /collections/c1/public_permissions", ["read", "chat"])
    wire.on(
        "GET /collections/c1/permissions",
        [{"username": "ada", "permissions": ["read"]}, {"username": "bob"}],
    )
    wire.on("GET /collections/c1/group_permissions", [{"group_id": "g", "permissions": []}])
    assert gateway.public_permissions("c1") == ("read", "chat")
    assert gateway.user_shares("c1") == [Share("ada", ("read",)), Share("bob", None)]
    assert gateway.group_shares("c1") == [Share("g", ())]


@pytest.mark.parametrize("permissions", ["read", {"read": True}, "", 7, False, [None], [7], [[]]])
def test_rights_that_cannot_be_understood_are_nobodys(
    wire: Wire, gateway: Gateway, permissions: Any
):
    """No list at all stands for all rights: whatever else is there must not be taken for that."""
    row = {"username": "bob", "permissions": permissions}
    wire.on("GET /collections/c1/permissions", [row])
    assert gateway.user_shares("c1") == [Share("")]
    wire.on("GET /collections/c1/public_permissions", permissions)
    with pytest.raises(BadReply):
        gateway.public_permissions("c1")


@pytest.mark.parametrize("row", [{"permissions": []}, {"group_id": None}, {"group_id": {}}, "g", 7])
def test_a_share_that_names_nobody_is_nobodys(wire: Wire, gateway: Gateway, row: Any):
    wire.on(
        "GET /collections/c1/group_permissions", [row, {"group_id": 7, "permissions": ["read"]}]
    )
    assert gateway.group_shares("c1") == [Share(""), Share("7", ("read",))]


JOB = {"id": "j1", "kind": "ImportCollectionIntoCollectionJob", "overall_status": "completed"}


def test_jobs_are_polled_without_counting_as_a_use_of_the_key(wire: Wire, gateway: Gateway):
    wire.on("GET /jobs", [JOB, {"kind": "no id"}])
    wire.on("GET /jobs/j1", JOB)
    assert [job.id for job in gateway.jobs()] == ["j1"]
    job = gateway.job(JobId("j1"))
    assert job is not None
    assert job.state == "completed"
    assert wire.calls == ["GET /jobs", "GET /jobs/j1"]
    assert {asked.headers["X-H2OGPTE-Internal-Poll"] for asked in wire.asked} == {"true"}


def test_one_401_to_a_good_key_is_asked_again_and_a_second_one_is_a_refusal(
    wire: Wire, gateway: Gateway
):
    call = "GET /collections/c1/settings"
    wire.on("GET /rpc/meta", {"username": "anna"})

    def once(_: Dict[str, str]) -> Dict[str, str]:
        wire.on(call, {"deep": 1})
        return {"message": "not now"}

    wire.on(call, once, 401)
    assert gateway.settings("c1") == {"deep": 1}
    wire.on(call, {"message": "never"}, 401)
    with pytest.raises(Forbidden):
        gateway.settings("c1")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 422, 500])
def test_a_refused_job_is_looked_for_among_all(wire: Wire, gateway: Gateway, status: int):
    wire.on("GET /rpc/meta", {"username": "ada", "user_id": "u1"})
    wire.on("GET /jobs/j1", {"code": 5, "message": "unknown job"}, status)
    wire.on("GET /jobs", [JOB])
    found = gateway.job(JobId("j1"))
    assert found is not None
    assert found.id == "j1"
    wire.on("GET /jobs", [])
    assert gateway.job(JobId("j1")) is None


@pytest.mark.parametrize(
    ("status", "family"), [(401, Unauthorized), (403, Rejected), (500, Unavailable)]
)
def test_a_job_that_cannot_be_read_is_not_gone(
    wire: Wire, gateway: Gateway, status: int, family: type
):
    """What is wrong with key or server shows in the listing as well."""
    wire.on("GET /rpc/meta", {"message": "no"}, status)
    wire.on("GET /jobs/j1", {"message": "no"}, status)
    wire.on("GET /jobs", {"message": "no"}, status)
    with pytest.raises(family):
        gateway.job(JobId("j1"))


@pytest.mark.parametrize(("told", "rights"), [([], ()), (None, None)])
def test_public_without_any_right_differs_from_no_list(
    wire: Wire, gateway: Gateway, told: Any, rights: Any
):
    # An empty body would do as well; "null" is what a server without a list says.
    wire.on("GET /collections/c1/public_permissions", told)
    assert gateway.public_permissions("c1") == rights


# -- one collection, writing ---------------------------------------------------------------
def test_create_collection(wire: Wire, gateway: Gateway):
    request = {"name": "N", "description": "", "collection_settings": {"new": 1}, "x": None}
    wire.on("POST /collections", {"id": "c9", "name": "N", "more": 1}, 201)
    made = gateway.create_collection(request)
    assert (made.id, made.get("more")) == ("c9", 1)
    assert wire.asked[0].body == request


Write = Tuple[Callable[[Gateway], Any], str, Any]
WRITES: Dict[str, Write] = {
    "rag_type": (
        lambda g: g.describe(TARGET, name="n", description="", rag_type="rag+"),
        "PATCH /collections/target-1",
        {"name": "n", "description": "", "rag_type": "rag+"},
    ),
    "settings": (
        lambda g: g.set_settings(TARGET, {"ocr_model": "auto", "new": 1}),
        "PUT /collections/target-1/settings",
        {"ocr_model": "auto", "new": 1},
    ),
    "chat settings": (
        lambda g: g.set_chat_settings(TARGET, {"llm": "auto"}),
        "PUT /collections/target-1/chat_settings",
        {"llm": "auto"},
    ),
    "metadata": (
        lambda g: g.set_metadata(TARGET, {}),
        "PUT /collections/target-1/metadata",
        {},
    ),
    "prompt template": (
        lambda g: g.set_prompt_template(TARGET, "p1"),
        "PUT /collections/target-1/prompt_template",
        {"prompt_template_id": "p1"},
    ),
    "chat expiry": (
        lambda g: g.set_chat_expiry_exemption(TARGET, True),
        "PUT /collections/target-1/exempt_from_chat_expiry",
        {"exempt": True},
    ),
    "public": (
        lambda g: g.make_public(TARGET, ("read",)),
        "POST /collections/target-1/is_public",
        {"is_public": True, "permissions": ["read"]},
    ),
    "public without rights": (
        lambda g: g.make_public(TARGET, ()),
        "POST /collections/target-1/is_public",
        {"is_public": True, "permissions": []},
    ),
    "public with all rights": (
        lambda g: g.make_public(TARGET, None),
        "POST /collections/target-1/is_public",
        {"is_public": True},
    ),
    "user": (
        lambda g: g.share_with_user(TARGET, Share("a/da@x y", ("read",))),
        "PUT /collections/target-1/permissions/a%2Fda%40x%20y",
        {"permissions": ["read"]},
    ),
    "user without a list": (
        lambda g: g.share_with_user(TARGET, Share("bob")),
        "PUT /collections/target-1/permissions/bob",
        {},
    ),
    "user with an empty list": (
        lambda g: g.share_with_user(TARGET, Share("bob", ())),
        "PUT /collections/target-1/permissions/bob",
        {"permissions": []},
    ),
    "group": (
        lambda g: g.share_with_group(TARGET, Share("g1", ("read", "chat"))),
        "PUT /collections/target-1/group_permissions/g1",
        {"permissions": ["read", "chat"]},
    ),
    "group without a list": (
        lambda g: g.share_with_group(TARGET, Share("g1")),
        "PUT /collections/target-1/group_permissions/g1",
        {},
    ),
    "delete collection": (
        lambda g: g.delete_collection("c1"),
        "DELETE /collections/c1",
        None,
    ),
    "delete key": (lambda g: g.delete_key("k1"), "DELETE /admin/api_keys/k1", None),
    "delete chat": (lambda g: g.delete_chat("s1"), "DELETE /chats/s1", None),
}


@pytest.mark.parametrize("what", WRITES)
def test_writes(wire: Wire, gateway: Gateway, what: str):
    write, call, body = WRITES[what]
    wire.on(call, None, 204)
    write(gateway)
    assert wire.calls == [call]
    assert wire.asked[0].body == body


@pytest.mark.parametrize("what", ["delete collection", "delete chat"])
def test_what_is_not_there_is_told_from_what_was_deleted(wire: Wire, gateway: Gateway, what: str):
    delete, call, _ = WRITES[what]
    wire.on(call, None, 204)
    assert delete(gateway) is True
    wire.on(call, {"message": "none"}, 404)
    assert delete(gateway) is False


@pytest.mark.parametrize("what", WRITES)
def test_writes_may_be_repeated(wire: Wire, gateway: Gateway, what: str):
    write, call, _ = WRITES[what]
    wire.on(call, None, 500)
    with pytest.raises(Unavailable):
        write(gateway)


@pytest.mark.parametrize("what", WRITES)
def test_conflicts_are_told_apart(wire: Wire, gateway: Gateway, what: str):
    write, call, _ = WRITES[what]
    wire.on(call, {"code": 6, "message": "already"}, 409)
    with pytest.raises(Conflict, match="already"):
        write(gateway)


@pytest.mark.parametrize("what", WRITES)
def test_what_is_deleted_already_counts_as_done(wire: Wire, gateway: Gateway, what: str):
    if what in ("delete collection", "delete chat"):
        WRITES[what][0](gateway)
    else:
        with pytest.raises(NotFound):
            WRITES[what][0](gateway)


Create = Tuple[Callable[[Gateway], Any], str, Dict[str, str], Any]
CREATES: Dict[str, Create] = {
    "collection": (
        lambda g: g.create_collection({"name": "N"}).id,
        "POST /collections",
        {},
        {"name": "N"},
    ),
    "import": (
        lambda g: g.submit_import(source=SOURCE, target=TARGET, how=ImportOptions()),
        "POST /collections/target-1/import_collection_job",
        {
            "copy_document": "false",
            "preserve_document_status": "true",
            "preserve_metadata": "true",
            "copy_lifecycle_settings": "true",
            "ocr_model": "auto",
        },
        {"source_collection_id": "source-1"},
    ),
    "import without parsing": (
        lambda g: g.submit_import(
            source=SOURCE,
            target=TARGET,
            how=ImportOptions(skip_reparse=True, ocr_model=None),
        ),
        "POST /collections/target-1/import_collection_job",
        {
            "copy_document": "false",
            "preserve_document_status": "true",
            "preserve_metadata": "true",
            "copy_lifecycle_settings": "true",
            "skip_reparse": "true",
        },
        {"source_collection_id": "source-1"},
    ),
    "import of copies": (
        lambda g: g.submit_import(
            source=SOURCE, target=TARGET, how=ImportOptions(copy_document=True, ocr_model="off")
        ),
        "POST /collections/target-1/import_collection_job",
        {
            "copy_document": "true",
            "preserve_document_status": "true",
            "preserve_metadata": "true",
            "copy_lifecycle_settings": "true",
            "ocr_model": "off",
        },
        {"source_collection_id": "source-1"},
    ),
    "connectors": (
        lambda g: g.move_connectors(source=SOURCE, target=TARGET),
        "POST /collections/target-1/migrate_scheduled_connectors",
        {},
        {"src_collection_id": "source-1"},
    ),
    "chats": (
        lambda g: g.move_chats(source=SOURCE, target=TARGET),
        "POST /collections/source-1/migrate_chat_sessions_job",
        {},
        {"target_collection_id": "target-1"},
    ),
    "chat": (
        lambda g: g.create_chat("c1"),
        "POST /chats",
        {"collection_id": "c1"},
        {},
    ),
}


@pytest.mark.parametrize("what", CREATES)
def test_creates(wire: Wire, gateway: Gateway, what: str):
    create, call, query, body = CREATES[what]
    wire.on(call, {"id": "made-1", "new": 1}, 201)
    assert create(gateway) == "made-1"
    assert (wire.asked[0].query, wire.asked[0].body) == (query, body)


@pytest.mark.parametrize("what", CREATES)
@pytest.mark.parametrize("answer", [{}, {"id": ""}, {"id": 7}, {"id": None}, [], None])
def test_creating_without_an_id_has_an_unknown_outcome(
    wire: Wire, gateway: Gateway, what: str, answer: Any
):
    create, call, _, _ = CREATES[what]
    wire.on(call, answer, 201)
    with pytest.raises(OutcomeUnknown):
        create(gateway)


def _create_key(gateway: Gateway) -> Any:
    return gateway.create_key(user_id="u1", name="n", expires_in="1 hour")


@pytest.mark.parametrize(
    ("create", "call"),
    [(_create_key, "POST /admin/api_keys"), *(case[:2] for case in CREATES.values())],
)
def test_creates_are_not_repeated(wire: Wire, create: Callable[[Gateway], Any], call: str):
    wire.on(call, {"message": "boom"}, 500)
    patient = Server(Transport(wire.url, retries=5, clock=Clock(threading.Event())))
    with pytest.raises(OutcomeUnknown, match="boom"):
        create(patient.as_key(KEY))
    patient.close()
    assert len(wire.asked) == 1


# -- keys ----------------------------------------------------------------------------------
def test_create_key(wire: Wire, gateway: Gateway):
    wire.on("POST /admin/api_keys", {"secret_key": "sk-new-secret-1", "api_key": {"id": "k1"}}, 201)
    key_id, secret = gateway.create_key(user_id="u1", name="tmp", expires_in="30 days")
    assert (key_id, secret) == ("k1", Secret("sk-new-secret-1"))
    assert wire.asked[0].body == {"user_id": "u1", "name": "tmp", "expires_in": "30 days"}
    assert scrub("sk-new-secret-1") == "***"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"secret_key": "sk-1234567"},
        {"api_key": {"id": "k1"}},
        {"secret_key": "s", "api_key": 1},
    ],
)
def test_key_of_which_half_is_missing(wire: Wire, gateway: Gateway, answer: Any):
    wire.on("POST /admin/api_keys", answer, 201)
    with pytest.raises(OutcomeUnknown):
        gateway.create_key(user_id="u1", name="tmp", expires_in="1 hour")


def test_keys(wire: Wire, gateway: Gateway):
    wire.on("GET /admin/api_keys", paged([{"id": "k1", "name": "n", "username": "ada"}]))
    assert list(gateway.keys("ada")) == [ApiKey("k1", "n", "ada")]
    assert wire.asked[0].query["filter"] == "ada"


# -- the check of the retrieval ------------------------------------------------------------
CHUNKS, MATCH = "GET /documents/d1/chunks", "POST /collections/source-1/chunks/match"
ENCODE = "POST /embedding_models/m/encode_chunks_for_retrieval"


def test_of_chunks_the_texts_are_kept_whatever_else_there_is(wire: Wire, gateway: Gateway):
    wire.on(CHUNKS, [{"id": 1, "text": "one"}, {"text": ""}, {"text": None}, 7, None, {"new": 1}])
    assert gateway.document_chunks(SOURCE, "d1") == ["one"]
    assert wire.asked[0].query == {"collection_id": SOURCE}


def test_of_matches_document_and_name_are_kept(wire: Wire, gateway: Gateway):
    rows = [{"topic": "d1", "name": "a", "text": "secret"}, {"name": "b"}, {"topic": 3}, "x", {}]
    wire.on(MATCH, rows)
    found = gateway.match_chunks(SOURCE, [0.5, 1.0])
    assert found == [ChunkMatch("d1", "a"), ChunkMatch("", "b")]
    assert wire.asked[0].body["vectors"] == [[0.5, 1.0]]


@pytest.mark.parametrize(
    "vectors",
    [
        [],
        [[1.0]],
        [[1.0], []],
        [[1.0], ["x"]],
        [[1.0], [None]],
        [[1.0], [True]],
        [[1], 2],
        [{}, {}],
    ],
)
def test_an_answer_without_a_vector_for_each_text_is_none(
    wire: Wire, gateway: Gateway, vectors: Any
):
    wire.on(ENCODE, vectors)
    with pytest.raises(BadReply, match="no vector for each text"):
        gateway.encode("m", ["one", "two"])


@pytest.mark.parametrize(("status", "family"), [(400, Rejected), (404, NotFound), (405, Rejected)])
def test_a_model_or_a_route_that_is_not_there_is_a_refusal(
    wire: Wire, gateway: Gateway, status: int, family: Any
):
    wire.on(ENCODE, {"code": status, "message": "no"}, status)
    with pytest.raises(family):
        gateway.encode("m", ["one"])


def test_matches_that_name_no_document_are_no_answer(wire: Wire, gateway: Gateway):
    wire.on(MATCH, [{"text": "found"}, 7])
    with pytest.raises(BadReply, match="name no document"):
        gateway.match_chunks(SOURCE, [1.0])
    wire.on(MATCH, [])
    assert gateway.match_chunks(SOURCE, [1.0]) == []


def test_chunks_that_have_no_text_are_no_answer(wire: Wire, gateway: Gateway):
    wire.on(CHUNKS, [{"content": "one"}, 7])
    with pytest.raises(BadReply, match="chunks without text"):
        gateway.document_chunks(SOURCE, "d1")
    wire.on(CHUNKS, [])
    assert gateway.document_chunks(SOURCE, "d1") == []


@pytest.mark.parametrize("answer", [{"chunks": []}, "text", 7])
def test_chunks_and_matches_of_another_shape_are_no_answer(
    wire: Wire, gateway: Gateway, answer: Any
):
    wire.on(CHUNKS, answer)
    wire.on(MATCH, answer)
    with pytest.raises(BadReply):
        gateway.document_chunks(SOURCE, "d1")
    with pytest.raises(BadReply):
        gateway.match_chunks(SOURCE, [1.0])


# -- the RAG check -------------------------------------------------------------------------
def test_messages_and_references(wire: Wire, gateway: Gateway):
    message = {"id": "m1", "content": "Hello", "new": 1}
    wire.on("GET /chats/s1/messages", [message])
    wire.on(
        "GET /messages/m1/references",
        [{"document_id": "d1", "collection_id": "c1"}, {"document_id": "d2"}, {"chunk_id": 3}],
    )
    assert gateway.chat_messages("s1") == [message]
    assert gateway.references("m1") == [Reference("d1", "c1"), Reference("d2", None)]


class Chat:
    """A websocket server that does with each question what a test tells it."""

    def __init__(self, reaction: Callable[[Any, Any], None], **options: Any) -> None:
        from websockets.sync.server import serve

        self.headers: List[Any] = []
        self.reaction = reaction
        self.server = serve(self._converse, "127.0.0.1", 0, **options)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        self.port = self.server.socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def _converse(self, connection: Any) -> None:
        self.headers.append(connection.request.headers)
        self.path = connection.request.path
        self.reaction(connection, json.loads(connection.recv()))

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()


@pytest.fixture
def chat() -> Iterator[Callable[..., Chat]]:
    prepare_client()
    running: List[Chat] = []

    def start(reaction: Callable[[Any, Any], None], **options: Any) -> Chat:
        running.append(Chat(reaction, **options))
        return running[-1]

    yield start
    for server in running:
        server.close()


def _say(connection: Any, question: Any, **message: Any) -> None:
    told = {"session_id": question["session_id"], "reply_to_id": "q1", "message_id": "a1"}
    connection.send(json.dumps({**told, **message}))


def _acknowledge(connection: Any, question: Any) -> None:
    asked = {name: question[name] for name in ("session_id", "correlation_id", "body")}
    connection.send(json.dumps({**asked, "t": "cx", "message_id": "q1", "username": "ada"}))


def _reply(connection: Any, question: Any) -> None:
    _acknowledge(connection, question)
    _say(connection, question, t="cp", body="Par", error="")
    _say(connection, question, t="ca", body=f"Answer to {question['body']}", error="")


def ask(url: str, timeout_s: float = 60.0, verify: Any = True) -> Answer:
    server = ChatServer(url, verify, connect_timeout_s=30.0, pause=lambda _: None)
    return server.ask(KEY, "s1", "Why?", timeout_s)


def test_a_question_is_answered(chat: Any, capfd: pytest.CaptureFixture[str]):
    server = chat(_reply)
    assert ask(server.url) == Answer("a1", "Answer to Why?")
    assert server.headers[0]["Authorization"] == f"Bearer {KEY.reveal()}"
    assert "currentSessionID=s1" in server.path
    assert capfd.readouterr() == ("", "")


def _fail(connection: Any, question: Any) -> None:
    _acknowledge(connection, question)
    _say(connection, question, t="ce", body="", error=f"no \x1b[31mmodel for {KEY.reveal()}")


def _hang_up(connection: Any, question: Any) -> None:
    connection.close()


def _babble(connection: Any, question: Any) -> None:
    connection.send("no json")


def _send_bytes(connection: Any, question: Any) -> None:
    connection.send(b"bytes")


@pytest.mark.parametrize(
    ("reaction", "family", "words"),
    [
        (_fail, Rejected, r"no \\x1b\[31mmodel for \*\*\*"),
        (_hang_up, Unavailable, "WS /ws failed"),
        (_babble, BadReply, "does not understand what the server sent"),
        (_send_bytes, BadReply, "does not understand what the server sent"),
    ],
)
def test_what_goes_wrong_is_a_server_error_and_prints_nothing(
    chat: Any, capfd: pytest.CaptureFixture[str], reaction: Any, family: type, words: str
):
    with pytest.raises(family, match=words):
        ask(chat(reaction).url)
    assert capfd.readouterr() == ("", "")


def test_an_answer_that_does_not_come(chat: Any):
    done = threading.Event()
    server = chat(lambda connection, question: done.wait(10))
    with pytest.raises(Unavailable, match=r"within 0\.1 s") as caught:
        ask(server.url, timeout_s=0.1)
    done.set()
    assert "Why?" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "family"),
    [(401, Unauthorized), (403, Rejected), (404, NotFound), (429, Unavailable), (502, Unavailable)],
)
def test_a_refused_connection(
    chat: Any, capfd: pytest.CaptureFixture[str], status: int, family: type
):
    def refuse(connection: Any, request: Any) -> Any:
        return connection.protocol.reject(HTTPStatus(status), "no")

    server = chat(_reply, process_request=refuse)
    with pytest.raises(family) as caught:
        ask(server.url)
    assert caught.value.status == status
    assert capfd.readouterr() == ("", "")


def _close(connection: Any) -> Any:
    connection.socket.shutdown(socket.SHUT_RDWR)


def _refuse(status: int) -> Any:
    return lambda connection: connection.protocol.reject(HTTPStatus(status), "no")


@pytest.mark.parametrize("trouble", [_close, _refuse(429), _refuse(503)])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_connection_is_tried_for_before_anything_is_asked(chat: Any, trouble: Any, times: int):
    seen: List[Any] = []

    def process(connection: Any, request: Any) -> Any:
        seen.append(request)
        return trouble(connection) if len(seen) <= times else None

    server = chat(_reply, process_request=process)
    if times < 3:
        assert ask(server.url).message_id == "a1"
        assert len(seen) == times + 1
    else:
        with pytest.raises(Unavailable):
            ask(server.url)
        assert len(seen) == 3


@pytest.mark.parametrize(("status", "name"), [(429, "Retry-After"), (503, "retry-after")])
def test_a_connection_is_tried_for_when_the_server_wants_it(chat: Any, status: int, name: str):
    def process(connection: Any, request: Any) -> Any:
        if len(paused) == 2:
            return None
        answer = _refuse(status)(connection)
        answer.headers[name] = "0" if paused else "7"
        return answer

    paused: List[float] = []
    server = ChatServer(chat(_reply, process_request=process).url, pause=paused.append)
    assert server.ask(KEY, "s1", "Why?", 60.0).message_id == "a1"
    assert paused == [7.0, CONNECT_AGAIN_S[1]]


@pytest.mark.parametrize("proxy", [None, "http://proxy.example.com"])
def test_where_a_proxy_leads_to_the_server_a_question_that_does_not_come_through_names_it(
    chat: Any, monkeypatch: pytest.MonkeyPatch, proxy: Optional[str]
):
    """The client package knows no proxies."""
    monkeypatch.setattr(chat_module, "proxy_for", lambda _: (proxy, None))
    server = chat(_reply, process_request=lambda connection, _: _close(connection))
    with pytest.raises(Unavailable) as caught:
        ask(server.url)
    assert ("does not use the proxy" in str(caught.value)) is (proxy is not None)


def test_where_no_connection_comes_through_the_next_question_makes_one_attempt(chat: Any):
    seen: List[Any] = []
    works = [False]

    def process(connection: Any, request: Any) -> Any:
        seen.append(request)
        return None if works[0] else _refuse(503)(connection)

    server = ChatServer(chat(_reply, process_request=process).url, pause=lambda _: None)
    attempts = []
    for works[0] in (False, False, True, False):
        before = len(seen)
        with suppress(Unavailable):
            server.ask(KEY, "s1", "Why?", 60.0)
        attempts.append(len(seen) - before)
    assert attempts == [3, 1, 1, 3]


def test_after_a_stop_no_connection_is_tried_for_again(chat: Any):
    seen: List[Any] = []
    stop = threading.Event()

    def process(connection: Any, request: Any) -> Any:
        seen.append(request)
        stop.set()
        return _refuse(503)(connection)

    url = chat(_reply, process_request=process).url
    gateway = Server(Transport(url, clock=Clock(stop))).as_key(KEY)
    with pytest.raises(Interrupted):
        gateway.ask("s1", "Why?", 60.0)
    assert len(seen) == 1


def test_a_refusal_is_not_asked_for_again(chat: Any):
    seen: List[Any] = []

    def process(connection: Any, request: Any) -> Any:
        seen.append(request)
        return _refuse(403)(connection)

    with pytest.raises(Rejected):
        ask(chat(_reply, process_request=process).url)
    assert len(seen) == 1


def test_a_question_is_asked_once(chat: Any):
    asked: List[Any] = []

    def hang_up(connection: Any, question: Any) -> None:
        asked.append(question)
        connection.close()

    with pytest.raises(Unavailable):
        ask(chat(hang_up).url)
    assert len(asked) == 1


def test_no_server():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(Unavailable, match="refused"):
        ask(f"http://127.0.0.1:{port}")


def _client_modules() -> List[str]:
    return [name for name in sys.modules if name.split(".")[0] == "h2ogpte"]


@pytest.fixture
def no_client() -> Iterator[None]:
    """Forget the client that is installed, for one test."""
    taken = {name: sys.modules.pop(name) for name in _client_modules()}
    yield
    for name in _client_modules():
        del sys.modules[name]
    sys.modules.update(taken)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ImportError('no module named yyy')", r"ImportError: no module named yyy"),
        # As 1.7.0 to 1.7.4 below Python 3.10.
        ("raise TypeError('unsupported operand for |')", r"TypeError: unsupported operand"),
        ("def broken(:", "SyntaxError"),
        ("", "ImportError"),
        ("__version__ = '1.6.56'\nfrom types import SimpleNamespace as session", "too old"),
    ],
    ids=["missing part", "other Python", "syntax", "another package", "old"],
)
def test_a_client_that_cannot_be_used_is_one_line(
    no_client: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
):
    (tmp_path / "h2ogpte").mkdir()
    (tmp_path / "h2ogpte" / "__init__.py").write_text(source)
    (tmp_path / "h2ogpte" / "types.py").write_text("class SessionError(Exception): pass")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ClientUnusable, match=rf"{words}.*pip install") as caught:
        ask("http://127.0.0.1:1")
    assert "\n" not in caught.value.message


def test_a_missing_client_is_one_line(no_client: None):
    sys.modules["h2ogpte"] = None  # type: ignore[assignment]
    with pytest.raises(ClientUnusable, match="can't be used"):
        ask("http://127.0.0.1:1")


def test_chat_heeds_certificates(chat: Any, tmp_path: Any):
    from test_transport import Tls

    tls = Tls(tmp_path)
    url = chat(_reply, ssl_context=tls.context).url.replace("http:", "https:")
    with pytest.raises(TlsRefused, match="not trusted"):
        ask(url)
    assert ask(url, verify=tls.authority).message_id == "a1"
    assert ask(url, verify=False).message_id == "a1"


@pytest.mark.parametrize(
    ("ca_cert", "insecure", "verify"),
    [
        (None, False, True),
        (None, True, False),
        ("ca.pem", False, "ca.pem"),
        ("ca.pem", True, False),
    ],
)
def test_chat_and_requests_trust_the_same(
    ca_cert: Optional[str], insecure: bool, verify: Any, tmp_path: Any, monkeypatch: Any
):
    from test_transport import Tls

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", Tls(tmp_path).authority)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    transport = Transport(
        "https://h2ogpte.example",
        ca_cert=ca_cert,
        insecure=insecure,
        clock=Clock(threading.Event()),
    )
    gateway: Any = Server(transport).as_key(KEY)
    assert gateway._chat.verify == verify
