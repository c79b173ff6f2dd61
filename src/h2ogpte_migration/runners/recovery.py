"""The commands that bring connectors and chats back from a former target, ready to paste."""

from __future__ import annotations

from typing import List, Optional

from h2ogpte_migration.driving.work import Ending, Outcome, Work
from h2ogpte_migration.errors import ServerError
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.runners.session import Session
from h2ogpte_migration.states import Step, TargetFate
from h2ogpte_migration.steps.moves import MOVES
from h2ogpte_migration.tracking.records import Attempt
from h2ogpte_migration.tracking.store import Store
from h2ogpte_migration.ui.text import shell

_FLAGS = {Step.CONNECTORS: "--move-connectors", Step.CHATS: "--move-chats"}


def notes_for(session: Session, work: Work, outcome: Outcome) -> List[str]:
    """What to tell about connectors and chats that an earlier migration moved.

    Runs while the owner's key is still there. What a former target holds now is counted
    first: where nothing is left to bring back, nothing is said.
    """
    store = session.store
    if store is None:
        return []
    if work.policy.force:
        return _after_force(session, store, work, outcome)
    if outcome.ending == Ending.DONE and outcome.reason and _moved_something(store, outcome):
        command = _command(session, work.gateway, outcome.target_id, outcome.source_id)
        return [f"to bring back what was moved to the target: {command}"] if command else []
    return []


def _moved_something(store: Store, outcome: Outcome) -> bool:
    """Whether this migration moved anything, as far as is on record."""
    tracked = store.load(outcome.source_id)
    if tracked is None or tracked.attempt is None:
        return False
    if tracked.attempt.origin == Attempt.LEGACY:
        return tracked.record.connectors_migrated or tracked.record.chats_migrated
    return any(store.moved_counts(tracked.attempt, step) for step in _FLAGS)


def _after_force(session: Session, store: Store, work: Work, outcome: Outcome) -> List[str]:
    if outcome.ending not in (Ending.DONE, Ending.RUNNING, Ending.UNSETTLED):
        return []  # first things first: the migration itself needs attention
    former = [
        attempt.target_id
        for attempt in store.history(outcome.source_id)
        if attempt.fate == TargetFate.SUPERSEDED and attempt.target_id
    ]
    # A finished migration looks at its source no more; one that is still under way moves
    # what it finds there, after validation.
    finished = outcome.ending == Ending.DONE and outcome.target_id is not None
    destination = outcome.target_id if finished else outcome.source_id
    commands = [_command(session, work.gateway, target, destination) for target in former]
    return [
        f"to bring over what a former target still holds: {command}"
        for command in commands
        if command
    ]


def _command(
    session: Session, gateway: Gateway, source: Optional[str], target: Optional[str]
) -> str:
    """The command that moves what ``source`` holds now; empty where that is nothing."""
    if not source or not target:
        return ""
    flags = [flag for step, flag in _FLAGS.items() if _holds(gateway, step, source)]
    return _words(session, flags, source, target) if flags else ""


def _holds(gateway: Gateway, step: Step, collection_id: str) -> bool:
    try:
        return MOVES[step].count(gateway, collection_id) > 0
    except ServerError:
        return False  # it is gone, or not readable: there is nothing to promise


def _words(session: Session, flags: List[str], source: str, target: str) -> str:
    """The command with this run's server and database, and the key left out."""
    options = session.options
    words = ["h2ogpte-migrate", "--url", options.url]
    words.append("--admin-key" if session.admin else "--user-key")
    words += [*flags, "--from", source, "--to", target, "--db-path", str(options.db_path)]
    if options.cert is not None:
        words += ["--cert", str(options.cert)]
    if options.insecure:
        words.append("--insecure")
    return shell(*words)
