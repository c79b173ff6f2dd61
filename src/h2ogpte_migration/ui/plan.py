"""A dry run as a plan: totals, tables by model and owner, what to think of before. Lines, not printed."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from h2ogpte_migration.results import OutcomeKind, Plan, Result, RunResult
from h2ogpte_migration.states import STANDINGS
from h2ogpte_migration.ui.summary import (
    Line,
    SummaryOptions,
    grouped,
    likeness,
    named,
    next_lines,
    skips,
)
from h2ogpte_migration.ui.text import fold, plural, safe

FEW = 3
"""Up to so many collections are shown one by one, asked for or not."""
LISTED = 10
HEADERS = ("colls", "docs", "size", "connectors", "chats", "shares")
WIDTHS = (5, 10, 8, 10, 7, 6)
_UNITS = ("B", "kB", "MB", "GB", "TB")


def lines(
    result: RunResult, how: SummaryOptions, *, with_chats: bool = False, keys_made: int = 0
) -> List[Line]:
    """The plan, attention last but for the command that carries it out.

    Args:
        with_chats: whether chats are to move.
        keys_made: temporary keys that were made for looking, and deleted.
    """
    planned = result.of(OutcomeKind.PLANNED)
    told: List[Line] = []
    if how.details or len(planned) <= FEW:
        told += [Line(text) for row in planned for text in collection(row)]
    else:
        told += _settings(planned)
    moving = worked_on(result)
    if len(moving) > 1:
        told += _table("by model", moving, _models, how)
        told += _table("by owner", moving, lambda row: safe(row.owner, 40), how)
    told += _left(planned, how)
    told += skips(result, how, "Would skip")
    told += _attention(result, moving, with_chats, how)
    told.append(Line(_totals(result, planned)))
    if keys_made:
        keys = f"{plural(keys_made, 'temporary key')} for the owners"
        made = "was" if keys_made == 1 else "were"
        told.append(Line(f"To look, {keys} {made} made at the server, and deleted."))
    told += [Line(line.text) for line in next_lines(how)]
    return [Line(fold(line.text, how.width), line.attention) for line in told]


def thoughts(result: RunResult, how: SummaryOptions, *, with_chats: bool = False) -> List[str]:
    """What to think of before, in a report whose table names each collection by itself."""
    told = [*_imports(result.of(OutcomeKind.PLANNED)), *_whole(worked_on(result), with_chats, how)]
    guests = plural(result.guests, "guest account")
    return [line.text for line in told] + ([f"Would skip: {guests}"] if result.guests else [])


def worked_on(result: RunResult) -> List[Result]:
    """What the command would do something with, were it no dry run."""
    return [row for row in result.of(OutcomeKind.PLANNED) if _plan(row).action != "leave"]


def _settings(planned: Sequence[Result]) -> Iterator[Line]:
    """How all are imported, and where the rest is told that each has of its own."""
    told = list(_imports(planned))
    yield from told
    if told:
        yield Line("Permissions and lifecycle settings of each collection: with --details")


def _imports(planned: Sequence[Result]) -> Iterator[Line]:
    for settings in dict.fromkeys(_plan(row).import_settings for row in planned):
        if settings:
            yield Line(f"Import: {'; '.join(settings)}")


def _plan(row: Result) -> Plan:
    return row.plan or Plan("")


def _totals(result: RunResult, planned: Sequence[Result]) -> str:
    words = {
        "create": "to migrate",
        "resume": "to resume",
        "roll back": "to roll back",
        "leave": "left as they are",
    }
    counts = {action: sum(_plan(row).action == action for row in planned) for action in words}
    parts = [f"{number} {words[action]}" for action, number in counts.items() if number]
    missing = len(result.of(OutcomeKind.NOT_AVAILABLE))
    parts += [f"{missing} not available"] if missing else []
    return (
        f"Dry run: {plural(len(planned), 'collection')} looked at"
        f"{': ' if parts else ''}{', '.join(parts)}. Nothing was changed."
    )


# -- tables ----------------------------------------------------------------------------
def _models(row: Result) -> str:
    return f"{safe(row.source_model or '(none)', 80)} -> {safe(row.target_model, 80)}"


def _table(
    title: str, rows: Sequence[Result], label: Callable[[Result], str], how: SummaryOptions
) -> Iterator[Line]:
    """Sums by a label, the largest first, and a total."""
    groups: Dict[str, List[Result]] = {}
    for row in rows:
        groups.setdefault(label(row), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (-_documents(item[1]), item[0]))
    shown = ordered if how.details else ordered[:LISTED]
    yield Line(f"{_cells(HEADERS)}  {title}")
    for text, members in shown:
        yield from _table_row(_sums(members), text, how.width)
    if len(ordered) > len(shown):
        rest = [row for _, members in ordered[len(shown) :] for row in members]
        yield from _table_row(_sums(rest), f"{len(ordered) - len(shown)} more", how.width)
    if len(ordered) > 1:
        yield from _table_row(_sums(rows), "total", how.width)


def _table_row(cells: Sequence[str], label: str, width: Optional[int]) -> Iterator[Line]:
    beside = f"{_cells(cells)}  {label}"
    if width is None or len(beside) < width:
        yield Line(beside)
    else:
        yield Line(f"  {label}")
        yield Line(_cells(cells))


def _cells(cells: Sequence[str]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS))


def _documents(rows: Sequence[Result]) -> int:
    return sum(_plan(row).documents or 0 for row in rows)


def _sums(rows: Sequence[Result]) -> Tuple[str, ...]:
    plans = [_plan(row) for row in rows]
    return (
        f"{len(rows):,}",
        _sum([plan.documents for plan in plans]),
        _sum([plan.size_bytes for plan in plans], size),
        _sum([plan.connectors for plan in plans]),
        _sum([plan.chats for plan in plans]),
        f"{sum(len(plan.permissions) for plan in plans):,}",
    )


def _sum(numbers: Sequence[Optional[int]], write: Callable[[int], str] = lambda n: f"{n:,}") -> str:
    """A sum; with a plus where not every number is known."""
    known = [number for number in numbers if number is not None]
    if not known:
        return "?"
    return write(sum(known)) + ("" if len(known) == len(numbers) else "+")


def size(count: int) -> str:
    """Bytes, roughly: ``1.2 GB``."""
    number, unit = float(count), 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{count} B"


# -- what stays, and what to think of -----------------------------------------------------
def _left(planned: Sequence[Result], how: SummaryOptions) -> Iterator[Line]:
    """What would be left or resumed, by reason; one by one it stands in the details."""
    if how.details or len(planned) <= FEW:
        return
    for action, word in (("resume", "Would resume"), ("leave", "Would leave")):
        alike: Dict[str, List[Result]] = {}
        for row in planned:
            if _plan(row).action == action:
                stands = STANDINGS[row.position].resumed if action == "resume" else ""
                alike.setdefault(stands or _why(row), []).append(row)
        for reason, group in alike.items():
            yield Line(f"{word}: {plural(len(group), 'collection')}: {reason}")


def _attention(
    result: RunResult, moving: Sequence[Result], with_chats: bool, how: SummaryOptions
) -> Iterator[Line]:
    missing: Dict[Tuple[bool, Tuple[str, ...]], List[Result]] = {}
    for row in result.of(OutcomeKind.NOT_AVAILABLE):
        missing.setdefault((row.plan is not None, likeness(row)), []).append(row)
    for (readable, _), group in missing.items():
        for text in grouped("Can't be read" if readable else "Not available", group, how):
            yield Line(text, True)
    yield from _whole(moving, with_chats, how)


def _whole(moving: Sequence[Result], with_chats: bool, how: SummaryOptions) -> Iterator[Line]:
    chats = [_plan(row).chats or 0 for row in moving]
    if sum(chats) and not with_chats:
        yield Line(
            f"Chats stay: {plural(sum(chats), 'chat')} of "
            f"{plural(sum(map(bool, chats)), 'collection')} with the old ones; --migrate-chats "
            "moves them.",
            True,
        )
    yield from _not_carried(moving, how)
    used = sum(bool(_plan(row).permissions) for row in moving)
    if used:
        yield Line(
            f"Shared: {plural(used, 'collection')}. The new ones are shared alike, and whoever "
            "uses the old ones, by link or by id, goes on with those until told."
        )


def _not_carried(moving: Sequence[Result], how: SummaryOptions) -> Iterator[Line]:
    texts: Dict[str, List[Result]] = {}
    for row in moving:
        for text in row.warnings:
            texts.setdefault(text, []).append(row)
    shown = list(texts.items()) if how.details else list(texts.items())[:LISTED]
    for text, group in shown:
        who = named(group[0]) if len(group) == 1 else plural(len(group), "collection")
        yield Line(f"Not carried over: {who}: {text}", True)
    if len(texts) > len(shown):
        yield Line(f"Not carried over: {len(texts) - len(shown)} more, with --details", True)


# -- one collection ----------------------------------------------------------------------
def collection(row: Result) -> List[str]:
    """Everything that is known of one collection."""
    plan = _plan(row)
    action = f"{named(row)} of {safe(row.owner)}: {_action(row, plan)}"
    holds = f"connectors: {_number(plan.connectors)}, chats: {_number(plan.chats)}"
    if plan.action == "roll back":
        return [action, f"  from {safe(row.target_name)} ({row.target_id}): {holds}"]
    if not plan.import_settings:
        return [action]  # on the way back: nothing else was looked at
    return [
        action,
        f"  model: {safe(row.source_model)} -> {safe(row.target_model)}",
        f"  documents: {_number(plan.documents)}{_of_size(plan)}, {holds}",
        f"  permissions: {'; '.join(map(safe, plan.permissions)) or 'private'}",
        f"  lifecycle: {'; '.join(map(safe, plan.lifecycle)) or 'none'}",
        f"  import: {'; '.join(plan.import_settings)}",
    ]


def _of_size(plan: Plan) -> str:
    return "" if plan.size_bytes is None else f" ({size(plan.size_bytes)})"


def _action(row: Result, plan: Plan) -> str:
    if plan.action == "leave":
        return f"leave: {_why(row)}"
    if plan.action == "roll back":
        return plan.action
    if plan.action == "create":
        return f"migrate again ({row.reason})" if row.reason else "migrate"
    return f"resume ({row.reason})"


def _why(row: Result) -> str:
    """The reason, and what may be done about it."""
    return "; ".join(filter(None, (row.reason, row.hint.rstrip("."))))


def _number(count: object) -> str:
    return "?" if count is None else str(count)
