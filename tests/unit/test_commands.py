"""The table of commands: every mode has its own, and none falls to the migration."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import pytest

from h2ogpte_migration import commands
from h2ogpte_migration.cli.flags import FLAGS, Options
from h2ogpte_migration.cli.rows import Mode
from h2ogpte_migration.commands import COMMANDS, Command, chosen_by

ROWS = {row.module: row for row in COMMANDS}


def options_of(mode: Mode) -> Options:
    """A line of a mode, with one of the flags that choose it."""
    selecting = [row.attribute for row in FLAGS if row.selects is mode][:1]
    return replace(Options(), **dict.fromkeys(selecting, True))


@pytest.mark.parametrize("mode", Mode)
def test_each_mode_has_one_command_and_a_dry_run_at_most(mode: Mode) -> None:
    assert options_of(mode).mode is mode
    rows = [row for row in COMMANDS if row.mode is mode]
    assert [row.dry_run for row in rows] in ([False], [True, False])
    assert chosen_by(options_of(mode)) == rows[-1]
    assert chosen_by(replace(options_of(mode), dry_run=True)) == rows[0]


def test_a_mode_without_a_command_is_no_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    others = tuple(row for row in COMMANDS if row.mode is not Mode.CLEANUP)
    monkeypatch.setattr(commands, "COMMANDS", others)
    with pytest.raises(IndexError):
        chosen_by(options_of(Mode.CLEANUP))


def test_each_file_has_a_row() -> None:
    files = {path.stem for path in Path(commands.__path__[0]).glob("*.py")}
    assert files - {"__init__"} == set(ROWS)


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.module)
def test_each_command_takes_what_it_is_given(row: Command) -> None:
    taken = list(inspect.signature(row.run).parameters)
    assert taken == (["session"] if row.needs_server else ["options", "console"])
