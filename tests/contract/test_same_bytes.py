"""Each operation as our transport sends it, beside what the client's generated layer sends.

Both talk to a server that only records. Compared are method, path and its quoting, query, headers
and the bytes of the body.
"""

from __future__ import annotations

import inspect
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import pytest
from h2ogpte import __version__ as client_version

from h2ogpte_migration.clock import Clock
from h2ogpte_migration.gateway.paging import PAGE
from h2ogpte_migration.gateway.rest import POLL, Gateway, Server
from h2ogpte_migration.gateway.transport import Transport
from h2ogpte_migration.gateway.workbench import Workbench
from h2ogpte_migration.model import ImportOptions, JobId, Share, SourceId, TargetId
from h2ogpte_migration.redact import Secret

KEY = Secret("sk-0123456789abcdef")
AUTH = {"Authorization": f"Bearer {KEY.reveal()}"}
# Whatever has a meaning in a path, a query, a template or a header.
ODD = "a/b c?d=e&f#g%20h+{username}:;@~é\u4e2d\U0001f600'\"<>\\."
SOURCE, TARGET = SourceId(f"source {ODD}"), TargetId(f"target {ODD}")
HIGH, LOW = "admin", "view_docs"


class Sent(NamedTuple):
    """A request as it arrived; the order of query and headers has no meaning."""

    method: str
    path: str
    query: List[str]
    headers: Dict[str, str]
    body: bytes


class Recorder(ThreadingHTTPServer):
    """Records what comes, and answers with the same JSON to everything."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.sent: List[Sent] = []
        self.answer: Any = {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # what is written in two goes need not wait for an ACK
    server: Recorder

    def act(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        # The build number of the generated code is in the package's source only.
        agent = re.sub(r"-\d+/python$", "/python", headers.get("user-agent", ""))
        headers["user-agent"] = agent
        self.server.sent.append(Sent(self.command, path, sorted(query.split("&")), headers, body))
        reply = json.dumps(self.server.answer).encode()
        self.send_response_only(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = act  # noqa: N815

    def log_message(self, *args: Any) -> None:
        """Not in the test's output."""


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass(frozen=True)
class Case:
    """A method of the gateway, and the client's operation that does the same.

    Args:
        ours: calls the method.
        wire: the operation's name in the generated layer.
        theirs: its arguments; a callable makes a model of the installed client.
        answer: what the gateway needs to hear.
        headers: sent with the operation beside the key.
    """

    method: str
    ours: Callable[[Gateway], Any]
    wire: str
    theirs: Dict[str, Any] = field(default_factory=dict)
    answer: Any = field(default_factory=dict)
    headers: Dict[str, str] = field(default_factory=dict)


def model(kind: str, **values: Any) -> Callable[[], Any]:
    """Make one of the client's models when the test runs."""

    def make() -> Any:
        from h2ogpte.rest_sync import models

        return getattr(models, kind)(**values)

    return make


def page(**query: Any) -> Dict[str, Any]:
    return {"offset": 0, "limit": PAGE, **query}


def of(collection: str) -> Dict[str, Any]:
    return {"collection_id": collection}


def _drain(rows: Callable[[Gateway], Any]) -> Callable[[Gateway], Any]:
    return lambda gateway: list(rows(gateway))


CREATE = {"name": ODD, "description": "", "embedding_model": "BAAI/bge-m3"}
# In the order of the models, as theirs can't be chosen; numbers, nesting, quotes, other scripts.
SETTINGS = {"max_tokens_per_chunk": 320, "chunk_overlap_tokens": 0, "tesseract_lang": ODD}
CHAT = {"llm": ODD, "llm_args": {"temperature": 0.1, "x": [None, True]}}
VECTOR = [0.25, -1.5e-07, 0.1 + 0.2, 3]
METADATA = {"ü": [1, 2.5, None, {"deep": ODD}], "": {}, "true": True}
HOW = ImportOptions(copy_document=True, skip_reparse=True, ocr_model="tesseract")
PLAIN_HOW = ImportOptions(copy_document=False, skip_reparse=False, ocr_model=ODD)
KEPT = {
    "preserve_document_status": True,
    "preserve_metadata": True,
    "copy_lifecycle_settings": True,
}
IMPORT = "create_import_collection_to_collection_job"
IMPORTED = {
    "create_import_collection_to_collection_job_request": model(
        "CreateImportCollectionToCollectionJobRequest", source_collection_id=SOURCE
    )
}


def reading(method: str, wire: str, answer: Any) -> Case:
    """Something that is read of one collection."""
    return Case(method, lambda g: getattr(g, method)(SOURCE), wire, of(SOURCE), answer)


def with_settings(method: str, wire: str, argument: str, kind: str, values: Any) -> Case:
    """Settings as the client's model spells them out, defaults included."""
    made = model(kind, **values)
    return Case(
        method,
        lambda g: getattr(g, method)(TARGET, made().to_dict()),
        wire,
        {**of(TARGET), argument: made},
    )


CASES: Tuple[Case, ...] = (
    Case("embedding_models", lambda g: g.embedding_models(), "list_embedding_models", answer=[]),
    Case(
        "all_collections",
        _drain(lambda g: g.all_collections(ODD)),
        "list_all_collections",
        page(sort_column="name", ascending=True, filter=ODD),
        [],
    ),
    Case(
        "all_collections",
        _drain(lambda g: g.all_collections()),
        "list_all_collections",
        page(sort_column="name", ascending=True),
        [],
    ),
    Case(
        "own_collections",
        _drain(lambda g: g.own_collections()),
        "list_collections",
        page(sort_column="name", ascending=True, current_user_only=True),
        [],
    ),
    Case("users", _drain(lambda g: g.users()), "list_users", page(), []),
    Case(
        "documents",
        _drain(lambda g: g.documents(SOURCE)),
        "list_documents_for_collection",
        page(collection_id=SOURCE),
        [],
    ),
    Case(
        "document_chunks",
        lambda g: g.document_chunks(SOURCE, ODD),
        "list_document_chunks",
        {**of(SOURCE), "document_id": ODD},
        [],
    ),
    Case(
        "encode",
        lambda g: g.encode(ODD, [ODD, ""]),
        "encode_chunks_for_retrieval",
        {
            "model_id": ODD,
            "encode_chunks_for_retrieval_request": model(
                "EncodeChunksForRetrievalRequest", chunks=[ODD, ""]
            ),
        },
        [[0.5], [1]],
    ),
    Case(
        "match_chunks",
        lambda g: g.match_chunks(SOURCE, VECTOR),
        "match_collection_chunks",
        {
            **of(SOURCE),
            "match_collection_chunks_request": model(
                "MatchCollectionChunksRequest", vectors=[VECTOR], topics=[]
            ),
        },
        [],
    ),
    reading("connectors", "list_scheduled_connectors_for_collection", []),
    Case(
        "chats",
        lambda g: g.chats(SOURCE, limit=PAGE),
        "list_chat_sessions_for_collection",
        page(collection_id=SOURCE),
        [],
    ),
    reading("chat_count", "get_chat_session_count_for_collection", {"count": 3}),
    Case("jobs", lambda g: g.jobs(), "list_jobs", {}, [], POLL),
    reading("collection", "get_collection", {"id": "c1"}),
    reading("settings", "get_collection_settings", {}),
    reading("chat_settings", "get_collection_chat_settings", {}),
    reading("metadata", "get_collection_metadata", {}),
    reading("public_permissions", "list_collection_public_permissions", []),
    reading("user_shares", "get_collection_permissions", []),
    reading("group_shares", "get_collection_group_permissions", []),
    Case("job", lambda g: g.job(JobId(ODD)), "get_job", {"job_id": ODD}, {}, POLL),
    Case(
        "may_read_job",
        lambda g: g.may_read_job(JobId(ODD)),
        "get_job",
        {"job_id": ODD},
        {},
        POLL,
    ),
    Case(
        "create_collection",
        lambda g: g.create_collection(CREATE),
        "create_collection",
        {"collection_create_request": model("CollectionCreateRequest", **CREATE)},
        {"id": "c"},
    ),
    *(
        Case(
            "describe",
            lambda g, more=more: g.describe(TARGET, name=ODD, description=ODD, **more),
            "update_collection",
            {
                **of(TARGET),
                "collection_update_request": model(
                    "CollectionUpdateRequest", name=ODD, description=ODD, **more
                ),
            },
        )
        for more in ({}, {"rag_type": "rag"})
    ),
    with_settings(
        "set_settings",
        "update_collection_settings",
        "collection_settings",
        "CollectionSettings",
        SETTINGS,
    ),
    with_settings(
        "set_chat_settings",
        "update_collection_chat_settings",
        "chat_settings",
        "ChatSettings",
        CHAT,
    ),
    Case(
        "set_metadata",
        lambda g: g.set_metadata(TARGET, METADATA),
        "update_collection_metadata",
        {**of(TARGET), "request_body": METADATA},
    ),
    Case(
        "set_prompt_template",
        lambda g: g.set_prompt_template(TARGET, ODD),
        "update_collection_prompt_template",
        {
            **of(TARGET),
            "prompt_template_change_request": model(
                "PromptTemplateChangeRequest", prompt_template_id=ODD
            ),
        },
    ),
    Case(
        "set_chat_expiry_exemption",
        lambda g: g.set_chat_expiry_exemption(TARGET, True),
        "update_collection_exempt_from_chat_expiry",
        {
            **of(TARGET),
            "update_collection_exempt_from_chat_expiry_request": model(
                "UpdateCollectionExemptFromChatExpiryRequest", exempt=True
            ),
        },
    ),
    *(
        Case(
            "make_public",
            lambda g, rights=rights: g.make_public(TARGET, rights),
            "update_collection_privacy",
            {
                **of(TARGET),
                "update_collection_privacy_request": model(
                    "UpdateCollectionPrivacyRequest", is_public=True, permissions=rights
                ),
            },
        )
        for rights in (None, [], [HIGH, LOW])
    ),
    *(
        Case(
            method,
            lambda g, method=method, rights=rights: getattr(g, method)(TARGET, Share(ODD, rights)),
            wire,
            {
                **of(TARGET),
                name: ODD,
                "share_collection_request": model("ShareCollectionRequest", permissions=rights),
            },
        )
        for rights in (None, [], [HIGH, LOW])
        for method, wire, name in (
            ("share_with_user", "share_collection", "username"),
            ("share_with_group", "share_collection_with_group", "group_id"),
        )
    ),
    Case(
        "make_private",
        lambda g: g.make_private(TARGET),
        "update_collection_privacy",
        {
            **of(TARGET),
            "update_collection_privacy_request": model(
                "UpdateCollectionPrivacyRequest", is_public=False
            ),
        },
    ),
    Case(
        "unshare_user",
        lambda g: g.unshare_user(TARGET, ODD),
        "unshare_collection",
        {**of(TARGET), "username": ODD},
    ),
    Case(
        "unshare_group",
        lambda g: g.unshare_group(TARGET, ODD),
        "unshare_collection_from_group",
        {**of(TARGET), "group_id": ODD},
    ),
    Case(
        "submit_import",
        lambda g: g.submit_import(source=SOURCE, target=TARGET, how=HOW),
        IMPORT,
        {
            **of(TARGET),
            **IMPORTED,
            **KEPT,
            "copy_document": True,
            "skip_reparse": True,
            "ocr_model": "tesseract",
        },
        {"id": "j"},
    ),
    Case(
        "submit_import",
        lambda g: g.submit_import(source=SOURCE, target=TARGET, how=PLAIN_HOW),
        IMPORT,
        {**of(TARGET), **IMPORTED, **KEPT, "copy_document": False, "ocr_model": ODD},
        {"id": "j"},
    ),
    Case(
        "move_connectors",
        lambda g: g.move_connectors(source=SOURCE, target=TARGET),
        "migrate_scheduled_connectors_to_collection",
        {
            **of(TARGET),
            "migrate_scheduled_connectors_to_collection_request": model(
                "MigrateScheduledConnectorsToCollectionRequest", src_collection_id=SOURCE
            ),
        },
        {"id": "j"},
    ),
    Case(
        "insert_document",
        lambda g: g.insert_document(TARGET, ODD),
        "insert_document_into_collection",
        {
            **of(TARGET),
            "document_id": ODD,
            "copy_document": False,
            "preserve_metadata": True,
        },
    ),
    Case(
        "move_chats",
        lambda g: g.move_chats(source=SOURCE, target=TARGET),
        "create_migrate_collection_chat_sessions_job",
        {
            **of(SOURCE),
            "migrate_collection_chat_sessions_job_request": model(
                "MigrateCollectionChatSessionsJobRequest", target_collection_id=TARGET
            ),
        },
        {"id": "j"},
    ),
    Case(
        "delete_collection",
        lambda g: g.delete_collection(TARGET),
        "delete_collection",
        of(TARGET),
    ),
    Case(
        "create_key",
        lambda g: g.create_key(user_id="u", name=ODD, expires_in="1 day"),
        "create_api_key_for_user",
        {
            "api_key_create_request": model(
                "APIKeyCreateRequest", user_id="u", name=ODD, expires_in="1 day"
            )
        },
        {"api_key": {"id": "k"}, "secret_key": "sk-another-0123456789"},
    ),
    Case("keys", _drain(lambda g: g.keys(ODD)), "list_all_api_keys", page(filter=ODD), []),
    Case("delete_key", lambda g: g.delete_key(ODD), "delete_api_key", {"key_id": ODD}),
    Case(
        "create_chat",
        lambda g: g.create_chat(TARGET),
        "create_chat_session",
        {**of(TARGET), "create_chat_session_request": model("CreateChatSessionRequest")},
        {"id": "s"},
    ),
    Case("delete_chat", lambda g: g.delete_chat(ODD), "delete_chat_session", {"session_id": ODD}),
    Case(
        "chat_messages",
        lambda g: g.chat_messages(ODD),
        "get_chat_session_messages",
        {"session_id": ODD, "offset": 0, "limit": 10},
        [],
    ),
    Case(
        "references",
        lambda g: g.references(ODD),
        "get_message_references",
        {"message_id": ODD},
        [],
    ),
)
BENCH = (
    Case(
        "ingest_text",
        lambda g: Workbench.beside(g).ingest_text(SOURCE, ODD, "plain text", METADATA),
        "create_ingest_from_plain_text_job",
        {**of(SOURCE), "file_name": ODD, "body": "plain text", "metadata": json.dumps(METADATA)},
        {"id": "j"},
    ),
    Case(
        "set_inactivity_interval",
        lambda g: Workbench.beside(g).set_inactivity_interval(SOURCE, 90),
        "update_collection_inactivity_interval",
        {
            **of(SOURCE),
            "update_collection_inactivity_interval_request": model(
                "UpdateCollectionInactivityIntervalRequest", inactivity_interval=90
            ),
        },
    ),
    Case(
        "change_description",
        lambda g: Workbench.beside(g).change_description(SOURCE, ODD),
        "update_collection",
        {
            **of(SOURCE),
            "collection_update_request": model("CollectionUpdateRequest", description=ODD),
        },
    ),
    Case(
        "document",
        lambda g: Workbench.beside(g).document(ODD),
        "get_document",
        {"document_id": ODD},
    ),
    Case(
        "delete_document",
        lambda g: Workbench.beside(g).delete_document(ODD),
        "delete_document",
        {"document_id": ODD},
    ),
)
"""The operations that only a check of the server needs."""
ELSEWHERE = {"ask", "identity", "server_time"}
"""Compared in another way: the question goes over the client's own websocket."""


def sent_by_us(recorder: Recorder, case: Case) -> Sent:
    """The first request of ours; a listing may ask for more."""
    recorder.answer = case.answer
    recorder.sent.clear()
    server = Server(Transport(recorder.url, retries=0, clock=Clock(threading.Event())))
    case.ours(server.as_key(KEY))
    server.close()
    return recorder.sent[0]


def sent_by_them(recorder: Recorder, case: Case) -> Sent:
    """The client's request, made as ``H2OGPTE`` makes it."""
    operation = _operation(recorder, case.wire)
    known = inspect.signature(operation).parameters
    missing = [name for name in case.theirs if name not in known]
    if missing:
        pytest.skip(f"h2ogpte {client_version}: {case.wire} has no {', '.join(missing)}")
    theirs = {name: value() if callable(value) else value for name, value in case.theirs.items()}
    recorder.sent.clear()
    operation(**theirs, _headers={**AUTH, **case.headers}).read()
    return recorder.sent[0]


def _operation(recorder: Recorder, name: str) -> Callable[..., Any]:
    from h2ogpte import rest_sync

    client = rest_sync.ApiClient(rest_sync.Configuration(host=f"{recorder.url}/api/v1"))
    client.set_default_header("X-Client-Version", client_version)
    for group in vars(rest_sync).values():
        if inspect.isclass(group) and hasattr(group, name):
            operation: Callable[..., Any] = getattr(
                group(client), f"{name}_without_preload_content"
            )
            return operation
    pytest.skip(f"h2ogpte {client_version} knows no {name}")


@pytest.mark.parametrize("case", [*CASES, *BENCH], ids=lambda case: f"{case.method}-{case.wire}")
def test_our_request_is_the_clients_to_the_byte(recorder: Recorder, case: Case) -> None:
    theirs = sent_by_them(recorder, case)
    assert sent_by_us(recorder, case) == theirs


def test_identity_is_asked_as_the_client_asks(recorder: Recorder) -> None:
    """The client uses another library for it: what that one adds is left out."""
    from h2ogpte import H2OGPTE

    class Client:
        _address, _verify = recorder.url, True
        _get_auth_header = H2OGPTE._get_auth_header
        _raise_error_if_any = H2OGPTE._raise_error_if_any
        _api_key, _send_client_version = KEY.reveal(), True

    recorder.answer = {"username": "ada"}
    recorder.sent.clear()
    H2OGPTE._get(Client(), "/rpc/meta")
    theirs = recorder.sent[0]
    ours = sent_by_us(
        recorder, Case("identity", lambda g: g.identity(), "", answer={"username": "ada"})
    )
    assert ours[:3] == theirs[:3]
    for name in ("authorization", "x-client-version", "host"):
        assert ours.headers[name] == theirs.headers[name]


def test_no_operation_is_left_out() -> None:
    operations = {
        name
        for name, member in vars(Gateway).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }
    assert {case.method for case in CASES} | ELSEWHERE == operations
    for case in CASES:
        wire = inspect.getdoc(getattr(Gateway, case.method)) or ""
        assert case.wire in wire, f"{case.method} does not name {case.wire}"
