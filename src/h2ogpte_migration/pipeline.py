"""The one driver of one collection's migration, whatever the mode.

``advance`` starts from the database and goes on until it can say how the collection stands:
done, running at the server, held back, failed, or in somebody else's hands. Resuming is
calling it again. Which step a position leads to stands in ``states.TRANSITIONS``; how a step
is carried through, in ``driving``.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Callable, Dict, Optional, Tuple, Union

from h2ogpte_migration.driving import creating, moving, settling, submitting
from h2ogpte_migration.driving.drive import Desk, Drive, Locks, was_restarted
from h2ogpte_migration.driving.work import Ending, Outcome, Work
from h2ogpte_migration.errors import (
    Interrupted,
    LeaseLost,
    ServerError,
    StepFailed,
    TrackingError,
    Unauthorized,
)
from h2ogpte_migration.planner import UNFINISHED, Action, Plan, plan
from h2ogpte_migration.states import TRANSITIONS, Position, Step, TargetFate
from h2ogpte_migration.steps.base import Waiter
from h2ogpte_migration.steps.presence import SourceGone, is_gone
from h2ogpte_migration.tracking.records import Attempt, Holder, Tracked
from h2ogpte_migration.tracking.runs import Runs
from h2ogpte_migration.tracking.store import NewAttempt, Store

__all__ = ["Ending", "Outcome", "Pipeline", "Work"]

log = logging.getLogger(__name__)

CARRY_THROUGH: Dict[Step, Callable[[Drive], Optional[Outcome]]] = {
    Step.CREATE: creating.create_target,
    Step.SETTINGS: creating.give_settings,
    Step.PERMISSIONS: submitting.prepare,
    Step.IMPORT: submitting.submit_or_resolve,
    Step.JOB: settling.look_at_job,
    Step.VALIDATE: settling.validate_target,
    Step.CONNECTORS: moving.move_connectors,
    Step.CHATS: moving.move_chats,
}
"""How each step is carried through. An outcome ends the call; None goes on."""


class Pipeline:
    """Brings collections forward, one call per collection at a time.

    Args:
        now: the wall clock in UTC; names targets, decides nothing.
    """

    def __init__(
        self, store: Store, runs: Runs, waiter: Waiter, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._runs = runs
        self._desk = Desk(store, runs, waiter, now, Locks(), Locks())

    def advance(self, work: Work) -> Outcome:
        """Bring a collection as far as it gets now. Calling it again resumes.

        The lease is kept while the import runs, and given back otherwise.

        Raises:
            TrackingError: the database can't be written; the run has to end.
            Unauthorized: the key is no longer taken.
        """
        with self._desk.working_on[work.source_id]:
            claimed = self._runs.claim(work.source_id)
            if isinstance(claimed, Holder):
                return Outcome(
                    Ending.ELSEWHERE,
                    work.source_id,
                    work.source.name,
                    work.source.owner,
                    reason=f"{claimed} works on it",
                )
            work.lease = claimed
            work.target_seen = False
            keep = False
            try:
                outcome = self._advance(Drive(self._desk, work, claimed))
                keep = outcome.ending in (Ending.RUNNING, Ending.PARKED)
                return outcome
            finally:
                if not keep:
                    self._runs.release(claimed)

    def release(self, work: Work) -> None:
        """Give a collection back whose import is left running."""
        if work.lease is not None:
            self._runs.release(work.lease)

    def _advance(self, drive: Drive) -> Outcome:
        step: Optional[Step] = None
        try:
            self._store.adopt_legacy(drive.lease, drive.work.policy.import_options)
            moving.settle_open_moves(drive)
            outcome = self._begin_or_leave(drive)
            stood: Optional[Tuple[Tracked, bool]] = None
            while outcome is None:
                self._desk.waiter.check()
                tracked, before = drive.tracked(), stood
                stood = (tracked, drive.work.prepared)
                if stood == before:
                    raise StepFailed(f"bug: the step {step} changed nothing")
                step = _next_step(tracked, drive.work)
                if step is None:
                    return self._done(drive)
                drive.work.on_step(step)
                outcome = CARRY_THROUGH[step](drive)
        except Interrupted:
            return drive.outcome(Ending.STOPPED, step=step, reason="interrupted")
        except LeaseLost as error:
            return drive.outcome(Ending.ELSEWHERE, step=step, reason=error.message, attention=True)
        except SourceGone as error:
            return self._source_gone(drive, step, error)
        except (TrackingError, Unauthorized):
            raise
        except (ServerError, StepFailed) as error:
            return self._failed(drive, step, error)
        return outcome

    def _begin_or_leave(self, drive: Drive) -> Optional[Outcome]:
        """Decide, once per call, whether to begin afresh, to continue, or to leave it."""
        work, tracked = drive.work, self._store.load(drive.work.source_id)
        mark = work.policy.mark
        decided = plan(
            tracked.position if tracked else Position.NEW,
            work.policy,
            marked=mark is not None and self._runs.is_marked(work.source_id, mark),
            restarted=was_restarted(tracked),
        )
        if decided.action == Action.LEAVE:
            interrupted = tracked is not None and tracked.position in UNFINISHED
            if interrupted and is_gone(work.gateway, work.source_id):
                raise SourceGone  # begun, and without its source never to be ended well
            return _left(drive, tracked, decided)
        if decided.action == Action.BEGIN:
            self._begin(drive, mark, decided.reason)
        return None

    def _begin(self, drive: Drive, mark: Optional[str], reason: str) -> None:
        work = drive.work
        self._desk.waiter.check()
        work.prepared = False
        # Read first: an owner without a key, or a source that is gone, leaves no trace.
        work.read_source()
        new = NewAttempt(
            work.source, work.owner_id(), work.model, work.policy.import_options, Attempt.RUN
        )
        names = self._desk.name_for(work.source.name)
        self._store.begin_attempt(drive.lease, new, names, reason=reason, mark=mark)

    def _done(self, drive: Drive) -> Outcome:
        settling.ask_if_finished_before(drive)
        if drive.work.policy.verify:
            # What a forced run began is finished: the next forced run forces again.
            self._runs.clear_marks([drive.work.source_id])
        return drive.outcome(Ending.DONE, tracked=drive.tracked())

    def _source_gone(self, drive: Drive, step: Optional[Step], error: SourceGone) -> Outcome:
        """Nothing was imported and nothing can be: the attempt has failed, for good."""
        tracked = self._store.load(drive.work.source_id)
        if tracked is None or tracked.attempt is None:
            return self._failed(drive, step, error)
        self._store.end_attempt(drive.lease, TargetFate.FAILED, error.message)
        return drive.outcome(
            Ending.FAILED,
            tracked=self._store.load(drive.work.source_id),
            step=step,
            reason=error.message,
            hint=error.hint,
            attention=True,
        )

    def _failed(
        self, drive: Drive, step: Optional[Step], error: Union[ServerError, StepFailed]
    ) -> Outcome:
        reason = f"{step.value if step else 'start'}: {error.message}"
        log.error("%s", reason)
        try:
            self._store.record_error(drive.lease, reason)
        except LeaseLost as lost:
            return drive.outcome(Ending.ELSEWHERE, step=step, reason=lost.message, attention=True)
        return drive.outcome(
            Ending.FAILED,
            tracked=self._store.load(drive.work.source_id),
            step=step,
            reason=reason,
            hint=error.hint or "Run the same command again; it continues from here.",
            kind=error.kind,
            attention=True,
        )


def _next_step(tracked: Tracked, work: Work) -> Optional[Step]:
    """The step that a position leads to; four positions have a shorter way."""
    where = tracked.position
    if where == Position.CREATING and tracked.attempt and tracked.attempt.target_id:
        return Step.SETTINGS
    if where == Position.IMPORTED and tracked.validation and tracked.validation.settled:
        return Step.CONNECTORS
    if where == Position.CREATED and work.prepared:
        return Step.IMPORT
    if where == Position.CONNECTED and not work.policy.migrate_chats:
        return None
    return TRANSITIONS[where].step


def _left(drive: Drive, tracked: Optional[Tracked], decided: Plan) -> Outcome:
    where = tracked.position if tracked else Position.NEW
    endings = {
        Position.FAILED: Ending.FAILED,
        Position.IMPORTING: Ending.RUNNING,
        Position.FINISHED: Ending.DONE,
        Position.CONNECTED: Ending.DONE,
    }
    reason = decided.reason
    if where == Position.FAILED and tracked is not None and tracked.record.error:
        reason = f"{reason} ({tracked.record.error})"
    return drive.outcome(
        endings.get(where, Ending.LEFT),
        tracked=tracked,
        reason=reason,
        attention=decided.needs_attention,
        position=where,
    )
