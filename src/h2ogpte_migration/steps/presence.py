"""Whether a collection still exists. Only its own record tells: a 404 elsewhere may mean else."""

from __future__ import annotations

from h2ogpte_migration.errors import NotFound, StepFailed
from h2ogpte_migration.gateway.rest import Gateway


class SourceGone(StepFailed):
    """The source was deleted: there is nothing left to migrate."""

    def __init__(self) -> None:
        super().__init__(
            "the source collection does not exist any more", "There is nothing left to migrate."
        )


def is_gone(gateway: Gateway, collection_id: str) -> bool:
    """Ask for the collection itself."""
    try:
        gateway.collection(collection_id)
    except NotFound:
        return True
    return False
