"""Migrations that follow one another: a target that was itself migrated on, to a third model."""

from __future__ import annotations

from typing import Dict, Iterable, Mapping

from h2ogpte_migration.tracking.records import Record


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
