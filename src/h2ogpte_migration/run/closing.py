"""The end of a run: its results in words, what to type next, and the exit code."""

from __future__ import annotations

from dataclasses import replace
from typing import Sequence

from h2ogpte_migration.model import SourceId
from h2ogpte_migration.results import OutcomeKind, Result, RunResult
from h2ogpte_migration.run import reporting
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.states import Position
from h2ogpte_migration.ui import summary


def tell(session: Session, result: RunResult) -> int:
    """Say what came of everything; returns the exit code."""
    store = session.tracking.store
    result.results = [
        replace(row, warnings=tuple(item.text for item in store.warnings(SourceId(row.source_id))))
        for row in result.results
    ]
    summary.tell(session.console, result)
    reporting.write(session, result, "run")
    following = _next_command(session, result.results)
    if following:
        session.console.info(f"Next: {following}")
    return result.exit_code


def tell_plan(session: Session, result: RunResult) -> int:
    """Say what would be done; returns the exit code."""
    summary.tell_plan(session.console, result)
    reporting.write(session, result, "dry run")
    if not session.clock.stop.is_set():
        session.console.info(f"Next: {session.options.command(without=['--dry-run', '--report'])}")
    return result.exit_code


def _next_command(session: Session, results: Sequence[Result]) -> str:
    """What continues from here, if anything is left to do."""
    options = session.options
    if options.sandbox:
        return ""  # its server is gone when the command ends
    kinds = {result.kind for result in results}
    if OutcomeKind.INTERRUPTED in kinds or session.clock.stop.is_set():
        return options.command()
    failed = [result for result in results if result.kind == OutcomeKind.FAILED]
    if any(result.position != Position.FAILED for result in failed):
        return options.command()
    if failed and not (options.verify or options.force_remigrate):
        again = [] if options.retry_failed else ["--retry-failed"]
        return options.command(add=again)
    if OutcomeKind.RUNNING in kinds or OutcomeKind.DOCUMENTS_PENDING in kinds:
        if options.verify:
            return options.command()
        chats = ["--migrate-chats"] if options.migrate_chats else []
        return options.command(without=["--migrate-chats"], add=["--verify", *chats])
    return ""
