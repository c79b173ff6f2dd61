"""The commands that bring connectors and chats back to a source, ready to paste."""

from __future__ import annotations

from typing import List, Optional

from h2ogpte_migration.errors import ServerError
from h2ogpte_migration.gateway.api import Gateway
from h2ogpte_migration.runners.session import Session
from h2ogpte_migration.states import Step
from h2ogpte_migration.steps.moves import MOVES
from h2ogpte_migration.ui.text import shell


def command(session: Session, flags: List[str], *, source: str, target: str) -> str:
    """A ``--move-...`` command with this run's server and database, without the key."""
    options = session.options
    words = ["h2ogpte-migrate", "--url", options.url]
    words.append("--admin-key" if session.admin else "--user-key")
    words += [*flags, "--from", source, "--to", target]
    words += ["--db-path", str(options.db_path)]
    if options.cert is not None:
        words += ["--cert", str(options.cert)]
    if options.insecure:
        words.append("--insecure")
    return shell(*words)


def back_to_source(
    session: Session, gateway: Gateway, *, source: str, old_target: str
) -> Optional[str]:
    """The command that brings back what an old target holds now; None if that is nothing."""
    flags = []
    for step, flag in ((Step.CONNECTORS, "--move-connectors"), (Step.CHATS, "--move-chats")):
        try:
            if MOVES[step].count(gateway, old_target):
                flags.append(flag)
        except ServerError:
            continue
    return command(session, flags, source=old_target, target=source) if flags else None
