"""Submit the import job, exactly once.

Jobs name no collection, so of one owner only one import may be in doubt at a time, over all
processes that share the database; it is resolved before that owner's next one is sent. An
unanswered submission is looked for among the owner's jobs and in the target's own documents.
"""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Callable, List, Optional, Union

from h2ogpte_migration import patience
from h2ogpte_migration.errors import NotFound, Rejected, StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, Job, JobId, JobKind
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.sending import (
    Absent,
    Ambiguous,
    in_doubt,
    record_send,
    send_once,
    settle_doubt,
)
from h2ogpte_migration.states import Position, StepName, TargetState
from h2ogpte_migration.steps import permissions, refusals
from h2ogpte_migration.steps.presence import (
    found_nowhere_else,
    is_empty,
    is_gone,
    read_documents,
    read_when_visible,
    restart_if_gone,
    when_visible,
)
from h2ogpte_migration.steps.source import carried
from h2ogpte_migration.tracking.documents import BASELINE, SOURCE, TARGET, DocumentComparison
from h2ogpte_migration.tracking.records import Attempt, Intent, RunInfo
from h2ogpte_migration.ui.text import plural

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Import:
    """A submitted import: its job, or None where it is over and no job is left to tell."""

    job_id: Optional[JobId]
    adopted: bool = False


def run(migration: Migration) -> Optional[Result]:
    """Submit as soon as a job may run; what may have been submitted is looked for first."""
    try:
        if migration.record.position == Position.SUBMITTING:
            return _resolve(migration)
        if not migration.may_submit():
            permissions.outdate(migration)
            migration.seen.waited_for_slot = True
            return migration.result(OutcomeKind.WAITING_FOR_SLOT, step=StepName.IMPORT)
        return _submit(migration)
    except NotFound as error:
        restart_if_gone(migration, error)
        return None


def _submit(migration: Migration) -> Optional[Result]:
    permissions.refresh(migration)
    if migration.record.position != Position.SHARED:
        return None  # the target turned out to be gone, and another one was begun
    if migration.seen.waited_for_slot and not _is_still_empty(migration):
        reason = "people put documents into it while it waited for its import; they stay there"
        migration.restart(TargetState.ABANDONED, reason)
        return None
    with closing(DocumentComparison(by_name=migration.by_name)) as scratch:
        _read_baseline(migration, scratch)
        send_once(
            migration,
            StepName.IMPORT,
            lambda: _send(migration),
            lambda: _find(migration),
            lambda found: book(migration, found),
            announce=lambda: _announce(migration, scratch),
            alone=lambda: migration.shared.importing[migration.attempt.owner],
        )
    tracked = migration.reload()
    if tracked is None or tracked.position != Position.IMPORTING:
        return None
    return migration.running()


def _is_still_empty(migration: Migration) -> bool:
    """Whether the target holds nothing, as it did before it waited: its owner sees it all the time."""
    gateway, target_id = migration.gateway, migration.target_id
    target = read_when_visible(gateway, migration.clock, target_id, migration.freshness())
    if not target.document_count and next(iter(gateway.documents(target_id)), None) is None:
        return True
    return is_empty(gateway, migration.clock, target_id)


def _read_baseline(migration: Migration, scratch: DocumentComparison) -> None:
    """The source's documents as they are now; its own count must not say that there are more.

    Raises:
        StepFailed: listing and count contradict each other, twice.
    """
    gateway, source_id = migration.gateway, migration.source_id
    expected = carried(migration).collection.document_count
    for look in (1, 2):
        count = read_documents(
            gateway, source_id, lambda rows: scratch.fill(SOURCE, rows), expected
        )
        if count and (expected is None or count >= expected):
            return
        if look == 1 and expected:
            migration.clock.sleep(patience.SECOND_LOOK_S)
            expected = gateway.collection(source_id).document_count
        elif look == 1:
            # No count contradicts; but "none" is never believed from one look.
            migration.clock.sleep(patience.EMPTY_LOOK_S)
    if count >= (expected or 0):
        return
    if migration.policy.ignore_validation:
        migration.warn(f"the source counted {expected} documents and listed {count}")
        return
    raise StepFailed(
        f"the source counts {expected} documents and lists {count}; nothing was imported",
        "Run the same command later; with --ignore-validation the listing counts.",
        "listing and count differ",
    )


def _announce(migration: Migration, scratch: DocumentComparison) -> None:
    """Record that the import is about to be sent, with the documents that the source has now."""
    store, attempt = migration.tracking.store, migration.attempt
    _when_nothing_is_in_doubt(
        migration,
        lambda: store.announce_import(migration.lease, attempt, scratch.documents(SOURCE)),
    )


def _send(migration: Migration) -> Import:
    migration.before_write()
    gateway, source_id, target_id = migration.gateway, migration.source_id, migration.target_id
    try:
        job_id = when_visible(
            migration,
            lambda: gateway.submit_import(source=source_id, target=target_id, how=migration.how),
        )
    except Rejected as error:
        refusals.raise_if_quota(error, migration.owner)
        raise
    return Import(job_id)


def book(migration: Migration, found: Import) -> None:
    """Record a submitted, or found, import."""
    store, attempt = migration.tracking.store, migration.attempt
    if found.job_id is None:
        store.record_import_found_done(migration.lease, attempt)
        log.info("the import is over: the target holds the source's documents")
        return
    store.record_import_job(
        migration.lease, attempt, found.job_id, JobKind.IMPORT, adopted=found.adopted
    )
    words = "adopted the import job %s" if found.adopted else "submitted the import job %s"
    log.info(words, found.job_id)


# -- an import in doubt ------------------------------------------------------------------
def _resolve(migration: Migration) -> Optional[Result]:
    """An import may have been submitted: look, before anything is sent."""
    timed_out = in_doubt(migration, StepName.IMPORT)
    if timed_out is None:
        # Written by version 1.2.0, which kept no intents: the import counts as sent.
        timed_out = False
        mark_in_doubt(migration)
    if settle_doubt(
        migration,
        StepName.IMPORT,
        lambda: _find(migration),
        lambda found: book(migration, found),
        timed_out=timed_out,
    ):
        return None
    if migration.policy.verify and not migration.record.was_restarted:
        migration.reload()
        return migration.result(
            OutcomeKind.LEFT,
            reason="its import was never submitted; run the migration command again",
            needs_attention=True,
        )
    return None


def mark_in_doubt(migration: Migration) -> None:
    """Count the import as sent: no other one of this owner is in doubt from then on."""
    store = migration.tracking.store
    if migration.attempt.target_created_at is None:
        target = migration.gateway.collection(migration.target_id)
        if target.created_at is not None:
            store.record_target_time(migration.lease, migration.attempt, target.created_at)
            migration.reload()
    _when_nothing_is_in_doubt(migration, lambda: record_send(migration, StepName.IMPORT))


def was_only_looked_for(migration: Migration) -> None:
    """Nothing is in doubt any more, and what was marked so was no request: it does not count."""
    store, attempt = migration.tracking.store, migration.attempt
    store.record_unsent(migration.lease, attempt, StepName.IMPORT)
    store.record_absent(migration.lease, attempt, StepName.IMPORT)
    migration.reload()


def _when_nothing_is_in_doubt(migration: Migration, record: Callable[[], bool]) -> None:
    """Record an import as sent, as soon as no other one of this owner is in doubt."""
    while not record():
        in_the_way = migration.tracking.store.import_in_doubt(migration.attempt.owner)
        if in_the_way is not None and in_the_way.source_id != migration.source_id:
            _settle_other(migration, in_the_way)
        migration.clock.sleep(patience.BUSY_WAIT_S)


def _settle_other(migration: Migration, intent: Intent) -> None:
    """An import of this owner was left in doubt: by a dead run, or by a failed step.

    Whoever is just submitting it holds its lease, or its lock, and is waited for.
    """
    lock = migration.shared.working_on[intent.source_id]
    if not lock.acquire(blocking=False):
        return
    try:
        if migration.tracking.leases.holder(intent.source_id) is None:
            _claim_and_settle(migration, intent)
    finally:
        lock.release()


def _claim_and_settle(migration: Migration, intent: Intent) -> None:
    leases = migration.tracking.leases
    claimed = leases.claim(intent.source_id)
    if isinstance(claimed, RunInfo):
        return
    other = Migration(
        migration.shared,
        Collection(intent.source_id, "", intent.owner, ""),
        migration.gateway,
        owner_id=migration.owner_id,
        model="",
        policy=migration.policy,
    )
    other.lease_held = claimed
    store = other.tracking.store
    try:
        # It was read without the lease: whoever had that may have found out and booked it.
        still = store.import_in_doubt(intent.owner)
        if still is None or still.source_id != intent.source_id:
            return
        if other.reload() is None or other.record.intent(StepName.IMPORT) is None:
            store.void_doubt(intent.source_id)  # nothing is left that it could be booked for
            return
        # By the jobs alone: that collection's own trouble must not stop this one. Whether its
        # target holds documents is looked at before anything is imported into it.
        settle_doubt(
            other,
            StepName.IMPORT,
            lambda: _by_jobs(other) or Absent(),
            lambda found: book(other, found),
            timed_out=still.timed_out,
        )
    finally:
        leases.release(claimed)


# -- the evidence ------------------------------------------------------------------------
def _find(migration: Migration) -> Union[Absent, Ambiguous, Import]:
    """Gather the evidence: the owner's import jobs that nobody claims, and the documents.

    Only jobs that the server made after the target count, by the server's own times.
    Raises ``NotFound`` where the target may be gone.
    """
    return _by_jobs(migration) or by_documents(migration)


def _by_jobs(migration: Migration) -> Union[Ambiguous, Import, None]:
    """One job nobody claims is ours. Of several that have ended, the documents tell."""
    jobs = unclaimed_jobs(migration)
    if len(jobs) == 1:
        return Import(jobs[0].id, adopted=True)
    if all(job.ended for job in jobs):
        return None

    def rather() -> None:
        raise unknown_jobs_run(migration, len(jobs))

    return Ambiguous(f"{len(jobs)} import jobs of this owner are nobody's", rather)


def unknown_jobs_run(migration: Migration, how_many: int) -> StepFailed:
    """What to say while it can't be told which of them writes into the target."""
    return StepFailed(
        f"{how_many} import jobs of {migration.owner} that this database does not know are "
        "running, and may bring documents into the target",
        "Run the same command again once they have ended.",
        "unknown jobs",
    )


def unclaimed_jobs(migration: Migration) -> List[Job]:
    """The owner's import jobs that are not on record, as far as they can be of this target."""
    since = migration.attempt.target_created_at
    return [
        job
        for job in migration.gateway.jobs()
        if job.kind == JobKind.IMPORT
        and _not_before(job, since)
        and not migration.tracking.store.job_is_claimed(job.id)
        and migration.gateway.may_read_job(job.id)
    ]


def _not_before(job: Job, since: Optional[datetime]) -> bool:
    if since is None or job.created_at is None:
        return True
    # Whole seconds: one of the two times may be cut to them.
    return job.created_at.replace(microsecond=0) >= since.replace(microsecond=0)


def by_documents(migration: Migration) -> Union[Absent, Ambiguous, Import]:
    """No job is left to tell: the target's own documents do.

    A target in which somebody works already is not given up: its import counts as done, and
    what validation finds missing holds it back.
    """
    with closing(DocumentComparison(by_name=migration.by_name)) as comparison:
        arrived = read_documents(
            migration.gateway, migration.target_id, lambda rows: comparison.fill(TARGET, rows)
        )
        if not arrived:
            return Absent()
        fill_baseline(migration, comparison)
        if comparison.same(BASELINE, TARGET):
            others = _of_other_sizes(migration)
            return Import(None, adopted=True) if not others else _somebodys(migration, others)
        foreign = comparison.foreign()[0]

    def rather() -> Optional[Import]:
        used = foreign or people_work_there(migration)
        return Import(None, adopted=True) if used else None

    return Ambiguous("the target holds documents of an import whose job is not known", rather)


def _of_other_sizes(migration: Migration) -> int:
    """How many documents of the target bear a name of the source's, and are surely none of them.

    Version 1.2.0 kept no trace of what it sent: where it copied, only names and sizes tell.
    """
    if migration.attempt.origin != Attempt.LEGACY:
        return 0
    with suppress(NotFound):  # without the source, there is nothing to tell them by
        return found_nowhere_else(migration, migration.attempt)
    return 0


def _somebodys(migration: Migration, others: int) -> Ambiguous:
    """Neither given up, as somebody may work there, nor taken for imported."""
    target_id = migration.target_id

    def rather() -> None:
        what = f"{plural(others, 'document')} of it" + (" has" if others == 1 else " have")
        raise StepFailed(
            f"version 1.2.0 left no trace of an import into the target {target_id}, and {what} a "
            "name of the source's and another size: somebody may have put that there",
            "Look at that collection. --force-remigrate makes a new target and leaves it alone.",
            "not known to be imported",
        )

    return Ambiguous("the target holds documents of somebody", rather)


def all_there(migration: Migration) -> bool:
    """Whether the target lists exactly the documents that the source had at submission."""
    return isinstance(by_documents(migration), Import)


def people_work_there(migration: Migration) -> str:
    """What a target holds that no import brings: chats and connectors; empty for nothing."""
    gateway, target_id = migration.gateway, migration.target_id
    own = {
        chat.session_id
        for chat in migration.tracking.leftovers.test_chats_left(migration.source_id)
    }
    for _ in (1, 2):
        chats = [row for row in gateway.chats(target_id) if row.get("id") not in own]
        connectors = gateway.connectors(target_id)
        if chats or connectors:
            return f"{plural(len(chats), 'chat')} and {plural(len(connectors), 'connector')}"
        migration.clock.sleep(patience.EMPTY_LOOK_S)
    return ""


def fill_baseline(migration: Migration, comparison: DocumentComparison) -> None:
    """The documents at submission; for a row of 1.2.0, which kept none, those of today."""
    store = migration.tracking.store
    if store.has_baseline(migration.attempt):
        comparison.fill(BASELINE, store.baseline(migration.attempt))
        return
    try:
        read_documents(
            migration.gateway, migration.source_id, lambda rows: comparison.fill(BASELINE, rows)
        )
    except NotFound:
        if not is_gone(migration.gateway, migration.clock, migration.source_id):
            raise
        # The source is gone and nothing tells what it held: what arrived is what there is.
        comparison.copy(TARGET, BASELINE)
