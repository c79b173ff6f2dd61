"""Read a document listing to its end, also while people work on the collection."""

from __future__ import annotations

from typing import Callable, Iterator, Optional, TypeVar

from h2ogpte_migration.gateway.paging import ListingShifted
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Document

T = TypeVar("T")

_TRIES = 3


def listed(
    gateway: Gateway,
    collection_id: str,
    consume: Callable[[Iterator[Document]], T],
    expected: Optional[int] = None,
) -> T:
    """Feed all documents of a collection to ``consume``; again from the start if rows shifted.

    ``consume`` must therefore replace what it got before. A listing that never stands still
    is read id by id in the end, so that a restless server does not stop a migration.
    """
    for _ in range(_TRIES):
        try:
            return consume(gateway.documents(collection_id, expected))
        except ListingShifted:
            continue
    return consume(gateway.documents(collection_id, expected, shifting=True))
