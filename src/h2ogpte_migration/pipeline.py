"""The one driver of one collection's migration, whatever the mode.

``advance`` starts from the database and goes on until it can say how the collection stands:
done, running at the server, held back, failed, or in somebody else's hands. Resuming is
calling it again. It alone claims leases, writes intents, looks before it repeats, and
commits checkpoints; the steps only read, call and return.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Callable, DefaultDict, List, Optional, Set, Tuple, Union

from h2ogpte_migration import naming
from h2ogpte_migration.errors import (
    Interrupted,
    LeaseLost,
    NotFound,
    OutcomeUnknown,
    ServerError,
    StepFailed,
    TrackingError,
    Unauthorized,
    Unavailable,
)
from h2ogpte_migration.gateway.api import Gateway
from h2ogpte_migration.model import Collection, Finding, Job, JobId, JobKind, SourceId
from h2ogpte_migration.planner import Action, Policy, plan
from h2ogpte_migration.states import TRANSITIONS, JobStatus, Position, Step, TargetFate, Verdict
from h2ogpte_migration.steps import (
    PIPELINE,
    create,
    importing,
    moves,
    permissions,
    ragcheck,
    validate,
)
from h2ogpte_migration.steps.base import (
    Absent,
    Ambiguous,
    Context,
    FoundImport,
    FoundTarget,
    Source,
    Waiter,
)
from h2ogpte_migration.steps.listing import listed
from h2ogpte_migration.tracking.records import Attempt, Holder, Intent, Tracked
from h2ogpte_migration.tracking.runs import Runs
from h2ogpte_migration.tracking.store import Lease, NewAttempt, Store
from h2ogpte_migration.validation import DUPLICATED, MISSING

SECOND_LOOK_S = 2.0
"""How long an unanswered request may take to show, after an error or a reset."""
SECOND_LOOK_AFTER_TIMEOUT_S = 15.0
"""The same after a time-out: the server may still be at it."""
SENDS_PER_RUN = 3
"""How often a request without an answer is sent anew before the collection is left."""
RESTARTS_PER_RUN = 3
"""How many targets of one collection may be given up before it is left for people."""

log = logging.getLogger(__name__)


class Ending(str, Enum):
    """How a collection stands when ``advance`` returns."""

    DONE = "done"
    RUNNING = "running"  # the import runs at the server
    PARKED = "parked"  # ready, but no import may be submitted right now
    UNSETTLED = "unsettled"  # imported; documents are still being worked on
    HELD = "held"
    FAILED = "failed"
    ELSEWHERE = "elsewhere"  # another process works on it
    LEFT = "left"  # nothing to do for this run
    STOPPED = "stopped"  # the user asked to stop


@dataclass(frozen=True)
class Outcome:
    """What came of one collection, in one run."""

    ending: Ending
    source_id: SourceId
    source_name: str
    owner: str
    target_id: Optional[str] = None
    target_name: str = ""
    position: Position = Position.NEW
    step: Optional[Step] = None
    reason: str = ""
    hint: str = ""
    kind: str = ""
    attention: bool = False
    job_id: Optional[JobId] = None
    findings: Tuple[Finding, ...] = ()
    notes: Tuple[str, ...] = ()


@dataclass
class Work:
    """One collection to bring forward, with its owner's key.

    ``source`` may be bare (id, name, owner) for what is tracked already. ``notes`` and
    ``asked`` gather over the calls of one run.
    """

    source: Collection
    gateway: Gateway
    owner_id: Optional[str]
    model: str
    policy: Policy
    may_submit: Callable[[], bool] = lambda: True
    job_ended: Callable[[], None] = lambda: None
    notes: List[str] = field(default_factory=list)
    asked: bool = False
    lease: Optional[Lease] = None
    prepared: bool = False
    restarts: int = 0
    on_step: Callable[[Step], None] = lambda _: None
    carried: Optional[Source] = None

    @property
    def source_id(self) -> SourceId:
        return SourceId(self.source.id)

    def read_source(self) -> Source:
        """What the source carries, read once per run."""
        if self.carried is None:
            self.carried = create.read_source(self.gateway, self.source_id)
        return self.carried


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
        self._waiter = waiter
        self._now = now
        self._import_of = _Locks()
        self._working_on = _Locks()

    # -- the loop ----------------------------------------------------------------------
    def advance(self, work: Work) -> Outcome:
        """Bring a collection as far as it gets now. Calling it again resumes.

        The lease is kept while the import runs, and given back otherwise.

        Raises:
            TrackingError: the database can't be written; the run has to end.
            Unauthorized: the key is no longer taken.
        """
        with self._working_on[work.source_id]:
            return self._claim_and_advance(work)

    def _claim_and_advance(self, work: Work) -> Outcome:
        claimed = self._runs.claim(work.source_id)
        if isinstance(claimed, Holder):
            return self._outcome(work, Ending.ELSEWHERE, reason=f"{claimed} works on it")
        work.lease = claimed
        outcome = None
        try:
            outcome = self._advance(work, claimed)
            return outcome
        finally:
            if outcome is None or outcome.ending not in (Ending.RUNNING, Ending.PARKED):
                self._runs.release(claimed)

    def release(self, work: Work) -> None:
        """Give a collection back whose import is left running."""
        if work.lease is not None:
            self._runs.release(work.lease)

    def _advance(self, work: Work, lease: Lease) -> Outcome:
        step: Optional[Step] = None
        try:
            self._store.adopt_legacy(lease, work.policy.import_options)
            self._settle_open_moves(work, lease)
            outcome = self._begin_or_leave(work, lease)
            while outcome is None:
                self._waiter.check()
                tracked = self._tracked(work)
                step = self._next_step(tracked, work.policy)
                if step is None:
                    return self._finished(work, tracked)
                work.on_step(step)
                outcome = self._run_step(step, work, lease, tracked)
        except Interrupted:
            return self._outcome(work, Ending.STOPPED, step=step, reason="interrupted")
        except LeaseLost as error:
            return self._outcome(work, Ending.ELSEWHERE, step=step, reason=error.message)
        except (TrackingError, Unauthorized):
            raise
        except (ServerError, StepFailed) as error:
            return self._failed(work, lease, step, error)
        return outcome

    def _tracked(self, work: Work) -> Tracked:
        tracked = self._store.load(work.source_id)
        if tracked is None:
            raise StepFailed(f"bug: {work.source_id} is worked on, but not on record")
        return tracked

    def _begin_or_leave(self, work: Work, lease: Lease) -> Optional[Outcome]:
        """Decide, once per call, whether to begin afresh, to continue, or to leave it."""
        policy, tracked = work.policy, self._store.load(work.source_id)
        where = tracked.position if tracked else Position.NEW
        mark = policy.mark
        decided = plan(
            where,
            policy,
            marked=mark is not None and self._runs.is_marked(work.source_id, mark),
            restarted=_restarted(tracked),
        )
        if decided.action == Action.LEAVE:
            return self._left(work, tracked, where, decided.reason, decided.needs_attention)
        if decided.action == Action.BEGIN:
            self._begin(work, lease, mark)
        return None

    def _begin(self, work: Work, lease: Lease, mark: Optional[str]) -> None:
        self._waiter.check()
        work.prepared = False
        # Read first: an owner without a key, or a source that is gone, leaves no trace.
        work.read_source()
        if mark is not None:
            self._runs.mark(lease, mark)
        new = NewAttempt(
            work.source, work.owner_id, work.model, work.policy.import_options, Attempt.RUN
        )
        self._store.begin_attempt(lease, new, self._name_for(work.source.name))

    def _name_for(self, source_name: str) -> Callable[[Set[str]], str]:
        return lambda taken: naming.target_name(source_name, self._now(), taken)

    @staticmethod
    def _next_step(tracked: Tracked, policy: Policy) -> Optional[Step]:
        where = tracked.position
        if where == Position.CREATING and tracked.attempt and tracked.attempt.target_id:
            return Step.SETTINGS
        if where == Position.IMPORTED and tracked.validation and tracked.validation.settled:
            return Step.CONNECTORS
        if where == Position.CONNECTED and not policy.migrate_chats:
            return None
        return TRANSITIONS[where].step

    def _run_step(
        self, step: Step, work: Work, lease: Lease, tracked: Tracked
    ) -> Optional[Outcome]:
        """Run one step; an outcome ends this call, None goes on with the next step."""
        attempt = tracked.attempt
        if attempt is None:
            raise StepFailed(f"bug: {work.source_id} stands at {tracked.position} without attempt")
        context = self._context(work, lease, tracked, attempt)
        run = {
            Step.CREATE: self._create,
            Step.SETTINGS: self._settings,
            Step.PERMISSIONS: self._prepare_and_import,
            Step.IMPORT: self._import,
            Step.JOB: self._job,
            Step.VALIDATE: self._validate,
            Step.CONNECTORS: self._move_connectors,
            Step.CHATS: self._move_chats,
        }[step]
        return run(work, lease, context)

    def _context(self, work: Work, lease: Lease, tracked: Tracked, attempt: Attempt) -> Context:
        def before_write() -> None:
            self._waiter.check()
            if not self._runs.still_holds(lease):
                raise LeaseLost(f"Another process took over collection {lease.source_id}.")

        return Context(
            gateway=work.gateway,
            waiter=self._waiter,
            tracked=tracked,
            attempt=attempt,
            before_write=before_write,
            read_source=work.read_source,
        )

    # -- create ------------------------------------------------------------------------
    def _create(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        attempt, intent = context.attempt, context.tracked.intent(Step.CREATE)
        if intent is not None and intent.sends > 0:
            found = self._look_twice(context, Step.CREATE, intent.timed_out)
            if self._take_target(work, lease, context, found):
                return None
            self._store.record_absent(lease, attempt, Step.CREATE)
        for _ in range(SENDS_PER_RUN):
            self._store.record_send(lease, attempt, Step.CREATE)
            try:
                target = create.run(context)
            except OutcomeUnknown as error:
                self._store.record_no_answer(lease, attempt, Step.CREATE, error.timed_out)
                found = self._look_twice(context, Step.CREATE, error.timed_out)
                if self._take_target(work, lease, context, found):
                    return None
                self._store.record_absent(lease, attempt, Step.CREATE)
            except (ServerError, StepFailed, Interrupted):
                # All of these say that nothing was done.
                self._store.record_unsent(lease, attempt, Step.CREATE)
                raise
            else:
                self._store.record_target(lease, attempt, target, adopted=False)
                log.info("created the target %s (%s)", target.id, attempt.target_name)
                self._give_settings(work, lease, context, target, adopted=False)
                return None
        raise Unavailable(
            f"the server did not answer {SENDS_PER_RUN} times when the target was to be created"
        )

    def _take_target(self, work: Work, lease: Lease, context: Context, found: object) -> bool:
        """Adopt a target that was found by its name. False: none is there."""
        if isinstance(found, Ambiguous):
            self._restart(work, lease, TargetFate.ABANDONED, found.reason)
            return True
        if not isinstance(found, FoundTarget):
            return False
        self._store.record_target(lease, context.attempt, found.target, adopted=True)
        log.info("adopted the target %s, whose creation was never answered", found.target.id)
        for twin in found.twins:
            self._store.record_twin(work.source.owner, twin, context.attempt, "appeared twice")
        return True

    def _settings(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        """The target is known, its settings are not: adopted, or interrupted in between."""
        try:
            target = work.gateway.collection(context.target_id)
        except NotFound:
            self._restart(work, lease, TargetFate.VANISHED, "the target was deleted")
            return None
        if context.attempt.target_created_at is None and target.created_at is not None:
            self._store.record_target_time(lease, context.attempt, target.created_at)
        self._give_settings(work, lease, context, target, adopted=True)
        return None

    def _give_settings(
        self, work: Work, lease: Lease, context: Context, target: Collection, *, adopted: bool
    ) -> None:
        tracked = self._tracked(work)
        if tracked.attempt is None:
            raise StepFailed(f"bug: the attempt for {work.source_id} is gone")
        context.attempt = tracked.attempt
        facts = create.source_facts(context.source)
        self._store.record_source_facts(lease, context.attempt, facts)
        try:
            create.settle(context, target, adopted=adopted)
        except NotFound:
            self._restart(work, lease, TargetFate.VANISHED, "the target was deleted")
            return
        self._store.finish_settings(lease, context.attempt, context.warnings)

    # -- permissions and import --------------------------------------------------------
    def _prepare_and_import(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        """Permissions, the baseline, and the import, once a job may be submitted."""
        attempt = context.attempt
        try:
            if not work.prepared:
                self._prepare(work, lease, context)
            if not work.may_submit():
                return self._outcome(work, Ending.PARKED, tracked=context.tracked, step=Step.IMPORT)
            return self._submit(work, lease, context)
        except NotFound as error:
            if error.route.startswith("GET /collections/{collection_id}/documents"):
                raise StepFailed("the source collection does not exist any more") from error
            self._restart(work, lease, TargetFate.VANISHED, f"target {attempt.target_id} is gone")
            return None

    def _prepare(self, work: Work, lease: Lease, context: Context) -> None:
        attempt = context.attempt
        rights = permissions.run(context)
        self._store.finish_permissions(lease, attempt, rights, context.warnings)
        listed(
            work.gateway,
            context.source_id,
            lambda rows: self._store.replace_baseline(lease, attempt, rows),
            context.source.collection.document_count,
        )
        work.prepared = True

    def _import(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        """An import may have been submitted: look, before anything is sent."""
        intent = context.tracked.intent(Step.IMPORT)
        if intent is None:
            # Written by version 1.2.0, which kept no intents: the import counts as sent.
            self._mark_in_doubt(work, lease, context)
        try:
            resolved = self._resolve_import(work, lease, context, bool(intent and intent.timed_out))
        except NotFound:
            self._restart(work, lease, TargetFate.VANISHED, "the target was deleted")
            return None
        if resolved:
            return None
        if work.policy.verify and not _restarted(context.tracked):
            return self._left(
                work,
                self._tracked(work),
                Position.CREATED,
                "its import was never submitted; run the migration command again",
                attention=True,
            )
        return None

    def _mark_in_doubt(self, work: Work, lease: Lease, context: Context) -> None:
        if context.attempt.target_created_at is None:
            try:
                target = work.gateway.collection(context.target_id)
            except NotFound:
                return
            if target.created_at is not None:
                self._store.record_target_time(lease, context.attempt, target.created_at)
                context.attempt = self._attempt(work)
        self._send_alone(work, lease, context)

    def _attempt(self, work: Work) -> Attempt:
        attempt = self._tracked(work).attempt
        if attempt is None:
            raise StepFailed(f"bug: the attempt for {work.source_id} is gone")
        return attempt

    def _resolve_import(self, work: Work, lease: Lease, context: Context, timed_out: bool) -> bool:
        """Find out what an unanswered submission did. False: surely nothing."""
        attempt = context.attempt
        found = self._look_twice(context, Step.IMPORT, timed_out)
        if isinstance(found, Ambiguous):
            self._restart(work, lease, TargetFate.ABANDONED, found.reason)
            return True
        if isinstance(found, FoundImport):
            if found.job_id is None:
                self._store.record_import_found_done(lease, attempt)
                log.info("the import is over: the target holds the source's documents")
            else:
                self._store.record_import_job(
                    lease, attempt, found.job_id, JobKind.IMPORT, adopted=True
                )
                log.info(
                    "adopted the import job %s, whose submission was never answered", found.job_id
                )
            return True
        self._store.record_absent(lease, attempt, Step.IMPORT)
        return False

    def _submit(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        """Submit, alone among this owner's imports, until an answer is known."""
        attempt = context.attempt
        for _ in range(SENDS_PER_RUN):
            with self._import_of[attempt.owner]:
                self._send_alone(work, lease, context)
                try:
                    job_id = importing.run(context)
                except OutcomeUnknown as error:
                    self._store.record_no_answer(lease, attempt, Step.IMPORT, error.timed_out)
                    if self._resolve_import(work, lease, context, error.timed_out):
                        return self._submitted(work)
                except (ServerError, StepFailed, Interrupted):
                    self._store.record_unsent(lease, attempt, Step.IMPORT)
                    raise
                else:
                    self._store.record_import_job(
                        lease, attempt, job_id, JobKind.IMPORT, adopted=False
                    )
                    log.info("submitted the import job %s", job_id)
                    return self._submitted(work)
        raise Unavailable(
            f"the server did not answer {SENDS_PER_RUN} times when the import was to be submitted"
        )

    def _submitted(self, work: Work) -> Optional[Outcome]:
        tracked = self._tracked(work)
        if tracked.position != Position.IMPORTING:
            return None
        return self._running(work, tracked)

    def _running(self, work: Work, tracked: Tracked) -> Outcome:
        return self._outcome(
            work,
            Ending.RUNNING,
            tracked=tracked,
            step=Step.JOB,
            reason="the import runs at the server",
            job_id=tracked.record.job_id,
        )

    def _send_alone(self, work: Work, lease: Lease, context: Context) -> None:
        """Record that the import is about to be sent; another one in doubt is settled first."""
        while not self._store.record_send(lease, context.attempt, Step.IMPORT):
            in_doubt = self._store.import_in_doubt(context.attempt.owner)
            if in_doubt is not None and in_doubt.source_id != work.source_id:
                self._settle_other_import(work, in_doubt)
            self._waiter.sleep(0.1)

    def _settle_other_import(self, work: Work, intent: Intent) -> None:
        """An import of this owner was left in doubt: by a dead run, or by a failed step.

        A living process that is just submitting it holds its lease and is waited for.
        """
        lock = self._working_on[intent.source_id]
        if not lock.acquire(blocking=False):
            return  # another thread of this process is at it
        try:
            if self._runs.holder(intent.source_id) is None:
                self._claim_and_settle(work, intent)
        finally:
            lock.release()

    def _claim_and_settle(self, work: Work, intent: Intent) -> None:
        claimed = self._runs.claim(intent.source_id)
        if isinstance(claimed, Holder):
            return
        source = Collection(intent.source_id, "", intent.owner, "")
        other = Work(source, work.gateway, work.owner_id, "", work.policy)
        try:
            tracked = self._store.load(intent.source_id)
            if tracked is None or tracked.attempt is None:
                return
            context = self._context(other, claimed, tracked, tracked.attempt)
            try:
                self._resolve_import(other, claimed, context, intent.timed_out)
            except NotFound:
                self._restart(other, claimed, TargetFate.VANISHED, "the target was deleted")
        finally:
            self._runs.release(claimed)

    # -- looking for what an unanswered request did -------------------------------------
    def _look_twice(self, context: Context, step: Step, timed_out: bool) -> object:
        """Look, and where nothing is there, once more later: it may still be on its way."""
        found = self._look(context, step)
        if isinstance(found, Absent):
            self._waiter.sleep(SECOND_LOOK_AFTER_TIMEOUT_S if timed_out else SECOND_LOOK_S)
            found = self._look(context, step)
        return found

    def _look(self, context: Context, step: Step) -> object:
        if step == Step.CREATE:
            return create.find(context)
        return importing.find(context, self._store)

    def _restart(self, work: Work, lease: Lease, fate: TargetFate, reason: str) -> None:
        tracked = self._tracked(work)
        work.restarts += 1
        if work.restarts > RESTARTS_PER_RUN:
            raise StepFailed(
                f"{RESTARTS_PER_RUN} targets had to be given up, the last one as {reason}"
            )
        log.warning("giving up the target for a fresh one: %s", reason)
        work.prepared = False
        work.job_ended()
        self._store.restart(lease, fate, reason, self._name_for(tracked.record.source_name))
        work.notes.append(f"a first target was given up: {reason}")

    # -- the job -----------------------------------------------------------------------
    def _job(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        tracked, job_id = context.tracked, context.tracked.record.job_id
        job = work.gateway.job(job_id) if job_id else None
        if job is not None and not job.ended:
            if tracked.record.job_status != JobStatus.RUNNING:
                self._store.record_job_running(lease)
            return self._running(work, tracked)
        work.job_ended()
        if job is None:
            return self._decide_by_documents(
                work, lease, context, "the server keeps no record of the job any more"
            )
        if job.state == Job.COMPLETED and not (job.errors or job.had_failures):
            self._store.finish_import(lease, context.attempt)
            return None
        words = "; ".join(job.errors[:3])
        if job.state == Job.COMPLETED:
            return self._decide_by_documents(
                work, lease, context, f"the import completed with errors: {words}".rstrip(": ")
            )
        reason = f"the import job {job.state}: {words}".rstrip(": ")
        if job.state == Job.FAILED and context.attempt.adopted:
            self._restart(work, lease, TargetFate.ABANDONED, f"adopted, but {reason}")
            return None
        return self._import_failed(work, lease, reason)

    def _decide_by_documents(
        self, work: Work, lease: Lease, context: Context, what: str
    ) -> Optional[Outcome]:
        """The job does not tell how it went: whether all documents arrived does."""
        try:
            result = validate.run(context, self._store)
        except NotFound:
            return self._import_failed(work, lease, "the target was deleted")
        if result.pending_documents and not result.has(MISSING, DUPLICATED):
            return self._unsettled(work, result)
        blocking = [str(finding) for finding in result.findings if finding.blocking]
        if not blocking:
            self._store.finish_import(lease, context.attempt, [f"{what}; no document is missing"])
            return None
        if self._may_be_ours_twice(context, result):
            self._restart(work, lease, TargetFate.ABANDONED, f"{what}; {blocking[0]}")
            return None
        return self._import_failed(work, lease, f"{what}; {'; '.join(blocking)}")

    def _import_failed(self, work: Work, lease: Lease, reason: str) -> Outcome:
        self._store.end_attempt(lease, TargetFate.FAILED, reason)
        log.error("%s", reason)
        return self._outcome(
            work,
            Ending.FAILED,
            tracked=self._tracked(work),
            step=Step.JOB,
            reason=reason,
            hint="--retry-failed makes a new target.",
            kind="job",
            attention=True,
        )

    # -- validation --------------------------------------------------------------------
    def _validate(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        self._sweep_test_chats(work)
        try:
            result = validate.run(context, self._store)
        except NotFound:
            return self._import_failed(work, lease, "the target was deleted after the import")
        self._note_twins(context)
        if result.verdict == Verdict.HELD and self._may_be_ours_twice(context, result):
            self._restart(work, lease, TargetFate.ABANDONED, _blocking_words(result.findings))
            return None
        ignored = work.policy.ignore_validation and result.verdict == Verdict.HELD
        self._store.record_validation(
            lease,
            context.attempt,
            result.verdict,
            result.findings,
            result.late_documents,
            ignored=ignored,
        )
        if result.verdict == Verdict.UNSETTLED:
            return self._unsettled(work, result)
        if result.verdict == Verdict.HELD and not ignored:
            return self._held(work, result)
        self._ask(work, context, result.documents)
        return None

    def _note_twins(self, context: Context) -> None:
        """A creation that was sent again may have come to effect twice, the first one late."""
        attempt = context.attempt
        if self._store.sends(attempt, Step.CREATE) < 2:
            return
        for twin in create.named(context):
            if twin.id != attempt.target_id:
                self._store.record_twin(attempt.owner, twin, attempt, "appeared late")

    def _may_be_ours_twice(self, context: Context, result: validate.ValidationResult) -> bool:
        """Whether what is wrong may come from a submission that was never answered."""
        attempt = context.attempt
        if attempt.adopted and result.has(MISSING, DUPLICATED):
            return True
        return result.has(DUPLICATED) and self._store.sends(attempt, Step.IMPORT) > 1

    def _unsettled(self, work: Work, result: validate.ValidationResult) -> Outcome:
        return self._outcome(
            work,
            Ending.UNSETTLED,
            tracked=self._tracked(work),
            step=Step.VALIDATE,
            reason=f"{result.pending_documents} documents are still being worked on",
        )

    def _held(self, work: Work, result: validate.ValidationResult) -> Outcome:
        reason = _blocking_words(result.findings)
        log.error("held back: %s", reason)
        return self._outcome(
            work,
            Ending.HELD,
            tracked=self._tracked(work),
            step=Step.VALIDATE,
            reason=f"connectors and chats are held back: {reason}",
            hint="Mend it and run --verify, or --retry-failed for a new target, or "
            "--ignore-validation to accept it.",
            attention=True,
            findings=result.findings,
        )

    def _ask(self, work: Work, context: Context, documents: int) -> None:
        """The RAG check, once per run, where it was asked for and there is something to ask."""
        question = work.policy.verify_query
        if question is None or work.asked:
            return
        work.asked = True
        if documents == 0:
            work.notes.append("RAG check left out: the collection has no documents")
            return
        result = ragcheck.run(
            work.gateway,
            self._runs,
            source_id=context.source_id,
            target_id=context.target_id,
            owner=context.attempt.owner,
            question=question,
            timeout_s=work.policy.query_timeout_s,
        )
        log.log(logging.INFO if result.ok else logging.WARNING, "%s", result.text)
        work.notes.append(result.text)

    def _sweep_test_chats(self, work: Work) -> None:
        ragcheck.sweep(work.gateway, self._runs, work.source_id)

    # -- moves -------------------------------------------------------------------------
    def _move_connectors(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        return self._move(Step.CONNECTORS, work, lease, context)

    def _move_chats(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        self._sweep_test_chats(work)
        return self._move(Step.CHATS, work, lease, context)

    def _move(self, step: Step, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        """Move until the source lists none; what a move job says decides nothing."""
        kind, gateway, attempt = moves.MOVES[step], work.gateway, context.attempt
        left = moves.left_in(gateway, kind, context.source_id)
        before: Optional[int] = None
        tries = 0
        while left:
            if tries == SENDS_PER_RUN:
                raise StepFailed(
                    f"{left} {kind.noun} are still in the source after {tries} moves",
                    "Run --verify later; it tries again.",
                )
            refused = self._check_before_move(work, lease, context)
            if refused is not None:
                return refused
            if before is None:
                before = left
                counts = moves.counts(left, kind.count(gateway, context.target_id))
                self._store.record_move_counts(lease, attempt, step, counts)
            self._move_once(step, kind, lease, context)
            tries += 1
            left = moves.left_in(gateway, kind, context.source_id)
        self._finish_move(step, kind, lease, context, before)
        return None

    def _check_before_move(self, work: Work, lease: Lease, context: Context) -> Optional[Outcome]:
        """Right before a move, the target and what validation found are read again."""
        try:
            target = work.gateway.collection(context.target_id)
        except NotFound:
            return self._import_failed(work, lease, "the target was deleted after the import")
        validation = self._tracked(work).validation
        if target.model != context.attempt.model and not (validation and validation.ignored):
            raise StepFailed(f"the target has the model {target.model} by now, nothing was moved")
        if validation is not None and not validation.settled:
            raise StepFailed("the target is not validated, nothing was moved")
        return None

    def _move_once(self, step: Step, kind: moves.MoveKind, lease: Lease, context: Context) -> None:
        attempt, gateway = context.attempt, context.gateway
        context.before_write()
        try:
            job_id = kind.submit(gateway, context.source_id, context.target_id)
        except OutcomeUnknown as error:
            self._await_unanswered_move(kind, context, error.timed_out)
            return
        self._store.record_move_job(lease, attempt, step, job_id, kind.job_kind)
        job = moves.await_job(gateway, self._waiter, job_id, kind.noun)
        self._store.record_move_job(lease, attempt, step, None, kind.job_kind)
        if job is not None and job.state != Job.COMPLETED:
            words = "; ".join(job.errors[:3])
            log.warning("the job that moves the %s %s: %s", kind.noun, job.state, words)

    def _await_unanswered_move(
        self, kind: moves.MoveKind, context: Context, timed_out: bool
    ) -> None:
        """A move may be under way without an id: let every one of this owner end first."""
        self._waiter.sleep(SECOND_LOOK_AFTER_TIMEOUT_S if timed_out else SECOND_LOOK_S)
        for job in context.gateway.jobs():
            if (
                job.kind == kind.job_kind
                and not job.ended
                and not self._store.job_is_claimed(job.id)
            ):
                moves.await_job(context.gateway, self._waiter, job.id, kind.noun)

    def _finish_move(
        self,
        step: Step,
        kind: moves.MoveKind,
        lease: Lease,
        context: Context,
        before: Optional[int],
    ) -> None:
        recorded = self._store.moved_counts(context.attempt, step)
        if before is None and recorded is None:
            self._store.finish_move(lease, context.attempt, step, None)
            return
        counts = dict(recorded or {"source": before, "target": None})
        counts["target_after"] = kind.count(context.gateway, context.target_id)
        self._store.finish_move(lease, context.attempt, step, counts)
        log.info(
            "moved %s %s; the target had %s and has %s now",
            counts["source"],
            kind.noun,
            counts["target"],
            counts["target_after"],
        )

    def _settle_open_moves(self, work: Work, lease: Lease) -> None:
        """A move job that was left running is awaited before anything else happens."""
        tracked = self._store.load(work.source_id)
        if tracked is None or tracked.attempt is None:
            return
        for step, kind in moves.MOVES.items():
            intent = tracked.intent(step)
            if intent is not None and intent.job_id is not None:
                moves.await_job(work.gateway, self._waiter, intent.job_id, kind.noun)
                self._store.record_move_job(lease, tracked.attempt, step, None, kind.job_kind)
            elif intent is not None:
                context = self._context(work, lease, tracked, tracked.attempt)
                self._await_unanswered_move(kind, context, timed_out=False)

    # -- outcomes ----------------------------------------------------------------------
    def _finished(self, work: Work, tracked: Tracked) -> Outcome:
        self._ask_again(work, tracked)
        return self._outcome(work, Ending.DONE, tracked=tracked)

    def _ask_again(self, work: Work, tracked: Tracked) -> None:
        """A RAG check of what was finished before this run."""
        if work.policy.verify_query is None or work.asked or tracked.attempt is None:
            return
        lease = work.lease
        if lease is None:
            return
        context = self._context(work, lease, tracked, tracked.attempt)
        self._sweep_test_chats(work)
        first = listed(
            work.gateway, context.target_id, lambda rows: 1 if next(rows, None) is not None else 0
        )
        self._ask(work, context, first)

    def _left(
        self,
        work: Work,
        tracked: Optional[Tracked],
        where: Position,
        reason: str,
        attention: bool,
    ) -> Outcome:
        if where == Position.FAILED and tracked is not None and tracked.record.error:
            reason = f"{reason} ({tracked.record.error})"
        ending = Ending.RUNNING if where == Position.IMPORTING else Ending.LEFT
        if where == Position.FAILED:
            ending = Ending.FAILED
        elif where in (Position.FINISHED, Position.CONNECTED):
            ending = Ending.DONE
        return self._outcome(
            work, ending, tracked=tracked, reason=reason, attention=attention, position=where
        )

    def _failed(
        self, work: Work, lease: Lease, step: Optional[Step], error: Union[ServerError, StepFailed]
    ) -> Outcome:
        reason = f"{step.value if step else 'start'}: {error.message}"
        log.error("%s", reason)
        try:
            self._store.record_error(lease, reason)
        except LeaseLost as lost:
            return self._outcome(work, Ending.ELSEWHERE, step=step, reason=lost.message)
        return self._outcome(
            work,
            Ending.FAILED,
            tracked=self._store.load(work.source_id),
            step=step,
            reason=reason,
            hint=error.hint or "Run the same command again; it continues from here.",
            kind=error.kind,
            attention=True,
        )

    def _outcome(
        self,
        work: Work,
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
        record = tracked.record if tracked else None
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


class _Locks:
    """A lock per name, made when first asked for."""

    def __init__(self) -> None:
        self._locks: DefaultDict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def __getitem__(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks[name]


def _restarted(tracked: Optional[Tracked]) -> bool:
    return (
        tracked is not None
        and tracked.attempt is not None
        and tracked.attempt.origin == Attempt.RESTART
    )


def _blocking_words(findings: Tuple[Finding, ...]) -> str:
    return "; ".join(str(finding) for finding in findings if finding.blocking)


__all__ = ["PIPELINE", "Ending", "Outcome", "Pipeline", "Work"]
