"""A report for spreadsheets, a line per collection; its ids can be migrated again.

``--collections-file`` reads it back by the column ``collection_id``, so that a plan can be
edited and run. Text of strangers never becomes a formula.
"""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from typing import Iterator, Tuple, Union

from h2ogpte_migration.report.document import Entry, Report, entry
from h2ogpte_migration.ui.text import csv_cell

Value = Union[str, int, float, bool, None, Tuple[object, ...]]

BOM = "\ufeff"
"""Without it spreadsheets take UTF-8 for something else."""


def parts(report: Report) -> Iterator[str]:
    """The text, line by line; the first one names the columns."""
    yield BOM + _row(field.name for field in fields(Entry))
    for row in report.sorted_rows():
        told = entry(row)
        yield _row(_cell(getattr(told, field.name)) for field in fields(Entry))


def _row(cells: Iterator[str]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(list(cells))
    return out.getvalue()


def _cell(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return csv_cell("; ".join(map(str, value)))
    return csv_cell(value) if isinstance(value, str) else "" if value is None else str(value)
