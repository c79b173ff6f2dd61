"""The gateway over h2oGPTe's REST interface: the one module that knows paths and field names.

Replies are read with care: fields may be missing, unknown ones and unknown values are kept where
they are passed on, and a row that names nothing is left out. Whatever comes from the wire
is a value of ``model`` or raw JSON when it leaves. Two rules hold for every method of a gateway:

* "Repeatable" ones are retried by the transport; they raise ``Unavailable`` (or ``BadReply``)
  when the retries are used up.
* "Not repeatable" ones raise ``OutcomeUnknown`` when no usable answer came: the work may or
  may not have been done. Only the one who can look for the result may decide what follows.
  What surely did nothing (connection refused, 429) is retried like the others.

All may raise ``Unauthorized``, ``NotFound``, ``Rejected`` (nothing was done) and
``Interrupted``. "Wire" names the operation of the server's contract.
"""

from __future__ import annotations

import json
import logging
import math
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from h2ogpte_migration.errors import (
    BadReply,
    NotFound,
    Rejected,
    ServerError,
    Unauthorized,
    Unavailable,
)
from h2ogpte_migration.gateway.calls import (
    META,
    FixedKey,
    GoodKeys,
    KeySource,
    named,
    nameless,
    other_shape,
    text,
)
from h2ogpte_migration.gateway.chat import ChatServer
from h2ogpte_migration.gateway.hints import Hints
from h2ogpte_migration.gateway.paging import PageSizes
from h2ogpte_migration.gateway.transport import Transport
from h2ogpte_migration.model import (
    Answer,
    ApiKey,
    ChunkMatch,
    Collection,
    Document,
    Identity,
    ImportOptions,
    Job,
    JobId,
    Json,
    Reference,
    Share,
    SourceId,
    TargetId,
    User,
    permission_list,
)
from h2ogpte_migration.redact import Secret, scrub_words

log = logging.getLogger(__name__)

COLLECTION = "/collections/{collection_id}"
POLL = {"X-H2OGPTE-Internal-Poll": "true"}
"""Marks a request that does not count as a use of the key, as the client does when it polls."""
OF_SOMETHING_ELSE = (407, 408, 425, 429)
"""Refusals that say nothing of what was asked for: the proxy's, and "not now"."""
MATCHES = 100
"""So many chunks are asked for: those of ten documents are among them, as the contract's default has it."""
BY_NAME = {"sort_column": "name", "ascending": True}
"""Not the default order: that one follows the last update, and shifts while people work."""


class Server:
    """A server that several keys are used on at once, over shared connections."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sizes = PageSizes()
        self._chat = ChatServer(
            transport.base_url, transport.verify, transport.connect_timeout_s, transport.clock.sleep
        )
        self._good = GoodKeys(transport)

    def as_key(self, key: Secret, holder: Optional[Identity] = None) -> Gateway:
        """The server as the holder of ``key`` sees it. Free of cost, sends nothing."""
        return self.as_owner(FixedKey(key, holder))

    def as_owner(self, keys: KeySource) -> Gateway:
        """The server as somebody sees it whose key may be renewed. Sends nothing."""
        return Gateway(self._transport, keys, self._sizes, self._chat, self._good)

    def close(self) -> None:
        """Drop the pooled connections."""
        self._transport.close()


class Gateway(Hints):
    """The server as one key sees it."""

    @property
    def holder(self) -> Optional[Identity]:
        """Whose key this is, as far as the server has said. Sends nothing."""
        return self._keys.holder

    def server_time(self) -> Optional[datetime]:
        """The time by the server's own clock, from its last reply. Sends nothing."""
        return self._transport.server_time()

    # -- who and what ------------------------------------------------------------------
    def identity(self) -> Identity:
        """Who the key belongs to. Repeatable. Wire: GET /rpc/meta."""
        meta = self._object(META, prefix="")
        if not text(meta, "username"):
            raise BadReply("GET /rpc/meta: the server names no user.", route="GET /rpc/meta")
        return Identity(
            username=text(meta, "username"),
            user_id=text(meta, "user_id"),
            server_version=text(meta, "version"),
            is_guest=meta.get("is_guest") is True,
        )

    def embedding_models(self) -> List[str]:
        """Ids of the models that collections can be made with. Repeatable.

        Wire: list_embedding_models.
        """
        return [text(row, "id") for row in self._rows("/embedding_models")]

    # -- listings ----------------------------------------------------------------------
    def all_collections(
        self, filter_text: str = "", incomplete: Optional[Callable[[str], None]] = None
    ) -> Iterator[Collection]:
        """Everybody's collections (admin), each once. Repeatable.

        ``filter_text`` matches anywhere in name, id and username: pick exact ids from the
        matches. ``incomplete`` is told why, where some may be missing; without it, that is an error.
        Wire: list_all_collections.
        """
        return self._collections("/collections/all", {"filter": filter_text or None}, incomplete)

    def own_collections(
        self, incomplete: Optional[Callable[[str], None]] = None
    ) -> Iterator[Collection]:
        """The collections that the key's user owns, each once. Repeatable.

        Wire: list_collections with ``current_user_only``; rows of other owners are dropped
        by the caller, who knows the user's name.
        """
        return self._collections("/collections", {"current_user_only": True}, incomplete)

    def _collections(
        self, template: str, query: Json, incomplete: Optional[Callable[[str], None]]
    ) -> Iterator[Collection]:
        # Names may be alike in many; by default the latest change decides on the order.
        listing = self._listing(
            template,
            {**BY_NAME, **query},
            another_order=query,
            backwards={**BY_NAME, "ascending": False, **query},
            incomplete=incomplete,
        )
        for row in listing.each_once():
            yield Collection.from_json(row, keep_raw=False)

    def users(self, incomplete: Optional[Callable[[str], None]] = None) -> Iterator[User]:
        """Registered users; may leave out the caller. Repeatable.

        ``incomplete`` is told why, where some may be missing; without it, that is an error.
        Wire: list_users.
        """
        for row in self._listing("/users", incomplete=incomplete).each_once():
            yield User(id=text(row, "id"), username=text(row, "username"))

    def documents(
        self, collection_id: str, expected: Optional[int] = None, *, shifting: bool = False
    ) -> Iterator[Document]:
        """All documents of a collection, page by page; never all in memory. Repeatable.

        Rows come with their absolute index; a row of an overlapping page comes once.
        ``expected`` is the number that the server told elsewhere, if it did: where it
        agrees with a short page, no further page is asked for.
        Raises ``ListingShifted`` where the order changed while it was read: start over. With
        ``shifting``, for a listing that never stands still, every id comes once, and one that
        is listed twice can't be told any more.
        Wire: list_documents_for_collection.
        """
        listing = self._listing(
            f"{COLLECTION}/documents",
            path={"collection_id": collection_id},
            expected=expected,
            total=partial(self._document_count, collection_id),
        )
        rows = enumerate(listing.each_once()) if shifting else listing.by_position()
        for index, row in rows:
            if not text(row, "id"):
                log.warning("%s: a row without an id is left out", listing.route)
                continue
            yield Document(
                id=text(row, "id"),
                name=text(row, "name"),
                status=text(row, "status").strip().lower(),
                index=index,
                metadata=_canonical(row.get("metadata_dict")),
                kind=text(row, "type"),
                size_bytes=_whole(row.get("size")),
            )

    def document_chunks(self, collection_id: str, document_id: str) -> List[str]:
        """The texts of a document's chunks, as a collection has them. Repeatable.

        Wire: list_document_chunks.
        """
        template = "/documents/{document_id}/chunks"
        rows = self._array(template, {"document_id": document_id}, {"collection_id": collection_id})
        texts = [row["text"] for row in rows if isinstance(row, dict) and text(row, "text")]
        if rows and not any(isinstance(row, dict) and "text" in row for row in rows):
            raise BadReply(f"GET {template}: chunks without text.", route=f"GET {template}")
        return texts

    def encode(self, model: str, texts: Sequence[str]) -> List[List[float]]:
        """A vector for each text, by an embedding model of the server. Repeatable: changes nothing.

        Raises ``Rejected`` or ``NotFound`` where the server does not have the model.
        Wire: encode_chunks_for_retrieval.
        """
        template = "/embedding_models/{model_id}/encode_chunks_for_retrieval"
        vectors: List[Any] = self._request(
            "POST",
            template,
            path={"model_id": model},
            body={"chunks": list(texts)},
            repeatable=True,
            expect=list,
        )
        if len(vectors) != len(texts) or not all(map(_is_vector, vectors)):
            route = f"POST {template}"
            raise BadReply(f"{route}: the server sent no vector for each text.", route=route)
        return vectors

    def match_chunks(self, collection_id: str, vector: Sequence[float]) -> List[ChunkMatch]:
        """The chunks that are nearest to a vector, the nearest first. Repeatable: changes nothing.

        Wire: match_collection_chunks; no topic named means all documents, a cut-off of 0 none.
        """
        rows: List[Any] = self._request(
            "POST",
            f"{COLLECTION}/chunks/match",
            path={"collection_id": collection_id},
            body={
                "vectors": [list(vector)],
                "topics": [],
                "offset": 0,
                "limit": MATCHES,
                "cut_off": 0,
            },
            repeatable=True,
            expect=list,
        )
        found = [
            ChunkMatch(text(row, "topic"), text(row, "name"))
            for row in rows
            if isinstance(row, dict) and (text(row, "topic") or text(row, "name"))
        ]
        if rows and not found:
            route = f"POST {COLLECTION}/chunks/match"
            raise BadReply(f"{route}: the matches name no document.", route=route)
        return found

    def connectors(self, collection_id: str) -> List[Json]:
        """Scheduled connectors, also such as have no id: they are there, and have to move.
        Repeatable. Wire: list_scheduled_connectors_for_collection.
        """
        path = {"collection_id": collection_id}
        return _whatever(self._array(f"{COLLECTION}/scheduled_connectors", path))

    def chats(self, collection_id: str, limit: int = 100) -> List[Json]:
        """The first ``limit`` chat sessions, also such as have no id. Repeatable.

        Wire: list_chat_sessions_for_collection.
        """
        path = {"collection_id": collection_id}
        listing = replace(self._listing(f"{COLLECTION}/chats", path=path), limit=limit)
        return _whatever(listing.first())

    def _document_count(self, collection_id: str) -> Optional[int]:
        """Number of documents; None where it is not told. Repeatable.

        Wire: get_document_count_for_collection.
        """
        template = f"{COLLECTION}/documents/count"
        with suppress(Rejected, NotFound, Unavailable, BadReply):
            return _whole(self._object(template, collection_id=collection_id).get("count"))
        return None

    def chat_count(self, collection_id: str) -> int:
        """Number of chat sessions. Repeatable. Wire: get_chat_session_count_for_collection."""
        template = f"{COLLECTION}/chats/count"
        count = self._object(template, collection_id=collection_id).get("count")
        if not isinstance(count, int) or isinstance(count, bool):
            raise BadReply(f"GET {template}: the server counts nothing.", route=f"GET {template}")
        return count

    def jobs(self) -> List[Job]:
        """The jobs of the key's user. Repeatable. Wire: list_jobs."""
        return [_job(row) for row in self._rows("/jobs", headers=POLL)]

    # -- one collection, reading -------------------------------------------------------
    def collection(self, collection_id: str) -> Collection:
        """A collection with its raw JSON. Repeatable. Wire: get_collection.

        Raises ``BadReply`` for an object that speaks of no collection: what it does not say would
        pass for what the collection does not have.
        """
        row = self._object(COLLECTION, collection_id=collection_id)
        if not text(row, "id"):
            raise other_shape(COLLECTION)
        return Collection.from_json(row, keep_raw=True)

    def settings(self, collection_id: str) -> Json:
        """Collection settings as raw JSON. Repeatable. Wire: get_collection_settings."""
        return self._object_or_null(f"{COLLECTION}/settings", collection_id)

    def chat_settings(self, collection_id: str) -> Json:
        """Chat settings as raw JSON. Repeatable. Wire: get_collection_chat_settings."""
        return self._object_or_null(f"{COLLECTION}/chat_settings", collection_id)

    def metadata(self, collection_id: str) -> Json:
        """Collection metadata as raw JSON. Repeatable. Wire: get_collection_metadata."""
        return self._object_or_null(f"{COLLECTION}/metadata", collection_id)

    def public_permissions(self, collection_id: str) -> Optional[Tuple[str, ...]]:
        """Rights of everybody; None where the server keeps no list (all rights). Repeatable.

        Wire: list_collection_public_permissions.
        """
        # No list at all (null) is not an empty one: it stands for all rights.
        template = f"{COLLECTION}/public_permissions"
        told = self._get(template, None, path={"collection_id": collection_id})
        try:
            return permission_list(told)
        except ValueError as error:
            raise other_shape(template) from error

    def user_shares(self, collection_id: str) -> List[Share]:
        """Rights of single users, the owner included; what can't be understood is nobody's. Repeatable.

        Wire: get_collection_permissions.
        """
        rows = self._array(f"{COLLECTION}/permissions", {"collection_id": collection_id})
        return [Share.from_json(row, "username") for row in rows]

    def group_shares(self, collection_id: str) -> List[Share]:
        """Rights of groups, in the same way. Repeatable. Wire: get_collection_group_permissions."""
        rows = self._array(f"{COLLECTION}/group_permissions", {"collection_id": collection_id})
        return [Share.from_json(row, "group_id") for row in rows]

    def job(self, job_id: JobId) -> Optional[Job]:
        """A job of the key's user; None when the server keeps no record of it. Repeatable.

        Wire: get_job; servers differ in how they deny a job that they do not know (404, 400, 401,
        500), so list_jobs is asked before None is said. What is wrong with key or server shows
        there as well.
        """
        try:
            row = self._object("/jobs/{job_id}", headers=POLL, job_id=job_id)
        except (Rejected, NotFound, Unauthorized, Unavailable) as error:
            if not _keeps_no_record(error):
                raise
        else:
            return _job({"id": job_id, **row})
        return next((job for job in self.jobs() if job.id == job_id), None)

    def may_read_job(self, job_id: JobId) -> bool:
        """Whether the key may read a job by its id: listings may hold those of others.
        Repeatable. Wire: get_job.
        """
        try:
            self._object("/jobs/{job_id}", headers=POLL, job_id=job_id)
        except (Rejected, NotFound, Unauthorized, Unavailable) as error:
            if not _keeps_no_record(error):
                raise
            return False
        return True

    # -- one collection, writing -------------------------------------------------------
    def create_collection(self, request: Mapping[str, Any]) -> Collection:
        """Create a collection. NOT repeatable: a second call makes a second one.

        ``request`` is a ``CollectionCreateRequest`` as JSON. Wire: create_collection.
        """
        row = self._create("/collections", body=dict(request))
        return Collection.from_json(row, keep_raw=True)

    def describe(
        self, target: TargetId, *, name: str, description: str, rag_type: Optional[str] = None
    ) -> None:
        """Set name, description and perhaps ``rag_type``. Repeatable. Wire: update_collection.

        All are sent along: a server may blank what is not named.
        """
        body = {"name": name, "description": description}
        if rag_type is not None:
            body["rag_type"] = rag_type
        self._change("PATCH", COLLECTION, body, collection_id=target)

    def set_settings(self, target: TargetId, settings: Mapping[str, Any]) -> None:
        """Replace the collection settings. Repeatable. Wire: update_collection_settings."""
        self._change("PUT", f"{COLLECTION}/settings", dict(settings), collection_id=target)

    def set_chat_settings(self, target: TargetId, settings: Mapping[str, Any]) -> None:
        """Replace the chat settings. Repeatable. Wire: update_collection_chat_settings."""
        self._change("PUT", f"{COLLECTION}/chat_settings", dict(settings), collection_id=target)

    def set_metadata(self, target: TargetId, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata. Repeatable. Wire: update_collection_metadata."""
        self._change("PUT", f"{COLLECTION}/metadata", dict(metadata), collection_id=target)

    def set_prompt_template(self, target: TargetId, template_id: str) -> None:
        """Repeatable. Wire: update_collection_prompt_template."""
        body = {"prompt_template_id": template_id}
        self._change("PUT", f"{COLLECTION}/prompt_template", body, collection_id=target)

    def set_chat_expiry_exemption(self, target: TargetId, exempt: bool) -> None:
        """Repeatable. Wire: update_collection_exempt_from_chat_expiry (client 1.7.x)."""
        body = {"exempt": exempt}
        self._change("PUT", f"{COLLECTION}/exempt_from_chat_expiry", body, collection_id=target)

    def make_public(self, target: TargetId, permissions: Optional[Sequence[str]]) -> None:
        """Publish. Repeatable. An empty list is sent as such; None sends no list, which
        grants all rights. Wire: update_collection_privacy.
        """
        body = {"is_public": True, **_permissions(permissions)}
        self._change("POST", f"{COLLECTION}/is_public", body, collection_id=target)

    def share_with_user(self, target: TargetId, share: Share) -> None:
        """Repeatable; 409 raises ``Conflict``. Wire: share_collection."""
        self._change(
            "PUT",
            f"{COLLECTION}/permissions/{{username}}",
            _permissions(share.permissions),
            collection_id=target,
            username=share.grantee,
        )

    def share_with_group(self, target: TargetId, share: Share) -> None:
        """Repeatable; 409 raises ``Conflict``. Wire: share_collection_with_group."""
        self._change(
            "PUT",
            f"{COLLECTION}/group_permissions/{{group_id}}",
            _permissions(share.permissions),
            collection_id=target,
            group_id=share.grantee,
        )

    def make_private(self, target: TargetId) -> None:
        """Take back ``make_public``. Repeatable. Wire: update_collection_privacy."""
        self._change("POST", f"{COLLECTION}/is_public", {"is_public": False}, collection_id=target)

    def unshare_user(self, target: TargetId, username: str) -> None:
        """Repeatable; ``NotFound`` where there is no such share. Wire: unshare_collection."""
        template = f"{COLLECTION}/permissions/{{username}}"
        self._change("DELETE", template, collection_id=target, username=username)

    def unshare_group(self, target: TargetId, group_id: str) -> None:
        """Repeatable; as ``unshare_user``. Wire: unshare_collection_from_group."""
        template = f"{COLLECTION}/group_permissions/{{group_id}}"
        self._change("DELETE", template, collection_id=target, group_id=group_id)

    def submit_import(self, *, source: SourceId, target: TargetId, how: ImportOptions) -> JobId:
        """Start the server's import job and return its id at once, without waiting.

        NOT repeatable: a second job puts every document into ``target`` twice.
        Wire: create_import_collection_to_collection_job; the path names the target, the
        body the source; document status, metadata and lifecycle settings are asked for.
        """
        job = self._create(
            f"{COLLECTION}/import_collection_job",
            query={
                "copy_document": how.copy_document,
                "preserve_document_status": True,
                "preserve_metadata": True,
                "copy_lifecycle_settings": True,
                "skip_reparse": True if how.skip_reparse else None,
                "ocr_model": how.ocr_model,
            },
            body={"source_collection_id": source},
            collection_id=target,
        )
        return JobId(text(job, "id"))

    def insert_document(self, target: TargetId, document_id: str) -> None:
        """Put a stored document into one more collection, by reference. NOT repeatable: done
        twice, it may be listed twice.

        Wire: insert_document_into_collection.
        """
        self._request(
            "PUT",
            f"{COLLECTION}/documents/{{document_id}}",
            path={"collection_id": target, "document_id": document_id},
            query={"copy_document": False, "preserve_metadata": True},
            repeatable=False,
        )

    def move_connectors(self, *, source: SourceId, target: TargetId) -> JobId:
        """Start the job that moves all scheduled connectors. Moving again is harmless, but
        an unknown outcome raises ``OutcomeUnknown``: the caller looks first.

        Wire: migrate_scheduled_connectors_to_collection; path target, body source.
        """
        job = self._create(
            f"{COLLECTION}/migrate_scheduled_connectors",
            body={"src_collection_id": source},
            collection_id=target,
        )
        return JobId(text(job, "id"))

    def move_chats(self, *, source: SourceId, target: TargetId) -> JobId:
        """Start the job that moves all chat sessions; as ``move_connectors``.

        Wire: create_migrate_collection_chat_sessions_job; path SOURCE, body target.
        """
        job = self._create(
            f"{COLLECTION}/migrate_chat_sessions_job",
            body={"target_collection_id": target},
            collection_id=source,
        )
        return JobId(text(job, "id"))

    def delete_collection(self, collection_id: str) -> bool:
        """Repeatable: 404 counts as done; False then, as it may only not show yet.

        Wire: delete_collection.
        """
        return self._delete(COLLECTION, collection_id=collection_id)

    def _delete(self, template: str, **path: str) -> bool:
        try:
            self._change("DELETE", template, None, **path)
        except NotFound:
            return False
        return True

    # -- keys (admin) ------------------------------------------------------------------
    def create_key(self, *, user_id: str, name: str, expires_in: str) -> Tuple[str, Secret]:
        """Make a key for a user; returns its id and the secret. NOT repeatable.

        Wire: create_api_key_for_user.
        """
        template = "/admin/api_keys"
        body = {"user_id": user_id, "name": name, "expires_in": expires_in}
        reply = self._post(template, body=body)
        info = reply.get("api_key")
        key_id = text(info, "id") if isinstance(info, dict) else ""
        secret = text(reply, "secret_key")
        if not key_id or not secret:
            raise nameless(template)
        return key_id, Secret(secret)

    def keys(
        self, username: str, incomplete: Optional[Callable[[str], None]] = None
    ) -> Iterator[ApiKey]:
        """Keys of users whose name contains ``username``; of all where it is empty. Repeatable.

        ``incomplete`` is told why, where some may be missing; without it, that is an error.
        Wire: list_all_api_keys.
        """
        query = {"filter": username or None}
        for row in self._listing("/admin/api_keys", query, incomplete=incomplete).each_once():
            yield ApiKey(
                id=text(row, "id"),
                name=text(row, "name"),
                username=text(row, "username"),
                active=row.get("is_active") is not False,
            )

    def delete_key(self, key_id: str) -> None:
        """Repeatable; ``NotFound`` and ``Conflict`` are the caller's to judge.

        Wire: delete_api_key.
        """
        self._change("DELETE", "/admin/api_keys/{key_id}", key_id=key_id)

    # -- RAG check ---------------------------------------------------------------------
    def create_chat(self, collection_id: str) -> str:
        """Open a chat session on a collection; returns its id. NOT repeatable.

        Wire: create_chat_session.
        """
        row = self._create("/chats", query={"collection_id": collection_id}, body={})
        return text(row, "id")

    def delete_chat(self, session_id: str) -> bool:
        """Repeatable: 404 counts as done; False then, as it may only not show yet.

        Wire: delete_chat_session.
        """
        return self._delete("/chats/{session_id}", session_id=session_id)

    def chat_messages(self, session_id: str) -> List[Json]:
        """The first messages of a session; few, so that no server refuses that many. Repeatable.

        Wire: get_chat_session_messages.
        """
        query = {"offset": 0, "limit": 10}
        return self._rows("/chats/{session_id}/messages", query, session_id=session_id)

    def ask(self, session_id: str, question: str, timeout_s: float) -> Answer:
        """Ask over the websocket, once.

        Raises ``ServerError`` for whatever went wrong; nothing needs to be looked up, as the
        session is deleted either way.
        """
        return self._chat.ask(self._keys.current(), session_id, question, timeout_s)

    def references(self, message_id: str) -> List[Reference]:
        """The documents that an answer refers to. Repeatable. Wire: get_message_references."""
        rows = self._array("/messages/{message_id}/references", {"message_id": message_id})
        return [
            Reference(text(row, "document_id"), text(row, "collection_id") or None)
            for row in named(rows, "document_id")
        ]


def _keeps_no_record(error: ServerError) -> bool:
    """Whether a server may answer like this for a job that it has forgotten.

    The contract declares 400, 401 and "default" for it: any refusal may be meant, and a 500.
    """
    status = error.status or 0
    return status == 500 or (400 <= status < 500 and status not in OF_SOMETHING_ELSE)


def _whatever(rows: Sequence[Any]) -> List[Json]:
    """The rows of a listing that say anything: one without an id is there all the same."""
    return [
        row
        for row in rows
        if isinstance(row, dict) and any(value is not None for value in row.values())
    ]


def _whole(value: Any) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _is_vector(value: Any) -> bool:
    """Whether it is a list of numbers; those that JSON does not know are none."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(item) in (int, float) and math.isfinite(item) for item in value)
    )


def _job(row: Mapping[str, Any]) -> Job:
    """A job, without the keys that its errors may quote."""
    job = Job.from_json(row)
    errors = tuple(map(scrub_words, job.errors))
    return replace(job, errors=errors, progress=scrub_words(job.progress))


def _canonical(metadata: Any) -> Optional[str]:
    """Metadata in a form that can be compared; None where a row carries none."""
    if not isinstance(metadata, dict):
        return None
    return json.dumps(metadata, sort_keys=True, separators=(",", ":"))


def _permissions(permissions: Optional[Sequence[str]]) -> Dict[str, Any]:
    """An empty list is sent as such: it differs from none, which grants the defaults."""
    return {} if permissions is None else {"permissions": list(permissions)}
