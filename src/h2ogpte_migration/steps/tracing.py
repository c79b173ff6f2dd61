"""What became of the connectors and chats of a source beyond its own targets.

A target may have been migrated on, and what that led to as well. Whatever was moved is traced along
all targets ever made, in use or not: a source is not rolled back while some of it sits further on,
nor where some of it went with a deleted collection.
"""

from __future__ import annotations

import operator
from typing import Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from h2ogpte_migration.errors import StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.states import AFTER_IMPORT, Position, StepName
from h2ogpte_migration.steps.chains import Hop, whereabouts
from h2ogpte_migration.steps.moves import MOVES, Way, held_by_source, left_in
from h2ogpte_migration.steps.presence import is_gone
from h2ogpte_migration.tracking.records import Moved

_FLAGS = {StepName.CONNECTORS: "--move-connectors", StepName.CHATS: "--move-chats"}
_COMES_BACK = (*AFTER_IMPORT, Position.ROLLING_BACK)


def is_chained(migration: Migration) -> bool:
    """Whether a target of this source was ever migrated on."""
    return bool(_later_hops(migration))


def _later_hops(migration: Migration) -> List[Hop]:
    made = migration.tracking.store.targets_of
    return [hop for hop in whereabouts(migration.source_id, made) if len(hop.by) > 1]


def further_on(migration: Migration) -> List[Hop]:
    """To what the targets of this source were migrated on; not where that was rolled back."""
    hops = _later_hops(migration)
    origins = {origin for hop in hops for origin in hop.by[1:]}
    back = {origin for origin in origins if _position(migration, origin) == Position.ROLLED_BACK}
    return [hop for hop in hops if back.isdisjoint(hop.by)]


def was_migrated_on(migration: Migration, target_id: str) -> bool:
    """Whether what one of this source's targets held may be further on by now."""
    return any(hop.by[1] == target_id for hop in further_on(migration))


def refuse_while_further_on(migration: Migration, steps: Iterable[str] = tuple(MOVES)) -> None:
    """Nothing counts as back while some of it is where a target of this source was migrated on to.

    Args:
        steps: of what: connectors, chats.

    Raises:
        StepFailed: with the command that brings it.
    """
    wanted = tuple(steps)
    for hop in further_on(migration):
        held = {step: _held(migration, hop.target_id, step) for step in wanted}
        if not any(held.values()):
            continue
        numbers = [MOVES[step].number(count) for step, count in held.items() if count]
        way_out = _way_out(migration, hop, [_FLAGS[step] for step in wanted if held[step]])
        first, last = hop.by[1], hop.target_id
        its = "target" if first == migration.target_id else "former target"
        raise StepFailed(
            f"its {its} {first} was itself migrated on, to {last}: that holds {', '.join(numbers)}",
            f"First {' '.join(way_out)}",
            "migrated on",
            way_out,
        )


def _way_out(migration: Migration, hop: Hop, flags: Sequence[str]) -> Tuple[str, ...]:
    """What brings it: all links in one rollback, unless one of them can't take anything back."""
    links = hop.by[:0:-1]
    if all(_takes_back(migration, link) for link in links):
        return ("--rollback", "--collections", ",".join((*links, migration.source_id)))
    return (*flags, "--from", hop.target_id, "--to", migration.source_id)


def _takes_back(migration: Migration, link: str) -> bool:
    comes = _position(migration, link) in _COMES_BACK
    return comes and not is_gone(migration.gateway, migration.clock, link)


def _position(migration: Migration, source_id: str) -> Position:
    tracked = migration.tracking.store.load(SourceId(source_id))
    return tracked.position if tracked is not None else Position.NEW


def _held(migration: Migration, collection_id: str, step: str) -> int:
    """How much it holds, looked at twice; nothing where it does not exist any more."""
    way = Way(migration.gateway, migration.clock, collection_id, migration.source_id)
    return left_in(way, MOVES[step]).total


def nothing_is_left(migration: Migration) -> bool:
    """Whether no target, nor what they were migrated on to, holds a connector or a chat."""
    targets = migration.tracking.store.targets_of(migration.source_id)
    places = [*targets, *(hop.target_id for hop in further_on(migration))]
    return not any(_held(migration, one, step) for one in places for step in MOVES)


def to_where_it_came_from(migration: Migration) -> Tuple[str, ...]:
    """What moves all of a target to the collection that its deleted source was itself made for.

    Nothing where it was made for none, or that is gone as well.
    """
    store, source_id = migration.tracking.store, migration.source_id
    for origin in store.sources_of(source_id):
        if not is_gone(migration.gateway, migration.clock, origin):
            return (*_FLAGS.values(), "--from", migration.target_id, "--to", origin)
    return ()


# -- what went with a deleted collection ----------------------------------------------------
def lost(migration: Migration) -> str:
    """What went with deleted collections, in words; empty where the source holds as much again.

    Of its own targets, the one in use was looked at before, and what former ones held was told when
    they became that. What was told as failed before, and migrated afresh since, is not told again.
    """
    words: Dict[str, List[str]] = {}
    own = {migration.target_id, *migration.tracking.store.targets_of(migration.source_id)}
    seen = own - {hop.by[1] for hop in further_on(migration)}
    for step, kind in MOVES.items():
        went = {
            target_id: number
            for target_id, number in _ends(migration, migration.source_id, step, set(seen))
            if is_gone(migration.gateway, migration.clock, target_id)
        }
        wanted = sum(went.values())
        if went and held_by_source(migration, kind, operator.ge, wanted) < wanted:
            for target_id, number in went.items():
                words.setdefault(target_id, []).append(kind.number(number))
    return "; ".join(f"{', '.join(numbers)} went with {one}" for one, numbers in words.items())


def _ends(
    migration: Migration, source_id: str, step: str, seen: Set[str]
) -> Iterator[Tuple[str, int]]:
    """Where what was moved stayed, as far as is on record: collections, and how many went there."""
    seen.add(source_id)
    for moved, number in _stayed(migration.tracking.store.moved_of(source_id), step):
        target_id = moved.target_id
        if target_id is None or target_id in seen:
            continue
        if _stayed(migration.tracking.store.moved_of(target_id), step):
            yield from _ends(migration, target_id, step, seen)
        else:
            yield target_id, number


def _stayed(attempts: Sequence[Moved], step: str) -> List[Tuple[Moved, int]]:
    """By attempt, what it moved and no later one brought over; not of what was told or came back."""
    found, later = [], 0
    for index, moved in reversed(list(enumerate(attempts))):
        number = moved.counts.get(step, 0)
        if number > later and not moved.settled(newest=index == len(attempts) - 1):
            found.append((moved, number - later))
        later += number
    return found
