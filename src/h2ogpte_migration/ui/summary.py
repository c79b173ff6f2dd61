"""The end of a run in one screen: what needs attention first, alike things together, the rest as counts.

Lines are made here and printed elsewhere. Commands are never folded, so that they can be pasted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import AbstractSet, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from h2ogpte_migration.results import (
    OWN_TARGET,
    RAG_CHECK,
    RAG_LEFT_OUT,
    RAG_PASSED,
    OutcomeKind,
    Result,
    RunResult,
)
from h2ogpte_migration.states import AFTER_IMPORT, Position
from h2ogpte_migration.ui import retrieval
from h2ogpte_migration.ui.text import duration, fold, gist, plural, safe, without_ids

LISTED = 10
"""At most so many of a group; the rest is counted."""
WORTH_TELLING_S = 1.0
FEW = 5
"""Up to so many successes are told one by one: whoever has five wants to see five."""

ORDER = (
    OutcomeKind.DONE,
    OutcomeKind.ROLLED_BACK,
    OutcomeKind.FAILED,
    OutcomeKind.HELD,
    OutcomeKind.RUNNING,
    OutcomeKind.DOCUMENTS_PENDING,
    OutcomeKind.WAITING_FOR_SLOT,
    OutcomeKind.LEFT,
    OutcomeKind.LEASED_ELSEWHERE,
    OutcomeKind.INTERRUPTED,
    OutcomeKind.NOT_STARTED,
    OutcomeKind.NOT_AVAILABLE,
)
_ATTENTION = tuple(kind for kind in ORDER if kind not in (OutcomeKind.DONE, OutcomeKind.RUNNING))


@dataclass(frozen=True)
class Line:
    """A line to print; ``attention`` where somebody should look at it, quiet or not."""

    text: str
    attention: bool = False


@dataclass(frozen=True)
class Following:
    """What to type next, and for what."""

    purpose: str
    command: str


@dataclass(frozen=True)
class SummaryOptions:
    """How a summary is told.

    Args:
        width: places of a line; None where it is no terminal, and nothing is folded.
        details: whether each collection has a line of its own.
        status: the command that lists everything.
        asked: ids that were asked for one by one, so that each deserves an answer.
        following: what to type next.
        beside: what to heed when that is typed.
    """

    width: Optional[int] = None
    details: bool = False
    status: str = "h2ogpte-migrate --status"
    asked: AbstractSet[str] = frozenset()
    following: Tuple[Following, ...] = ()
    beside: str = ""


def lines(result: RunResult, how: SummaryOptions) -> List[Line]:
    """The summary, attention first."""
    rows = result.results
    told = [*_details(rows)] if how.details else []
    told += [*_attention(result, how), *_warnings(rows, how), *_left_behind(rows)]
    told += [*(Line(f"Attention: {text}", True) for text in result.remarks), *_stopped(result)]
    if not how.details:
        told += _few_done(rows)
    told += [Line(*each) for each in retrieval.lines(rows, how.width, details=how.details)]
    told += _notes(rows, how)
    told += _left_alone(rows, how)
    told += skips(result, how, "Skipped")
    told += [Line(counts(result)), *_gains(rows), *_times(result)]
    told += next_lines(how)
    return [Line(fold(line.text, how.width), line.attention) for line in told]


def counts(result: RunResult) -> str:
    """How many of each kind, in one line."""
    kinds = Counter(row.kind for row in result.results)
    earlier = sum(row.kind == OutcomeKind.DONE and row.earlier for row in result.results)
    parts = []
    for kind in ORDER:
        if kinds[kind]:
            split = kind == OutcomeKind.DONE and earlier
            of = f" ({kinds[kind] - earlier} now, {earlier} earlier)" if split else ""
            parts.append(f"{kinds[kind]} {kind.value}{of}")
    skipped = sum(
        row.kind == OutcomeKind.SKIPPED and row.cause != OWN_TARGET for row in result.results
    )
    parts += [f"{skipped} skipped"] if skipped else []
    return f"Summary: {', '.join(parts) if parts else 'nothing to do'}."


def headline(result: RunResult, total: int) -> str:
    """The first line of a quiet report: what is open, out of how many."""
    kinds = Counter(row.kind for row in result.results if row.needs_attention)
    left = any(row.left_behind for row in result.results)
    parts = [f"{kinds[kind]} {kind.value}" for kind in _ATTENTION if kinds[kind]]
    if result.stopped_early:
        parts.append("stopped early")
    more = ", but see below" if not parts and (result.remarks or left) else ""
    return f"h2ogpte-migrate: {', '.join(parts) or 'nothing failed or held'} of {total}{more}"


# -- what needs somebody -------------------------------------------------------------
def _attention(result: RunResult, how: SummaryOptions) -> Iterator[Line]:
    rows = [row for row in result.results if row.needs_attention]
    if rows:
        yield Line(f"NEEDS YOU ({len(rows)})", True)
    for kind in dict.fromkeys((*_ATTENTION, *OutcomeKind)):
        alike: Dict[Tuple[str, ...], List[Result]] = {}
        for row in rows:
            if row.kind == kind:
                alike.setdefault(likeness(row), []).append(row)
        for group in sorted(alike.values(), key=len, reverse=True):
            for text in grouped(kind.value.capitalize(), group, how):
                yield Line(text, True)


def likeness(row: Result) -> Tuple[str, ...]:
    """What makes two results a group: the sort of their failure, free of ids."""
    codes = sorted({finding.code for finding in row.findings if finding.blocking})
    if row.kind == OutcomeKind.NOT_AVAILABLE:
        return (gist(row.reason) if row.source_id else row.reason,)  # or else each deserves a line
    return tuple(codes) or (without_ids(gist(row.reason)),)


def grouped(word: str, group: Sequence[Result], how: SummaryOptions) -> Iterator[str]:
    """A group in words: one is told in full, several by what they have in common."""
    first = group[0]
    hints = {row.hint for row in group}
    hint = f" {first.hint}" if len(hints) == 1 and first.hint else ""
    if len(group) == 1:
        yield f"{word}: {named(first)}: {_sentence(first.reason)}{hint}"
        return
    same = len({row.reason for row in group}) == 1
    common = first.reason if same else _common_words(group)
    unknown = first.kind == OutcomeKind.NOT_AVAILABLE
    many = str(len(group)) if unknown else plural(len(group), "collection")
    yield f"{word}: {many}: {_sentence(common)}{hint}"
    shown = group if how.details else group[:LISTED]
    for row in shown:
        own = row.reason if how.details else _own_words(row, common)
        yield f"  {_short(row)}" + ("" if same else f": {own}")
    if len(group) > len(shown):
        where = "with --details, or in the log" if unknown else how.status
        yield f"  {len(group) - len(shown)} more: {where}"


def _sentence(text: str) -> str:
    return text if text.endswith("?") else text.rstrip(".") + "."


def _common_words(group: Sequence[Result]) -> str:
    """What the members of a group share."""
    first = group[0]
    codes = dict.fromkeys(finding.code for finding in first.findings if finding.blocking)
    if codes:
        return "documents " + ", ".join(code.replace("_", " ") for code in codes)
    gists = {gist(row.reason) for row in group}
    return gists.pop() if len(gists) == 1 else without_ids(gist(first.reason))


def _own_words(row: Result, common: str) -> str:
    """What sets a collection apart from the others of its group; names are in the details."""
    found = [finding.text for finding in row.findings if finding.blocking]
    first = gist(row.reason)
    rest = row.reason[len(first) :].lstrip("; ").partition(": ")[0]
    return "; ".join(found) or (rest if first == common and rest else first)


def named(row: Result) -> str:
    """A collection by name and id; what was never found, or is none, by what it was called."""
    if not (row.source_name and row.source_id):
        return safe(row.source_name or row.source_id)
    return f"{safe(row.source_name)} ({row.source_id})"


def _short(row: Result) -> str:
    if not (row.source_name and row.source_id):
        return named(row)
    owner = f" of {safe(row.owner, 40)}" if row.owner else ""
    return f"{safe(row.source_name, 60)} ({row.source_id}){owner}"


def _warnings(rows: Iterable[Result], how: SummaryOptions) -> Iterator[Line]:
    """What could not be carried over: news of this run, the same text once."""
    texts: Dict[str, List[Result]] = {}
    for row in rows:
        if how.details or not (row.earlier and row.well):
            for text in row.warnings:
                texts.setdefault(text, []).append(row)
    for number, (text, group) in enumerate(texts.items()):
        if number >= LISTED and not how.details:
            yield Line(f"Warning: {len(texts) - LISTED} more: {how.status}", True)
            return
        who = named(group[0]) if len(group) == 1 else plural(len(group), "collection")
        yield Line(f"Warning: {who}: {text}", True)


def _stopped(result: RunResult) -> Iterator[Line]:
    if result.breaker:
        yield Line(f"Stopped early: {result.breaker}", True)
    interrupted = result.of(OutcomeKind.INTERRUPTED)
    begun = len(result.of(OutcomeKind.NOT_STARTED))
    if interrupted:
        going = sum(row.position == Position.IMPORTING for row in interrupted)
        going += len(result.of(OutcomeKind.RUNNING))
        after = sum(row.position in AFTER_IMPORT for row in interrupted)
        rest = len(interrupted) - sum(
            row.position == Position.IMPORTING or row.position in AFTER_IMPORT
            for row in interrupted
        )
        verb = "goes" if going == 1 else "go"
        parts = [f"{plural(going, 'import')} {verb} on at the server"] if going else []
        parts += [f"{rest} not submitted"] if rest else []
        parts += [f"{after} imported and not moved yet"] if after else []
        parts += [f"{begun} not begun"] if begun else []
        yield Line(f"Interrupted: {', '.join(parts)}; the same command continues.", True)
    elif begun:
        number = plural(begun, "collection")
        yield Line(f"Not started: {number}; run the same command again.", True)


# -- what went well --------------------------------------------------------------------
def _details(rows: Sequence[Result]) -> Iterator[Line]:
    for row in rows:
        if row.target_id and row.kind not in (OutcomeKind.SKIPPED, OutcomeKind.NOT_AVAILABLE):
            yield Line(mapping(row))
        elif row.kind in (OutcomeKind.INTERRUPTED, OutcomeKind.NOT_STARTED):
            yield Line(f"{named(row)} [{row.kind.value}]")


def _few_done(rows: Sequence[Result]) -> List[Line]:
    well = [row for row in rows if row.well and row.target_id]
    return [Line(mapping(row)) for row in well] if len(well) <= FEW else []


def mapping(row: Result) -> str:
    """Old collection and new one, and how the new one stands."""
    state = "" if row.kind == OutcomeKind.DONE else f" [{row.kind.value}]"
    reason = f" - {row.reason}" if row.reason else ""
    return (
        f"{safe(row.source_name)} ({row.source_id}) -> "
        f"{safe(row.target_name)} ({row.target_id}){state}{reason}"
    )


def _notes(rows: Sequence[Result], how: SummaryOptions) -> Iterator[Line]:
    told = [(note, f"  {named(row)}: {note}") for row in rows for note in row.notes]
    answered = [note for note, _ in told if not note.startswith(RAG_LEFT_OUT)]
    asked = [note for note in answered if note.startswith(RAG_CHECK)]
    passed = sum(note.startswith(RAG_PASSED) for note in asked)
    if len(asked) > 1:
        yield Line(f"{RAG_CHECK}: {passed} of {plural(len(asked), 'collection')} passed.")
    # What did not go well first: it must not be among those that are counted only.
    notes = [text for note, text in sorted(told, key=lambda each: each[0].startswith(RAG_PASSED))]
    shown = notes if how.details else notes[:LISTED]
    for text in shown:
        yield Line(text)
    if len(notes) > len(shown):
        yield Line(f"  {len(notes) - len(shown)} more notes: with --details, or in the log")


def _left_behind(rows: Sequence[Result]) -> Iterator[Line]:
    """What former targets still hold: never left out, as nothing else would tell of it."""
    for row in rows:
        for text in row.left_behind:
            yield Line(f"Left behind: {named(row)}: {text}", True)


def _left_alone(rows: Sequence[Result], how: SummaryOptions) -> Iterator[Line]:
    alike: Dict[str, List[Result]] = {}
    for row in rows:
        if row.kind in (OutcomeKind.LEASED_ELSEWHERE, OutcomeKind.LEFT) and not row.needs_attention:
            alike.setdefault(row.reason, []).append(row)
    for group in alike.values():
        for text in grouped("Left alone", group, how):
            yield Line(text)


def skips(result: RunResult, how: SummaryOptions, word: str) -> Iterator[Line]:
    """What the filters left out, by reason. The tool's own targets are no skips, unless asked for."""
    alike: Dict[str, List[Result]] = {}
    for row in result.of(OutcomeKind.SKIPPED):
        if row.cause != OWN_TARGET or how.details or row.source_id in how.asked:
            alike.setdefault(row.cause or row.reason, []).append(row)
    for cause, group in alike.items():
        if how.details or len(group) == 1:
            for row in group:
                yield Line(f"{word}: {named(row)}: {row.reason}")
        else:
            models = Counter(row.source_model or "no model" for row in group).most_common(4)
            among = ", ".join(f"{safe(model, 60)} {number}" for model, number in models)
            yield Line(f"{word}: {plural(len(group), 'collection')}: {cause} ({among})")
    if result.guests:
        yield Line(f"{word}: {plural(result.guests, 'guest account')}")


def _gains(rows: Sequence[Result]) -> Iterator[Line]:
    now = [row for row in rows if row.kind == OutcomeKind.DONE and not row.earlier]
    documents = [row.documents for row in now if row.documents is not None]
    moved: Counter[str] = Counter()
    for row in now:
        moved.update(dict(row.moved))
    parts = [counted(sum(documents), "documents")] if documents else []
    parts += [counted(number, step) for step, number in moved.items() if number]
    if parts:
        yield Line(f"Migrated now: {', '.join(parts)}.")


def counted(number: int, things: str) -> str:
    """``1 connector``, ``2,000 documents``; ``things`` is a plural."""
    return f"{number:,} {things[:-1] if number == 1 else things}"


def _times(result: RunResult) -> Iterator[Line]:
    if result.elapsed_s and result.seconds_by_source:
        jobs = [plural(result.peak_jobs, "import")] if result.peak_jobs else []
        most = " and ".join([*jobs, plural(result.peak_requests, "request")])
        yield Line(f"Time: {duration(result.elapsed_s)}; at most {most} at once.")
    if result.seconds_by_step:
        spent = ", ".join(
            f"{step} {seconds:.1f} s" for step, seconds in result.seconds_by_step.items()
        )
        yield Line(f"Time by step: {spent}; of all collections together.")
    slow = [item for item in result.seconds_by_source.items() if item[1] >= WORTH_TELLING_S]
    if len(slow) > 1:
        slowest = sorted(slow, key=lambda item: -item[1])[:3]
        names = {row.source_id: row.source_name for row in result.results}
        words = ", ".join(
            f"{safe(names.get(key) or key, 60)} {took:.1f} s" for key, took in slowest
        )
        yield Line(f"Slowest: {words}.")


def next_lines(how: SummaryOptions) -> Iterator[Line]:
    """What to type next; with its purpose where there is a choice."""
    commands: Dict[str, List[str]] = {}
    for item in how.following:
        commands.setdefault(item.command, []).append(item.purpose)
    for command, purposes in commands.items():
        if len(commands) == 1:
            yield Line(f"Next: {command}", True)
        else:
            yield Line(f"Next, {' and '.join(purposes)}:", True)
            yield Line(f"  {command}", True)
    if commands and how.beside:
        yield Line(how.beside, True)
