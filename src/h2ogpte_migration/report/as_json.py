"""A report for machines: one object, its schema numbered. Text is as the server has it."""

from __future__ import annotations

import json
from typing import Iterator

from h2ogpte_migration.report.document import Report, fields_of

SCHEMA = "h2ogpte-migrate/report/1"
"""Grows with every change that could break a reader; new fields do not count as such."""


def parts(report: Report) -> Iterator[str]:
    """The text, a collection at a time."""
    head = {
        "schema": SCHEMA,
        "about": report.about,
        "written_at": report.written_at,
        "version": report.version,
        "server": report.server or None,
        "database": report.database,
        "command": report.command,
        "exit_code": report.exit_code,
        "total": len(report.rows),
        "counts": report.counts(),
        "remarks": list(report.remarks),
        "notes": list(report.notes),
        "next": list(report.following),
    }
    text = json.dumps(head, indent=2)
    yield text[: text.rindex("\n}")] + ',\n  "collections": ['
    for number, row in enumerate(report.sorted_rows()):
        yield (",\n    " if number else "\n    ") + json.dumps(fields_of(row))
    yield "\n  ]\n}\n"
