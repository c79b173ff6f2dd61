"""The one driver of one collection's migration, whatever the mode.

``advance`` starts from the database and goes on, step by step as ``steps.STEPS`` says, until it
can say how the collection stands: done, running at the server, held, failed, or in somebody
else's hands. Resuming is calling it again.
"""

from __future__ import annotations

import logging
from typing import Optional, Set, Union

from h2ogpte_migration.errors import (
    Interrupted,
    LeaseLost,
    OwnerGone,
    ServerError,
    StepFailed,
    TrackingError,
    Unauthorized,
)
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import SourceId
from h2ogpte_migration.planner import Action, Decision, Policy, decide
from h2ogpte_migration.results import NEGLECTED, OutcomeKind, Result
from h2ogpte_migration.states import BEFORE_IMPORT, Position, TargetState
from h2ogpte_migration.steps import due, job, moves, reconcile
from h2ogpte_migration.steps.presence import SourceGone, is_gone
from h2ogpte_migration.steps.source import carried
from h2ogpte_migration.tracking.records import RunInfo, Tracked
from h2ogpte_migration.tracking.runs import MOVE_CHATS, Runs, only_submits

log = logging.getLogger(__name__)

_UNFINISHED = frozenset({*BEFORE_IMPORT, Position.IMPORTING})

_LEFT_AS = {
    Position.FAILED: OutcomeKind.FAILED,
    Position.IMPORTING: OutcomeKind.RUNNING,
    Position.FINISHED: OutcomeKind.DONE,
    Position.CONNECTED: OutcomeKind.DONE,
    Position.ROLLED_BACK: OutcomeKind.ROLLED_BACK,
}
"""What a collection that is left as it is counts as."""


def advance(migration: Migration) -> Result:
    """Bring a collection as far as it gets now. Calling it again resumes.

    The lease is kept while the import runs, and given back otherwise.

    Raises:
        TrackingError: the database can't be written; the run has to end.
        Unauthorized: the key is no longer taken.
    """
    with migration.shared.working_on[migration.source_id]:
        waited = migration.lease_held is not None
        if not waited:
            before = migration.tracking.database.changes_elsewhere()
            left = _left_without_a_lease(migration)
            if left is not None:
                return left
            claimed = migration.tracking.leases.claim(migration.source_id)
            if isinstance(claimed, RunInfo):
                return _in_other_hands(migration, claimed)
            migration.lease_held = claimed
            migration.seen.checked_at = None
            if migration.tracking.database.changes_elsewhere() != before:
                migration.reload()  # whoever had the lease may have gone on with it
        keep = False
        try:
            result = _one_turn(migration, waited=waited)
            keep = result.kind in (OutcomeKind.RUNNING, OutcomeKind.WAITING_FOR_SLOT)
            return result
        finally:
            if not keep:
                release(migration)


def _in_other_hands(migration: Migration, holder: RunInfo) -> Result:
    """All is well where the holder does what was asked for here as well."""
    policy, runs = migration.policy, migration.tracking.runs
    neglected = bool(_asked_beyond(migration, holder))
    neglected |= policy.changes_course and not runs.asks_the_same(holder)
    return migration.result(
        OutcomeKind.LEASED_ELSEWHERE,
        reason=f"{holder} works on it",
        hint="Run this command again when that has ended." if neglected else "",
        cause=NEGLECTED if neglected else "",
        needs_attention=neglected,
    )


def _asked_beyond(migration: Migration, holder: RunInfo) -> Set[str]:
    """The flags that there is something to do for by now, and that the holder was not given."""
    tracked, beyond = migration.tracked, migration.tracking.runs.asks_beyond(holder)
    if tracked is None:
        return beyond
    if tracked.position == Position.FINISHED and not tracked.former_targets:
        beyond.discard(MOVE_CHATS)  # all of them were moved
    if migration.policy.verify and tracked.position in _UNFINISHED and only_submits(holder.command):
        return set()  # it is verified once its import is over: nobody does it before
    return beyond


def release(migration: Migration) -> None:
    """Give a collection back to whoever wants to work on it."""
    if migration.lease_held is not None:
        migration.tracking.leases.release(migration.lease_held)
        migration.lease_held = None


def _one_turn(migration: Migration, *, waited: bool) -> Result:
    """One turn of a collection, its errors as results."""
    step = ""
    try:
        if waited and migration.reload_for_poll() is not None:
            waits = job.poll(migration)
            if waits is not None:
                return waits
        migration.polled_at_version = None  # from here on the record changes
        result = None if waited else _begin_or_leave(migration)
        before: object = None
        while result is None:
            migration.clock.check()
            # Read a moment ago where the turn begins; from then on once a step.
            tracked = migration.tracked if before is None else migration.reload()
            if tracked is None:
                raise StepFailed("its row was deleted meanwhile", "Run the same command again.")
            reconcile.agree(migration)
            if reconcile.is_due(migration):
                reconcile.run(migration)
            tracked = migration.record
            following = due(tracked, migration.policy, frozenset(migration.seen.done))
            if following is None:
                return _done(migration)
            if before == (following.name, tracked):
                raise StepFailed(f"bug: the step {step} changed nothing")
            step, before = following.name, (following.name, tracked)
            migration.on_step(step)
            result = following.run(migration)
            if following.once_a_run and result is None:
                migration.seen.done.add(step)
        return result
    except Interrupted:
        return migration.result(OutcomeKind.INTERRUPTED, step=step, reason="interrupted")
    except LeaseLost as error:
        return _lost(migration, step, error)
    except (SourceGone, OwnerGone) as error:
        return _nobody_left(migration, step, error)
    except (TrackingError, Unauthorized):
        raise
    except (ServerError, StepFailed) as error:
        try:
            return migration.failed(step, error)
        except LeaseLost as lost:
            return _lost(migration, step, lost)


def _lost(migration: Migration, step: str, error: LeaseLost) -> Result:
    kind = OutcomeKind.LEASED_ELSEWHERE
    return migration.result(kind, step=step, reason=error.message, needs_attention=True)


# -- where a turn begins -----------------------------------------------------------------
def decision(
    runs: Runs, source_id: SourceId, tracked: Optional[Tracked], policy: Policy, model: str
) -> Decision:
    """What a run that wants ``model`` does with a source that stands on record like this."""
    start = policy.forced_start
    return decide(
        tracked.position if tracked else Position.NEW,
        policy,
        started=start is not None and runs.has_started(source_id, start, model),
        restarted=tracked is not None and tracked.was_restarted,
        due=tracked is not None and due(tracked, policy) is not None,
    )


def _decision(migration: Migration) -> Decision:
    runs = migration.tracking.runs
    return decision(runs, migration.source_id, migration.tracked, migration.policy, migration.model)


def _left_without_a_lease(migration: Migration) -> Optional[Result]:
    """What is over needs no lease, no request and no commit."""
    tracked = migration.reload()
    if tracked is None or tracked.attempt is None:
        return None
    decided = _decision(migration)
    over = tracked.position in (Position.CONNECTED, Position.FINISHED)
    unsettled = any(intent.open for intent in tracked.intents) or not reconcile.agrees(tracked)
    if decided.action == Action.LEAVE and over and not unsettled:
        return _left(migration, decided)
    return None


def _begin_or_leave(migration: Migration) -> Optional[Result]:
    """Decide, once per turn, whether to begin afresh, to continue, or to leave it."""
    if migration.tracked is not None:
        try:
            reconcile.agree(migration)
            moves.settle_open(migration)
        except StepFailed as error:
            if (
                not reconcile.agrees(migration.record)
                and _decision(migration).action == Action.BEGIN
            ):
                log.warning("begun afresh, and left alone: %s", error.message)
            else:
                raise
    decided = _decision(migration)
    if decided.action == Action.LEAVE:
        tracked = migration.tracked
        interrupted = tracked is not None and tracked.position in BEFORE_IMPORT
        if interrupted and is_gone(migration.gateway, migration.clock, migration.source_id):
            raise SourceGone  # begun, and without its source never to be ended well
        return _left(migration, decided)
    if decided.action == Action.BEGIN:
        # Read first: an owner without a key, or a source that is gone, leaves no trace.
        carried(migration)
        migration.begin(decided.reason)
    return None


def _left(migration: Migration, decided: Decision) -> Result:
    tracked = migration.tracked
    where = tracked.position if tracked else Position.NEW
    reason, hint = decided.reason, decided.hint
    if where == Position.FAILED and tracked is not None and tracked.record.error:
        reason = tracked.record.error
    return migration.result(
        _LEFT_AS.get(where, OutcomeKind.LEFT),
        reason=reason,
        hint=hint,
        needs_attention=decided.needs_attention,
        earlier=True,
    )


# -- where it ends -----------------------------------------------------------------------
def _done(migration: Migration) -> Result:
    if migration.policy.verify:
        # What a forced run began is finished: the next forced run forces again.
        migration.tracking.runs.end_starts([migration.source_id])
    back = migration.record.position == Position.ROLLED_BACK
    return migration.result(OutcomeKind.ROLLED_BACK if back else OutcomeKind.DONE)


def _nobody_left(migration: Migration, step: str, error: Union[SourceGone, OwnerGone]) -> Result:
    """Source or account are gone: what was not imported never will be, and has failed for good."""
    tracked = migration.reload()
    if tracked is None or tracked.attempt is None or tracked.position not in _UNFINISHED:
        return migration.failed(step, error)
    migration.tracking.store.end_attempt(migration.lease, TargetState.FAILED, error.message)
    migration.reload()
    return migration.result(
        OutcomeKind.FAILED,
        step=step,
        reason=error.message,
        hint=error.hint,
        needs_attention=True,
    )
