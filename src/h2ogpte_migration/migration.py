"""One collection in this run: what is asked of it, its record, its lease, and what it came to."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import (
    Any,
    Callable,
    DefaultDict,
    Dict,
    List,
    Optional,
    Set,
    Tuple,
    TypeVar,
    Union,
)

from h2ogpte_migration import naming, patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import (
    BadReply,
    Forbidden,
    LeaseLost,
    NotFound,
    ServerError,
    StepFailed,
    Unavailable,
)
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import (
    Collection,
    ImportOptions,
    Job,
    Json,
    SourceId,
    TargetId,
)
from h2ogpte_migration.overview import Overview
from h2ogpte_migration.planner import Policy
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.retrieval import Retrieval
from h2ogpte_migration.states import StepName, TargetState
from h2ogpte_migration.tracking import Tracking
from h2ogpte_migration.tracking.leases import Lease
from h2ogpte_migration.tracking.records import Attempt, Tracked, Watched
from h2ogpte_migration.tracking.store import NewAttempt

T = TypeVar("T")

log = logging.getLogger(__name__)


class Locks:
    """A lock per name, made when first asked for."""

    def __init__(self) -> None:
        self._locks: DefaultDict[str, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def __getitem__(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks[name]


class Down:
    """Optional requests that the server does not answer: after a few failures in a row they are not
    made any more in this run, as each would be retried for long, for every collection."""

    MOST = 2

    def __init__(self) -> None:
        self._failures: Dict[str, Tuple[int, ServerError]] = {}

    def ask(self, what: str, send: Callable[[], T]) -> T:
        """Make a request of some sort, or raise what it failed with the last time.

        Raises:
            Unavailable, BadReply: it was, or had been, retried in vain.
        """
        times, failure = self._failures.get(what, (0, None))
        if failure is not None and times >= self.MOST:
            raise failure
        try:
            answer = send()
        except (Unavailable, BadReply) as error:
            # Others may have asked at the same time: each of them counts.
            self._failures[what] = (self._failures.get(what, (0, None))[0] + 1, error)
            raise
        self._failures.pop(what, None)
        return answer


@dataclass(frozen=True)
class Shared:
    """What all collections of a run share.

    Args:
        down: what the server does not answer.
        importing: a lock per owner: one import at a time is submitted.
        working_on: a lock per source: one thread at a time works on it.
        pointers: what still points at a collection, in words; asked with its owner's gateway,
            its id, whether its documents are copied, and whether to ask for a graph.
    """

    tracking: Tracking
    clock: Clock
    pointers: Callable[[Gateway, str, bool, bool], List[str]] = lambda *_: []
    importing: Locks = field(default_factory=Locks)
    working_on: Locks = field(default_factory=Locks)
    down: Down = field(default_factory=Down)


@dataclass(frozen=True)
class Carried:
    """What the source carries, as read from the server; ``unread`` names what it did not give."""

    collection: Collection
    settings: Json
    chat_settings: Json
    metadata: Json
    unread: Tuple[str, ...] = ()


@dataclass
class Seen:
    """What one run has seen of the live target, and done about it; nothing of it counts for another.

    Times are those of the run's clock.

    Args:
        created: the answer to its creation, if this run made it.
        created_at: when this run made or found it.
        announced: the step whose request is on record as sent, but was not sent yet.
        reconciled: it was looked at before anything was sent to it.
        settings_compared: its settings are known to be what was asked for, or warned of.
        rights_copied_at: when it was shared as its source was.
        waited_for_slot: its import had to wait, so that people may have used it meanwhile.
        job: the import job as it was asked last; None where the server keeps no record of it.
        job_looked_at: the job was asked in this turn, and there is more to do than to wait.
        job_changed: how the job stood when it was seen to change last.
        job_recorded: that was recorded in this run.
        compare_at_s: for how long the job has to stand still before documents are compared.
        documents: how many it holds.
        checked_at: when it and what validation found were read last.
        empty_at: by step, when the source was seen to hold nothing that it moves.
        retrieval: what the check of the retrieval came to.
        refused: former targets that the server did not let the owner see or empty; by id, its words.
        done: the steps of once a run that are done.
    """

    created: Optional[Collection] = None
    created_at: float = 0.0
    announced: str = ""
    reconciled: bool = False
    settings_compared: bool = False
    rights_copied_at: Optional[float] = None
    waited_for_slot: bool = False
    job: Optional[Job] = None
    job_looked_at: bool = False
    job_changed: Optional[Watched] = None
    job_recorded: bool = False
    compare_at_s: float = field(default_factory=lambda: patience.SEEMS_OVER_S)
    documents: Optional[int] = None
    checked_at: Optional[float] = None
    empty_at: Dict[str, float] = field(default_factory=dict)
    retrieval: Optional[Retrieval] = None
    refused: Dict[str, str] = field(default_factory=dict)
    done: Set[str] = field(default_factory=set)


class Migration:
    """One collection to bring forward in this run, with its owner's key.

    ``source`` may be bare (id, name, owner) for what is on record already. The scheduler sets
    ``may_submit``, ``before_poll``, ``job_ended``, ``makes_room`` and what begins with ``on_``, the
    session ``overview``; what else is not an argument gathers over the calls of one run.

    Args:
        owner_id: the owner's id, as far as it is known by now.
        model: the embedding model that the target shall have.
    """

    def __init__(
        self,
        shared: Shared,
        source: Collection,
        gateway: Gateway,
        *,
        owner_id: Callable[[], Optional[str]],
        model: str,
        policy: Policy,
    ) -> None:
        self.shared = shared
        self.source = source
        self.gateway = gateway.guarded(self.still_ours)
        self.owner_id = owner_id
        self.model = model
        self.policy = policy
        self.may_submit: Callable[[], bool] = lambda: True
        self.before_poll: Callable[[], None] = lambda: None
        self.job_ended: Callable[[], None] = lambda: None
        self.makes_room: Callable[[], bool] = lambda: False
        self.on_step: Callable[[str], None] = lambda _: None
        self.on_job: Callable[[Job], None] = lambda _: None
        self.on_warning: Callable[[str], None] = lambda _: None
        self.lease_held: Optional[Lease] = None
        self.overview: Optional[Overview] = None
        self.tracked: Optional[Tracked] = None
        self.polled_at_version: Optional[int] = None
        self.carried: Optional[Carried] = None
        self.source_gone = False
        self.owner_confirmed = False
        self.refused_settings: Set[str] = set()
        self.seen = Seen()
        self.moved: Dict[str, int] = {}
        self.notes: List[str] = []
        self.warnings: List[str] = []

    # -- what is on record -------------------------------------------------------------
    @property
    def source_id(self) -> SourceId:
        return SourceId(self.source.id)

    @property
    def clock(self) -> Clock:
        return self.shared.clock

    @property
    def tracking(self) -> Tracking:
        return self.shared.tracking

    @property
    def lease(self) -> Lease:
        if self.lease_held is None:
            raise StepFailed(f"bug: {self.source_id} is worked on without a lease")
        return self.lease_held

    def reload(self) -> Optional[Tracked]:
        """Read the record again; once a step, and after whatever changed it."""
        self.tracked = self.tracking.store.load(self.source_id)
        return self.tracked

    def reload_for_poll(self) -> Optional[Tracked]:
        """Read the record again, unless nobody has written since the poll before."""
        version = self.tracking.database.changes_elsewhere()
        if self.polled_at_version != version:
            self.reload()
            self.polled_at_version = version
        return self.tracked

    @property
    def record(self) -> Tracked:
        """The record as it was read last."""
        if self.tracked is None:
            raise StepFailed(f"bug: {self.source_id} is worked on, but not on record")
        return self.tracked

    @property
    def attempt(self) -> Attempt:
        attempt = self.record.attempt
        if attempt is None:
            raise StepFailed(
                f"bug: {self.source_id} stands at {self.record.position.value} without attempt"
            )
        return attempt

    @property
    def target_id(self) -> TargetId:
        if self.attempt.target_id is None:
            raise StepFailed(f"bug: the attempt {self.attempt.id} has no target yet")
        return self.attempt.target_id

    @property
    def source_counts(self) -> Optional[Collection]:
        """The source with its counts, as far as this run has listed or read it already."""
        if self.overview is not None:
            return self.overview.collection(self.source_id)
        return self.carried.collection if self.carried is not None else None

    @property
    def owner(self) -> str:
        """The owner's present name, as their key tells it; the attempt keeps that of its beginning."""
        holder = self.gateway.holder
        return (holder.username if holder else "") or self.source.owner or self.attempt.owner

    def is_owners(self, username: str) -> bool:
        """Whether a collection that the server says is ``username``'s belongs to the owner.

        An account may be renamed. A server that names no owner shows the key's collections only.
        """
        names = {"", self.owner, self.source.owner}
        if self.tracked is not None and self.tracked.attempt is not None:
            names.add(self.tracked.attempt.owner)
        return username in names

    @property
    def how(self) -> ImportOptions:
        return self.attempt.import_options

    @property
    def by_name(self) -> bool:
        """Whether documents are paired by name: copies have ids of their own, and a row of
        version 1.2.0 does not tell whether it copied."""
        return self.how.copy_document or self.attempt.origin == Attempt.LEGACY

    # -- before and after a request ----------------------------------------------------
    def before_write(self) -> None:
        """Before every mutating call: nobody asked to stop, and it is the owner's still.

        Raises:
            Interrupted: the call must not be made.
            LeaseLost: as ``still_ours``.
            StepFailed: the collection changed hands; what is one owner's must never get into
                the account of another.
        """
        self.clock.check()
        self.still_ours()
        if not self.owner_confirmed:
            self._confirm_owner()
            self.owner_confirmed = True

    def still_ours(self) -> None:
        """Right before each attempt of a mutating call, however long it waited for that.

        Raises:
            LeaseLost: the attempt must not be made.
        """
        if not self.tracking.leases.still_holds(self.lease):
            raise LeaseLost(f"Another process took over collection {self.source_id}.")

    def _confirm_owner(self) -> None:
        """Once a run, before the first write: key, source and target are of one account.

        A collection that is on record has not been looked at yet: its owner may have changed.
        """
        holder = self.gateway.holder
        if holder is None:
            return
        with suppress(NotFound):
            source = (
                self.carried.collection
                if self.carried is not None
                else self.gateway.collection(self.source_id)
            )
            if source.owner not in ("", holder.username):
                raise self._changed_hands(source.owner, holder.username)
        record = self.record.record
        same = (
            record.owner_id == holder.user_id
            if record.owner_id and holder.user_id
            else record.owner in ("", holder.username)
        )
        if not same:
            raise self._changed_hands(holder.username, record.owner)

    def _changed_hands(self, now: str, before: str) -> StepFailed:
        return StepFailed(
            f"inconsistent: the collection belongs to {now} now, and its migration was begun "
            f"for {before}",
            f"Its target so far stays {before}'s. The new owner gets one of their own with "
            f"--force-remigrate --collections {self.source_id}.",
            "changed hands",
        )

    def freshness(self) -> float:
        """How long the target may yet take to be visible, in seconds; 0 where it is no new one."""
        if self.seen.created is None:
            return 0.0
        return max(0.0, self.seen.created_at + patience.VISIBLE_WITHIN_S - self.clock.now())

    def warn(self, text: str) -> None:
        """Something could not be carried over; the step that ends next keeps it."""
        self.warnings.append(text)
        self.on_warning(text)

    def take_warnings(self) -> List[str]:
        """The warnings since the last step that ended."""
        taken, self.warnings = self.warnings, []
        return taken

    # -- attempts ----------------------------------------------------------------------
    def begin(self, reason: str) -> None:
        """Commit the intent to create a target; a live one is superseded."""
        self.clock.check()
        new = NewAttempt(
            self.source, self.owner_id(), self.model, self.policy.import_options, Attempt.RUN
        )
        self.tracking.store.begin_attempt(
            self.lease, new, self._unused_name, self.policy.forced_start, reason or "migrated anew"
        )
        self._begun()

    def restart(self, state: TargetState, reason: str) -> None:
        """Give up the target for a fresh one; it stays in the history.

        Raises:
            StepFailed: too many were given up, over all runs.
        """
        store = self.tracking.store
        given_up = store.count_given_up(self.source_id)
        if given_up >= patience.MOST_TARGETS:
            what = f"{given_up} targets were given up already, and now this one: {reason}"
            self.job_ended()
            store.end_attempt(self.lease, TargetState.FAILED, what)
            raise StepFailed(what, "Look at it first; --retry-failed makes one more.", "given up")
        log.warning("giving up the target for a fresh one: %s", reason)
        self.job_ended()
        store.restart(self.lease, state, reason, self._unused_name)
        self.notes.append(f"a first target was given up: {reason}")
        self._begun()

    def drop_details(self) -> None:
        """It has ended in this run: what was read of it is not kept, as there may be very many."""
        self.carried = self.tracked = self.seen.job = None
        if self.seen.created is not None:
            self.seen.created = replace(self.seen.created, raw=None)

    def _begun(self) -> None:
        self.seen = Seen(announced=StepName.CREATE)
        self.warnings.clear()
        self.reload()

    def _unused_name(self, taken: Set[str]) -> str:
        name = self.tracked.record.source_name if self.tracked else ""
        return naming.target_name(name or self.source.name, self.clock.utc(), taken)

    # -- outcomes ----------------------------------------------------------------------
    def result(self, kind: OutcomeKind, **more: Any) -> Result:
        """How the collection stands, with names and ids filled in from the record.

        Args:
            more: fields of ``Result``.
        """
        record = self.tracked.record if self.tracked else None
        filled = {
            "source_name": (record.source_name if record else "") or self.source.name,
            "owner": self.source.owner or (record.owner if record else ""),
            "source_model": (record.source_model if record else "") or self.source.model,
            "target_id": record.target_id if record else None,
            "target_name": record.target_name if record else "",
            "target_model": (record.target_model if record else "") or self.model,
            "notes": tuple(self.notes),
            "documents": self.seen.documents,
            "moved": tuple(self.moved.items()),
            "retrieval": self.seen.retrieval,
        }
        if self.tracked:
            filled["position"] = self.tracked.position
        return Result(kind, self.source_id, **{**filled, **more})

    def failed(self, step: str, error: Union[ServerError, StepFailed]) -> Result:
        """A step failed; where the collection stands stays what it is."""
        reason = f"{step or 'start'}: {error.message}"
        log.error("%s", reason)
        self.tracking.store.record_error(self.lease, reason)
        self.reload()
        return self.result(
            OutcomeKind.FAILED,
            step=step,
            reason=reason,
            hint=error.hint or self._what_next(error),
            cause=error.kind,
            way_out=error.way_out if isinstance(error, StepFailed) else (),
            needs_attention=True,
        )

    def running(self) -> Result:
        """The import runs at the server: there is nothing to do until it ends."""
        return self.result(
            OutcomeKind.RUNNING,
            step=StepName.JOB,
            reason="the import runs at the server",
        )

    def import_failed(self, reason: str, cause: str, hint: str = "") -> Result:
        """The attempt is over and did not bring what it should; ``cause`` is free of ids."""
        self.job_ended()
        self.tracking.store.end_attempt(self.lease, TargetState.FAILED, reason)
        log.error("%s", reason)
        self.reload()
        return self.result(
            OutcomeKind.FAILED,
            step=StepName.JOB,
            reason=reason,
            hint=hint or "--retry-failed makes a new target.",
            cause=cause,
            needs_attention=True,
        )

    def _what_next(self, error: Union[ServerError, StepFailed]) -> str:
        if isinstance(error, Forbidden):
            return (
                f"Does the collection still belong to {self.owner}? If not, its new owner gets a "
                "target of their own with --force-remigrate. Else run the same command again."
            )
        start = self.policy.forced_start if self.policy.force else None
        runs, source_id = self.tracking.runs, self.source_id
        if start and self.tracked and not runs.has_started(source_id, start, self.model):
            return f"It was not begun; force it alone, with --collections {self.source_id}."
        if start:  # what it forced, the same command forces once more
            return "Run the same command without --force-remigrate; it continues from here."
        return "Run the same command again; it continues from here."
