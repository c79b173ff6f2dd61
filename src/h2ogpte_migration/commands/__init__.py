"""The modes of the command: one file and one row each.

A command is imported when it is chosen, so that ``--status`` never loads what only a server needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Callable

from h2ogpte_migration.cli.flags import Options
from h2ogpte_migration.cli.rows import Mode


@dataclass(frozen=True)
class Command:
    """A row of the table.

    Args:
        module: the file here; its ``run`` does it and returns the exit code. It takes a
            session, or options and console where it needs no server.
        mode: what a run has to be for.
        dry_run: whether it is the one for ``--dry-run``, where that is another than without.
        needs_server: whether it talks to one.
    """

    module: str
    mode: Mode
    dry_run: bool = False
    needs_server: bool = True

    @property
    def run(self) -> Callable[..., int]:
        """What does it."""
        loaded: Any = import_module(f"{__name__}.{self.module}")
        run: Callable[..., int] = loaded.run
        return run


COMMANDS = (
    Command("status", Mode.STATUS, needs_server=False),
    Command("move", Mode.MOVE),
    Command("verify", Mode.VERIFY),
    Command("rollback", Mode.ROLLBACK),
    Command("cleanup", Mode.CLEANUP),
    Command("check_server", Mode.CHECK),
    Command("dry_run", Mode.MIGRATE, dry_run=True),
    Command("migrate", Mode.MIGRATE),
)


def chosen_by(options: Options) -> Command:
    """The command that a command line asks for: never one of another mode."""
    rows = [row for row in COMMANDS if row.mode is options.mode]
    return next((row for row in rows if row.dry_run and options.dry_run), rows[-1])
