"""The import job: whether it has ended, and whether what it brought is what the source held."""

from __future__ import annotations

from typing import Optional

from h2ogpte_migration import patience
from h2ogpte_migration.errors import NotFound, StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Job, JobId
from h2ogpte_migration.results import Result
from h2ogpte_migration.sending import seconds_since
from h2ogpte_migration.states import JobStatus, Position, StepName, TargetState
from h2ogpte_migration.steps import validate
from h2ogpte_migration.steps.importing import all_there
from h2ogpte_migration.tracking.records import Watched
from h2ogpte_migration.ui.text import plural, safe
from h2ogpte_migration.validation import DUPLICATED, MISSING


def poll(migration: Migration) -> Optional[Result]:
    """Ask the job, and nothing else, unless it was asked already; None: there is more to do.

    What has ended gives way to imports that waited for that: they are submitted first.
    """
    seen = migration.seen
    if migration.record.position != Position.IMPORTING or seen.job_looked_at:
        return None
    if not look(migration):
        return still_running(migration)
    ended = seen.job is not None and seen.job.ended
    return migration.running() if ended and migration.makes_room() else None


def look(migration: Migration) -> bool:
    """Ask the job, once: whether there is more to do than to wait for it.

    There is when it has ended, when the server keeps no record of it any more, and when it stands
    still: then the target's documents decide.
    """
    seen, job_id = migration.seen, migration.record.record.job_id
    job = seen.job = _ask(migration, job_id) if job_id else None
    if job is None:
        seen.job_looked_at = not _may_yet_show(migration)
    else:
        limit_s = min(seen.compare_at_s, patience.STALE_JOB_S)
        seen.job_looked_at = job.ended or _stands_still(migration, job) >= limit_s
        migration.on_job(job)
    return seen.job_looked_at


def _ask(migration: Migration, job_id: JobId) -> Optional[Job]:
    """The first time the owner's list of jobs may tell; a poll is a question of its own."""
    listed = None
    if migration.overview is not None and migration.seen.job is None:
        listed = migration.overview.job(job_id)
    if listed is not None:
        return listed
    migration.before_poll()
    return migration.gateway.job(job_id)


def _may_yet_show(migration: Migration) -> bool:
    """Whether the job was submitted a moment ago, and may only not be visible yet."""
    record = migration.record.record
    seen = migration.seen.job_changed is not None or record.job_status == JobStatus.RUNNING
    if seen or record.job_id is None:
        return False
    if seconds_since(migration, StepName.IMPORT) >= patience.VISIBLE_WITHIN_S:
        return False
    return not all_there(migration)


def _stands_still(migration: Migration, job: Job) -> float:
    """For how long nothing about the job has changed, over all runs, in seconds.

    By the server's clock, where it tells the time: those of two runs, or machines, may differ.
    """
    now = migration.gateway.server_time() or migration.clock.utc()
    changed = migration.seen.job_changed or migration.tracking.store.job_watched(migration.attempt)
    if changed is None or changed.standing != job.standing or changed.since > now:
        changed = Watched(job.standing, now)
    migration.seen.job_changed = changed
    return (now - changed.since).total_seconds()


def run(migration: Migration) -> Optional[Result]:
    """Book the end of the job. Running: come back later."""
    if not migration.seen.job_looked_at and not look(migration):
        return still_running(migration)
    job, migration.seen.job_looked_at = migration.seen.job, False
    if job is None or job.ended:
        migration.job_ended()
    if job is None:
        what = "the server keeps no record of the job any more"
        return _decide_by_documents(migration, what, "job did not bring all documents")
    return _ended(migration, job) if job.ended else _decide_standing(migration, job)


def still_running(migration: Migration) -> Result:
    """The job was seen in progress: recorded once, and once more where it has moved since."""
    seen, changed = migration.seen, migration.seen.job_changed
    if seen.job is not None and changed is not None:
        store, attempt = migration.tracking.store, migration.attempt
        known = migration.record.record.job_status == JobStatus.RUNNING
        if not known or (not seen.job_recorded and store.job_watched(attempt) != changed):
            store.record_job_running(migration.lease, attempt, changed)
            migration.polled_at_version = None  # the next poll reads what was written
        seen.job_recorded = True
    return migration.running()


def _ended(migration: Migration, job: Job) -> Optional[Result]:
    words = "; ".join(job.errors[:3])
    if job.state == Job.COMPLETED and not (words or job.had_failures):
        migration.tracking.store.finish_import(migration.lease, migration.attempt)
        return None
    if job.state == Job.COMPLETED:
        what = f"the import completed with errors: {words}".rstrip(": ")
        return _decide_by_documents(migration, what, "job did not bring all documents")
    if job.state == Job.CANCELED:
        # Somebody wanted it to end: nothing is moved to what it brought, be that everything.
        what = f"the import job was canceled: {words}".rstrip(": ")
        return migration.import_failed(what, "job canceled")
    what = f"the import job {job.state}: {words}".rstrip(": ")
    return _decide_by_documents(migration, what, f"job {job.state}")


def _decide_by_documents(migration: Migration, what: str, cause: str) -> Optional[Result]:
    """The job does not tell how it went: whether all documents arrived does."""
    try:
        found = validate.compare_all(migration)
    except NotFound as error:
        return validate.failed_if_gone(migration, error)
    if found.pending_documents and not found.has(MISSING, DUPLICATED):
        return validate.pending(migration, found)
    if not found.lost:
        _finish(migration, what, found)
        return None
    if migration.seen.job is None and not look(migration) and migration.seen.job is not None:
        return still_running(migration)  # it was only out of sight
    migration.seen.job_looked_at = False
    reason = f"{what}; {validate.blocking_words(found.findings)}"
    if validate.may_be_ours_twice(migration, found):
        migration.restart(TargetState.ABANDONED, reason)
        return None
    return migration.import_failed(reason, cause)


def _finish(migration: Migration, what: str, found: validate.Comparison) -> None:
    """What the source had has arrived; what blocks all the same is for validation to hold."""
    migration.job_ended()
    missing = "no usable document is missing" if found.has(MISSING) else "no document is missing"
    store, attempt = migration.tracking.store, migration.attempt
    store.finish_import(migration.lease, attempt, [f"{what}; {missing}"])


def _decide_standing(migration: Migration, job: Job) -> Optional[Result]:
    """The job goes on for ever, or its state is none that we know: its documents decide.

    Everything there is taken for its end; what is missing is waited for until it is stale.

    Raises:
        StepFailed: the job may yet be at work, and not all documents are there.
    """
    unchanged_s = _stands_still(migration, job)
    what = f"the import job stands still as {safe(job.raw_state) or 'unknown'}"
    try:
        found = validate.compare_all(migration)
    except NotFound as error:
        return validate.failed_if_gone(migration, error)
    if not found.lost and not found.pending_documents:
        _finish(migration, what, found)
        return None
    if unchanged_s < patience.STALE_JOB_S:
        migration.seen.compare_at_s = 2 * unchanged_s
        return still_running(migration)
    migration.job_ended()
    why = validate.blocking_words(found.findings)
    if found.pending_documents:
        working = f"{plural(found.pending_documents, 'document')} still being worked on"
        why = "; ".join(filter(None, (why, working)))
    if job.known_to_run or found.pending_documents:
        minutes = f"{patience.STALE_JOB_S / 60:.0f} min"
        raise StepFailed(
            f"{what}, unchanged for more than {minutes}; {why}",
            "Look at the job; --verify looks again, --force-remigrate makes a new target.",
            "job stands still",
        )
    if validate.may_be_ours_twice(migration, found):
        migration.restart(TargetState.ABANDONED, f"{what}; {why}")
        return None
    return migration.import_failed(f"{what}; {why}", "job stands still")
