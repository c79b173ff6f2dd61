"""Delete targets that failed, were superseded, abandoned or rolled back: listed, then asked for."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Callable, List, Tuple

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import ExitCode, ServerError, ToolError
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.run.tracked import in_scope
from h2ogpte_migration.states import TargetState
from h2ogpte_migration.steps.spare import Gone, why_kept
from h2ogpte_migration.tracking.records import Attempt, RunInfo
from h2ogpte_migration.ui.text import brief, plural, safe


@dataclass(frozen=True)
class Candidate:
    """A former target of a source, and why it is kept, if it is."""

    migration: Migration
    former: Attempt
    kept: str

    def __str__(self) -> str:
        former = self.former
        return f"{safe(former.target_name)} ({former.target_id}) of {safe(former.owner)}"


def run(session: Session) -> int:
    """List what may be deleted and what not, ask, delete; returns the exit code."""
    store = session.tracking.store
    records, missing = in_scope(session, store.records())
    migrations = [session.tracked_migration(record, session.policy()) for record in records]
    migrations = [item for item in migrations if store.spare_targets(item.source_id)]
    session.check_rights(item.source.owner for item in migrations)
    session.sweep_leftovers()
    candidates = [item for migration in migrations for item in _candidates(session, migration)]
    spare = [item for item in candidates if not item.kept]
    asks = bool(spare) and not (session.options.yes or session.options.dry_run)
    # Who is asked sees what about, in quiet mode too.
    _list(candidates, session.console.attention if asks else session.console.info)
    failed = 0
    for result in missing:
        session.console.attention(f"Not available: {safe(result.source_id)}: {result.reason}")
    if session.options.dry_run:
        session.console.info("Dry run: nothing was deleted.")
    elif not asks or _agreed(session, spare):
        failed = _delete_all(session, spare)
    return ExitCode.ATTENTION if missing or failed else ExitCode.OK


def _candidates(session: Session, migration: Migration) -> List[Candidate]:
    found = []
    migration.reload()
    for former in session.tracking.store.spare_targets(migration.source_id):
        try:
            found.append(Candidate(migration, former, why_kept(migration, former)))
        except Gone:
            _end(session, former, TargetState.VANISHED)
    return found


def _list(candidates: List[Candidate], say: Callable[[str], None]) -> None:
    for item in candidates:
        words = f"Kept: {item}: {item.kept}." if item.kept else f"To delete: {item}: {_state(item)}"
        say(words)
    spare = sum(not item.kept for item in candidates)
    say(f"{plural(spare, 'former target')} to delete, {len(candidates) - spare} kept.")


def _state(item: Candidate) -> str:
    former = item.former
    reason = f": {brief(former.reason)}" if former.reason else ""
    return f"{'rolled back' if former.state == TargetState.LIVE else former.state.value}{reason}."


def _agreed(session: Session, spare: List[Candidate]) -> bool:
    """Whether somebody says yes, to what was just listed.

    Raises:
        Interrupted: Ctrl-C was the answer.
    """
    session.console.attention(f"Delete {plural(len(spare), 'collection')} for good? Type yes:")
    agreed = False
    try:
        agreed = _answer(session.clock).strip().lower() == "yes"
    finally:
        if not agreed:
            session.console.attention("Nothing was deleted.")
    return agreed


def _answer(clock: Clock) -> str:
    """The line that somebody types; a thread waits for it, as no signal ends a read."""
    lines: List[str] = []

    def read() -> None:
        with suppress(OSError, ValueError):  # no terminal any more, or no text: no yes
            lines.append(sys.stdin.readline())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    while reader.is_alive():
        clock.sleep(patience.ANSWER_POLL_S)
    return "".join(lines)


def _delete_all(session: Session, spare: List[Candidate]) -> int:
    """Delete what is still spare when its turn comes; returns how many were not deleted."""
    failed = 0
    for item in spare:
        session.clock.check()
        try:
            done, words = _delete(session, item)
        except (ServerError, ToolError) as error:
            done, words = False, error.message
        failed += not done
        say = session.console.info if done else session.console.attention
        say(f"{'Deleted' if done else 'Not deleted'}: {item}{': ' if words else ''}{words}")
    return failed


def _delete(session: Session, item: Candidate) -> Tuple[bool, str]:
    leases, source_id = session.tracking.leases, item.migration.source_id
    claimed = leases.claim(source_id)
    if isinstance(claimed, RunInfo):
        return False, f"{claimed} works on its source"
    item.migration.lease_held = claimed
    try:
        item.migration.reload()
        # It was listed without the lease, perhaps long ago: other commands may have gone on.
        spare = session.tracking.store.spare_targets(source_id)
        former = next((one for one in spare if one.id == item.former.id), None)
        try:
            kept = why_kept(item.migration, former or item.former)
        except Gone:
            if former is not None:
                _end(session, former, TargetState.VANISHED)
            return True, "somebody did already"
        if kept or former is None:
            return False, f"meanwhile {kept or 'it is no former target any more'}"
        session.clock.check()
        item.migration.gateway.delete_collection(str(former.target_id))
        _end(session, former, TargetState.DELETED)
        return True, ""
    finally:
        leases.release(claimed)


def _end(session: Session, former: Attempt, state: TargetState) -> None:
    session.tracking.store.end_former(former, state)
