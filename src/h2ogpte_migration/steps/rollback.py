"""Bring connectors and chats back from the target to its source, exactly once like the way there.

That it was begun is on record first: from then on nothing is moved to the target any more. The
target stays; ``--cleanup`` deletes it.
"""

from __future__ import annotations

import logging
from typing import Optional

from h2ogpte_migration.errors import StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Json
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps import ragcheck
from h2ogpte_migration.steps.moves import KINDS, StepJobs, Way, left_in, move_all

log = logging.getLogger(__name__)


def begin(migration: Migration) -> Optional[Result]:
    """Commit that what was moved goes back; the source must be there to take it.

    Raises:
        StepFailed: the source does not exist any more.
    """
    source = migration.gateway.collection(migration.source_id)
    if source.owner not in ("", migration.owner):
        raise StepFailed(f"the source is owned by {source.owner} by now; nothing was moved back")
    migration.tracking.store.finish_step(migration.lease, migration.attempt, StepName.ROLLBACK)
    return None


def connectors(migration: Migration) -> Optional[Result]:
    """Move the scheduled connectors back."""
    _move_back(migration, StepName.CONNECTORS_BACK)
    return None


def chats(migration: Migration) -> Optional[Result]:
    """Move the chat sessions back; a test chat must not be among them."""
    leftovers = migration.tracking.leftovers
    ragcheck.sweep(migration.gateway, leftovers, migration.source_id)
    ragcheck.give_up(leftovers, migration.source_id)
    _move_back(migration, StepName.CHATS_BACK)
    return None


def finish(migration: Migration) -> Optional[Result]:
    """Both are back: a later plain run leaves the collection alone."""
    migration.tracking.store.finish_rollback(migration.lease, migration.attempt)
    log.info("rolled back: connectors and chats are in the source again")
    return None


def _move_back(migration: Migration, step: str) -> None:
    store, kind = migration.tracking.store, KINDS[step]
    way = Way(migration.gateway, migration.clock, migration.target_id, migration.source_id)
    counts: Optional[Json] = None
    if left_in(way, kind).listed:
        held = kind.count(way.gateway, way.origin)
        there = kind.count(way.gateway, way.destination)
        counts = {"source": held, "target": there}
        store.record_move_counts(migration.lease, migration.attempt, step, counts)
        move_all(way, kind, StepJobs(migration, step))
        counts["target_after"] = kind.count(way.gateway, way.destination)
        if counts["target_after"] < there + held:
            migration.notes.append(
                f"the source had {there} {kind.noun}, {held} were moved back, and it has "
                f"{counts['target_after']} now"
            )
        migration.moved[step] = held
    store.finish_move(migration.lease, migration.attempt, step, counts)
