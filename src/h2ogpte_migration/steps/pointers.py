"""What still points at a collection when it is left behind: keys, tasks, assistants, a graph, tags.

None of it is moved by a migration. One listing of the run, or of an owner, tells of all their
collections. A server without such a listing, or one that does not show it to this key, is met with
silence: these are hints for people, and hold nothing back.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Callable, Dict, Iterable, List, Set, Tuple, TypeVar

from h2ogpte_migration.errors import BadReply, NotFound, Rejected, Unavailable
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.migration import Locks
from h2ogpte_migration.ui.text import plural

T = TypeVar("T")
Counts = Dict[str, int]

log = logging.getLogger(__name__)


class Pointers:
    """What points at collections, read when first needed and kept for the run.

    Args:
        own: the gateway of the key that was given.
        admin: whether it sees everybody's keys and tasks.
    """

    def __init__(self, own: Gateway, *, admin: bool) -> None:
        self._own = own
        self._admin = admin
        self._known: Dict[Tuple[str, str], Any] = {}
        self._absent: Set[str] = set()
        self._locks = Locks()

    def __call__(
        self, gateway: Gateway, collection_id: str, copied: bool, graph: bool
    ) -> List[str]:
        """What points at a collection, in words.

        Args:
            gateway: as its owner.
            copied: whether its documents are copied, which leaves their tags behind.
            graph: whether to ask for a knowledge graph, which no listing tells of.
        """
        holder = gateway.holder
        owner = holder.username if holder else collection_id
        keys, tasks, assistants = (
            listing.get(collection_id, 0)
            for listing in (self._keys(), self._tasks(gateway, owner), self._links(gateway, owner))
        )
        words = []
        if keys:
            words.append(f"{plural(keys, 'API key')} bound to the old collection, and not moved")
        if tasks:
            words.append(f"{plural(tasks, 'scheduled task')} on the old collection, and not moved")
        if assistants:
            words.append(
                f"{plural(assistants, 'assistant')} connected to the old collection, and not moved"
            )
        if graph and self._has_graph(gateway, collection_id):
            words.append("the knowledge graph of the old collection is to be built anew")
        tagged = self._tagged(gateway, owner, collection_id) if copied else 0
        if tagged:
            words.append(f"{plural(tagged, 'document')} with tags, which copies do not have")
        return words

    # -- the listings ------------------------------------------------------------------
    def _keys(self) -> Counts:
        if not self._admin:
            return {}
        return self._once("keys", "", lambda: _count(self._own.collections_of_keys()), {})

    def _tasks(self, gateway: Gateway, owner: str) -> Counts:
        if self._admin:
            read = self._own.collections_of_all_tasks
            return self._once("tasks", "", lambda: _count(read()), {})
        return self._once("tasks", owner, lambda: _count(gateway.collections_of_tasks()), {})

    def _links(self, gateway: Gateway, owner: str) -> Counts:
        read = gateway.collections_of_assistants
        return self._once("assistants", owner, lambda: _count(read()), {})

    def _has_graph(self, gateway: Gateway, collection_id: str) -> bool:
        """Asked for each collection, as no listing tells it."""
        return self._once("graph", collection_id, lambda: gateway.has_graph(collection_id), False)

    def _tagged(self, gateway: Gateway, owner: str, collection_id: str) -> int:
        names: List[str] = self._once("tags", owner, gateway.tags, [])
        if not names:
            return 0
        read = gateway.count_tagged
        return self._once("tagged", collection_id, lambda: read(collection_id, names), 0)

    def _once(self, what: str, of: str, read: Callable[[], T], nothing: T) -> T:
        """What ``read`` says, asked for once; ``nothing`` where the server does not tell.

        A server that has no such operation, or can't answer, is not asked again for others.
        """
        with self._locks[f"{what} {of}"]:
            if what in self._absent:
                return nothing
            if (what, of) not in self._known:
                self._known[what, of] = self._told(what, read, nothing)
            known: T = self._known[what, of]
            return known

    def _told(self, what: str, read: Callable[[], T], nothing: T) -> T:
        try:
            return read()
        except (Rejected, NotFound, Unavailable, BadReply) as error:
            log.info("%s: not told: %s", what, error.message)
            if not isinstance(error, Rejected):
                self._absent.add(what)
            return nothing


def _count(ids: Iterable[str]) -> Counts:
    return Counter(filter(None, ids))
