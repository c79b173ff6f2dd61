"""One collection in this run: what is asked of it, its record, its lease, and what it came to.

Here also stands, once, how something is sent that must not be sent twice (``send_once``): it is
on record before it is sent; an answer that does not come is looked for, twice; and what is
found is booked as if it had been answered.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import (
    Any,
    Callable,
    ContextManager,
    DefaultDict,
    Dict,
    List,
    Optional,
    Set,
    Tuple,
    TypeVar,
    Union,
    cast,
)

from h2ogpte_migration import naming, patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import (
    Forbidden,
    Interrupted,
    LeaseLost,
    NotFound,
    OutcomeUnknown,
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
    parse_time,
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

    def failed(self, what: str, error: ServerError) -> None:
        """A request was retried in vain."""
        times, _ = self._failures.get(what, (0, error))
        self._failures[what] = (times + 1, error)

    def worked(self, what: str) -> None:
        """A request was answered."""
        self._failures.pop(what, None)

    def refuse(self, what: str) -> None:
        """Raise what it failed with, if it is not to be made any more."""
        times, error = self._failures.get(what, (0, None))
        if error is not None and times >= self.MOST:
            raise error


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


@dataclass(frozen=True)
class Absent:
    """Looked, and what was to be done is not there."""


@dataclass(frozen=True)
class Ambiguous:
    """Looked, and can't tell: the target has to be given up for a fresh one.

    Args:
        rather: looks for what to book instead of giving up what somebody works in already.
    """

    reason: str
    rather: Callable[[], object] = lambda: None


class Migration:
    """One collection to bring forward in this run, with its owner's key.

    ``source`` may be bare (id, name, owner) for what is on record already. The scheduler sets
    ``may_submit``, ``before_poll``, ``job_ended``, ``makes_room`` and what begins with ``on_``, the session
    ``overview``; what else is not an argument gathers over the calls of one run.

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
        self.gateway = gateway
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
        self.carried: Optional[Carried] = None
        self.created: Optional[Collection] = None
        self.created_at = 0.0
        self.rights_copied_at: Optional[float] = None
        self.refused_settings: Set[str] = set()
        self.settings_compared = False
        self.job: Optional[Job] = None
        self.job_looked_at = False
        self.polled_at_version: Optional[int] = None
        self.watched: Optional[Watched] = None
        self.compare_at_s = patience.SEEMS_OVER_S
        self.job_recorded: Optional[Watched] = None
        self.done: Set[str] = set()
        self.notes: List[str] = []
        self.warnings: List[str] = []
        self.documents: Optional[int] = None
        self.moved: Dict[str, int] = {}
        self.retrieval: Optional[Retrieval] = None
        self.empty_at: Dict[str, float] = {}
        self.seen_at: Optional[float] = None
        self.announced = ""
        self.source_gone = False
        self.owner_confirmed = False
        self.reconciled = False
        self.waited_for_slot = False

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
        """The owner's present name; the attempt keeps the one of its beginning."""
        return self.source.owner or self.attempt.owner

    def is_owners(self, username: str) -> bool:
        """Whether a collection that the server says is ``username``'s belongs to the owner.

        An account may be renamed: then the server's present name is the one of the key's holder. A
        server that names no owner shows the key's collections only.
        """
        names = {"", self.owner}
        if self.tracked is not None and self.tracked.attempt is not None:
            names.add(self.tracked.attempt.owner)
        holder = self.gateway.holder
        if holder is not None:
            names.add(holder.username)
        return username in names

    @property
    def how(self) -> ImportOptions:
        return self.attempt.import_options

    @property
    def by_name(self) -> bool:
        """Whether documents are paired by name: copies have ids of their own, and a row of
        version 1.2.0 does not tell whether it copied."""
        return self.how.copy_document or self.attempt.origin == Attempt.LEGACY

    @property
    def was_restarted(self) -> bool:
        """Whether the live attempt was begun by the tool itself, in place of an abandoned one."""
        return bool(
            self.tracked and self.tracked.attempt and self.tracked.attempt.origin == Attempt.RESTART
        )

    # -- before and after a request ----------------------------------------------------
    def before_write(self) -> None:
        """Right before every mutating call: still ours, and nobody asked to stop.

        Raises:
            Interrupted, LeaseLost: the call must not be made.
            StepFailed: the collection changed hands; what is one owner's must never get into
                the account of another.
        """
        self.clock.check()
        if not self.tracking.leases.still_holds(self.lease):
            raise LeaseLost(f"Another process took over collection {self.source_id}.")
        if not self.owner_confirmed:
            self._confirm_owner()
            self.owner_confirmed = True

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
        if self.created is None:
            return 0.0
        return max(0.0, self.created_at + patience.VISIBLE_WITHIN_S - self.clock.now())

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

    def restart(self, fate: TargetState, reason: str) -> None:
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
        store.restart(self.lease, fate, reason, self._unused_name)
        self.notes.append(f"a first target was given up: {reason}")
        self._begun()

    def forget_what_was_seen(self) -> None:
        """Another target is the live one now: what this run saw of the last one does not count."""
        self.created = self.job = None
        self.job_looked_at = self.reconciled = self.waited_for_slot = False
        self.watched = self.job_recorded = None
        self.compare_at_s = patience.SEEMS_OVER_S
        self.seen_at = self.rights_copied_at = None
        self.empty_at.clear()
        self.done.clear()
        self.retrieval = None
        self.announced = ""

    def drop_details(self) -> None:
        """It has ended in this run: what was read of it is not kept, as there may be very many."""
        self.carried = self.tracked = self.job = None
        if self.created is not None:
            self.created = replace(self.created, raw=None)

    def _begun(self) -> None:
        self.forget_what_was_seen()
        self.warnings.clear()
        self.announced = StepName.CREATE
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
            "documents": self.documents,
            "moved": tuple(self.moved.items()),
            "retrieval": self.retrieval,
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
            hint=error.hint or _what_next(error, self.owner, self.policy.force),
            cause=error.kind,
            needs_attention=True,
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


def _what_next(error: Union[ServerError, StepFailed], owner: str, forced: bool) -> str:
    if isinstance(error, Forbidden):
        return (
            f"Does the collection still belong to {owner}? If not, its new owner gets a target of "
            "their own with --force-remigrate. Else run the same command again."
        )
    if forced:  # what a run forced that came to its end, the same command forces once more
        return "Run the same command without --force-remigrate; it continues from here."
    return "Run the same command again; it continues from here."


# -- sending exactly once ----------------------------------------------------------------
def send_once(
    migration: Migration,
    step: str,
    send: Callable[[], T],
    find: Callable[[], Union[Absent, Ambiguous, T]],
    book: Callable[[T], None],
    announce: Optional[Callable[[], None]] = None,
    alone: Callable[[], ContextManager[Any]] = nullcontext,
) -> None:
    """Send what must not be sent twice, until what came of it is known and booked.

    Args:
        send: makes the request; ``OutcomeUnknown`` means that ``find`` has to look.
        find: looks for what an unanswered request may have done.
        book: records what was answered, or found.
        announce: commits that it is about to be sent.
        alone: held until what came of it is known.

    Raises:
        Unavailable: no answer came, as often as it was sent.
        ServerError, StepFailed, Interrupted: nothing was done.
    """
    _refuse_endless(migration, step)
    for _ in range(patience.SENDS_PER_RUN):
        with alone():
            (announce or (lambda: record_send(migration, step)))()
            try:
                answer = send()
            except OutcomeUnknown as error:
                _record_no_answer(migration, step, error.timed_out)
                if settle_doubt(migration, step, find, book, timed_out=error.timed_out):
                    return
            except (ServerError, StepFailed, Interrupted):
                # All of these say that nothing was done.
                migration.tracking.store.record_unsent(migration.lease, migration.attempt, step)
                raise
            else:
                book(answer)
                return
    times = patience.SENDS_PER_RUN
    raise Unavailable(f"the server did not answer {times} times to the request of {step}")


def _refuse_endless(migration: Migration, step: str) -> None:
    """A request that was sent again and again without an answer, over all runs, ends the attempt."""
    store = migration.tracking.store
    sent = store.sends(migration.attempt, step) - (migration.announced == step)
    if sent < patience.MOST_SENDS:
        return
    what = f"the server never answered the request of {step}, which was sent {sent} times"
    store.end_attempt(migration.lease, TargetState.FAILED, what)
    raise StepFailed(what, "--retry-failed tries once more, with a new target.", "no answer")


def record_send(migration: Migration, step: str) -> bool:
    """Commit that a request is about to be sent, unless that is on record already.

    Returns False where another import of the same owner is in doubt.
    """
    if migration.announced == step:
        migration.announced = ""
        return True
    return migration.tracking.store.record_send(migration.lease, migration.attempt, step)


def _record_no_answer(migration: Migration, step: str, timed_out: bool) -> None:
    store = migration.tracking.store
    store.record_no_answer(migration.lease, migration.attempt, step, timed_out)


def settle_doubt(
    migration: Migration,
    step: str,
    find: Callable[[], Union[Absent, Ambiguous, T]],
    book: Callable[[T], None],
    *,
    timed_out: bool,
) -> bool:
    """Find out what an unanswered request did, and book it. False: surely nothing."""
    found = look_until_sure(migration, step, find, timed_out=timed_out)
    if isinstance(found, Ambiguous):
        instead = found.rather()
        if instead is not None:
            book(cast(T, instead))
            return True
        migration.restart(TargetState.ABANDONED, found.reason)
        return True
    if isinstance(found, Absent):
        migration.tracking.store.record_absent(migration.lease, migration.attempt, step)
        return False
    book(found)
    return True


def look_until_sure(
    migration: Migration, step: str, look: Callable[[], T], *, timed_out: bool
) -> T:
    """Look, and where nothing certain is there, again later: it may still be on its way.

    What was sent a moment ago may take a while to show in any listing, so the looks go on,
    further and further apart, until it is as old as that; there are two at least.
    """
    found = look()
    pause_s = patience.second_look(timed_out)
    waited_s = seconds_since(migration, step)
    while isinstance(found, (Absent, Ambiguous)):
        migration.clock.sleep(pause_s)
        found = look()
        waited_s += pause_s
        if waited_s >= patience.VISIBLE_WITHIN_S:
            break
        pause_s = min(2 * pause_s, patience.VISIBLE_WITHIN_S - waited_s)
    return found


def seconds_since(migration: Migration, step: str) -> float:
    """About how long ago a request was sent last; the future counts as just now."""
    tracked = migration.reload()
    sent = [intent for intent in tracked.intents if intent.step == step] if tracked else []
    sent_at = parse_time(sent[-1].opened_at) if sent else None
    if sent_at is None:
        return 0.0
    return max(0.0, (migration.clock.utc() - sent_at).total_seconds())


def in_doubt(migration: Migration, step: str) -> Optional[bool]:
    """Whether a request of a step may have been sent without an answer: whether it timed out.

    None where nothing is in doubt. What this run has only announced is none.
    """
    intent = migration.record.intent(step)
    if intent is None or intent.sends == 0 or migration.announced == step:
        return None
    return intent.timed_out
