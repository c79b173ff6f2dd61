"""What the checks of the retrieval came to, as lines for the end of a run."""

from __future__ import annotations

from itertools import zip_longest
from typing import Iterator, List, Optional, Sequence, Tuple

from h2ogpte_migration.results import Result
from h2ogpte_migration.retrieval import Answered, Overall
from h2ogpte_migration.ui.cells import fit, pad
from h2ogpte_migration.ui.text import safe

LISTED = 10
"""At most so many collections, and so many questions, are told one by one."""
NAMED = 10
"""At most so many documents of a collection are named."""
WIDTH = 100


def lines(
    rows: Sequence[Result], width: Optional[int] = None, *, details: bool = False
) -> Iterator[Tuple[str, bool]]:
    """Each line with whether somebody should look at it: what is not found any more, by name."""
    checked = [row for row in rows if row.retrieval is not None]
    outcomes = [row.retrieval for row in checked if row.retrieval is not None]
    if not outcomes:
        return
    yield f"Retrieval: {Overall.of(outcomes).words}.", False
    if details or len(outcomes) == 1:
        for row, outcome in zip(checked, outcomes):
            yield f"  {_named(row)}: {outcome.words}", False
    losing = [row for row in checked if row.retrieval and row.retrieval.lost]
    for row in losing if details else losing[:LISTED]:
        names = row.retrieval.lost if row.retrieval else ()
        yield f"  Not found any more in {_named(row)}: {_some(names, details)}", True
    if len(losing) > LISTED and not details:
        yield f"  {len(losing) - LISTED} more collections: with --details, or in a report", True
    yield from ((text, False) for text in _answers(checked, width or WIDTH, details))


def _named(row: Result) -> str:
    return f"{safe(row.source_name or row.source_id, 60)} ({row.source_id})"


def _some(names: Sequence[str], details: bool) -> str:
    shown = names if details else names[:NAMED]
    more = f", and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(safe(name, 60) for name in shown) + more


def _answers(rows: Sequence[Result], width: int, details: bool) -> Iterator[str]:
    """Each question with the first documents of old and new, side by side."""
    asked: List[Tuple[Result, Answered]] = [
        (row, answer) for row in rows if row.retrieval for answer in row.retrieval.answers
    ]
    for row, answer in asked if details else asked[:LISTED]:
        yield f"  {_named(row)}: {safe(answer.question, 200)}{_judgement(answer)}"
        yield from _side_by_side(answer, max(20, (width - 10) // 2))
    if len(asked) > LISTED and not details:
        yield f"  {len(asked) - LISTED} more answers: with --details, or in a report"


def _judgement(answer: Answered) -> str:
    if answer.found is None:
        return ""
    return f" [{safe(answer.expected, 60)}: {'found' if answer.found else 'not found'}]"


def _side_by_side(answer: Answered, room: int) -> Iterator[str]:
    old = ["(not asked)"] if answer.old is None else _numbered(answer.old)
    yield f"    {pad('old', room)}  new"
    for left, right in zip_longest(old, _numbered(answer.new), fillvalue=""):
        yield f"    {pad(left, room)}  {fit(right, room)}".rstrip()


def _numbered(names: Sequence[str]) -> List[str]:
    return [f"{number} {safe(name)}" for number, name in enumerate(names, 1)] or ["(nothing)"]
