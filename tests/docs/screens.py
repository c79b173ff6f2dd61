"""The pictures of the README, made by the code that draws the real thing, of made-up collections.

    python -m tests.docs.screens

writes ``docs/live.svg``, and ``report.html`` here, to be photographed with a browser for
``docs/report.png``.
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from h2ogpte_migration import __version__, report
from h2ogpte_migration.results import OutcomeKind, Recorded
from h2ogpte_migration.ui import live
from h2ogpte_migration.ui.tally import scrolled
from tests.golden.test_screens import URL, organisation, result, watched

DOCS = Path(__file__).parents[2] / "docs"
WIDTH = 92
COMMAND = "$ h2ogpte-migrate --admin-key --all-users --use-model-mappings --wait-for-completion ..."


def live_view() -> str:
    """The live view as SVG; its letters come from the reader's machine."""
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True)
    failed = result(14, OutcomeKind.FAILED, reason="the import job failed: no room left")
    console.print(COMMAND, highlight=False, markup=False, soft_wrap=True)
    console.print(f"19:31:40 {scrolled(failed)}", highlight=False, markup=False)
    lines = live.view(watched().now(), WIDTH, 14, 102.0)
    console.print(live.painted([*lines, live.CALM], WIDTH))
    drawing = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title="h2ogpte-migrate", code_format=drawing, unique_id="live")


def page() -> report.Report:
    """How a migration of some 50 collections ended, as the report tells it."""
    rows = []
    seen = [
        row for n, row in enumerate(organisation().results) if n not in (45, 46, 47, 48, 50, 51)
    ]
    for number, row in enumerate(seen):
        done = row.kind == OutcomeKind.DONE
        count = 100 + 37 * number
        minute = 8 * 60 + number * number % 200
        begun, ended = (
            f"2026-03-16T{m // 60:02}:{m % 60:02}:00+00:00" for m in (minute, minute + 40)
        )
        kept = Recorded(
            begun_at=begun,
            imported_at=ended if done else "",
            validated_at=ended,
            verdict="clean" if done else "",
            documents_before=count,
            documents_after=count if done else None,
            connectors_moved=number % 3 if done else None,
            chats_moved=number % 7 if done else None,
        )
        hint = row.hint or "--retry-failed makes a new target."
        rows.append(replace(row, recorded=kept, moved=(), hint="" if done else hint))
    return report.Report(
        about="run",
        written_at="2026-03-16T13:10:00+00:00",
        version=__version__,
        server=URL,
        database="migration_tracking.db",
        command="h2ogpte-migrate --admin-key --all-users --use-model-mappings --report report.html",
        rows=rows,
        exit_code=1,
    )


if __name__ == "__main__":
    DOCS.mkdir(exist_ok=True)
    (DOCS / "live.svg").write_text(live_view(), encoding="utf-8")
    report.write(Path("report.html"), page())
