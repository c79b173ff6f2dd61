"""Documents of the world: how they come into collections, change, and go."""

from __future__ import annotations

from dataclasses import replace
from typing import Iterable, Optional, Set

from .model import Collection, Document, JsonObject, Membership, SandboxError, User
from .state import State

#: States of documents that hold no text for anybody.
BAD = ("failed", "canceled", "unknown")


class DocumentWorld(State):
    """The part of the world that knows how documents are put into collections."""

    def new_document(
        self, user: User, name: str, text: Optional[str], *, size: Optional[int] = None
    ) -> Document:
        """Return a new record, which is in no collection yet."""
        length = len((text or "").encode()) if size is None else size
        return Document(self.new_id(), name, user.username, self.now(), size=length, text=text)

    def arrive(
        self,
        target: Collection,
        planned: Membership,
        username: str,
        *,
        copy: bool,
        with_metadata: bool,
        status: str = "running",
    ) -> Membership:
        """Put a document into a collection, by reference or as a copy, and return the line."""
        document = planned.document
        if copy or self._needs_new_record(target, document):
            document = self._copy_of(document, username)
        arrived = Membership(
            document=document,
            status=status,
            updated_at=self.now(),
            metadata=dict(planned.metadata) if with_metadata else {},
            added_at=self.now(),
        )
        target.documents.append(arrived)
        self.touch(target)
        return arrived

    def _needs_new_record(self, target: Collection, document: Document) -> bool:
        """Return whether a document that is there already gets a second record, not a second line."""
        if self.habits.doubled_ids != "new":
            return False
        return any(m.document is document for m in target.documents)

    def _copy_of(self, document: Document, username: str) -> Document:
        """Return a copy, which has no tags."""
        return replace(
            document, id=self.new_id(), username=username, created_at=self.now(), tags=[]
        )

    def insert_document(
        self, user: User, target: Collection, document_id: str, how: JsonObject
    ) -> Membership:
        """Put a document that is stored already into one more collection, at once."""
        found = self.memberships(document_id)
        if not found:
            raise SandboxError(404, "Document not found")
        agents_only = how.get("ingest_mode") == "agent_only"
        return self.arrive(
            target,
            found[0][1],
            user.username,
            copy=bool(how.get("copy_document")),
            with_metadata=bool(how.get("preserve_metadata")),
            status="agent_only" if agents_only else "completed",
        )

    def take_out(self, collection: Collection, document_ids: Iterable[str]) -> None:
        """Take documents out of one collection."""
        gone: Set[str] = set(document_ids)
        collection.documents = [m for m in collection.documents if m.document.id not in gone]
        self.touch(collection)

    def drop_documents(self, document_ids: Iterable[str]) -> None:
        """Delete documents, wherever they are."""
        gone = set(document_ids)
        for collection in self.collections.values():
            if any(m.document.id in gone for m in collection.documents):
                self.take_out(collection, gone)

    def documents_of(self, username: str) -> int:
        """Return how many documents are in a user's collections, a shared one each time."""
        return sum(len(c.documents) for c in self.collections.values() if c.username == username)
