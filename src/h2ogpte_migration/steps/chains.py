"""Migrations that follow one another: a target that was itself migrated on, to a third model."""

from __future__ import annotations

from typing import Dict, Iterable, Mapping, Sequence

from h2ogpte_migration.errors import StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.states import Position
from h2ogpte_migration.tracking.records import Record

_MOVES_TO_COME = (Position.IMPORTED, Position.HELD, Position.VALIDATED)
"""Where a migration stands whose connectors are still to be moved."""


def first(records: Iterable[Record], *, back: bool = False) -> Dict[str, str]:
    """Which migration has to end before which one begins, by their sources' ids.

    On the way there the first link is the first: what it moves is moved on by the next. On the way
    back it is the last link. Links that form a circle have no order.
    """
    found = list(records)
    sources = {str(record.source_id) for record in found}
    onwards = {
        str(record.source_id): str(record.target_id)
        for record in found
        if record.target_id is not None and str(record.target_id) in sources
    }
    onwards = {source: later for source, later in onwards.items() if not _returns(onwards, source)}
    return onwards if back else {later: source for source, later in onwards.items()}


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


def refuse_if_migrated_on(
    migration: Migration, at: Sequence[Position], why: str, hint: str
) -> None:
    """The target may be the source of the next link, which has gone too far by now.

    Args:
        at: where the next link must not stand.
        hint: what to type, with ``{source}``, ``{middle}`` and ``{end}`` of the chain.

    Raises:
        StepFailed: it stands there.
    """
    onwards = migration.tracking.store.load(SourceId(migration.target_id))
    if onwards is None or onwards.position not in at:
        return
    middle, end = migration.target_id, onwards.record.target_id
    raise StepFailed(
        f"its target {middle} was itself migrated on, to {end}: {why}",
        hint.format(source=migration.source_id, middle=middle, end=end),
        "migrated on",
    )
