"""Row, live attempt and server must agree before anything is written: the one place that reconciles.

A database may come from a backup, or have been used on another machine: then it is behind the
server. And the row is what version 1.2.0 and people with ``sqlite3`` write. What is true is taken
up; where it can't be told, the collection is left with both facts. Nothing is ever imported
into what holds documents.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import List, Optional

from h2ogpte_migration.errors import NotFound, Rejected, StepFailed
from h2ogpte_migration.migration import Migration, Seen
from h2ogpte_migration.model import Job
from h2ogpte_migration.sending import Absent, Ambiguous
from h2ogpte_migration.states import Position
from h2ogpte_migration.steps import importing, permissions
from h2ogpte_migration.steps.presence import (
    is_empty,
    is_gone,
    read_documents,
    restart_if_gone,
    sure,
)
from h2ogpte_migration.tracking.documents import BASELINE, SOURCE, TARGET, DocumentComparison
from h2ogpte_migration.tracking.records import Tracked

_UNSENT = (Position.CONFIGURING, Position.CREATED, Position.SHARED)
"""A target is known, and by the record nothing was imported into it."""

log = logging.getLogger(__name__)


# -- row against attempt -----------------------------------------------------------------
def agrees(tracked: Tracked) -> bool:
    """Whether row and live attempt speak of the same target."""
    live = tracked.attempt
    if live is None and tracked.position == Position.FAILED:
        return tracked.known_target
    return (live.target_id if live else None) == tracked.record.target_id


def agree(migration: Migration) -> None:
    """Take up the target that the row names, where it can be this source's.

    Raises:
        StepFailed: it can't; nothing is done.
    """
    if agrees(migration.record):
        return
    why = _why_unfit(migration)
    if why:
        live = migration.record.attempt
        known = live.target_id if live is not None and live.target_id else "no other one"
        raise _inconsistent(
            f"the row names the target {migration.record.record.target_id}, {why}; "
            f"the history of this source knows {known}"
        )
    words = migration.tracking.store.agree(migration.lease, migration.policy.import_options)
    if words:
        log.warning("record and attempt differed: %s", words)
        migration.notes.append(f"changed from outside: {words}")
    migration.seen = Seen()
    migration.reload()


def _why_unfit(migration: Migration) -> str:
    """Why the row's target can't be this source's; empty where it can, or is gone."""
    record, gateway = migration.record.record, migration.gateway
    target_id, owner = record.target_id, record.owner
    if target_id is None:
        return ""
    if str(target_id) == migration.source_id:
        return "which is the source itself"
    others = set(migration.tracking.store.sources_of(target_id)) - {migration.source_id}
    if others:
        return f"which is of the migration of {min(others)}"
    try:
        target = gateway.collection(target_id)
    except NotFound:
        return "" if is_gone(gateway, migration.clock, target_id) else "which is not shown"
    except Rejected as error:
        return f"which its owner can't read ({error.message})"
    if target.owner != owner and not migration.is_owners(target.owner):
        return f"which belongs to {target.owner}"
    if record.target_model and target.model != record.target_model:
        return f"which has the model {target.model}, not {record.target_model}"
    if record.import_completed and _holds_nothing_of_the_source(migration, target_id):
        return "which holds no document of the source, and says that all was imported"
    return ""


def _holds_nothing_of_the_source(migration: Migration, target_id: str) -> bool:
    """By name: what was copied has ids of its own."""
    gateway = migration.gateway
    with closing(DocumentComparison(by_name=True)) as comparison:
        try:
            held = read_documents(
                gateway, migration.source_id, lambda rows: comparison.fill(BASELINE, rows)
            )
        except NotFound:
            return False  # nothing is left to compare with
        comparison.copy(BASELINE, SOURCE)

        def found() -> int:
            read_documents(gateway, target_id, lambda rows: comparison.fill(TARGET, rows))
            return held - comparison.missing()[0]

        return bool(held) and not sure(migration.clock, found)


# -- record against server ---------------------------------------------------------------
def is_due(migration: Migration) -> bool:
    """Whether the target was made by an earlier run, and was not looked at in this one."""
    return (
        migration.record.position in _UNSENT
        and migration.seen.created is None
        and not migration.seen.reconciled
    )


def run(migration: Migration) -> None:
    """Take up what the server shows of the target, where the record is behind.

    Raises:
        StepFailed: the two contradict each other; nothing is done.
    """
    try:
        found = _what_is_true(migration)
    except NotFound as error:
        restart_if_gone(migration, error)
        return
    migration.seen.reconciled = True
    if found is None:
        return
    log.warning("the record is behind: the target %s was imported into", migration.target_id)
    if migration.attempt.permissions is None:
        # What was given is not on record: all that it has counts as that, and may be taken back.
        store, rights = migration.tracking.store, permissions.on_target(migration)
        permissions.warn_of_missing(migration, rights)
        store.record_rights(migration.lease, migration.attempt, rights, migration.take_warnings())
    importing.book(migration, found)
    migration.reload()


def _what_is_true(migration: Migration) -> Optional[importing.Import]:
    """The import that the record does not know of; None where there is none."""
    _check_owner(migration)
    if is_empty(migration.gateway, migration.clock, migration.target_id):
        return _running(migration)
    found = importing.by_documents(migration)
    if isinstance(found, Absent):
        return None
    if isinstance(found, Ambiguous):
        raise _inconsistent(
            f"the record says that nothing was imported into {migration.target_id} yet, and the "
            "server shows documents in it that are not exactly the source's"
        )
    return found


def _check_owner(migration: Migration) -> None:
    target = migration.gateway.collection(migration.target_id)
    if not migration.is_owners(target.owner):
        raise _inconsistent(
            f"the target {target.id} was made for {migration.owner}, and belongs to "
            f"{target.owner} by now"
        )


def _running(migration: Migration) -> Optional[importing.Import]:
    """An import that nobody knows and that has brought nothing yet; what it brings will show.

    Raises:
        StepFailed: there are several, and it can't be told which is this target's.
    """
    if not _unknown_jobs(migration):
        return None
    # Another collection of this owner may be submitting it this moment, here or elsewhere: with
    # the owner's only doubt in hand, what is nobody's then stays nobody's.
    importing.mark_in_doubt(migration)
    jobs: List[Job] = []
    try:
        jobs = _unknown_jobs(migration)
    finally:
        if len(jobs) != 1:
            importing.was_only_looked_for(migration)
    if len(jobs) == 1:
        return importing.Import(jobs[0].id, adopted=True)
    if jobs:
        raise importing.unknown_jobs_run(migration, len(jobs))
    return None


def _unknown_jobs(migration: Migration) -> List[Job]:
    return [job for job in importing.unclaimed_jobs(migration) if not job.ended]


def _inconsistent(what: str) -> StepFailed:
    return StepFailed(
        f"inconsistent: {what}",
        "Look at that collection. --force-remigrate makes a new target and leaves it alone.",
        "inconsistent",
    )
