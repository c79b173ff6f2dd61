"""A check of the server: what it makes, how it is removed again, and what it sees on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List

from h2ogpte_migration.checked import Notes
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.gateway.workbench import Workbench
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.tracking.scratch import Scratch


@dataclass
class Workplace:
    """A check at work.

    Args:
        notes: what was seen of assumptions.
        remarks: what else there is to say to people.
    """

    session: Session
    bench: Workbench
    scratch: Scratch
    notes: Notes = field(default_factory=Notes)
    remarks: List[str] = field(default_factory=list)

    @classmethod
    def of(cls, session: Session) -> Workplace:
        """The workplace of a session, whose database is a throw-away one."""
        return cls(session, Workbench.beside(session.gateway), Scratch(session.tracking.database))

    @property
    def gateway(self) -> Gateway:
        return self.session.gateway

    @property
    def clock(self) -> Clock:
        return self.session.clock

    def chat_ids(self, collection_id: str) -> List[str]:
        """The chats of a collection; empty for one that is listed without an id."""
        return [str(row.get("id") or "") for row in self.gateway.chats(collection_id)]

    @property
    def me(self) -> str:
        """Whose key it is: all that is made is theirs."""
        return self.session.identity.username
