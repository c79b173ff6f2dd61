"""Each mode from its runner to the words and the exit code that end it."""

from __future__ import annotations

from typing import Dict, List, Sequence

from h2ogpte_migration.errors import ExitCode
from h2ogpte_migration.pipeline import Ending, Outcome
from h2ogpte_migration.runners import migrate as migrate_runner
from h2ogpte_migration.runners import move as move_runner
from h2ogpte_migration.runners import preview as preview_runner
from h2ogpte_migration.runners import verify as verify_runner
from h2ogpte_migration.runners.session import RunSummary, Session
from h2ogpte_migration.states import Position
from h2ogpte_migration.ui import summary as words


def migrate(session: Session) -> int:
    """A migration."""
    return _end(session, migrate_runner.run(session))


def verify(session: Session) -> int:
    """A verification."""
    return _end(session, verify_runner.run(session))


def preview(session: Session) -> int:
    """A preview."""
    result = preview_runner.run(session)
    words.tell_preview(session.console, result)
    if session.options.dry_run and not session.stop.is_set():
        session.console.info(f"Next: {session.options.command(without=['--dry-run'])}")
    return words.preview_exit_code(result)


def move(session: Session) -> int:
    """A manual move."""
    for moved in move_runner.run(session):
        session.console.info(
            f"Moved {moved.before} {moved.noun}: the target had {moved.target_before} and has "
            f"{moved.target_after} now."
            if moved.before
            else f"There were no {moved.noun} to move."
        )
    return ExitCode.OK


def _end(session: Session, summary: RunSummary) -> int:
    words.tell(session.console, summary, _warnings(session, summary.result.outcomes))
    following = _next_command(session, summary.result.outcomes)
    if following:
        session.console.info(f"Next: {following}")
    return words.exit_code(summary)


def _warnings(session: Session, outcomes: Sequence[Outcome]) -> Dict[str, List[str]]:
    if session.store is None:
        return {}
    return {
        outcome.source_id: [item.text for item in session.store.warnings(outcome.source_id)]
        for outcome in outcomes
    }


def _next_command(session: Session, outcomes: Sequence[Outcome]) -> str:
    """What continues from here, if anything is left to do."""
    options = session.options
    if options.sandbox:
        return ""  # its server is gone when the command ends
    endings = {outcome.ending for outcome in outcomes}
    if Ending.STOPPED in endings or session.stop.is_set():
        return options.command()
    failed = [outcome for outcome in outcomes if outcome.ending == Ending.FAILED]
    if any(outcome.position != Position.FAILED for outcome in failed):
        return options.command()
    if failed and not (options.verify or options.force_remigrate):
        again = [] if options.retry_failed else ["--retry-failed"]
        return options.command(add=again)
    if Ending.RUNNING in endings or Ending.UNSETTLED in endings:
        if options.verify:
            return options.command()
        chats = ["--migrate-chats"] if options.migrate_chats else []
        return options.command(without=["--migrate-chats"], add=["--verify", *chats])
    return ""


__all__ = ["migrate", "move", "preview", "verify"]
