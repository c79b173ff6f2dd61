"""What the driver works with while it brings one collection forward."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Callable, DefaultDict, Optional, Set, Tuple

from h2ogpte_migration import naming
from h2ogpte_migration.driving.work import Ending, Outcome, Work
from h2ogpte_migration.errors import LeaseLost, StepFailed
from h2ogpte_migration.model import Finding, JobId
from h2ogpte_migration.states import Position, Step, TargetFate
from h2ogpte_migration.steps.base import Absent, Context, Existing, Waiter
from h2ogpte_migration.tracking.records import Attempt, Tracked
from h2ogpte_migration.tracking.runs import Runs
from h2ogpte_migration.tracking.store import Lease, Store

SECOND_LOOK_S = 2.0
"""How long an unanswered request may take to show, after an error or a reset."""
SECOND_LOOK_AFTER_TIMEOUT_S = 15.0
"""The same after a time-out: the server may still be at it."""
SENDS_PER_RUN = 3
"""How often a request without an answer is sent anew before the collection is left."""
RESTARTS_PER_RUN = 3
"""How many targets of one collection may be given up before it is left for people."""

log = logging.getLogger(__name__)


class Locks:
    """A lock per name, made when first asked for."""

    def __init__(self) -> None:
        self._locks: DefaultDict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def __getitem__(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks[name]


@dataclass(frozen=True)
class Desk:
    """What all collections of a run share.

    Args:
        now: the wall clock in UTC; names targets, decides nothing.
        importing: a lock per owner: one import at a time is submitted.
        working_on: a lock per source: one thread at a time works on it.
    """

    store: Store
    runs: Runs
    waiter: Waiter
    now: Callable[[], datetime]
    importing: Locks
    working_on: Locks

    def name_for(self, source_name: str) -> Callable[[Set[str]], str]:
        """Chooses a target's name, given the names in use."""
        return lambda taken: naming.target_name(source_name, self.now(), taken)


class Drive:
    """One collection in the driver's hands: its work, its lease, and what is on record."""

    def __init__(self, desk: Desk, work: Work, lease: Lease) -> None:
        self.desk = desk
        self.store = desk.store
        self.work = work
        self.lease = lease

    # -- what is on record -------------------------------------------------------------
    def tracked(self) -> Tracked:
        """The record as it is now."""
        tracked = self.store.load(self.work.source_id)
        if tracked is None:
            raise StepFailed(f"bug: {self.work.source_id} is worked on, but not on record")
        return tracked

    def context(self) -> Context:
        """What a step may see, as of now."""
        tracked = self.tracked()
        if tracked.attempt is None:
            raise StepFailed(
                f"bug: {self.work.source_id} stands at {tracked.position.value} without attempt"
            )
        return Context(
            gateway=self.work.gateway,
            waiter=self.desk.waiter,
            tracked=tracked,
            attempt=tracked.attempt,
            owner=self.work.source.owner or tracked.attempt.owner,
            before_write=self.before_write,
            read_source=self.work.read_source,
        )

    def before_write(self) -> None:
        """Right before every mutating call: still ours, and nobody asked to stop."""
        self.desk.waiter.check()
        if not self.desk.runs.still_holds(self.lease):
            raise LeaseLost(f"Another process took over collection {self.lease.source_id}.")

    # -- what several steps do ---------------------------------------------------------
    def look_twice(self, look: Callable[[], Existing], *, timed_out: bool) -> Existing:
        """Look, and where nothing is there, once more later: it may still be on its way."""
        found = look()
        if isinstance(found, Absent):
            self.pause_before_second_look(timed_out)
            found = look()
        return found

    def pause_before_second_look(self, timed_out: bool) -> None:
        """Give an unanswered request the time to come to effect."""
        self.desk.waiter.sleep(SECOND_LOOK_AFTER_TIMEOUT_S if timed_out else SECOND_LOOK_S)

    def restart(self, fate: TargetFate, reason: str) -> None:
        """Give up the target for a fresh one; it stays in the history."""
        work, tracked = self.work, self.tracked()
        work.restarts += 1
        if work.restarts > RESTARTS_PER_RUN:
            raise StepFailed(
                f"{RESTARTS_PER_RUN} targets had to be given up, the last one as {reason}"
            )
        log.warning("giving up the target for a fresh one: %s", reason)
        work.prepared = False
        work.job_ended()
        names = self.desk.name_for(tracked.record.source_name)
        self.store.restart(self.lease, fate, reason, names)
        work.notes.append(f"a first target was given up: {reason}")

    def import_failed(self, reason: str, kind: str) -> Outcome:
        """The import is over and did not bring what it should; ``kind`` is free of ids."""
        self.store.end_attempt(self.lease, TargetFate.FAILED, reason)
        log.error("%s", reason)
        return self.outcome(
            Ending.FAILED,
            tracked=self.tracked(),
            step=Step.JOB,
            reason=reason,
            hint="--retry-failed makes a new target.",
            kind=kind,
            attention=True,
        )

    # -- outcomes ----------------------------------------------------------------------
    def outcome(
        self,
        ending: Ending,
        *,
        tracked: Optional[Tracked] = None,
        position: Optional[Position] = None,
        step: Optional[Step] = None,
        reason: str = "",
        hint: str = "",
        kind: str = "",
        attention: bool = False,
        job_id: Optional[JobId] = None,
        findings: Tuple[Finding, ...] = (),
    ) -> Outcome:
        """How the collection stands, with its names and ids filled in."""
        work, record = self.work, tracked.record if tracked else None
        return Outcome(
            ending=ending,
            source_id=work.source_id,
            source_name=(record.source_name if record else "") or work.source.name,
            owner=work.source.owner,
            target_id=record.target_id if record else None,
            target_name=record.target_name if record else "",
            position=position or (tracked.position if tracked else Position.NEW),
            step=step,
            reason=reason,
            hint=hint,
            kind=kind,
            attention=attention,
            job_id=job_id,
            findings=findings,
            notes=tuple(work.notes),
        )


def was_restarted(tracked: Optional[Tracked]) -> bool:
    """Whether the live attempt was begun by the tool itself, in place of an abandoned one."""
    return (
        tracked is not None
        and tracked.attempt is not None
        and tracked.attempt.origin == Attempt.RESTART
    )
