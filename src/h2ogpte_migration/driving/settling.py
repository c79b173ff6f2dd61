"""The end of the job, and whether what it brought is what the source held."""

from __future__ import annotations

import logging
from typing import Optional, Tuple

from h2ogpte_migration.driving.creating import note_twins
from h2ogpte_migration.driving.drive import Drive
from h2ogpte_migration.driving.submitting import running
from h2ogpte_migration.driving.work import Ending, Outcome
from h2ogpte_migration.errors import NotFound, StepFailed
from h2ogpte_migration.model import Finding, Job
from h2ogpte_migration.states import JobStatus, Step, TargetFate, Verdict
from h2ogpte_migration.steps import ragcheck, validate
from h2ogpte_migration.steps.base import Context
from h2ogpte_migration.steps.listing import listed
from h2ogpte_migration.steps.presence import is_gone
from h2ogpte_migration.steps.validate import ValidationResult
from h2ogpte_migration.ui.text import plural
from h2ogpte_migration.validation import DUPLICATED, MISSING

log = logging.getLogger(__name__)


def look_at_job(drive: Drive) -> Optional[Outcome]:
    """Ask the job once. Running: come back later."""
    context = drive.context()
    record = context.tracked.record
    job = context.gateway.job(record.job_id) if record.job_id else None
    if job is not None and not job.ended:
        if record.job_status != JobStatus.RUNNING:
            drive.store.record_job_running(drive.lease)
        return running(drive, context.tracked)
    drive.work.job_ended()
    if job is None:
        what = "the server keeps no record of the job any more"
        return _decide_by_documents(drive, context, what)
    return _job_ended(drive, context, job)


def _job_ended(drive: Drive, context: Context, job: Job) -> Optional[Outcome]:
    words = "; ".join(job.errors[:3])
    if job.state == Job.COMPLETED and not (words or job.had_failures):
        drive.store.finish_import(drive.lease, context.attempt)
        return None
    if job.state == Job.COMPLETED:
        what = f"the import completed with errors: {words}".rstrip(": ")
        return _decide_by_documents(drive, context, what)
    ended = "was canceled" if job.state == Job.CANCELED else job.state
    reason = f"the import job {ended}: {words}".rstrip(": ")
    if job.state == Job.FAILED and context.attempt.adopted:
        # It may never have been ours: it does not bring this source's documents.
        drive.restart(TargetFate.ABANDONED, f"adopted, but {reason}")
        return None
    return drive.import_failed(reason, f"job {job.state}")


def _decide_by_documents(drive: Drive, context: Context, what: str) -> Optional[Outcome]:
    """The job does not tell how it went: whether all documents arrived does."""
    try:
        result = validate.run(context, drive.store)
    except NotFound as error:
        return failed_if_gone(drive, context, error)
    if result.pending_documents and not result.has(MISSING, DUPLICATED):
        return _unsettled(drive, result)
    blocking = _blocking_words(result.findings)
    if not blocking:
        drive.store.finish_import(drive.lease, context.attempt, [f"{what}; no document is missing"])
        return None
    if _may_be_ours_twice(drive, context, result):
        drive.restart(TargetFate.ABANDONED, f"{what}; {blocking}")
        return None
    return drive.import_failed(f"{what}; {blocking}", "job did not bring all documents")


# -- validation --------------------------------------------------------------------------
def validate_target(drive: Drive) -> Optional[Outcome]:
    """Validate afresh; blocking findings hold connectors and chats back."""
    context, work = drive.context(), drive.work
    sweep_test_chats(drive)
    try:
        result = validate.run(context, drive.store)
    except NotFound as error:
        return failed_if_gone(drive, context, error)
    work.target_seen = True
    note_twins(drive, context)
    if result.verdict == Verdict.HELD and _may_be_ours_twice(drive, context, result):
        drive.restart(TargetFate.ABANDONED, _blocking_words(result.findings))
        return None
    ignored = work.policy.ignore_validation and result.verdict == Verdict.HELD
    drive.store.record_validation(
        drive.lease,
        context.attempt,
        result.verdict,
        result.findings,
        result.late_documents,
        ignored=ignored,
    )
    if result.verdict == Verdict.UNSETTLED:
        return _unsettled(drive, result)
    if result.verdict == Verdict.HELD and not ignored:
        return _held(drive, result)
    _ask(drive, context, result.documents)
    return None


def failed_if_gone(drive: Drive, context: Context, error: NotFound) -> Outcome:
    """A 404 after the import: failed for good if it is the target that is gone.

    Raises:
        StepFailed: the target is there, and something else was not found.
    """
    if not is_gone(context.gateway, context.target_id):
        raise StepFailed(error.message) from error
    return drive.import_failed("the target was deleted after the import", "target deleted")


def _may_be_ours_twice(drive: Drive, context: Context, result: ValidationResult) -> bool:
    """Whether what is wrong may come from a submission that was never answered."""
    attempt = context.attempt
    if attempt.adopted and result.has(MISSING, DUPLICATED):
        return True
    return result.has(DUPLICATED) and drive.store.sends(attempt, Step.IMPORT) > 1


def _unsettled(drive: Drive, result: ValidationResult) -> Outcome:
    return drive.outcome(
        Ending.UNSETTLED,
        tracked=drive.tracked(),
        step=Step.VALIDATE,
        reason=f"{plural(result.pending_documents, 'document')} still being worked on",
    )


def _held(drive: Drive, result: ValidationResult) -> Outcome:
    reason = _blocking_words(result.findings)
    log.error("held back: %s", reason)
    return drive.outcome(
        Ending.HELD,
        tracked=drive.tracked(),
        step=Step.VALIDATE,
        reason=f"connectors and chats are held back: {reason}",
        hint="Mend it and run --verify, or --retry-failed for a new target, or "
        "--verify --ignore-validation to accept it.",
        attention=True,
        findings=result.findings,
    )


def _blocking_words(findings: Tuple[Finding, ...]) -> str:
    return "; ".join(str(finding) for finding in findings if finding.blocking)


# -- the RAG check -----------------------------------------------------------------------
def sweep_test_chats(drive: Drive) -> None:
    """Delete test chats that a dead run left on the target, before anything is counted there."""
    ragcheck.sweep(drive.work.gateway, drive.desk.runs, drive.work.source_id)


def ask_if_finished_before(drive: Drive) -> None:
    """The RAG check of what needed no validation in this run."""
    work, tracked = drive.work, drive.tracked()
    if work.policy.verify_query is None or work.asked or tracked.attempt is None:
        return
    context = drive.context()
    sweep_test_chats(drive)
    some = listed(work.gateway, context.target_id, lambda rows: int(next(rows, None) is not None))
    _ask(drive, context, some)


def _ask(drive: Drive, context: Context, documents: int) -> None:
    """Once per run, where it was asked for and there is something to ask."""
    work = drive.work
    question = work.policy.verify_query
    if question is None or work.asked:
        return
    work.asked = True
    if documents == 0:
        work.notes.append("RAG check left out: the collection has no documents")
        return
    result = ragcheck.run(
        work.gateway,
        drive.desk.runs,
        source_id=context.source_id,
        target_id=context.target_id,
        owner=context.attempt.owner,
        question=question,
        timeout_s=work.policy.query_timeout_s,
        pause=drive.pause_before_second_look,
    )
    log.log(logging.INFO if result.ok else logging.WARNING, "%s", result.text)
    work.notes.append(result.text)
