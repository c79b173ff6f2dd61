"""The modes of the command: one file and one row each.

A command is imported when it is chosen, so that ``--status`` never loads what only a server needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Callable

from h2ogpte_migration.cli.flags import Mode, Options


@dataclass(frozen=True)
class Command:
    """A row of the table.

    Args:
        module: the file here; its ``run`` does it and returns the exit code. It takes a
            session, or options and console where it needs no server.
        chosen: whether the options ask for it; the first row that says yes is it.
        needs_server: whether it talks to one.
    """

    module: str
    chosen: Callable[[Options], bool]
    needs_server: bool = True

    @property
    def run(self) -> Callable[..., int]:
        """What does it."""
        loaded: Any = import_module(f"{__name__}.{self.module}")
        run: Callable[..., int] = loaded.run
        return run


COMMANDS = (
    Command("status", lambda options: options.mode == Mode.STATUS, needs_server=False),
    Command("move", lambda options: options.mode == Mode.MOVE),
    Command("verify", lambda options: options.mode == Mode.VERIFY),
    Command("rollback", lambda options: options.mode == Mode.ROLLBACK),
    Command("cleanup", lambda options: options.mode == Mode.CLEANUP),
    Command("check_server", lambda options: options.mode == Mode.CHECK),
    Command("dry_run", lambda options: options.dry_run),
    Command("migrate", lambda _: True),
)


def chosen_by(options: Options) -> Command:
    """The command that a command line asks for."""
    return next(command for command in COMMANDS if command.chosen(options))
