"""Permissions, the baseline, and the import: submitted exactly once.

Jobs name no collection, so of one owner only one import may be in doubt at a time, over all
processes that share the database. It is resolved before that owner's next one is sent.
"""

from __future__ import annotations

import logging
from typing import Optional

from h2ogpte_migration.driving.drive import SENDS_PER_RUN, Drive, was_restarted
from h2ogpte_migration.driving.work import Ending, Outcome, Work
from h2ogpte_migration.errors import (
    Interrupted,
    NotFound,
    OutcomeUnknown,
    ServerError,
    StepFailed,
    Unavailable,
)
from h2ogpte_migration.model import Collection, JobKind
from h2ogpte_migration.states import Position, Step, TargetFate
from h2ogpte_migration.steps import importing, permissions
from h2ogpte_migration.steps.base import Ambiguous, Context, FoundImport
from h2ogpte_migration.steps.listing import listed
from h2ogpte_migration.steps.presence import SourceGone, is_gone
from h2ogpte_migration.tracking.records import Holder, Intent, Tracked

log = logging.getLogger(__name__)

_BUSY_WAIT_S = 0.1


def prepare(drive: Drive) -> Optional[Outcome]:
    """Share the target and take the baseline: once per run, as both may have changed."""
    context = drive.context()
    try:
        rights = permissions.run(context)
        drive.store.finish_permissions(drive.lease, context.attempt, rights, context.warnings)
        listed(
            context.gateway,
            context.source_id,
            lambda rows: drive.store.replace_baseline(drive.lease, context.attempt, rows),
            context.source.collection.document_count,
        )
        drive.work.prepared = True
    except NotFound as error:
        restart_if_gone(drive, context, error)
    return None


def submit_or_resolve(drive: Drive) -> Optional[Outcome]:
    """Submit as soon as a job may run; what may have been submitted is looked for first."""
    context = drive.context()
    try:
        if context.tracked.position == Position.SUBMITTING:
            return _resolve_import(drive, context)
        if not drive.work.may_submit():
            return drive.outcome(Ending.PARKED, tracked=context.tracked, step=Step.IMPORT)
        return _submit(drive, context)
    except NotFound as error:
        restart_if_gone(drive, context, error)
        return None


def restart_if_gone(drive: Drive, context: Context, error: NotFound) -> None:
    """A 404 before the import: begin afresh if it is the target that is gone.

    Raises:
        SourceGone: it is the source.
        StepFailed: both are there, and something else was not found.
    """
    if is_gone(context.gateway, context.source_id):
        raise SourceGone from error
    if not is_gone(context.gateway, context.target_id):
        raise StepFailed(error.message) from error
    drive.restart(TargetFate.VANISHED, f"the target {context.target_id} was deleted")


def _submit(drive: Drive, context: Context) -> Optional[Outcome]:
    """Submit, alone among this owner's imports, until what came of it is known."""
    attempt = context.attempt
    for _ in range(SENDS_PER_RUN):
        with drive.desk.importing[attempt.owner]:
            _send_alone(drive, context)
            try:
                job_id = importing.run(context)
            except OutcomeUnknown as error:
                drive.store.record_no_answer(drive.lease, attempt, Step.IMPORT, error.timed_out)
                if _resolved(drive, context, timed_out=error.timed_out):
                    return _submitted(drive)
            except (ServerError, StepFailed, Interrupted):
                # All of these say that nothing was done.
                drive.store.record_unsent(drive.lease, attempt, Step.IMPORT)
                raise
            else:
                drive.store.record_import_job(
                    drive.lease, attempt, job_id, JobKind.IMPORT, adopted=False
                )
                log.info("submitted the import job %s", job_id)
                return _submitted(drive)
    raise Unavailable(
        f"the server did not answer {SENDS_PER_RUN} times when the import was to be submitted"
    )


def _submitted(drive: Drive) -> Optional[Outcome]:
    tracked = drive.tracked()
    return running(drive, tracked) if tracked.position == Position.IMPORTING else None


def running(drive: Drive, tracked: Tracked) -> Outcome:
    """The import runs at the server: there is nothing to do until it ends."""
    return drive.outcome(
        Ending.RUNNING,
        tracked=tracked,
        step=Step.JOB,
        reason="the import runs at the server",
        job_id=tracked.record.job_id,
    )


# -- an import in doubt ------------------------------------------------------------------
def _resolve_import(drive: Drive, context: Context) -> Optional[Outcome]:
    """An import may have been submitted: look, before anything is sent."""
    intent = context.tracked.intent(Step.IMPORT)
    if intent is None:
        # Written by version 1.2.0, which kept no intents: the import counts as sent.
        context = _marked_in_doubt(drive, context)
    if _resolved(drive, context, timed_out=bool(intent and intent.timed_out)):
        return None
    if drive.work.policy.verify and not was_restarted(context.tracked):
        return drive.outcome(
            Ending.LEFT,
            tracked=drive.tracked(),
            reason="its import was never submitted; run the migration command again",
            attention=True,
        )
    return None


def _marked_in_doubt(drive: Drive, context: Context) -> Context:
    if context.attempt.target_created_at is None:
        try:
            target = context.gateway.collection(context.target_id)
        except NotFound:
            return context  # found out, and dealt with, by the look that follows
        if target.created_at is not None:
            drive.store.record_target_time(drive.lease, context.attempt, target.created_at)
            context = drive.context()
    _send_alone(drive, context)
    return context


def _resolved(drive: Drive, context: Context, *, timed_out: bool) -> bool:
    """Find out what an unanswered submission did. False: surely nothing."""
    attempt = context.attempt
    found = drive.look_twice(lambda: importing.find(context, drive.store), timed_out=timed_out)
    if isinstance(found, Ambiguous):
        drive.restart(TargetFate.ABANDONED, found.reason)
        return True
    if not isinstance(found, FoundImport):
        drive.store.record_absent(drive.lease, attempt, Step.IMPORT)
        return False
    if found.job_id is None:
        drive.store.record_import_found_done(drive.lease, attempt)
        log.info("the import is over: the target holds the source's documents")
    else:
        drive.store.record_import_job(
            drive.lease, attempt, found.job_id, JobKind.IMPORT, adopted=True
        )
        log.info("adopted the import job %s, whose submission was never answered", found.job_id)
    return True


def _send_alone(drive: Drive, context: Context) -> None:
    """Record that the import is about to be sent; another one in doubt is settled first."""
    while not drive.store.record_send(drive.lease, context.attempt, Step.IMPORT):
        in_doubt = drive.store.import_in_doubt(context.attempt.owner)
        if in_doubt is not None and in_doubt.source_id != context.source_id:
            _settle_other(drive, in_doubt)
        drive.desk.waiter.sleep(_BUSY_WAIT_S)


def _settle_other(drive: Drive, intent: Intent) -> None:
    """An import of this owner was left in doubt: by a dead run, or by a failed step.

    Whoever is just submitting it holds its lease, or its lock, and is waited for.
    """
    lock = drive.desk.working_on[intent.source_id]
    if not lock.acquire(blocking=False):
        return
    try:
        if drive.desk.runs.holder(intent.source_id) is None:
            _claim_and_settle(drive, intent)
    finally:
        lock.release()


def _claim_and_settle(drive: Drive, intent: Intent) -> None:
    claimed = drive.desk.runs.claim(intent.source_id)
    if isinstance(claimed, Holder):
        return
    source = Collection(intent.source_id, "", intent.owner, "")
    work = Work(source, drive.work.gateway, drive.work.owner_id, "", drive.work.policy)
    other = Drive(drive.desk, work, claimed)
    try:
        if other.tracked().attempt is None:
            return
        context = other.context()
        try:
            _resolved(other, context, timed_out=intent.timed_out)
        except NotFound as error:
            restart_if_gone(other, context, error)
    finally:
        drive.desk.runs.release(claimed)
