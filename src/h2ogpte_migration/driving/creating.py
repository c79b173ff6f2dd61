"""Create the target exactly once, then give it its settings."""

from __future__ import annotations

import logging
from typing import Optional

from h2ogpte_migration.driving.drive import SENDS_PER_RUN, Drive
from h2ogpte_migration.driving.work import Outcome
from h2ogpte_migration.errors import (
    Interrupted,
    NotFound,
    OutcomeUnknown,
    ServerError,
    StepFailed,
    Unavailable,
)
from h2ogpte_migration.model import Collection
from h2ogpte_migration.states import Step, TargetFate
from h2ogpte_migration.steps import create
from h2ogpte_migration.steps.base import Ambiguous, Context, FoundTarget

log = logging.getLogger(__name__)


def create_target(drive: Drive) -> Optional[Outcome]:
    """Look for a target that an unanswered request may have made; else make one."""
    context = drive.context()
    intent = context.tracked.intent(Step.CREATE)
    if intent is not None and intent.sends > 0 and _found(drive, context, intent.timed_out):
        return None
    for _ in range(SENDS_PER_RUN):
        drive.store.record_send(drive.lease, context.attempt, Step.CREATE)
        try:
            target = create.run(context)
        except OutcomeUnknown as error:
            drive.store.record_no_answer(drive.lease, context.attempt, Step.CREATE, error.timed_out)
            if _found(drive, context, error.timed_out):
                return None
        except (ServerError, StepFailed, Interrupted):
            # All of these say that nothing was done.
            drive.store.record_unsent(drive.lease, context.attempt, Step.CREATE)
            raise
        else:
            _take(drive, context, target)
            return None
    raise Unavailable(
        f"the server did not answer {SENDS_PER_RUN} times when the target was to be created"
    )


def _take(drive: Drive, context: Context, target: Collection) -> None:
    drive.store.record_target(drive.lease, context.attempt, target, adopted=False)
    log.info("created the target %s (%s)", target.id, context.attempt.target_name)
    warnings = context.warnings
    context = drive.context()
    context.warnings = warnings
    _settle(drive, context, target, adopted=False)


def _found(drive: Drive, context: Context, timed_out: bool) -> bool:
    """Take up what an unanswered request made. False: surely nothing was made."""
    found = drive.look_twice(lambda: create.find(context), timed_out=timed_out)
    if isinstance(found, Ambiguous):
        drive.restart(TargetFate.ABANDONED, found.reason)
        return True
    if not isinstance(found, FoundTarget):
        drive.store.record_absent(drive.lease, context.attempt, Step.CREATE)
        return False
    drive.store.record_target(drive.lease, context.attempt, found.target, adopted=True)
    log.info("adopted the target %s, whose creation was never answered", found.target.id)
    for twin in found.twins:
        drive.store.record_twin(context.attempt.owner, twin, context.attempt, "made twice")
    return True


def give_settings(drive: Drive) -> Optional[Outcome]:
    """The target is known, its settings are not: adopted, or interrupted in between."""
    context = drive.context()
    try:
        target = context.gateway.collection(context.target_id)
    except NotFound:
        drive.restart(TargetFate.VANISHED, "the target was deleted")
        return None
    if context.attempt.target_created_at is None and target.created_at is not None:
        drive.store.record_target_time(drive.lease, context.attempt, target.created_at)
    _settle(drive, context, target, adopted=True)
    return None


def _settle(drive: Drive, context: Context, target: Collection, *, adopted: bool) -> None:
    facts = create.source_facts(context.source)
    drive.store.record_source_facts(drive.lease, context.attempt, facts)
    try:
        create.settle(context, target, adopted=adopted)
    except NotFound:
        drive.restart(TargetFate.VANISHED, "the target was deleted")
        return
    drive.store.finish_settings(drive.lease, context.attempt, context.warnings)


def note_twins(drive: Drive, context: Context) -> None:
    """A creation that was sent again may have come to effect twice, the first one late."""
    attempt = context.attempt
    if drive.store.sends(attempt, Step.CREATE) < 2:
        return
    for twin in create.named(context):
        if twin.id != attempt.target_id:
            drive.store.record_twin(attempt.owner, twin, attempt, "appeared late")
