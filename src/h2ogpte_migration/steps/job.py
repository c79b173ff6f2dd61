"""The import job: whether it has ended, and whether what it brought is what the source held."""

from __future__ import annotations

import logging
from typing import Optional

from h2ogpte_migration.errors import NotFound
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Job
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import JobStatus, TargetFate
from h2ogpte_migration.steps import validate
from h2ogpte_migration.steps.importing import running
from h2ogpte_migration.validation import DUPLICATED, MISSING

log = logging.getLogger(__name__)


def look(migration: Migration) -> bool:
    """Ask the job, once: whether it has ended, or the server keeps no record of it any more."""
    job_id = migration.record.record.job_id
    migration.job = migration.gateway.job(job_id) if job_id else None
    migration.job_looked_at = migration.job is None or migration.job.ended
    if migration.job is not None:
        migration.on_job(migration.job)
    return migration.job_looked_at


def run(migration: Migration) -> Optional[Result]:
    """Book the end of the job. Running: come back later."""
    if not migration.job_looked_at and not look(migration):
        record_running(migration)
        return running(migration)
    job, migration.job_looked_at = migration.job, False
    migration.job_ended()
    if job is None:
        return _decide_by_documents(migration, "the server keeps no record of the job any more")
    return _ended(migration, job)


def record_running(migration: Migration) -> None:
    """The job was seen in progress: recorded once."""
    if migration.record.record.job_status != JobStatus.RUNNING:
        migration.tracking.store.record_job_running(migration.lease)


def _ended(migration: Migration, job: Job) -> Optional[Result]:
    words = "; ".join(job.errors[:3])
    if job.state == Job.COMPLETED and not (words or job.had_failures):
        migration.tracking.store.finish_import(migration.lease, migration.attempt)
        return None
    if job.state == Job.COMPLETED:
        what = f"the import completed with errors: {words}".rstrip(": ")
        return _decide_by_documents(migration, what)
    ended = "was canceled" if job.state == Job.CANCELED else job.state
    reason = f"the import job {ended}: {words}".rstrip(": ")
    if job.state == Job.FAILED and migration.attempt.adopted:
        # It may never have been ours: it does not bring this source's documents.
        migration.restart(TargetFate.ABANDONED, f"adopted, but {reason}")
        return None
    return migration.import_failed(reason, f"job {job.state}")


def _decide_by_documents(migration: Migration, what: str) -> Optional[Result]:
    """The job does not tell how it went: whether all documents arrived does."""
    try:
        found = validate.compare_all(migration)
    except NotFound as error:
        return validate.failed_if_gone(migration, error)
    if found.pending_documents and not found.has(MISSING, DUPLICATED):
        return validate.pending(migration, found)
    blocking = validate.blocking_words(found.findings)
    if not blocking:
        store, attempt = migration.tracking.store, migration.attempt
        store.finish_import(migration.lease, attempt, [f"{what}; no document is missing"])
        return None
    if validate.may_be_ours_twice(migration, found):
        migration.restart(TargetFate.ABANDONED, f"{what}; {blocking}")
        return None
    return migration.import_failed(f"{what}; {blocking}", "job did not bring all documents")
