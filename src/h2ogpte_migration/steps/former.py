"""What former targets of a source still hold: nothing of theirs is forgotten.

A forced or retried migration makes a new target; connectors and chats that an earlier one moved
are in a former target then. Once the new one is ready they are brought there, with those of
the source; what stays behind is named. One that its owner may not see any more holds up no other.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import List, Optional, Tuple

from h2ogpte_migration import patience
from h2ogpte_migration.errors import NotFound, Rejected, ServerError, StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Json
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import Position, StepName
from h2ogpte_migration.steps import chains, refusals
from h2ogpte_migration.steps.moves import (
    MOVES,
    Left,
    MoveKind,
    StepJobs,
    Way,
    left_in,
    move_all,
)
from h2ogpte_migration.steps.presence import found_nowhere_else
from h2ogpte_migration.steps.validate import failed_if_gone
from h2ogpte_migration.tracking.records import Attempt
from h2ogpte_migration.ui.text import plural

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holding:
    """What a former target holds that is nowhere else: counts.

    Args:
        beyond: the former target whose content may have gone to this one, as it was migrated on.
    """

    target_id: str
    connectors: int
    chats: int
    documents: int = 0
    beyond: str = ""

    def __str__(self) -> str:
        parts = [
            plural(count, noun)
            for count, noun in (
                (self.connectors, "connector"),
                (self.chats, "chat"),
                (self.documents, "document"),
            )
            if count
        ]
        if self.beyond:
            where = f"{self.target_id}, to which the former target {self.beyond} was migrated on,"
            return f"{where} holds {', '.join(parts)}"
        return f"the former target {self.target_id} still holds {', '.join(parts)}"


def connectors(migration: Migration) -> Optional[Result]:
    """Bring over the connectors that former targets hold; where one keeps some, the chats as well.

    Raises:
        StepFailed: the server refuses to move those of one; all others were moved.
    """
    try:
        return _bring_all_over(migration, StepName.FORMER_CONNECTORS, StepName.CONNECTORS)
    except StepFailed:
        if migration.record.position == Position.FINISHED:
            chats(migration)  # their step will not be reached
        raise


def chats(migration: Migration) -> Optional[Result]:
    """Bring over the chat sessions that former targets hold."""
    return _bring_all_over(migration, StepName.FORMER_CHATS, StepName.CHATS)


def look_into(way: Way, kind: MoveKind) -> Left:
    """What a former target holds; that it is refused counts at a second look, as "none" does.

    Raises:
        Rejected: refused twice. Its owner may have lost the right to see it.
    """
    try:
        return left_in(way, kind)
    except Rejected:
        way.clock.sleep(patience.SECOND_LOOK_S)
    return left_in(way, kind)


def _bring_all_over(migration: Migration, name: str, step: str) -> Optional[Result]:
    store, kind = migration.tracking.store, MOVES[step]
    left_open = migration.record.intent(step) is not None
    refusal = stuck = ""
    try:
        for former in store.former_targets(migration.source_id):
            origin = str(former.target_id)
            way = Way(migration.gateway, migration.clock, origin, migration.target_id)
            try:
                left = look_into(way, kind)
            except Rejected as error:
                _warn_of_unseen(migration, way, kind, error)
                continue
            try:
                _bring_over(migration, way, left, step)
            except Rejected as error:
                # Nothing was moved by it; the others come first.
                refusal, stuck = refusals.words(error), origin
    except NotFound as error:
        return failed_if_gone(migration, error)
    if refusal:
        raise StepFailed(
            f"the server refuses to move the {kind.noun} of the former target {stuck}: {refusal}",
            f"By hand: --move-{kind.noun} --from {stuck} --to {migration.target_id}; then run this again.",
            "Former target refused",
        )
    if left_open:
        # A run that was killed had moved all of them: nothing was left to move, only to book.
        counts = store.moved_counts(migration.attempt, step)
        store.finish_move(migration.lease, migration.attempt, step, counts)
    store.finish_step(migration.lease, migration.attempt, name, migration.take_warnings())
    return None


def _warn_of_unseen(migration: Migration, way: Way, kind: MoveKind, error: Rejected) -> None:
    """Nobody knows whether it holds any, and another run is told the same: people have to look."""
    migration.warn(
        f"{kind.noun} may be left in a former target that {migration.owner} may not see. Once that is "
        f"allowed: --move-{kind.noun} --from {way.origin} --to {way.destination}. "
        f"The server says: {refusals.words(error)}"
    )


def _bring_over(migration: Migration, way: Way, left: Left, step: str) -> None:
    kind, store, origin = MOVES[step], migration.tracking.store, way.origin
    if not left.total:
        return  # also where it does not exist any more
    held = left.hidden or kind.count(migration.gateway, origin)
    there = kind.count(migration.gateway, migration.target_id)
    counts: Json = {"source": held, "target": there}
    log.info("bringing over %s %s from the former target %s", held, kind.noun, origin)
    store.record_move_counts(migration.lease, migration.attempt, step, counts)
    stays = move_all(way, kind, StepJobs(migration, step))
    if stays.words(kind):
        migration.warn(stays.words(kind, f"former target {origin}"))
    counts["target_after"] = kind.count(migration.gateway, migration.target_id)
    store.finish_move(migration.lease, migration.attempt, step, counts, migration.take_warnings())
    migration.moved[step] = migration.moved.get(step, 0) + held - stays.total


def holdings(migration: Migration) -> List[Holding]:
    """What former targets hold now, and what they were migrated on to; empty ones are left out.

    As far as the server tells. Of a chain nothing is brought over by itself: its end is in use.
    """
    found, store = [], migration.tracking.store
    for former in store.former_targets(migration.source_id):
        with suppress(ServerError):
            found.append(_holding(migration, former))
        for hop in chains.whereabouts(str(former.target_id), store.targets_of):
            with suppress(ServerError):
                connectors, chats = _moved(migration, hop.target_id)
                found.append(Holding(hop.target_id, connectors, chats, beyond=hop.by[0]))
    return [item for item in found if item.connectors or item.chats or item.documents]


def _moved(migration: Migration, collection_id: str) -> Tuple[int, int]:
    """How many connectors and chats a collection holds."""
    steps = (StepName.CONNECTORS, StepName.CHATS)
    connectors, chats = (MOVES[step].count(migration.gateway, collection_id) for step in steps)
    return connectors, chats


def _holding(migration: Migration, former: Attempt) -> Holding:
    target_id, tracked = str(former.target_id), migration.tracked
    in_use = tracked.attempt.target_id if tracked and tracked.attempt else None
    connectors, chats = _moved(migration, target_id)
    return Holding(target_id, connectors, chats, found_nowhere_else(migration, former, in_use))
