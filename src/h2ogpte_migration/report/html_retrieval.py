"""The part of the HTML report on retrieval: what the new indexes find, beside the old ones."""

from __future__ import annotations

from typing import Callable, Iterator, List, Optional, Sequence, Tuple

from h2ogpte_migration.report.document import Entry
from h2ogpte_migration.retrieval import Answered
from h2ogpte_migration.ui.text import html_text, plural

MOST_LISTED = 500
MOST_ANSWERS = 200

_MEASURES: Tuple[Tuple[str, Callable[[Entry], object], Callable[[Entry], object]], ...] = (
    ("Found", lambda item: item.found, lambda item: item.found_before),
    ("Recall@1", lambda item: item.recall_at_1, lambda item: item.recall_at_1_before),
    ("Recall@10", lambda item: item.recall_at_10, lambda item: item.recall_at_10_before),
    ("MRR", lambda item: item.mrr, lambda item: item.mrr_before),
)


def section(lines: Sequence[Entry]) -> Iterator[str]:
    """What was looked for and found, those first that lost most; nothing where nothing was."""
    checked = [item for item in lines if _was_checked(item)]
    if not checked:
        return
    checked.sort(key=lambda item: (not item.retrieval_problem, -len(item.not_found_any_more)))
    heads = "".join(f'<th scope="col">{title}, old &rarr; new</th>' for title, *_ in _MEASURES)
    yield (
        f"<section><h2>Retrieval ({plural(len(checked), 'collection')})</h2>\n"
        '<table><thead><tr><th scope="col">Collection</th><th scope="col">Looked for</th>'
        f'{heads}<th scope="col">Not found any more</th></tr></thead><tbody>\n'
    )
    for item in checked[:MOST_LISTED]:
        yield _row(item)
    yield "</tbody></table>\n"
    if len(checked) > MOST_LISTED:
        yield f'<p class="quiet">And {len(checked) - MOST_LISTED:,} more.</p>\n'
    yield from _answers(checked)
    yield "</section>\n"


def _was_checked(item: Entry) -> bool:
    return bool(item.looked_for or item.retrieval_problem or item.questions)


def _row(item: Entry) -> str:
    measures = "".join(
        f'<td class="number">{_number(old(item))} &rarr; {_number(new(item))}</td>'
        for _, new, old in _MEASURES
    )
    names = "<br>".join(map(html_text, item.not_found_any_more))
    said = f'<div class="quiet">{html_text(item.retrieval_problem)}</div>'
    return (
        f'<tr><td class="name"><b>{html_text(item.name or item.collection_id)}</b>'
        f'<div class="ids"><code>{html_text(item.collection_id)}</code></div></td>'
        f'<td class="number">{_number(item.looked_for)}</td>{measures}'
        f'<td class="small">{names}{said if item.retrieval_problem else ""}</td></tr>\n'
    )


def _number(value: object) -> str:
    if value is None:
        return "?"
    return f"{value:.2f}" if isinstance(value, float) else f"{value:,}"


def _answers(lines: Sequence[Entry]) -> Iterator[str]:
    """People's questions, what the old index finds beside what the new one finds."""
    asked = [(item, answer) for item in lines for answer in item.questions]
    for item, answer in asked[:MOST_ANSWERS]:
        yield (
            f'<div class="card"><b>{html_text(answer.question)}</b> '
            f'<span class="quiet">{html_text(item.name or item.collection_id)}{_expected(answer)}'
            f'</span><div class="two"><div><h2>Old</h2>{_names(answer.old)}</div>'
            f"<div><h2>New</h2>{_names(answer.new)}</div></div></div>\n"
        )
    if len(asked) > MOST_ANSWERS:
        yield f'<p class="quiet">And {len(asked) - MOST_ANSWERS:,} more answers.</p>\n'


def _expected(answer: Answered) -> str:
    if answer.found is None:
        return ""
    verb = "found" if answer.found else "not found"
    return f", {html_text(answer.expected)} {verb}"


def _names(names: Optional[Sequence[str]]) -> str:
    if names is None:
        return "<p>not asked</p>"
    rows: List[str] = [f"<li>{html_text(name)}</li>" for name in names]
    return f"<ol>{''.join(rows)}</ol>" if rows else "<p>nothing</p>"
