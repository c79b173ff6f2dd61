"""What former targets still hold, and the commands that bring it over, ready to paste."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import List, Optional

from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.states import Position, StepName
from h2ogpte_migration.steps.former import holdings
from h2ogpte_migration.tracking.records import Attempt
from h2ogpte_migration.tracking.store import Store
from h2ogpte_migration.ui.text import shell

log = logging.getLogger(__name__)

_PAST_ITS_MOVES = (Position.CONNECTED, Position.FINISHED)
_FLAGS = {StepName.CONNECTORS: "--move-connectors", StepName.CHATS: "--move-chats"}


def remarks(session: Session, migration: Migration, outcome: Result) -> Result:
    """The result with what former targets still hold, while the owner's key is still there.

    Asked of collections that this run worked on and that have a former target: no others cost a
    request. For one that was left as finished the command that brings back what it moved is
    only noted in the log.
    """
    if outcome.earlier:
        if outcome.kind == OutcomeKind.DONE and _moved_something(session.tracking.store, outcome):
            command = session.options.command(
                add=["--rollback", "--collections", outcome.source_id]
            )
            log.info("to bring back what was moved to the target: %s", command)
        return outcome
    # What the migration has moved already would not be moved on from the source once more.
    ready = outcome.kind == OutcomeKind.DONE or outcome.position in _PAST_ITS_MOVES
    destination = outcome.target_id if ready else outcome.source_id
    return replace(outcome, left_behind=tuple(_left_behind(session, migration, destination)))


def not_brought_back(session: Session, migration: Migration, outcome: Result) -> Result:
    """The result of a rollback with what former targets hold of a collection that it left as it is.

    Nothing where all came back, or where the result names the way already.
    """
    if outcome.kind == OutcomeKind.ROLLED_BACK or outcome.way_out:
        return outcome
    left = tuple(_left_behind(session, migration, outcome.source_id))
    held = any("--move-" in line for line in left)
    return replace(outcome, left_behind=left, needs_attention=outcome.needs_attention or held)


def _left_behind(session: Session, migration: Migration, destination: Optional[str]) -> List[str]:
    lines = []
    for holding in holdings(migration):
        flags = [
            flag
            for flag, count in (
                (_FLAGS[StepName.CONNECTORS], holding.connectors),
                (_FLAGS[StepName.CHATS], holding.chats),
            )
            if count
        ]
        command = _words(session, flags, holding.target_id, destination) if flags else ""
        lines.append(f"{holding}; to bring it over: {command}" if command else str(holding))
    return lines


def _moved_something(store: Store, outcome: Result) -> bool:
    """Whether this migration moved anything, as far as is on record."""
    tracked = store.load(SourceId(outcome.source_id))
    if tracked is None or tracked.attempt is None:
        return False
    if tracked.attempt.origin == Attempt.LEGACY:
        return tracked.record.connectors_migrated or tracked.record.chats_migrated
    return any(store.moved_counts(tracked.attempt, step) for step in _FLAGS)


def _words(session: Session, flags: List[str], source: Optional[str], target: Optional[str]) -> str:
    """The command with this run's server and database, and the key left out."""
    options = session.options
    words = ["h2ogpte-migrate", "--url", options.url]
    words.append("--admin-key" if session.admin else "--user-key")
    words += [
        *flags,
        "--from",
        source or "",
        "--to",
        target or "",
        "--db-path",
        str(options.db_path),
    ]
    if options.cert is not None:
        words += ["--cert", str(options.cert)]
    if options.insecure:
        words.append("--insecure")
    return shell(*words)
