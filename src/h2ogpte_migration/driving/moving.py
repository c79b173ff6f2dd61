"""Move connectors and chats, after validation has nothing against it."""

from __future__ import annotations

import logging
from typing import Optional

from h2ogpte_migration.driving.drive import (
    SECOND_LOOK_AFTER_TIMEOUT_S,
    SECOND_LOOK_S,
    SENDS_PER_RUN,
    Drive,
)
from h2ogpte_migration.driving.settling import failed_if_gone, sweep_test_chats
from h2ogpte_migration.driving.work import Outcome
from h2ogpte_migration.errors import NotFound, OutcomeUnknown, StepFailed
from h2ogpte_migration.model import Job
from h2ogpte_migration.states import Step
from h2ogpte_migration.steps import moves, ragcheck
from h2ogpte_migration.steps.base import Context
from h2ogpte_migration.steps.moves import MOVES, MoveKind

log = logging.getLogger(__name__)


def move_connectors(drive: Drive) -> Optional[Outcome]:
    """Move the scheduled connectors."""
    return _move(drive, Step.CONNECTORS)


def move_chats(drive: Drive) -> Optional[Outcome]:
    """Move the chat sessions; a test chat must not be among them."""
    sweep_test_chats(drive)
    ragcheck.give_up(drive.desk.runs, drive.work.source_id)
    return _move(drive, Step.CHATS)


def _move(drive: Drive, step: Step) -> Optional[Outcome]:
    """Move until the source lists none; what a move job says decides nothing."""
    kind, context = MOVES[step], drive.context()
    try:
        left = moves.left_in(context.gateway, kind, context.source_id)
        if left or not drive.work.target_seen:
            _read_target_again(drive, context)
        if left:
            in_target = kind.count(context.gateway, context.target_id)
            counts = moves.counts(left, in_target)
            drive.store.record_move_counts(drive.lease, context.attempt, step, counts)
            _move_all(drive, context, step, left)
        _finish(drive, context, step, kind)
    except NotFound as error:
        return failed_if_gone(drive, context, error)
    return None


def _move_all(drive: Drive, context: Context, step: Step, left: int) -> None:
    kind, words = MOVES[step], ""
    for _ in range(SENDS_PER_RUN):
        words = _move_once(drive, context, step, kind)
        left = moves.left_in(context.gateway, kind, context.source_id)
        if not left:
            return
    what = f"{left} {kind.noun} are still in the source after {SENDS_PER_RUN} moves: {words}"
    raise StepFailed(what.rstrip(": "), "Run --verify later; it tries again.")


def _read_target_again(drive: Drive, context: Context) -> None:
    """Right before a move, the target and what validation found are read again."""
    target = context.gateway.collection(context.target_id)
    validation = drive.tracked().validation
    if validation is None or not validation.settled:
        raise StepFailed("the target is not validated, nothing was moved")
    if target.model != context.attempt.model and not validation.ignored:
        raise StepFailed(f"the target has the model {target.model} by now, nothing was moved")
    drive.work.target_seen = True


def _move_once(drive: Drive, context: Context, step: Step, kind: MoveKind) -> str:
    """One move job, waited for; returns what went wrong, if anything is known to have."""
    context.before_write()
    try:
        job_id = kind.submit(context.gateway, context.source_id, context.target_id)
    except OutcomeUnknown as error:
        _await_unanswered(drive, context, kind, timed_out=error.timed_out)
        return error.message
    store, attempt = drive.store, context.attempt
    store.record_move_job(drive.lease, attempt, step, job_id, kind.job_kind)
    job = moves.await_job(context.gateway, context.waiter, job_id, kind.noun)
    store.record_move_job(drive.lease, attempt, step, None, kind.job_kind)
    if job is None or job.state == Job.COMPLETED:
        return ""
    words = f"the job {job.state}: {'; '.join(job.errors[:3])}".rstrip(": ")
    log.warning("moving the %s: %s", kind.noun, words)
    return words


def _await_unanswered(drive: Drive, context: Context, kind: MoveKind, *, timed_out: bool) -> None:
    """A move may be under way without an id: let every one of this owner end first."""
    context.waiter.sleep(SECOND_LOOK_AFTER_TIMEOUT_S if timed_out else SECOND_LOOK_S)
    for job in context.gateway.jobs():
        if job.kind == kind.job_kind and not job.ended and not drive.store.job_is_claimed(job.id):
            moves.await_job(context.gateway, context.waiter, job.id, kind.noun)


def _finish(drive: Drive, context: Context, step: Step, kind: MoveKind) -> None:
    counts = drive.store.moved_counts(context.attempt, step)
    if counts is not None:
        counts["target_after"] = kind.count(context.gateway, context.target_id)
        log.info(
            "moved %s %s; the target had %s and has %s now",
            counts["source"],
            kind.noun,
            counts["target"],
            counts["target_after"],
        )
    drive.store.finish_move(drive.lease, context.attempt, step, counts)


def settle_open_moves(drive: Drive) -> None:
    """A move job that was left running is awaited before anything else happens."""
    tracked = drive.store.load(drive.work.source_id)
    if tracked is None or tracked.attempt is None:
        return
    for step, kind in MOVES.items():
        intent = tracked.intent(step)
        if intent is None:
            continue
        context = drive.context()
        if intent.job_id is None:
            _await_unanswered(drive, context, kind, timed_out=False)
            continue
        moves.await_job(context.gateway, context.waiter, intent.job_id, kind.noun)
        drive.store.record_move_job(drive.lease, tracked.attempt, step, None, kind.job_kind)
