"""The report of a check of the server, for a support case: JSON for machines, a page for people."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Iterable, Iterator, Sequence, Tuple

from h2ogpte_migration.checked import Judgement, ServerCheck, counts
from h2ogpte_migration.report.page import STYLE
from h2ogpte_migration.ui.text import html_text

SCHEMA = "h2ogpte-migrate/check/1"
"""Grows with every change that could break a reader; new fields do not count as such."""
_TONES = {Judgement.HOLDS: "good", Judgement.DIFFERS: "open", Judgement.UNKNOWN: "grey"}


def parts(path: Path, check: ServerCheck, exit_code: int) -> Iterator[str]:
    """The text in the format that the file's suffix names."""
    return _page(check) if path.suffix.lower() == ".html" else _json(check, exit_code)


def _json(check: ServerCheck, exit_code: int) -> Iterator[str]:
    fields = asdict(check)
    del fields["observations"]
    told = {
        "schema": SCHEMA,
        "exit_code": int(exit_code),
        **fields,
        "compared": [{**asdict(one), "same": one.same} for one in check.compared],
        "counts": counts(check),
        "assumptions": [
            {
                "habit": one.assumption.habit,
                "assumed": one.assumption.assumed,
                "operations": one.assumption.operations,
                "verdict": one.verdict.value,
                "seen": one.seen or None,
                "otherwise": one.assumption.otherwise,
                "then_the_tool": one.assumption.then,
            }
            for one in check.observations
        ],
    }
    yield json.dumps(told, indent=2) + "\n"


def _page(check: ServerCheck) -> Iterator[str]:
    title = html_text(f"Check of {check.server}")
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{STYLE}</style></head><body><main><h1>{title}</h1>\n"
    )
    outcome = "it works" if check.worked else f"it did not work: {check.reason}"
    facts: Sequence[Tuple[str, str]] = (
        ("Outcome", outcome),
        ("As of", check.written_at),
        ("Key", check.key),
        ("Models", f"{check.source_model} to {check.target_model}"),
        *check.versions.items(),
        ("Latency", _seconds(check.latency_s)),
        ("Import per document", _seconds(check.document_s)),
        ("Temporary keys live for", check.key_life_time or "not tried"),
        ("Left at the server", "; ".join(check.left) or "nothing"),
        *(("Note", remark) for remark in check.remarks),
    )
    cells = "".join(f"<dt>{html_text(a)}</dt><dd>{html_text(b)}</dd>" for a, b in facts)
    yield f'<dl class="facts">{cells}</dl>\n'
    yield _table(
        "Assumptions",
        ("", "assumed", "seen", "otherwise", "the tool then"),
        (
            (
                f'<b class="badge {_TONES[one.verdict]}">{one.verdict.value}</b>',
                *map(html_text, (one.assumption.assumed, one.seen)),
                *map(html_text, (one.assumption.otherwise, one.assumption.then)),
            )
            for one in check.observations
        ),
    )
    yield _table(
        "Source and target",
        ("", "what", "source", "target"),
        (
            (
                f'<b class="badge {"good" if one.same else "open"}">'
                f"{'same' if one.same else 'differs'}</b>",
                *map(html_text, (one.what, one.source, one.target)),
            )
            for one in check.compared
        ),
    )
    yield "</main></body></html>\n"


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f'<td class="small">{cell}</td>' for cell in row) + "</tr>\n"
        for row in rows
    )
    return (
        f"<section><h2>{title}</h2><table><thead><tr>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></section>\n"
    )


def _seconds(value: object) -> str:
    return f"{value:.3f} s" if isinstance(value, float) else "not measured"
