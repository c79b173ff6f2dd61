"""Dry runs: what would be done about each collection, several looked at together. Reads only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Callable, List, Sequence, TypeVar

from h2ogpte_migration.errors import ServerError
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.run.session import Session, threads

Item = TypeVar("Item")


def preview(
    session: Session,
    items: Sequence[Item],
    look: Callable[[Item], Result],
    on_record: Callable[[Item], Result],
) -> List[Result]:
    """What would be done about each, in their order; one that can't be read holds up no other.

    Args:
        look: asks the server about one.
        on_record: what is known of one without the server, where that fails.

    Raises:
        Interrupted: the user asked to stop.
    """

    def guarded(item: Item) -> Result:
        session.clock.check()
        try:
            return look(item)
        except ServerError as error:
            return replace(
                on_record(item),
                kind=OutcomeKind.NOT_AVAILABLE,
                reason=error.message,
                hint=error.hint,
                needs_attention=True,
            )

    pool = ThreadPoolExecutor(max_workers=threads(session.options), thread_name_prefix="preview")
    seen: List[Result] = []
    what, total = "collections looked at", len(items)
    session.progress.looking(what, 0, total)
    try:
        for row in pool.map(guarded, items):
            seen.append(row)
            session.progress.looking(what, len(seen), total)
        list(pool.map(session.credentials.release, dict.fromkeys(row.owner for row in seen)))
    finally:
        pool.shutdown(wait=False)
    return seen
