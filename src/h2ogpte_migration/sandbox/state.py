"""What there is, and who may touch it: records, identity, clock and rights.

Rules of single operations live in the ``calls_*`` modules, jobs in ``jobs``.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from typing import Callable, Dict, List, Optional, Tuple
from typing import Counter as Counts

from .habits import ChatFate, Habits, JobTimes
from .model import (
    ApiKey,
    Assistant,
    ChatMessage,
    ChatSession,
    Collection,
    Document,
    EmbeddingModel,
    Job,
    Membership,
    PromptTemplate,
    SandboxError,
    ScheduledTask,
    Upload,
    User,
)

#: Models of the stand-in: two that ought to go, their replacements, and one that nobody mapped.
DEFAULT_MODELS = (
    "BAAI/bge-m3",
    "BAAI/bge-large-en-v1.5",
    "h2oai/embeddinggemma-300m-qat-q8_0-unquantized",
    "mixedbread-ai/mxbai-embed-large-v1",
    "intfloat/e5-large-v2",
)


class State:
    """The records of one server, guarded by one lock.

    Args:
        clock: seconds since the epoch; a test may bring its own.
        seed: of the generator of ids; servers that must not share ids need different ones.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time, seed: int = 0) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.random = random.Random(seed)
        self.habits = Habits()
        self.times = JobTimes()
        self.users: Dict[str, User] = {}
        self.groups: Dict[str, str] = {}  # id -> name
        self.keys: Dict[str, ApiKey] = {}  # by secret
        self.models: Dict[str, EmbeddingModel] = {m: EmbeddingModel(m) for m in DEFAULT_MODELS}
        self.prompts: Dict[str, PromptTemplate] = {}
        self.collections: Dict[str, Collection] = {}
        self.sessions: Dict[str, ChatSession] = {}
        self.messages: Dict[str, Tuple[ChatSession, ChatMessage]] = {}
        self.jobs: Dict[str, Job] = {}
        self.uploads: Dict[str, Upload] = {}
        self.tasks: Dict[str, ScheduledTask] = {}
        self.assistants: Dict[str, Assistant] = {}
        self.chat_fates: Dict[Optional[str], ChatFate] = {}  # by collection; None: any
        self.strikes: Counts[Tuple[str, ...]] = Counter()  # of habits that strike so many times
        self.secret: Optional[str] = None  # the key of the request at work

    # -- identity and time

    @property
    def version(self) -> str:
        """What the server calls its version."""
        return self.habits.server_version

    def new_id(self) -> str:
        """Return an id in the server's form."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def now(self) -> float:
        """Return the time of the world, in seconds since the epoch."""
        return self.clock()

    def too_new(self, made_at: float, shown_after_s: float) -> bool:
        """Return whether something is still hidden that is shown so long after it was made."""
        return shown_after_s > 0 and made_at + shown_after_s > self.now()

    # -- who calls

    def authenticate(self, secret: Optional[str]) -> User:
        """Return who calls with this key, and count the call; refuse keys that are not alive."""
        key = self.keys.get(secret or "")
        if key is None or not self.key_is_alive(key):
            raise SandboxError(401, "Invalid or missing API key")
        if self.too_new(key.valid_from, self.habits.keys_valid_after_s):
            raise SandboxError(401, "Invalid or missing API key")
        key.total_calls += 1
        key.last_used_at = self.now()
        return self.users[key.username]

    def key_is_alive(self, key: ApiKey) -> bool:
        """Return whether the key opens anything."""
        expired = key.expires_at is not None and key.expires_at <= self.now()
        return not key.deleted and not expired

    @staticmethod
    def require_admin(user: User) -> None:
        """Refuse everybody but an admin."""
        if not user.is_admin:
            raise SandboxError(403, "Admin rights are required")

    def user_by_id(self, user_id: str) -> User:
        """Return the user, or refuse with 404."""
        for user in self.users.values():
            if user.id == user_id:
                return user
        raise SandboxError(404, "User not found")

    # -- who may do what with a collection

    def collection(self, collection_id: str) -> Collection:
        """Return a collection whoever asks, or refuse with 404."""
        found = self.collections.get(collection_id)
        if found is None and self.habits.ids_ignore_case:
            found = self.collections.get(collection_id.lower())
        if found is None:
            raise SandboxError(404, "Collection not found")
        return found

    def visible(self, collection_id: str) -> Collection:
        """Return a collection that requests find already, or refuse with 404."""
        collection = self.collection(collection_id)
        if self.too_new(collection.created_at, self.habits.collections_readable_after_s):
            raise SandboxError(404, "Collection not found")
        return collection

    def may_read(self, user: User, collection: Collection) -> bool:
        """Return whether the user owns the collection or it is shared with him.

        Being an admin opens nothing here: an admin lists everything, but owns only his own.
        """
        return (
            collection.username == user.username
            or collection.is_public
            or user.username in collection.shares
            or any(group in collection.group_shares for group in user.groups)
        )

    def readable(self, user: User, collection_id: str) -> Collection:
        """Return a collection that the user may read, or refuse with 404 or 403."""
        collection = self.visible(collection_id)
        if not self.may_read(user, collection):
            raise SandboxError(403, "You are not allowed to access this collection")
        return collection

    def owned(self, user: User, collection_id: str) -> Collection:
        """Return a collection of the user, or refuse with 404 or 403."""
        collection = self.visible(collection_id)
        if collection.username != user.username:
            raise SandboxError(403, "Only the owner of the collection may do this")
        return collection

    def check_not_archived(self, collection: Collection) -> None:
        """Refuse to work on an archived collection, if this server does."""
        if collection.archived and self.habits.archived_refuses:
            raise SandboxError(400, "The collection is archived")

    def changeable(self, user: User, collection_id: str) -> Collection:
        """Return a collection that the user may upload to, or refuse with 404, 403 or 400."""
        collection = self.visible(collection_id)
        shares = [collection.shares.get(user.username, [])]
        shares += [collection.group_shares.get(group, []) for group in user.groups]
        shares += [collection.public_permissions] if collection.is_public else []
        allowed = any(rights is None or "upload" in rights for rights in shares)
        if collection.username != user.username and not allowed:
            raise SandboxError(403, "You are not allowed to change this collection")
        self.check_not_archived(collection)
        return collection

    def own_session(self, user: User, session_id: str) -> ChatSession:
        """Return a chat session of the user, or refuse with 404 or 403."""
        session = self.sessions.get(session_id)
        hidden_s = self.habits.chats_readable_after_s
        if session is None or self.too_new(session.created_at, hidden_s):
            raise SandboxError(404, "Chat session not found")
        if session.username != user.username:
            raise SandboxError(403, "You are not allowed to access this chat session")
        return session

    def sessions_of(self, collection_id: str) -> List[ChatSession]:
        """Return the chat sessions of a collection, whoever began them."""
        return [s for s in self.sessions.values() if s.collection_id == collection_id]

    def counted_sessions(self, collection_id: str) -> int:
        """Return how many chat sessions of a collection the server counts."""
        archived_count = self.habits.archived_chats_counted
        return sum(archived_count or not s.archived for s in self.sessions_of(collection_id))

    def session_counts(self) -> Dict[Optional[str], int]:
        """Return the number of chat sessions by collection id, as far as the server counts them."""
        archived_count = self.habits.archived_chats_counted
        return Counter(
            session.collection_id
            for session in self.sessions.values()
            if archived_count or not session.archived
        )

    def memberships(self, document_id: str) -> List[Tuple[Collection, Membership]]:
        """Return where a document is, the oldest collection first."""
        return [
            (collection, membership)
            for collection in self.collections.values()
            for membership in collection.documents
            if membership.document.id == document_id
        ]

    def readable_document(self, user: User, document_id: str) -> Document:
        """Return a document in a collection that the user may read, or her own, or refuse."""
        found = self.memberships(document_id)
        if not found:
            raise SandboxError(404, "Document not found")
        document = found[0][1].document
        if document.username != user.username and not any(
            self.may_read(user, collection) for collection, _ in found
        ):
            raise SandboxError(403, "You are not allowed to access this document")
        return document

    def drop_session(self, session_id: str) -> None:
        """Delete a chat session with its messages."""
        session = self.sessions.pop(session_id, None)
        for message in session.messages if session else []:
            self.messages.pop(message.id, None)

    def drop_collection(self, collection_id: str) -> None:
        """Delete a collection with its connectors and chats; document records survive."""
        for session in self.sessions_of(collection_id):
            self.drop_session(session.id)
        self.collections.pop(collection_id, None)

    def touch(self, *collections: Collection) -> None:
        """Record that the collections changed just now."""
        for collection in collections:
            collection.updated_at = self.now()
