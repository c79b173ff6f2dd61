"""Whether something still exists, and what a listing holds: the one place that decides "gone".

"Gone" is a claim: a single answer never makes it true. Only a collection's own record tells, twice,
with a pause, and the owner's listing must not contradict. A 404 that is not h2oGPTe's own never
comes here: the transport takes it for a fault on the way.
"""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from dataclasses import replace
from typing import Callable, Iterator, Optional, Tuple, TypeVar

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import Conflict, NotFound, Rejected, StepFailed, Unavailable
from h2ogpte_migration.gateway.paging import ListingShifted
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, Document
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import Position, StepName, TargetState
from h2ogpte_migration.steps import chains
from h2ogpte_migration.tracking.documents import BASELINE, SOURCE, TARGET, DocumentComparison
from h2ogpte_migration.tracking.records import Attempt

T = TypeVar("T")

_TRIES = 3

log = logging.getLogger(__name__)


class SourceGone(StepFailed):
    """The source was deleted: there is nothing left to migrate."""

    def __init__(self) -> None:
        super().__init__(
            "the source collection does not exist any more", "There is nothing left to migrate."
        )


def is_gone(gateway: Gateway, clock: Clock, collection_id: str, *, within_s: float = 0.0) -> bool:
    """Whether a collection surely does not exist any more.

    Args:
        within_s: how long it may yet take to show, as it was only just made.

    Raises:
        Unavailable: its owner's listing holds what its own record denies.
    """
    deadline = clock.now() + within_s
    pause_s = patience.SECOND_LOOK_S
    looks = 0
    while True:
        looked_at = clock.now()  # a look may take long, and says how it was when it began
        if _answers(gateway, collection_id):
            return False
        looks += 1
        if looks > 1 and looked_at >= deadline:
            break
        clock.sleep(pause_s)
    if any(item.id == collection_id for item in gateway.own_collections()):
        raise Unavailable(
            f"the server lists the collection {collection_id}, and says that it does not exist",
            hint="Run the same command later; nothing was concluded from it.",
        )
    log.warning("the collection %s does not exist any more", collection_id)
    return True


def _answers(gateway: Gateway, collection_id: str) -> bool:
    try:
        gateway.collection(collection_id)
    except NotFound:
        return False
    return True


def sure(clock: Clock, read: Callable[[], T]) -> T:
    """What a listing says; an empty one is asked for again: "none" counts after a second look."""
    rows = read()
    if rows:
        return rows
    clock.sleep(patience.EMPTY_LOOK_S)
    return read()


def is_empty(gateway: Gateway, clock: Clock, collection_id: str) -> bool:
    """Whether a collection surely holds no document.

    Raises:
        NotFound: it may be gone.
        Unavailable: it counts documents, and lists none.
    """
    counted = 0
    for look in range(_TRIES):
        if look:
            clock.sleep(patience.SECOND_LOOK_S if counted else patience.EMPTY_LOOK_S)
        if next(iter(gateway.documents(collection_id)), None) is not None:
            return False
        counted = gateway.collection(collection_id).document_count or 0
        if look and not counted:
            return True
    raise Unavailable(
        f"the server counts {counted} documents in {collection_id}, and lists none",
        hint="Run the same command later; nothing was concluded from it.",
    )


def run(migration: Migration) -> Optional[Result]:
    """Whether the target of a finished migration still exists; a deleted one has failed.

    Unless it was migrated on before: then the end of that chain stands for the source.
    """
    gateway, target_id = migration.gateway, migration.target_id
    if _answers(gateway, target_id) or not is_gone(gateway, migration.clock, target_id):
        return None
    end = end_of_chain(migration)
    if end:
        _refuse_what_is_in_the_source(migration, end)
        migration.notes.append(f"its target was deleted; {end} stands for it, to which that went")
        return None
    reason = "the target was deleted after the end"
    if not _answers(gateway, migration.source_id):
        hint = "Its source is gone as well: there is nothing left to migrate."
        return migration.import_failed(reason, "target deleted", hint)
    return migration.import_failed(reason, "target deleted")


def _refuse_what_is_in_the_source(migration: Migration, end: str) -> None:
    """Without its target nothing brings on what is in the source again, as by a move by hand.

    Raises:
        StepFailed: connectors are, or chats where they had been moved, but for those that stayed.
    """
    gateway, source_id, store = migration.gateway, migration.source_id, migration.tracking.store
    flags = []
    with suppress(NotFound):  # a source that is gone holds nothing
        if gateway.connectors(source_id):
            flags.append("--move-connectors")
        moved = store.moved_counts(migration.attempt, StepName.CHATS) or {}
        stayed = moved.get("source", 0) - (moved.get("target_after", 0) - moved.get("target", 0))
        if migration.record.record.chats_migrated and len(gateway.chats(source_id)) > stayed:
            flags.append("--move-chats")
    if not flags:
        return
    way_out = (*flags, "--from", source_id, "--to", end)
    raise StepFailed(
        f"its target {migration.target_id} was deleted, after it was migrated on to {end}, and the "
        f"source holds {' and '.join(flag[len('--move-') :] for flag in flags)} again",
        f"To move them there: {' '.join(way_out)}. To leave them in the source: "
        f"--rollback --collections {source_id}",
        "migrated on",
        way_out,
    )


def end_of_chain(migration: Migration) -> str:
    """What stands for a deleted target, as that was migrated on before; empty where nothing does."""
    for link in chains.onwards(migration, migration.target_id):
        if link.position not in (Position.CONNECTED, Position.FINISHED):
            break
        if _answers(migration.gateway, str(link.record.target_id)):
            return str(link.record.target_id)
    return ""


def restart_if_gone(migration: Migration, error: NotFound) -> None:
    """A 404 before the import: begin afresh if it is the target that is gone.

    Raises:
        SourceGone: it is the source.
        StepFailed: both are there, and something else was not found.
    """
    if is_gone(migration.gateway, migration.clock, migration.source_id):
        raise SourceGone from error
    within_s = migration.freshness()
    if not is_gone(migration.gateway, migration.clock, migration.target_id, within_s=within_s):
        raise StepFailed(error.message) from error
    migration.restart(TargetState.VANISHED, f"the target {migration.target_id} was deleted")


def when_visible(migration: Migration, send: Callable[[], T]) -> T:
    """Send something to the target; once more where it only did not show yet.

    A 404 did nothing, and right after a creation it does not mean that there is nothing.

    Raises:
        NotFound: the target is gone, or something else was not found.
    """
    try:
        return send()
    except NotFound:
        within_s = migration.freshness()
        if not within_s or is_gone(
            migration.gateway, migration.clock, migration.target_id, within_s=within_s
        ):
            raise
    migration.before_write()
    return send()


def insist(migration: Migration, send: Callable[[], T]) -> T:
    """Send something to the target; once more where it was refused: a refusal did nothing.

    Raises:
        Conflict: at once, as it speaks of what is there.
        Rejected, NotFound: refused twice.
    """
    try:
        return when_visible(migration, send)
    except Conflict:
        raise
    except (Rejected, NotFound):
        migration.clock.sleep(patience.EMPTY_LOOK_S)
    migration.before_write()
    return send()


def read_when_visible(
    gateway: Gateway, clock: Clock, collection_id: str, within_s: float
) -> Collection:
    """A collection's record; waited for while it may only not show yet.

    Raises:
        NotFound: it is gone.
    """
    try:
        return gateway.collection(collection_id)
    except NotFound:
        if is_gone(gateway, clock, collection_id, within_s=within_s):
            raise
    return gateway.collection(collection_id)


def read_documents(
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


def found_nowhere_else(migration: Migration, target: Attempt, other: Optional[str] = None) -> int:
    """How many documents of a target neither its source holds, nor another target.

    Raises:
        NotFound: the source may be gone, and there is no other target.
    """
    return alone_and_listed(migration, target, other)[0]


def alone_and_listed(
    migration: Migration, target: Attempt, other: Optional[str] = None
) -> Tuple[int, int]:
    """How many documents of a target are found nowhere else, and how many it lists.

    Copies have ids of their own: they are told apart by name and size.

    Args:
        other: the other target; with it the source may be gone.

    Raises:
        NotFound: the source may be gone, and there is no other target.
    """
    gateway = migration.gateway
    by_name = target.import_options.copy_document or target.origin == Attempt.LEGACY

    def rows(documents: Iterator[Document]) -> Iterator[Document]:
        if not by_name:
            return documents
        # A newer version of the same name is another document.
        return (replace(item, name=f"{item.size_bytes} {item.name}") for item in documents)

    with closing(DocumentComparison(by_name=by_name)) as comparison:
        fill = comparison.fill
        read_documents(gateway, str(target.target_id), lambda found: fill(SOURCE, rows(found)))
        try:
            read_documents(gateway, migration.source_id, lambda found: fill(BASELINE, rows(found)))
        except NotFound:
            if other is None:
                raise
        if other is not None:
            read_documents(gateway, other, lambda found: fill(TARGET, rows(found)))
        return comparison.only_in_source()[0], comparison.count(SOURCE)
