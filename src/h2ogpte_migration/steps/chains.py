"""Migrations that follow one another: a target that was itself migrated on, to a third model."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Callable, Deque, Dict, Iterable, List, Mapping, Sequence, Set, Tuple

from h2ogpte_migration.errors import StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.states import Position
from h2ogpte_migration.tracking.records import Record, Tracked

_MOVES_TO_COME = (Position.IMPORTED, Position.HELD, Position.VALIDATED)
"""Where a migration stands whose connectors are still to be moved."""


@dataclass(frozen=True)
class Hop:
    """A collection in which what a source had may be by now.

    Args:
        target_id: that collection.
        by: whose migrations led there: the source itself, its target that was migrated on, ...
    """

    target_id: str
    by: Tuple[str, ...]


def whereabouts(source_id: str, made: Callable[[str], Iterable[str]]) -> List[Hop]:
    """Where what a source had may be by now, nearest first.

    In every target that was made for it, in use or not, and wherever those were migrated on to.

    Args:
        made: the targets that were ever made for a collection.
    """
    found: List[Hop] = []
    seen = {source_id}
    ahead: Deque[Tuple[str, ...]] = deque([(source_id,)])
    while ahead:
        by = ahead.popleft()
        for target_id in made(by[-1]):
            if target_id not in seen:
                seen.add(target_id)
                found.append(Hop(target_id, by))
                ahead.append((*by, target_id))
    return found


def first(records: Iterable[Record]) -> Dict[str, str]:
    """On the way there: which migration has to end before which one begins, by their sources' ids.

    The first link is the first: what it moves is moved on by the next. Links that form a circle
    have no order.
    """
    found = list(records)
    sources = {str(record.source_id) for record in found}
    onwards = {
        str(record.source_id): str(record.target_id)
        for record in found
        if record.target_id is not None and str(record.target_id) in sources
    }
    return {later: source for source, later in onwards.items() if not _returns(onwards, source)}


def first_back(sources: Iterable[str], made: Mapping[str, Sequence[str]]) -> Dict[str, str]:
    """On the way back: which rollback has to end before which one begins, by their sources' ids.

    What a target was migrated on to comes back before the target's own content does, whether that
    target is in use or a former one. All of a tree comes back one after another.

    Args:
        made: every target that was ever made, by its source.
    """
    chosen = set(sources)
    behind = {
        source: [
            hop.target_id
            for hop in whereabouts(source, lambda one: made.get(one, ()))
            if hop.target_id in chosen
        ]
        for source in chosen
    }
    found: Dict[str, str] = {}
    placed: Set[str] = set()
    for source in sorted(chosen, key=lambda one: (-len(behind[one]), one)):
        if source in placed:
            continue
        line = [*sorted(behind[source], key=lambda one: (len(behind[one]), one)), source]
        for earlier, later in zip(line, line[1:]):
            found.setdefault(later, earlier)
        placed.update(line)
    return found


def _returns(onwards: Mapping[str, str], start: str) -> bool:
    seen, at = {start}, onwards.get(start)
    while at is not None and at not in seen:
        seen.add(at)
        at = onwards.get(at)
    return at is not None


def refuse_before_the_first(migration: Migration) -> None:
    """What the migration into this source still moves would be left in the middle.

    Raises:
        StepFailed: that one is to be finished first.
    """
    store = migration.tracking.store
    into = store.record_of_target(migration.source_id)
    first_link = store.load(into.source_id) if into is not None else None
    if first_link is not None and first_link.position in _MOVES_TO_COME:
        record = first_link.record
        raise StepFailed(
            f"its source is the target of {record.source_name} ({record.source_id}), "
            "whose migration is not finished",
            f"Finish that first: --verify --collections {record.source_id}",
            "Source not finished",
        )


def onwards(migration: Migration, target_id: str) -> List[Tracked]:
    """The migrations by which a target was itself migrated on, link by link."""
    links: List[Tracked] = []
    seen, at = {target_id}, target_id
    while True:
        tracked = migration.tracking.store.load(SourceId(at))
        if tracked is None or tracked.record.target_id is None:
            return links
        at = str(tracked.record.target_id)
        if at in seen:
            return links
        seen.add(at)
        links.append(tracked)


def refuse_into_the_middle(migration: Migration) -> None:
    """Chats that move to a target which was migrated on would stay there, in the middle.

    Raises:
        StepFailed: that migration is finished, and moves nothing more.
    """
    middle, end = migration.target_id, ""
    for link in onwards(migration, middle):
        if link.position != Position.FINISHED:
            break
        end = str(link.record.target_id)
    if not end:
        return
    way_out = ("--move-chats", "--from", migration.source_id, "--to", end)
    raise StepFailed(
        f"its target {middle} was itself migrated on, to {end}: the chats would stay in the middle",
        f"Move them to the end: {' '.join(way_out)}",
        "migrated on",
        way_out,
    )
