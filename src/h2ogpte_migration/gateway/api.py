"""What the tool needs of an h2oGPTe server, in the tool's own words.

Protocols only: nothing here knows HTTP. ``rest`` and ``chat`` implement them. Two rules hold
for every method:

* "Repeatable" ones are retried by the gateway itself; they raise ``Unavailable`` (or
  ``BadReply``) when the retries are used up.
* "Not repeatable" ones raise ``OutcomeUnknown`` when no usable answer came: the work may or
  may not have been done. Only the one who can look for the result may decide what follows.
  What surely did nothing (connection refused, 429) is retried like the others.

All may raise ``Unauthorized``, ``NotFound``, ``Rejected`` (nothing was done) and
``Interrupted``.
"""

from __future__ import annotations

from typing import Any, Iterator, List, Mapping, Optional, Protocol, Sequence, Tuple

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
)
from h2ogpte_migration.redact import Secret


class Gateway(Protocol):
    """The server as one key sees it."""

    # -- who and what ------------------------------------------------------------------
    def identity(self) -> Identity:
        """Who the key belongs to. Repeatable. Wire: GET /rpc/meta."""

    def embedding_models(self) -> List[str]:
        """Ids of the models that collections can be made with. Repeatable.

        Wire: list_embedding_models.
        """

    # -- listings ----------------------------------------------------------------------
    def all_collections(self, filter_text: str = "") -> Iterator[Collection]:
        """Everybody's collections (admin), each once. Repeatable.

        ``filter_text`` matches anywhere in name, id and username: pick exact ids from the
        matches. Wire: list_all_collections.
        """

    def own_collections(self) -> Iterator[Collection]:
        """The collections that the key's user owns, each once. Repeatable.

        Wire: list_collections with ``current_user_only``; rows of other owners are dropped
        by the caller, who knows the user's name.
        """

    def users(self) -> Iterator[User]:
        """Registered users; may leave out the caller. Repeatable. Wire: list_users."""

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

    def connectors(self, collection_id: str) -> List[Json]:
        """Scheduled connectors. Repeatable. Wire: list_scheduled_connectors_for_collection."""

    def chats(self, collection_id: str, limit: int = 100) -> List[Json]:
        """The first ``limit`` chat sessions. Repeatable.

        Wire: list_chat_sessions_for_collection.
        """

    def chat_count(self, collection_id: str) -> int:
        """Number of chat sessions. Repeatable. Wire: get_chat_session_count_for_collection."""

    def jobs(self) -> List[Job]:
        """The jobs of the key's user. Repeatable. Wire: list_jobs."""

    # -- one collection, reading -------------------------------------------------------
    def collection(self, collection_id: str) -> Collection:
        """A collection with its raw JSON. Repeatable. Wire: get_collection."""

    def settings(self, collection_id: str) -> Json:
        """Collection settings as raw JSON. Repeatable. Wire: get_collection_settings."""

    def chat_settings(self, collection_id: str) -> Json:
        """Chat settings as raw JSON. Repeatable. Wire: get_collection_chat_settings."""

    def metadata(self, collection_id: str) -> Json:
        """Collection metadata as raw JSON. Repeatable. Wire: get_collection_metadata."""

    def public_permissions(self, collection_id: str) -> Optional[Tuple[str, ...]]:
        """Rights of everybody; None where the server keeps no list (all rights). Repeatable.

        Wire: list_collection_public_permissions.
        """

    def user_shares(self, collection_id: str) -> List[Share]:
        """Rights of single users, the owner included. Repeatable.

        Wire: get_collection_permissions.
        """

    def group_shares(self, collection_id: str) -> List[Share]:
        """Rights of groups. Repeatable. Wire: get_collection_group_permissions."""

    def job(self, job_id: JobId) -> Optional[Job]:
        """A job of the key's user; None when the server keeps no record of it. Repeatable.

        Wire: get_job; where that refuses (404, 400), list_jobs is asked before None is said.
        """

    # -- one collection, writing -------------------------------------------------------
    def create_collection(self, request: Mapping[str, Any]) -> Collection:
        """Create a collection. NOT repeatable: a second call makes a second one.

        ``request`` is a ``CollectionCreateRequest`` as JSON. Wire: create_collection.
        """

    def set_rag_type(self, target: TargetId, rag_type: str) -> None:
        """Repeatable. Wire: update_collection (``rag_type`` alone is sent)."""

    def set_settings(self, target: TargetId, settings: Mapping[str, Any]) -> None:
        """Replace the collection settings. Repeatable. Wire: update_collection_settings."""

    def set_chat_settings(self, target: TargetId, settings: Mapping[str, Any]) -> None:
        """Replace the chat settings. Repeatable. Wire: update_collection_chat_settings."""

    def set_metadata(self, target: TargetId, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata. Repeatable. Wire: update_collection_metadata."""

    def set_prompt_template(self, target: TargetId, template_id: str) -> None:
        """Repeatable. Wire: update_collection_prompt_template."""

    def set_chat_expiry_exemption(self, target: TargetId, exempt: bool) -> None:
        """Repeatable. Wire: update_collection_exempt_from_chat_expiry (client 1.7.x)."""

    def make_public(self, target: TargetId, permissions: Optional[Sequence[str]]) -> None:
        """Publish. Repeatable. An empty list is sent as such; None sends no list, which
        grants all rights. Wire: update_collection_privacy.
        """

    def share_with_user(self, target: TargetId, share: Share) -> None:
        """Repeatable; 409 raises ``Conflict``. Wire: share_collection."""

    def share_with_group(self, target: TargetId, share: Share) -> None:
        """Repeatable; 409 raises ``Conflict``. Wire: share_collection_with_group."""

    def submit_import(self, *, source: SourceId, target: TargetId, how: ImportOptions) -> JobId:
        """Start the server's import job and return its id at once, without waiting.

        NOT repeatable: a second job puts every document into ``target`` twice.
        Wire: create_import_collection_to_collection_job; the path names the target, the
        body the source; document status, metadata and lifecycle settings are asked for.
        """

    def move_connectors(self, *, source: SourceId, target: TargetId) -> JobId:
        """Start the job that moves all scheduled connectors. Moving again is harmless, but
        an unknown outcome raises ``OutcomeUnknown``: the caller looks first.

        Wire: migrate_scheduled_connectors_to_collection; path target, body source.
        """

    def move_chats(self, *, source: SourceId, target: TargetId) -> JobId:
        """Start the job that moves all chat sessions; as ``move_connectors``.

        Wire: create_migrate_collection_chat_sessions_job; path SOURCE, body target.
        """

    def delete_collection(self, collection_id: str) -> None:
        """Repeatable: 404 counts as done. Wire: delete_collection."""

    # -- keys (admin) ------------------------------------------------------------------
    def create_key(self, *, user_id: str, name: str, expires_in: str) -> Tuple[str, Secret]:
        """Make a key for a user; returns its id and the secret. NOT repeatable.

        Wire: create_api_key_for_user.
        """

    def keys(self, username: str) -> Iterator[ApiKey]:
        """Keys of users whose name contains ``username``. Repeatable.

        Wire: list_all_api_keys.
        """

    def delete_key(self, key_id: str) -> None:
        """Repeatable; ``NotFound`` and ``Conflict`` are the caller's to judge.

        Wire: delete_api_key.
        """

    # -- RAG check ---------------------------------------------------------------------
    def create_chat(self, collection_id: str) -> str:
        """Open a chat session on a collection; returns its id. NOT repeatable.

        Wire: create_chat_session.
        """

    def delete_chat(self, session_id: str) -> None:
        """Repeatable: 404 counts as done. Wire: delete_chat_session."""

    def chat_messages(self, session_id: str) -> List[Json]:
        """The first messages of a session. Repeatable. Wire: get_chat_session_messages."""

    def ask(self, session_id: str, question: str, timeout_s: float) -> Answer:
        """Ask over the websocket, one connection attempt.

        Raises ``ServerError`` for whatever went wrong; nothing needs to be looked up, as the
        session is deleted either way.
        """

    def references(self, message_id: str) -> List[Reference]:
        """The documents that an answer refers to. Repeatable. Wire: get_message_references."""


class KeySource(Protocol):
    """A key that may have to be replaced in mid-run."""

    def current(self) -> Secret:
        """The key to use now; made when first asked for."""

    def renew(self, stale: Secret) -> Optional[Secret]:
        """Another key, as ``stale`` was refused; None where there is no other.

        A 401 did nothing, so the call is repeated with it.
        """


class Server(Protocol):
    """A server that several keys are used on at once, over shared connections."""

    def as_key(self, key: Secret) -> Gateway:
        """The server as the holder of ``key`` sees it. Free of cost, sends nothing."""

    def as_owner(self, keys: KeySource) -> Gateway:
        """The server as somebody sees it whose key may be renewed. Sends nothing."""

    def close(self) -> None:
        """Drop the pooled connections."""
