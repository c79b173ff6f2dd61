"""From the words of a command line to ``Options``; ``--help`` and ``--version``. No behaviour."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import List, Optional, Sequence

from h2ogpte_migration import __version__
from h2ogpte_migration.cli.flags import FLAGS, PROGRAM, Options
from h2ogpte_migration.cli.parse import parse
from h2ogpte_migration.cli.rows import Flag, Group
from h2ogpte_migration.errors import UsageError
from h2ogpte_migration.ui.console import Console

INTRO = (
    "Moves h2oGPTe collections to a new embedding model: documents, settings, permissions, "
    "connectors and, if asked, chats. The old collections stay. An interrupted run is continued "
    "by the same command."
)
EXAMPLES = f"""\
Examples (with H2OGPTE_URL, H2OGPTE_ADMIN_KEY or H2OGPTE_USER_KEY set):
  {PROGRAM} --admin-key --users jane --use-model-mappings --dry-run
  {PROGRAM} --user-key --target-model NEW/MODEL --wait-for-completion
  {PROGRAM} --admin-key --verify --migrate-chats
  {PROGRAM} --status
"""
EXIT_CODES = (
    "Exit codes: 0 all that was asked for is done or running as it should; 1 something failed, "
    "was held back, not found, not checked or not reached; 2 usage or configuration: wrong flags, server, key, "
    "model or database; 129, 130 or 143 interrupted."
)
NARROWEST, WIDEST = 60, 110
COLUMN = 32


def main_parse(argv: Sequence[str]) -> Options:
    """The options of this process's command line.

    Raises:
        SystemExit: ``--help`` or ``--version`` was asked for, and has been answered.
        UsageError: with every mistake of the line.
    """
    answer = early_answer(argv, shutil.get_terminal_size().columns)
    if answer is not None:
        Console(sys.stdout, sys.stderr).result(answer)
        raise SystemExit(0)
    try:
        cwd = Path.cwd()
    except OSError as error:
        raise UsageError(["The current folder does not exist any more."]) from error
    return parse(argv, os.environ, cwd, _read_stdin)


def _read_stdin() -> str:
    """All of standard input; a closed one is empty."""
    return sys.stdin.buffer.read().decode("utf-8") if sys.stdin else ""


def early_answer(argv: Sequence[str], columns: int = WIDEST) -> Optional[str]:
    """What to print and do nothing else, if the line asks for that."""
    if "--help" in argv or "-h" in argv:
        return help_text(columns)
    return f"{PROGRAM} {__version__}" if "--version" in argv else None


def help_text(columns: int = WIDEST) -> str:
    """The help, section by section, for a terminal of this width."""
    width = max(NARROWEST, min(WIDEST, columns))
    parts = [f"Usage: {PROGRAM} [flags]\n", textwrap.fill(INTRO, width) + "\n"]
    for group in Group:
        rows = [row for row in FLAGS if row.group is group]
        lines = [line for row in rows for line in _flag_lines(row, width)]
        title = textwrap.fill(f"{group.value}:", width, break_on_hyphens=False)
        parts.append("\n".join([title, *lines, ""]))
    parts.append(
        "\n".join(
            [
                "About this command:",
                *_entry("-h, --help", "Show this help.", width),
                *_entry("--version", "Show the version.", width),
                "",
            ]
        )
    )
    return "\n".join([*parts, EXAMPLES, textwrap.fill(EXIT_CODES, width)]).rstrip()


def _flag_lines(row: Flag, width: int) -> List[str]:
    """One flag in the help, with its variable and its default."""
    notes = [f"variable: {row.env}"] if row.env else []
    if row.read is not None and row.default:
        shown = f"{row.default:g}" if isinstance(row.default, float) else row.default
        notes.append(f"default: {shown}")
    note = f" ({'; '.join(notes)})" if notes else ""
    return _entry(f"{row.name} {row.metavar}".rstrip(), row.help + note, width)


def _entry(label: str, text: str, width: int) -> List[str]:
    """A label with its text beside it, or below where the label is too long."""
    indent = " " * COLUMN
    lines = textwrap.wrap(text, width - COLUMN, break_on_hyphens=False)
    head = f"  {label}"
    if len(head) < COLUMN:
        return [head.ljust(COLUMN) + lines[0], *(indent + line for line in lines[1:])]
    return [head, *(indent + line for line in lines)]
