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

import logging
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Tuple

from h2ogpte_migration import patience
from h2ogpte_migration.errors import (
    BadReply,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    Rejected,
    ServerError,
    Unauthorized,
    Unavailable,
)
from h2ogpte_migration.gateway.chat import ChatServer
from h2ogpte_migration.gateway.paging import Listing, PageSizes
from h2ogpte_migration.gateway.transport import API, Transport
from h2ogpte_migration.model import (
    Answer,
    ApiKey,
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

META = "/rpc/meta"
COLLECTION = "/collections/{collection_id}"
POLL = {"X-H2OGPTE-Internal-Poll": "true"}
"""Marks a request that does not count as a use of the key, as the client does when it polls."""
UNKNOWN_JOB = (400, 401, 404, 500)
"""With what servers may answer for a job that they keep no record of."""
BY_NAME = {"sort_column": "name", "ascending": True}
"""Not the default order: that one follows the last update, and shifts while people work."""


class KeySource(Protocol):
    """A key that may have to be replaced in mid-run."""

    def current(self) -> Secret:
        """The key to use now; made when first asked for."""

    def renew(self, stale: Secret) -> Optional[Secret]:
        """Another key, as ``stale`` was refused; None where there is no other.

        A 401 did nothing, so the call is repeated with it.
        """

    @property
    def holder(self) -> Optional[Identity]:
        """Whose key it is, as the server said; None while that is not known."""


class Server:
    """A server that several keys are used on at once, over shared connections."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sizes = PageSizes()
        self._chat = ChatServer(transport.base_url, transport.verify, transport.connect_timeout_s)
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


class FixedKey:
    """A key that was given: there is no other one."""

    def __init__(self, key: Secret, holder: Optional[Identity] = None) -> None:
        self._key = key
        self.holder = holder

    def current(self) -> Secret:
        return self._key

    def renew(self, stale: Secret) -> Optional[Secret]:  # noqa: ARG002 (the protocol's)
        return None


class GoodKeys:
    """Whether a key that was answered 401 is good all the same: then it was a refusal.

    A good one is remembered for some seconds, so that many refusals cost one question.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._until: Dict[Secret, float] = {}
        self._lock = threading.Lock()

    def holds(self, key: Secret) -> bool:
        """Ask the server who the key's holder is, which every good key may.

        Raises:
            Unavailable: it gave no answer to that, so nobody knows.
        """
        with self._lock:
            if self._until.get(key, 0.0) > self._transport.now():
                return True
            try:
                self._transport.request("GET", META, key=key, repeatable=True, prefix="")
            except Unauthorized:
                return False
            except ServerError as error:
                raise Unavailable(
                    f"A request was refused, and whether the key is good could not be asked: "
                    f"{error.message}",
                    route=error.route,
                ) from error
            self._until[key] = self._transport.now() + patience.KEY_KNOWN_GOOD_S
            return True


class Gateway:
    """The server as one key sees it."""

    def __init__(
        self,
        transport: Transport,
        keys: KeySource,
        sizes: PageSizes,
        chat: ChatServer,
        good_keys: Optional[GoodKeys] = None,
    ) -> None:
        self._transport = transport
        self._keys = keys
        self._sizes = sizes
        self._chat = chat
        self._good_keys = good_keys or GoodKeys(transport)

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
        if not _text(meta, "username"):
            raise BadReply("GET /rpc/meta: the server names no user.", route="GET /rpc/meta")
        return Identity(
            username=_text(meta, "username"),
            user_id=_text(meta, "user_id"),
            server_version=_text(meta, "version"),
            is_guest=meta.get("is_guest") is True,
        )

    def embedding_models(self) -> List[str]:
        """Ids of the models that collections can be made with. Repeatable.

        Wire: list_embedding_models.
        """
        return [_text(row, "id") for row in self._rows("/embedding_models")]

    # -- listings ----------------------------------------------------------------------
    def all_collections(self, filter_text: str = "") -> Iterator[Collection]:
        """Everybody's collections (admin), each once. Repeatable.

        ``filter_text`` matches anywhere in name, id and username: pick exact ids from the
        matches. Wire: list_all_collections.
        """
        query = {**BY_NAME, "filter": filter_text or None}
        for row in self._listing("/collections/all", query).each_once():
            yield Collection.from_json(row, keep_raw=False)

    def own_collections(self) -> Iterator[Collection]:
        """The collections that the key's user owns, each once. Repeatable.

        Wire: list_collections with ``current_user_only``; rows of other owners are dropped
        by the caller, who knows the user's name.
        """
        query = {**BY_NAME, "current_user_only": True}
        for row in self._listing("/collections", query).each_once():
            yield Collection.from_json(row, keep_raw=False)

    def users(self) -> Iterator[User]:
        """Registered users; may leave out the caller. Repeatable. Wire: list_users."""
        for row in self._listing("/users").each_once():
            yield User(id=_text(row, "id"), username=_text(row, "username"))

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
            f"{COLLECTION}/documents", path={"collection_id": collection_id}, expected=expected
        )
        rows = enumerate(listing.each_once()) if shifting else listing.by_position()
        for index, row in rows:
            if not _text(row, "id"):
                log.warning("%s: a row without an id is left out", listing.route)
                continue
            yield Document(
                id=_text(row, "id"),
                name=_text(row, "name"),
                status=_text(row, "status").strip().lower(),
                index=index,
            )

    def connectors(self, collection_id: str) -> List[Json]:
        """Scheduled connectors. Repeatable. Wire: list_scheduled_connectors_for_collection."""
        return self._rows(f"{COLLECTION}/scheduled_connectors", collection_id=collection_id)

    def chats(self, collection_id: str, limit: int = 100) -> List[Json]:
        """The first ``limit`` chat sessions. Repeatable.

        Wire: list_chat_sessions_for_collection.
        """
        path = {"collection_id": collection_id}
        listing = replace(self._listing(f"{COLLECTION}/chats", path=path), limit=limit)
        return _named(listing.first(), "id")

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
        """A collection with its raw JSON. Repeatable. Wire: get_collection."""
        row = self._object(COLLECTION, collection_id=collection_id)
        return Collection.from_json({"id": collection_id, **row}, keep_raw=True)

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
        return permission_list(
            self._request(
                "GET",
                f"{COLLECTION}/public_permissions",
                path={"collection_id": collection_id},
                repeatable=True,
            )
        )

    def user_shares(self, collection_id: str) -> List[Share]:
        """Rights of single users, the owner included. Repeatable.

        Wire: get_collection_permissions.
        """
        rows = self._array(f"{COLLECTION}/permissions", {"collection_id": collection_id})
        return [Share.from_json(row, "username") for row in _named(rows, "username")]

    def group_shares(self, collection_id: str) -> List[Share]:
        """Rights of groups. Repeatable. Wire: get_collection_group_permissions."""
        rows = self._array(f"{COLLECTION}/group_permissions", {"collection_id": collection_id})
        return [Share.from_json(row, "group_id") for row in _named(rows, "group_id")]

    def job(self, job_id: JobId) -> Optional[Job]:
        """A job of the key's user; None when the server keeps no record of it. Repeatable.

        Wire: get_job; servers differ in how they deny a job that they do not know (404, 400, 401,
        500), so list_jobs is asked before None is said. What is wrong with key or server shows
        there as well.
        """
        try:
            row = self._object("/jobs/{job_id}", headers=POLL, job_id=job_id)
        except (Rejected, NotFound, Unauthorized, Unavailable) as error:
            if error.status not in UNKNOWN_JOB:
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
            if error.status not in UNKNOWN_JOB:
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
        return JobId(_text(job, "id"))

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
        return JobId(_text(job, "id"))

    def move_chats(self, *, source: SourceId, target: TargetId) -> JobId:
        """Start the job that moves all chat sessions; as ``move_connectors``.

        Wire: create_migrate_collection_chat_sessions_job; path SOURCE, body target.
        """
        job = self._create(
            f"{COLLECTION}/migrate_chat_sessions_job",
            body={"target_collection_id": target},
            collection_id=source,
        )
        return JobId(_text(job, "id"))

    def delete_collection(self, collection_id: str) -> None:
        """Repeatable: 404 counts as done. Wire: delete_collection."""
        with suppress(NotFound):
            self._change("DELETE", COLLECTION, collection_id=collection_id)

    # -- keys (admin) ------------------------------------------------------------------
    def create_key(self, *, user_id: str, name: str, expires_in: str) -> Tuple[str, Secret]:
        """Make a key for a user; returns its id and the secret. NOT repeatable.

        Wire: create_api_key_for_user.
        """
        template = "/admin/api_keys"
        body = {"user_id": user_id, "name": name, "expires_in": expires_in}
        reply = self._post(template, body=body)
        info = reply.get("api_key")
        key_id = _text(info, "id") if isinstance(info, dict) else ""
        secret = _text(reply, "secret_key")
        if not key_id or not secret:
            raise _nameless(template)
        return key_id, Secret(secret)

    def keys(self, username: str) -> Iterator[ApiKey]:
        """Keys of users whose name contains ``username``. Repeatable.

        Wire: list_all_api_keys.
        """
        query = {"filter": username or None}
        for row in self._listing("/admin/api_keys", query).each_once():
            yield ApiKey(
                id=_text(row, "id"),
                name=_text(row, "name"),
                username=_text(row, "username"),
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
        return _text(row, "id")

    def delete_chat(self, session_id: str) -> None:
        """Repeatable: 404 counts as done. Wire: delete_chat_session."""
        with suppress(NotFound):
            self._change("DELETE", "/chats/{session_id}", session_id=session_id)

    def chat_messages(self, session_id: str) -> List[Json]:
        """The first messages of a session. Repeatable. Wire: get_chat_session_messages."""
        return self._rows("/chats/{session_id}/messages", session_id=session_id)

    def ask(self, session_id: str, question: str, timeout_s: float) -> Answer:
        """Ask over the websocket, one connection attempt.

        Raises ``ServerError`` for whatever went wrong; nothing needs to be looked up, as the
        session is deleted either way.
        """
        return self._chat.ask(self._keys.current(), session_id, question, timeout_s)

    def references(self, message_id: str) -> List[Reference]:
        """The documents that an answer refers to. Repeatable. Wire: get_message_references."""
        rows = self._array("/messages/{message_id}/references", {"message_id": message_id})
        return [
            Reference(_text(row, "document_id"), _text(row, "collection_id") or None)
            for row in _named(rows, "document_id")
        ]

    # -- the kinds of requests ---------------------------------------------------------
    def _object(
        self,
        template: str,
        *,
        prefix: str = API,
        headers: Optional[Mapping[str, str]] = None,
        **path: str,
    ) -> Json:
        reply: Json = self._request(
            "GET",
            template,
            path=path,
            headers=headers,
            repeatable=True,
            prefix=prefix,
            expect=dict,
        )
        return reply

    def _object_or_null(self, template: str, collection_id: str) -> Json:
        """Settings of a collection: none at all (null) are empty ones."""
        path = {"collection_id": collection_id}
        value = self._request("GET", template, path=path, repeatable=True)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise BadReply(
                f"GET {template}: JSON of another shape than documented.", route=f"GET {template}"
            )
        return value

    def _array(
        self,
        template: str,
        path: Mapping[str, str],
        query: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> List[Any]:
        reply: List[Any] = self._request(
            "GET",
            template,
            path=path,
            query=query,
            headers=headers,
            repeatable=True,
            expect=list,
        )
        return reply

    def _rows(
        self,
        template: str,
        query: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
        **path: str,
    ) -> List[Json]:
        """A listing that comes in one piece: its rows that have an id."""
        return _named(self._array(template, path, query, headers), "id")

    def _listing(
        self,
        template: str,
        query: Optional[Mapping[str, Any]] = None,
        *,
        path: Optional[Mapping[str, str]] = None,
        expected: Optional[int] = None,
    ) -> Listing[Json]:
        """A listing that comes in pages."""

        def fetch(offset: int, limit: int) -> List[Json]:
            asked = {**(query or {}), "offset": offset, "limit": limit}
            rows = self._array(template, path or {}, asked)
            # Each row keeps its position, whatever it is.
            return [row if isinstance(row, dict) else {} for row in rows]

        return Listing(
            fetch=fetch,
            key=_row_id,
            route=f"GET {template}",
            sizes=self._sizes,
            expected=expected,
        )

    def _request(self, method: str, template: str, **options: Any) -> Any:
        """Send with the key of the moment; a refused one is renewed, and did nothing.

        How often is for the key's source to say, which raises when it is enough.
        """
        while True:
            key = self._keys.current()
            try:
                return self._transport.request(method, template, key=key, **options)
            except Unauthorized as error:
                if template == META:
                    raise
                if self._good_keys.holds(key):
                    raise _forbidden(error) from error
                if self._keys.renew(key) is None:
                    raise

    def _change(
        self, method: str, template: str, body: Optional[Dict[str, Any]] = None, **path: str
    ) -> None:
        """A request that may be repeated, and whose answer says nothing more."""
        self._request(method, template, path=path, body=body, repeatable=True)

    def _post(
        self,
        template: str,
        *,
        query: Optional[Mapping[str, Any]] = None,
        body: Dict[str, Any],
        **path: str,
    ) -> Json:
        """A request that must not be repeated blindly."""
        reply: Json = self._request(
            "POST",
            template,
            path=path,
            query=query,
            body=body,
            repeatable=False,
            expect=dict,
        )
        return reply

    def _create(
        self,
        template: str,
        *,
        query: Optional[Mapping[str, Any]] = None,
        body: Dict[str, Any],
        **path: str,
    ) -> Json:
        """A ``_post`` whose answer names what was made; without a name nobody knows."""
        reply = self._post(template, query=query, body=body, **path)
        if not _text(reply, "id"):
            raise _nameless(template)
        return reply


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""


def _job(row: Mapping[str, Any]) -> Job:
    """A job, without the keys that its errors may quote."""
    job = Job.from_json(row)
    errors = tuple(map(scrub_words, job.errors))
    return replace(job, errors=errors, progress=scrub_words(job.progress))


def _row_id(row: Json) -> str:
    return _text(row, "id")


def _named(rows: List[Any], key: str) -> List[Json]:
    """The rows that say what they are about."""
    named = [row for row in rows if isinstance(row, dict) and _text(row, key)]
    if len(named) < len(rows):
        log.warning("rows without %s are left out: %d", key, len(rows) - len(named))
    return named


def _forbidden(error: Unauthorized) -> Forbidden:
    """The contract declares no other status than 401 for what is not allowed."""
    return Forbidden(
        f"{error.message.rstrip('.')} (the key is good: this is not allowed).",
        status=error.status,
        route=error.route,
    )


def _permissions(permissions: Optional[Sequence[str]]) -> Dict[str, Any]:
    """An empty list is sent as such: it differs from none, which grants the defaults."""
    return {} if permissions is None else {"permissions": list(permissions)}


def _nameless(template: str) -> OutcomeUnknown:
    route = f"POST {template}"
    return OutcomeUnknown(f"{route}: the server did not say what it made.", route=route)
