"""How everything stands, as lines that fit the terminal. Pure: what to show comes in."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from datetime import datetime
from typing import Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

from h2ogpte_migration.model import parse_time
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.ui.cells import fit, pad, width
from h2ogpte_migration.ui.text import brief, safe

NARROWEST, WIDEST = 60, 140
MOST_LISTED = 10
MOST_NAMES = 8

ALWAYS_COUNTED = (
    OutcomeKind.DONE,
    OutcomeKind.FAILED,
    OutcomeKind.HELD,
    OutcomeKind.RUNNING,
)
"""Kinds whose count is shown even if it is zero."""

_PLAIN = str.maketrans({"▕": "[", "▏": "]", "█": "#", "░": ".", "…": "~"})
_REASON_LINES = 2


@dataclass(frozen=True)
class View:
    """What is shown.

    Args:
        scope: what it is narrowed to, in words; empty for everything.
        recorded_at: when the database was last written to by a run that ended, or now.
        owners, models: (done, open) of each.
        needs: what people have to look at, the first of them; ``needs_count`` is all.
        listed: every collection in a line, where that was asked for.
        retrieval: what the checks of the retrieval came to; empty where there were none.
        following: the command to type next.
    """

    server: str
    database: str
    scope: str
    now: datetime
    recorded_at: str
    last_run: str
    counts: Mapping[OutcomeKind, int]
    owners: Mapping[str, Tuple[int, int]]
    models: Mapping[str, Tuple[int, int]]
    needs: Sequence[Result]
    needs_count: int
    warnings: Sequence[str]
    warnings_count: int
    following: str = ""
    retrieval: str = ""
    listed: Iterable[Result] = ()

    @property
    def total(self) -> int:
        return sum(self.counts.values())


def lines(view: View, columns: int, *, ascii_only: bool = False) -> Iterator[str]:
    """The lines, none wider than ``columns``, but for ids and commands, which come out whole."""
    columns = max(NARROWEST, min(columns, WIDEST))
    for text in _all_lines(view, columns):
        yield text.translate(_PLAIN) if ascii_only else text


def _all_lines(view: View, columns: int) -> Iterator[str]:
    yield from _head(view, columns)
    if view.total:
        yield from _tables(view, columns)
    for row in view.listed:
        yield from _listed(row, view.now, columns)
    if view.needs_count:
        yield f"NEEDS YOU ({view.needs_count:,})"
        for row in view.needs:
            yield from _need(row, view.now, columns)
        yield from _more(view.needs_count - len(view.needs))
    if view.warnings_count:
        yield f"WARNINGS ({view.warnings_count:,})"
        for text in view.warnings:
            yield from textwrap.wrap(
                safe(text), columns, initial_indent=" ", subsequent_indent="   "
            )
        yield from _more(view.warnings_count - len(view.warnings))
    if view.retrieval:
        yield from textwrap.wrap(f"Retrieval: {view.retrieval}.", columns, subsequent_indent="   ")
    if view.following:
        yield f"Next: {view.following}"


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f" … {count:,} more: --status --all"


# -- the head ----------------------------------------------------------------------------
def _head(view: View, columns: int) -> Iterator[str]:
    place = safe(view.server or view.database)
    when = f"as recorded {clock(view.recorded_at, view.now)}" if view.recorded_at else ""
    if view.recorded_at:
        when += f", {age(view.recorded_at, view.now)}"
    yield from _beside(place, when, columns)
    if view.scope:
        yield fit(f"only {safe(view.scope)}", columns)
    if not view.total:
        yield "No collection is on record here."
        return
    done = view.counts.get(OutcomeKind.DONE, 0)
    yield f"{_bar(done, view.total)} {done:,} of {view.total:,} migrated ({_percent(done, view.total)}%)"
    kinds = [kind for kind in OutcomeKind if view.counts.get(kind) and kind not in ALWAYS_COUNTED]
    counts = "  ".join(
        f"{view.counts.get(kind, 0):,} {kind.value}" for kind in (*ALWAYS_COUNTED, *kinds)
    )
    yield from _beside(f" {counts}", view.last_run, columns)


def _beside(left: str, right: str, columns: int) -> Iterator[str]:
    """Two texts on one line, or on two where they do not fit."""
    if width(left) + 4 + width(right) <= columns:
        yield f"{left}    {right}".rstrip()
        return
    yield fit(left, columns)
    if right:
        yield fit(f" {right}", columns)


def _percent(done: int, total: int) -> int:
    return 100 * done // total  # 100 only where nothing is open


def _bar(done: int, total: int) -> str:
    full = 24 * done // total
    return "▕" + "█" * full + "░" * (24 - full) + "▏"


# -- tables ------------------------------------------------------------------------------
def _tables(view: View, columns: int) -> Iterator[str]:
    """Owners and models, side by side where there is room."""
    beside = columns >= 76
    room = (columns - 6) // 2 if beside else columns - 2
    owners = _table("owner", view.owners, min(room, 56))
    models = _table("model", _short(view.models), min(room, 56))
    if not beside:
        yield from (f" {line}" for line in owners + models)
        return
    for number in range(max(len(owners), len(models))):
        left = owners[number] if number < len(owners) else " " * width(owners[0])
        right = models[number] if number < len(models) else ""
        yield f" {left}    {right}".rstrip()


def _table(head: str, rows: Mapping[str, Tuple[int, int]], room: int) -> List[str]:
    """A line for each name, those with most to do first."""
    ordered = sorted(rows.items(), key=lambda item: (-item[1][1], -item[1][0], item[0]))
    names = [safe(name or "not known") for name, _ in ordered[:MOST_NAMES]]
    left = len(ordered) - MOST_NAMES
    more = [f"… {left:,} more"] if left > 0 else []
    places = min(room - 14, max(width(name) for name in [head, *names, *more]))
    lines = [f"{pad(head, places)}{'done':>7}{'open':>7}"]
    for name, (_, (done, still)) in zip(names, ordered):
        lines.append(f"{pad(name, places)}{done:>7,}{still:>7,}")
    return lines + [pad(text, places + 14) for text in more]


def _short(models: Mapping[str, Tuple[int, int]]) -> Dict[str, Tuple[int, int]]:
    """Models without the name of who made them, where that leaves them apart."""
    short = [name.rpartition("/")[2] for name in models]
    if len(set(short)) < len(short):
        return dict(models)
    return dict(zip(short, models.values()))


# -- collections -------------------------------------------------------------------------
def _need(row: Result, now: datetime, columns: int) -> Iterator[str]:
    """What it is, whose, since when, and why: on one line, or the reason below."""
    since = age(row.recorded.since, now) if row.recorded else ""
    kind, name, owner = row.kind.value, safe(row.source_name or row.source_id), safe(row.owner)
    head = f" {pad(kind, 11)}  {fit(name, columns // 3)}  {fit(owner, columns // 5)}"
    reason = safe(brief(row.reason))
    reason = reason[len(kind) + 2 :] if reason.startswith(f"{kind}: ") else reason
    whole = f"{head}  {reason}  {since}".rstrip()
    if width(whole) <= columns:
        yield whole
        return
    yield fit(f"{head}  {since}".rstrip(), columns)
    yield from textwrap.wrap(
        reason,
        columns,
        initial_indent=" " * 14,
        subsequent_indent=" " * 14,
        max_lines=_REASON_LINES,
        placeholder=" …",
    )


def _listed(row: Result, now: datetime, columns: int) -> Iterator[str]:
    """A collection with its old and its new id."""
    since = age(row.recorded.since, now) if row.recorded else ""
    name = safe(row.source_name or row.source_id)
    head = f" {pad(row.kind.value, 11)}  {fit(name, columns // 2)}  {fit(safe(row.owner), 16)}"
    yield fit(f"{head}  {since}".rstrip(), columns)
    old, new = safe(row.source_id), safe(row.target_id or "none")
    if width(old) + width(new) + 8 <= columns:
        yield f"    {old} -> {new}"
    else:
        yield f"    {old}"
        yield f"    -> {new}"
    lost = row.recorded.retrieval.lost if row.recorded and row.recorded.retrieval else ()
    if lost:
        names = ", ".join(safe(name, 60) for name in lost)
        yield from textwrap.wrap(
            f"not found any more: {names}",
            columns,
            initial_indent="    ",
            subsequent_indent="      ",
            max_lines=_REASON_LINES,
            placeholder=" …",
        )


# -- times -------------------------------------------------------------------------------
def age(text: str, now: datetime) -> str:
    """How long ago something was; empty where that is not known."""
    time = parse_time(text)
    if time is None:
        return ""
    minutes = int((now - time).total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} d ago"


def clock(text: str, now: datetime) -> str:
    """A time of day in UTC, with the date where it is not today's."""
    time = parse_time(text)
    if time is None:
        return ""
    form = "%H:%M UTC" if time.date() == now.date() else "%Y-%m-%d %H:%M UTC"
    return time.strftime(form)
