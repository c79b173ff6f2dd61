"""The records that the stand-in keeps. No rules here, and no wire format."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Dict, List, Optional

from .habits import Fate

Json = Any  # a JSON value in transit
JsonObject = Dict[str, Any]

#: What "all rights" means when a collection or a share names no permissions.
ALL_RIGHTS = ["read", "chat", "upload", "edit", "delete"]

RAG_TYPES = ("auto", "llm_only", "rag", "hyde1", "hyde2", "rag+", "all_data")
#: Types that the 1.7 servers know and the published contract does not list yet.
NEWER_RAG_TYPES = ("agentic_rag", "rlm_rag")


class SandboxError(Exception):
    """A refusal, as the server words it: an HTTP status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class JobKind(str, Enum):
    """Kinds of jobs, named as in the client's ``JobKind``."""

    IMPORT = "ImportCollectionIntoCollectionJob"
    MOVE_CONNECTORS = "MigrateScheduledConnectorsToCollectionJob"
    MOVE_CHATS = "MigrateCollectionChatSessionsJob"
    DELETE_COLLECTIONS = "DeleteCollectionsJob"
    DELETE_CHATS = "DeleteChatSessionsJob"
    DELETE_DOCUMENTS = "DeleteDocumentsJob"
    REMOVE_DOCUMENTS = "DeleteDocumentsFromCollectionJob"
    INSERT_DOCUMENT = "ImportDocumentIntoCollectionJob"
    INGEST_UPLOADS = "IngestUploadsJob"
    INGEST_TEXT = "IngestPlainTextJob"
    OTHER = "IngestWebsiteJob"


@dataclass
class User:
    id: str
    username: str
    email: str
    is_admin: bool = False
    is_guest: bool = False
    groups: List[str] = field(default_factory=list)  # group ids
    workspaces: List[str] = field(default_factory=list)
    default_workspace: str = ""


@dataclass
class ApiKey:
    id: str
    secret: str
    name: str
    username: str
    created_at: float
    expires_at: Optional[float] = None
    deleted: bool = False
    collection_id: Optional[str] = None
    last_used_at: Optional[float] = None
    total_calls: int = 0
    inactivity_interval: Optional[int] = None
    valid_from: float = 0.0


@dataclass
class EmbeddingModel:
    id: str
    languages: List[str] = field(default_factory=lambda: ["en"])


@dataclass
class PromptTemplate:
    id: str
    name: str
    username: str
    readers: List[str] = field(default_factory=list)
    is_public: bool = False


@dataclass
class Document:
    """A document record, which several collections may share by reference."""

    id: str
    name: str
    username: str
    created_at: float
    size: int = 1024
    page_count: int = 1
    text: Optional[str] = None  # what it says; None: something made of its name
    tags: List[str] = field(default_factory=list)
    uri: Optional[str] = None


@dataclass
class Membership:
    """One line of a collection's list of documents: the record and its state there."""

    document: Document
    status: str
    updated_at: float
    metadata: JsonObject = field(default_factory=dict)
    added_at: float = 0.0


@dataclass
class Connector:
    id: str
    type: str
    schedule: int
    created_at: float
    config: JsonObject = field(default_factory=dict)


@dataclass
class Reference:
    collection_id: str
    document_id: str
    document_name: str


@dataclass
class ChatMessage:
    id: str
    content: str
    username: str
    created_at: float
    reply_to: Optional[str] = None
    references: List[Reference] = field(default_factory=list)


@dataclass
class ChatSession:
    id: str
    name: Optional[str]
    username: str
    collection_id: Optional[str]
    updated_at: float
    workspace: Optional[str] = None
    messages: List[ChatMessage] = field(default_factory=list)
    archived: bool = False
    created_at: float = 0.0  # 0: always there


@dataclass
class Collection:
    id: str
    name: str
    description: str
    username: str
    embedding_model: str
    created_at: float
    updated_at: float
    workspace: Optional[str] = None
    rag_type: Optional[str] = None
    prompt_template_id: Optional[str] = None
    thumbnail: Optional[str] = None
    size_limit: Optional[int] = None
    expiry_date: Optional[float] = None
    inactivity_interval: Optional[int] = None
    vex_encryption: Optional[str] = None
    exempt_from_chat_expiry: bool = False
    has_default_guardrails: bool = False
    status: str = "active"
    settings: JsonObject = field(default_factory=dict)
    chat_settings: JsonObject = field(default_factory=dict)
    metadata: JsonObject = field(default_factory=dict)
    documents: List[Membership] = field(default_factory=list)
    connectors: List[Connector] = field(default_factory=list)
    is_public: bool = False
    public_permissions: Optional[List[str]] = None  # None: all rights; []: none
    shares: Dict[str, Optional[List[str]]] = field(default_factory=dict)  # by username
    group_shares: Dict[str, Optional[List[str]]] = field(default_factory=dict)  # by group id
    counted_documents: int = 0  # what a stale count shows
    imported: bool = False  # an import job brought documents
    graph: str = "none"  # state of the knowledge graph

    @property
    def archived(self) -> bool:
        """Whether the collection is archived."""
        return self.status == "archived"

    @property
    def size(self) -> int:
        """The size of all documents, in bytes."""
        return sum(m.document.size for m in self.documents)


@dataclass
class Upload:
    """A file that was sent, and not ingested yet."""

    id: str
    name: str
    username: str
    text: str


@dataclass
class ScheduledTask:
    """A question that is asked at certain times, perhaps of a collection."""

    id: str
    name: str
    username: str
    created_at: float
    config: JsonObject = field(default_factory=dict)  # with "message", perhaps "collection_id"
    schedule_type: str = "interval"
    schedule_expression: str = "1 hours"
    task_type: str = "chat_completion"
    status: str = "active"


@dataclass
class Assistant:
    """A lasting assistant, connected to collections."""

    id: str
    name: str
    username: str
    created_at: float
    llm: str = "auto"
    links: Dict[str, str] = field(default_factory=dict)  # access mode by collection id


@dataclass
class Job:
    """A server job. Its parameters are ours; the wire shape names no collection."""

    id: str
    kind: str
    username: str
    created_at: float
    duration_s: float
    fate: Fate = Fate.SUCCEED
    params: JsonObject = field(default_factory=dict)
    source_id: Optional[str] = None
    target_id: Optional[str] = None
    planned: List[Membership] = field(default_factory=list)
    placed: List[Membership] = field(default_factory=list)  # of those planned, in their order
    settled: int = 0  # how many of those placed have got their lasting status
    progress: float = 0.0  # 0 to 1
    status: str = "in progress"
    ended_at: Optional[float] = None
    errors: List[str] = field(default_factory=list)
    canceled_by: Optional[str] = None
    failed_documents: int = 1  # how many a partial fate strikes
    work_done: bool = False  # all that it had to do, though it may go on
    secret: Optional[str] = None  # the key with which it was submitted

    @property
    def running(self) -> bool:
        """Whether the job has not ended yet."""
        return self.status == "in progress"
