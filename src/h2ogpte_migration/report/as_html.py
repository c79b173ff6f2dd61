"""A report for people: one page that needs no network, to look at, print and send on.

Everything can be read without its script, which only searches, filters and sorts. Whatever
strangers wrote goes through ``html_text``; nothing of them gets into style or script.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from h2ogpte_migration.model import parse_time
from h2ogpte_migration.report import html_retrieval
from h2ogpte_migration.report.document import Entry, Report, entry
from h2ogpte_migration.report.page import SCRIPT, STYLE
from h2ogpte_migration.results import OutcomeKind
from h2ogpte_migration.ui.text import html_text, plural

MOST_BARS = 48
MOST_NAMES = 25
MOST_CARDS = 50
BAR_SPANS = tuple(
    timedelta(minutes=minutes)
    for minutes in (1, 5, 15, 30, 60, 180, 360, 720, 1440, 7 * 1440, 28 * 1440)
)

_TITLES = {"run": "Migration report", "dry run": "Migration plan", "status": "Migration status"}
_WORK = frozenset({"create", "resume"})
_GOOD = frozenset({OutcomeKind.DONE.value, OutcomeKind.PLANNED.value})
_OPEN = frozenset({OutcomeKind.RUNNING.value, OutcomeKind.DOCUMENTS_PENDING.value})
_CALM = frozenset({"leave", OutcomeKind.LEASED_ELSEWHERE.value, OutcomeKind.ROLLED_BACK.value})
_GREY = frozenset({OutcomeKind.SKIPPED.value, OutcomeKind.LEFT.value})


def parts(report: Report) -> Iterator[str]:
    """The page, piece by piece."""
    lines = [entry(row) for row in report.sorted_rows()]
    title = html_text(f"{_TITLES[report.about]}: {report.server or report.database}")
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{STYLE}</style></head><body><main>\n"
    )
    yield _head(report)
    yield _tiles(report, lines)
    yield from _attention(report, lines)
    yield _following(report)
    if report.about == "dry run":
        yield _thoughts(report)
        yield _extent(lines)
    else:
        yield _progress(lines)
        yield _timeline(lines)
    yield from html_retrieval.section(lines)
    yield from _table(report, lines)
    yield f"</main><script>{SCRIPT}</script></body></html>\n"


def _head(report: Report) -> str:
    facts = [
        ("Server", report.server or "not known to the database"),
        ("As of", _when(report.written_at)),
        ("Database", report.database),
        ("Command", report.command),
        ("Version", report.version),
    ]
    if report.exit_code is not None:
        facts.append(("Exit code", str(report.exit_code)))
    cells = "".join(f"<dt>{name}</dt><dd>{html_text(text)}</dd>" for name, text in facts)
    return f'<header><h1>{_TITLES[report.about]}</h1><dl class="facts">{cells}</dl></header>\n'


# -- tiles -------------------------------------------------------------------------------
def _tiles(report: Report, lines: Sequence[Entry]) -> str:
    tiles = _plan_tiles(lines) if report.about == "dry run" else _run_tiles(lines)
    cells = "".join(
        f'<div class="tile {tone}"><b>{number}</b><span>{words}</span></div>'
        for number, words, tone in tiles
    )
    return f'<section class="tiles">{cells}</section>\n'


def _run_tiles(lines: Sequence[Entry]) -> List[Tuple[str, str, str]]:
    kinds = Counter(item.outcome for item in lines)
    done = [item for item in lines if item.outcome == OutcomeKind.DONE.value]
    worked = len(lines) - sum(kinds[kind] for kind in _GREY)
    tiles = [(_count(len(done)), f"of {_count(worked)} migrated", "good")]
    for kind in (OutcomeKind.FAILED, OutcomeKind.HELD, OutcomeKind.RUNNING):
        number = kinds.pop(kind.value, 0)
        tiles.append((_count(number), kind.value, _tone(kind.value) if number else "grey"))
    kinds.pop(OutcomeKind.DONE.value, 0)
    tiles += [(_count(number), word, _tone(word)) for word, number in kinds.items()]
    tiles.append((_count(_total(done, lambda item: item.documents_after)), "documents", ""))
    tiles.append((_count(_total(done, lambda item: item.connectors_moved)), "connectors moved", ""))
    tiles.append((_count(_total(done, lambda item: item.chats_moved)), "chats moved", ""))
    return tiles


def _plan_tiles(lines: Sequence[Entry]) -> List[Tuple[str, str, str]]:
    actions = Counter(item.action for item in lines if item.action)
    others = Counter(item.outcome for item in lines if not item.action)
    work = [item for item in lines if item.action in _WORK]
    words = {"create": "to create", "resume": "to resume", "leave": "to leave alone"}
    tiles = [(_count(actions[action]), word, "") for action, word in words.items()]
    tiles += [(_count(number), word, _tone(word)) for word, number in others.items()]
    tiles.append((_count(_total(work, lambda item: item.documents_before)), "documents", ""))
    if any(item.size_bytes is not None for item in work):
        tiles.append((_size(_total(work, lambda item: item.size_bytes)), "of documents", ""))
    tiles.append((_count(_total(work, lambda item: item.connectors)), "connectors", ""))
    tiles.append((_count(_total(work, lambda item: item.chats)), "chats", ""))
    return tiles


def _total(lines: Iterable[Entry], number: Callable[[Entry], Optional[int]]) -> int:
    return sum(number(item) or 0 for item in lines)


# -- what needs attention ----------------------------------------------------------------
def _attention(report: Report, lines: Sequence[Entry]) -> Iterator[str]:
    bad = [item for item in lines if item.needs_attention]
    if not bad and not report.remarks:
        yield "<section><h2>Needs attention</h2><p>Nothing.</p></section>\n"
        return
    yield f"<section><h2>Needs attention ({_count(len(bad))})</h2>\n"
    for remark in report.remarks:
        yield f'<p class="card bad">{html_text(remark)}</p>\n'
    for item in bad[:MOST_CARDS]:
        yield (
            f'<div class="card {_tone(item.outcome)}">{_badge(item.outcome)} '
            f"<b>{html_text(item.name or item.collection_id)}</b> "
            f'<span class="quiet">{html_text(item.owner)} {html_text(item.collection_id)}</span>'
            f"<p>{html_text(item.reason)}</p>{_said(item.hint)}</div>\n"
        )
    if len(bad) > MOST_CARDS:
        yield f"<p>And {_count(len(bad) - MOST_CARDS)} more, first in the table below.</p>\n"
    yield "</section>\n"


def _following(report: Report) -> str:
    if not report.following:
        return ""
    commands = "".join(f"<pre><code>{html_text(each)}</code></pre>" for each in report.following)
    return f"<section><h2>Next</h2>\n{commands}</section>\n"


def _said(text: str) -> str:
    return f'<p class="quiet">{html_text(text)}</p>' if text else ""


# -- what a plan is about ------------------------------------------------------------------
def _thoughts(report: Report) -> str:
    if not report.notes:
        return ""
    notes = "".join(f"<li>{html_text(note)}</li>" for note in report.notes)
    return f"<section><h2>To think of before</h2><ul>{notes}</ul></section>\n"


def _extent(lines: Sequence[Entry]) -> str:
    """How much of the plan falls to each model and owner: nothing is done yet."""
    wanted = [item for item in lines if item.action in _WORK]
    if not wanted:
        return ""
    by_model = _shares("By model", wanted, lambda item: f"{item.old_model} → {item.new_model}")
    by_owner = _shares("By owner", wanted, lambda item: item.owner or "not known")
    return f'<section class="two">{by_model}{by_owner}</section>\n'


def _shares(title: str, lines: Sequence[Entry], name: Callable[[Entry], str]) -> str:
    ordered = Counter(map(name, lines)).most_common()
    rows = "".join(
        _bar(
            label,
            _count(number),
            f'<i class="plan" style="width:{100 * number / len(lines):.2f}%"></i>',
        )
        for label, number in ordered[:MOST_NAMES]
    )
    return f"<div><h2>{title}</h2>{rows}{_more(len(ordered) - MOST_NAMES)}</div>"


# -- progress ----------------------------------------------------------------------------
def _progress(lines: Sequence[Entry]) -> str:
    wanted = [
        item for item in lines if item.outcome not in _GREY and (item.owner or item.new_model)
    ]
    if not wanted:
        return ""
    by_model = _bars("By model", wanted, lambda item: item.new_model or "not known")
    by_owner = _bars("By owner", wanted, lambda item: item.owner or "not known")
    return f'<section class="two">{by_model}{by_owner}</section>\n'


def _bars(title: str, lines: Sequence[Entry], name: Callable[[Entry], str]) -> str:
    """A bar for each name, those with most to do first."""
    tallies: Dict[str, List[int]] = {}
    for item in lines:
        tally = tallies.setdefault(name(item), [0, 0, 0])
        tally[0 if item.outcome in _GOOD else 1 if item.outcome in _OPEN else 2] += 1
    ordered = sorted(tallies.items(), key=lambda pair: (-pair[1][2], -sum(pair[1]), pair[0]))
    rows = "".join(_done_of(label, tally) for label, tally in ordered[:MOST_NAMES])
    return f"<div><h2>{title}</h2>{rows}{_more(len(ordered) - MOST_NAMES)}</div>"


def _more(left: int) -> str:
    return f'<p class="quiet">and {left} more</p>' if left > 0 else ""


def _done_of(label: str, tally: Sequence[int]) -> str:
    total = sum(tally)
    strips = "".join(
        f'<i class="{tone}" style="width:{100 * number / total:.2f}%"></i>'
        for number, tone in zip(tally, ("good", "open", "bad"))
        if number
    )
    return _bar(label, f"{_count(tally[0])} of {_count(total)}", strips)


def _bar(label: str, count: str, strips: str) -> str:
    return (
        f'<div class="bar"><span>{html_text(label)}</span><span class="count">{count}</span>'
        f'<div class="strip">{strips}</div></div>'
    )


# -- timeline ----------------------------------------------------------------------------
@dataclass(frozen=True)
class _Bucket:
    begins: datetime
    number: int


def _timeline(lines: Sequence[Entry]) -> str:
    """How many imports ended when."""
    times = sorted(filter(None, (parse_time(item.imported_at) for item in lines)))
    if not times:
        return ""
    span, buckets = _buckets(times)
    most = max(bucket.number for bucket in buckets)
    bars = "".join(
        f'<i style="height:{100 * bucket.number / most:.1f}%" '
        f'title="{_when(bucket.begins.isoformat())}: {bucket.number}"></i>'
        for bucket in buckets
    )
    return (
        f'<section><h2>Imports finished</h2><div class="timeline">{bars}</div>'
        f'<div class="ends"><span>{_when(times[0].isoformat())}</span>'
        f"<span>{_span(span)} each, {most} at most</span>"
        f"<span>{_when(times[-1].isoformat())}</span></div></section>\n"
    )


def _buckets(times: Sequence[datetime]) -> Tuple[timedelta, List[_Bucket]]:
    """Equal spans of time with what fell into each; no more of them than fit the page."""
    whole = times[-1] - times[0]
    span = next((span for span in BAR_SPANS if whole / span < MOST_BARS), whole / MOST_BARS)
    found = Counter(int((time - times[0]) / span) for time in times)
    last = max(found)
    return span, [_Bucket(times[0] + span * n, found[n]) for n in range(last + 1)]


def _span(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    if minutes < 60:
        return plural(minutes, "minute")
    return plural(minutes // 60, "hour") if minutes < 1440 else plural(minutes // 1440, "day")


# -- the table ---------------------------------------------------------------------------
# Heading, class of its cells, cell in HTML, what to sort by where that is something else.
Column = Tuple[str, str, Callable[[Entry], str], Optional[Callable[[Entry], object]]]


def _columns(report: Report) -> List[Column]:
    plan = report.about == "dry run"
    head: List[Column] = [
        ("Collection", "name", _name, lambda item: item.name.lower()),
        ("Owner", "", lambda item: html_text(item.owner), None),
        ("Models", "small text", _models, None),
    ]
    if plan:
        return [
            ("Plan", "", lambda item: _badge(item.action or item.outcome), None),
            *head,
            ("Documents", "number", lambda item: _count(item.documents_before), _documents),
            ("Size", "number", lambda item: _size(item.size_bytes), lambda item: item.size_bytes),
            ("Connectors", "number", lambda item: _count(item.connectors), None),
            ("Chats", "number", lambda item: _count(item.chats), None),
            ("Shared with, lifecycle", "small text", _shared, None),
            ("Remarks", "small text", _remarks, None),
        ]
    return [
        ("Outcome", "", lambda item: _badge(item.outcome), None),
        *head,
        ("Documents", "number", _before_after, _documents),
        ("Checked (UTC)", "small time", _checked, lambda item: item.validated_at),
        ("Connectors, chats moved", "number", _moved, lambda item: item.connectors_moved),
        ("Begun, imported (UTC)", "small time", _times, lambda item: item.begun_at),
        ("Remarks", "small text", _remarks, None),
    ]


def _times(item: Entry) -> str:
    return "<br>".join(_short_when(text) for text in (item.begun_at, item.imported_at) if text)


def _table(report: Report, lines: Sequence[Entry]) -> Iterator[str]:
    columns = _columns(report)
    plan = report.about == "dry run"
    words = dict.fromkeys((plan and item.action) or item.outcome for item in lines)
    choices = "".join(f"<option>{html_text(word)}</option>" for word in words)
    heads = "".join(f'<th scope="col"><button>{title}</button></th>' for title, *_ in columns)
    yield (
        f"<section><h2>Collections ({_count(len(lines))})</h2>"
        '<p class="tools"><input id="search" type="search" placeholder="Search names, ids, owners, '
        'models, reasons" aria-label="Search"><select id="kind" aria-label="Outcome">'
        f'<option value="">all</option>{choices}</select>'
        f'<span id="shown" class="quiet">{_count(len(lines))} shown</span></p>\n'
        f'<table id="collections"><thead><tr>{heads}</tr></thead><tbody>\n'
    )
    for item in lines:
        word = html_text((plan and item.action) or item.outcome)
        cells = "".join(_td(column, item) for column in columns)
        yield f'<tr class="{_tone(item.outcome)}" data-kind="{word}">{cells}</tr>\n'
    yield "</tbody></table></section>\n"


def _td(column: Column, item: Entry) -> str:
    title, tone, show, key = column
    sort = ""
    if key is not None:
        value = key(item)
        sort = f' data-sort="{html_text("" if value is None else str(value))}"'
    return f'<td class="{tone}" data-label="{title}"{sort}>{show(item)}</td>'


def _name(item: Entry) -> str:
    new = (
        f" &rarr; <code>{html_text(item.new_collection_id)}</code>"
        if item.new_collection_id
        else ""
    )
    return (
        f"<b>{html_text(item.name or item.collection_id)}</b>"
        f'<div class="ids"><code>{html_text(item.collection_id)}</code>{new}</div>'
        + (f'<div class="ids">{html_text(item.new_name)}</div>' if item.new_name else "")
    )


def _models(item: Entry) -> str:
    return f"{html_text(item.old_model)} &rarr; {html_text(item.new_model or '?')}"


def _documents(item: Entry) -> Optional[int]:
    return item.documents_before if item.documents_after is None else item.documents_after


def _before_after(item: Entry) -> str:
    if item.documents_before is None and item.documents_after is None:
        return ""
    return f"{_count(item.documents_before)} &rarr; {_count(item.documents_after)}"


def _checked(item: Entry) -> str:
    return f"{html_text(item.verdict)}<br>{_short_when(item.validated_at)}" if item.verdict else ""


def _moved(item: Entry) -> str:
    if item.connectors_moved is None and item.chats_moved is None:
        return ""
    return f"{_count(item.connectors_moved or 0)}, {_count(item.chats_moved or 0)}"


def _shared(item: Entry) -> str:
    return "<br>".join(map(html_text, (*item.permissions, *item.lifecycle)))


def _remarks(item: Entry) -> str:
    said = [item.reason, *item.findings, *(f"Warning: {text}" for text in item.warnings)]
    return "<br>".join(html_text(text) for text in dict.fromkeys(said) if text)


# -- words -------------------------------------------------------------------------------
def _badge(word: str) -> str:
    return f'<span class="badge {_tone(word)}">{html_text(word)}</span>'


def _tone(word: str) -> str:
    if word in _GOOD or word in _WORK:
        return "good"
    if word in _GREY or word in _CALM:
        return "grey"
    if word in _OPEN or word in (OutcomeKind.WAITING_FOR_SLOT.value, OutcomeKind.HELD.value):
        return "open"
    return "bad"


def _count(number: Optional[int]) -> str:
    return "?" if number is None else f"{number:,}"


def _size(size_bytes: Optional[int]) -> str:
    if size_bytes is None:
        return "?"
    size, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def _when(text: str) -> str:
    """A time for people, in UTC."""
    return f"{_short_when(text)} UTC" if parse_time(text) else ""


def _short_when(text: str) -> str:
    """The same where the heading says that it is UTC."""
    time = parse_time(text)
    return time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M") if time else ""
