"""Builders: how tests and the sample organisation fill a world."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from .jobs import JobWorld
from .model import (
    ApiKey,
    Assistant,
    ChatMessage,
    ChatSession,
    Collection,
    Connector,
    Document,
    JsonObject,
    Membership,
    PromptTemplate,
    Reference,
    SandboxError,
    ScheduledTask,
    User,
)

#: A number of documents, or their names, or (name, status) pairs.
Documents = Union[int, Sequence[Union[str, Tuple[str, str]]]]
#: A number of chats of the owner, or numbers by username.
Chats = Union[int, Mapping[str, int]]
#: Everything that was there before the tests is older than what they make.
_AGE_S = 86400.0


class Builders(JobWorld):
    """Methods that put things there, past every rule of the server."""

    def add_user(
        self,
        username: str,
        *,
        admin: bool = False,
        guest: bool = False,
        groups: Sequence[str] = (),
        workspaces: Sequence[str] = (),
        key: Optional[str] = None,
    ) -> User:
        """Add a user with a default workspace and a key, ``sk-sandbox-<username>`` by default."""
        with self.lock:
            default = "user-" + username
            user = User(
                id=self.new_id(),
                username=username,
                email=username + "@example.com",
                is_admin=admin,
                is_guest=guest,
                groups=[self.add_group(name) for name in groups],
                workspaces=[default, *workspaces],
                default_workspace=default,
            )
            self.users[username] = user
            self.add_key(username, secret=key or "sk-sandbox-" + username)
            return user

    def add_group(self, name: str) -> str:
        """Add a group, if it is new, and return its id."""
        with self.lock:
            for group_id, known in self.groups.items():
                if known == name:
                    return group_id
            group_id = self.new_id()
            self.groups[group_id] = name
            return group_id

    def add_key(
        self,
        username: str,
        *,
        name: str = "default",
        secret: Optional[str] = None,
        lifetime_s: Optional[float] = None,
        collection_id: Optional[str] = None,
    ) -> ApiKey:
        """Add an API key, for good unless a lifetime is given, perhaps bound to a collection."""
        with self.lock:
            key = ApiKey(
                id=self.new_id(),
                secret=secret or "sk-" + self.new_id().replace("-", ""),
                name=name,
                username=username,
                created_at=self.now(),
                expires_at=None if lifetime_s is None else self.now() + lifetime_s,
                collection_id=collection_id,
            )
            self.keys[key.secret] = key
            return key

    def add_prompt(
        self, owner: str, name: str, *, readers: Sequence[str] = (), public: bool = False
    ) -> PromptTemplate:
        """Add a prompt template that the owner and the readers see."""
        with self.lock:
            prompt = PromptTemplate(self.new_id(), name, owner, list(readers), public)
            self.prompts[prompt.id] = prompt
            return prompt

    def add_collection(
        self,
        owner: str,
        name: str,
        model: str = "BAAI/bge-m3",
        *,
        documents: Documents = 3,
        document_metadata: Optional[JsonObject] = None,
        connectors: int = 0,
        chats: Chats = 0,
        public: Union[bool, Sequence[str]] = False,
        shares: Optional[Mapping[str, Optional[List[str]]]] = None,
        group_shares: Optional[Mapping[str, Optional[List[str]]]] = None,
        **fields: Any,
    ) -> Collection:
        """Add a collection with everything in it.

        Args:
            owner: username.
            name: any text, not necessarily unique.
            model: embedding model, which need not be one of the server's.
            documents: how many, or names, or (name, status) pairs.
            document_metadata: metadata that each document gets.
            connectors: how many scheduled connectors.
            chats: how many chat sessions, of the owner or by username.
            public: False, True (all rights), or the list of rights, which may be empty.
            shares: rights by username; None is a share without a list.
            group_shares: rights by the group's name.
            fields: any other field of ``Collection``.
        """
        with self.lock:
            created_at = self.now() - _AGE_S + len(self.collections)
            values: Dict[str, Any] = {
                "description": "About " + name,
                "workspace": self.users[owner].default_workspace,
                "created_at": created_at,
                "updated_at": created_at,
                **fields,
            }
            collection = Collection(
                id=self.new_id(), name=name, username=owner, embedding_model=model, **values
            )
            self.collections[collection.id] = collection
            self._fill(collection, documents, document_metadata or {}, connectors, chats)
            collection.is_public = public is not False
            collection.public_permissions = None if isinstance(public, bool) else list(public)
            collection.shares = dict(shares or {})
            collection.group_shares = {
                self.add_group(group): rights for group, rights in (group_shares or {}).items()
            }
            collection.counted_documents = len(collection.documents)
            return collection

    def _fill(
        self,
        collection: Collection,
        documents: Documents,
        metadata: JsonObject,
        connectors: int,
        chats: Chats,
    ) -> None:
        if isinstance(documents, int):
            documents = [f"document {n:04d}.pdf" for n in range(documents)]
        for item in documents:
            name, status = (item, "completed") if isinstance(item, str) else item
            self._put_document(collection, name, status, metadata, collection.created_at)
        for number in range(connectors):
            self.add_connector(collection.id, "s3" if number % 2 == 0 else "confluence")
        by_user = {collection.username: chats} if isinstance(chats, int) else chats
        for username, how_many in by_user.items():
            for number in range(how_many):
                self.add_chat(collection.id, username, f"chat {number} of {username}")

    def _put_document(
        self,
        collection: Collection,
        name: str,
        status: str,
        metadata: JsonObject,
        when: float,
        text: Optional[str] = None,
    ) -> Document:
        document = Document(self.new_id(), name, collection.username, when, text=text)
        collection.documents.append(
            Membership(document, status, when, dict(metadata), added_at=when)
        )
        return document

    def add_document(
        self,
        collection_id: str,
        name: str,
        *,
        status: str = "completed",
        metadata: Optional[JsonObject] = None,
        text: Optional[str] = None,
    ) -> Document:
        """Add a new document to a collection, as its users may do at any time."""
        with self.lock:
            collection = self.collection(collection_id)
            self.touch(collection)
            return self._put_document(collection, name, status, metadata or {}, self.now(), text)

    def add_connector(self, collection_id: str, kind: str = "s3") -> Connector:
        """Add a scheduled connector."""
        with self.lock:
            collection = self.collection(collection_id)
            number = len(collection.connectors)
            connector = Connector(
                id=self.new_id(),
                type=kind,
                schedule=3600,
                created_at=self.now(),
                config={"path": f"{collection.name}/{number}"},
            )
            collection.connectors.append(connector)
            return connector

    def add_chat(
        self, collection_id: Optional[str], username: str, name: Optional[str]
    ) -> ChatSession:
        """Add a chat session with one question and one answer."""
        with self.lock:
            user = self.users[username]
            session = ChatSession(
                id=self.new_id(),
                name=name,
                username=username,
                collection_id=collection_id,
                updated_at=self.now(),
                workspace=user.default_workspace,
            )
            self.sessions[session.id] = session
            question = self.add_message(session, username, "What is it about?")
            self.add_message(session, username, "It is about this.", reply_to=question.id)
            return session

    def add_message(
        self,
        session: ChatSession,
        username: str,
        content: str,
        *,
        reply_to: Optional[str] = None,
        references: Sequence[Reference] = (),
    ) -> ChatMessage:
        """Add a message to a chat session."""
        with self.lock:
            message = ChatMessage(
                self.new_id(), content, username, self.now(), reply_to, list(references)
            )
            session.messages.append(message)
            session.updated_at = message.created_at
            self.messages[message.id] = (session, message)
            return message

    def add_task(
        self, username: str, name: str, collection_id: Optional[str] = None
    ) -> ScheduledTask:
        """Add a scheduled task, perhaps bound to a collection."""
        with self.lock:
            bound = {} if collection_id is None else {"collection_id": collection_id}
            config = {"message": "What is new?", **bound}
            task = ScheduledTask(self.new_id(), name, username, self.now(), config)
            self.tasks[task.id] = task
            return task

    def add_assistant(self, username: str, name: str, *collection_ids: str) -> Assistant:
        """Add an assistant, connected to collections."""
        with self.lock:
            links = dict.fromkeys(collection_ids, "read")
            item = Assistant(self.new_id(), name, username, self.now(), links=links)
            self.assistants[item.id] = item
            return item

    def entangle(self, collection_id: str) -> None:
        """Let everything point at a collection that a migration leaves behind.

        Adds a bound key, a scheduled task, an assistant, an archived chat and a knowledge graph;
        the first document, if there is one, gets a tag.
        """
        with self.lock:
            collection = self.collection(collection_id)
            owner = collection.username
            self.add_key(owner, name="bound to " + collection.name, collection_id=collection_id)
            self.add_task(owner, "weekly question", collection_id)
            self.add_assistant(owner, "librarian", collection_id)
            self.add_chat(collection_id, owner, "archived chat").archived = True
            collection.graph = "ready"
            for line in collection.documents[:1]:
                line.document.tags.append("important")

    def key_of(self, username: str) -> str:
        """Return a living key of the user, as a secret."""
        with self.lock:
            for key in self.keys.values():
                if key.username == username and self.key_is_alive(key):
                    return key.secret
        raise SandboxError(404, username + " has no key")
