"""How something is sent that must not be sent twice, with what came of it found out and booked.

It is on record before it is sent; an answer that does not come is looked for, twice at least; and
what is found is booked as if it had been answered.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Callable, ContextManager, Optional, TypeVar, Union, cast

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import (
    Interrupted,
    OutcomeUnknown,
    ServerError,
    StepFailed,
    Unavailable,
)
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import parse_time
from h2ogpte_migration.states import TargetState
from h2ogpte_migration.tracking.runs import SAME_CLOCK

T = TypeVar("T")


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
    store = migration.tracking.store
    for _ in range(patience.SENDS_PER_RUN):
        with alone():
            (announce or (lambda: record_send(migration, step)))()
            try:
                answer = send()
            except OutcomeUnknown as error:
                store.record_no_answer(migration.lease, migration.attempt, step, error.timed_out)
                if settle_doubt(migration, step, find, book, timed_out=error.timed_out):
                    return
            except (ServerError, StepFailed, Interrupted):
                # All of these say that nothing was done.
                store.record_unsent(migration.lease, migration.attempt, step)
                raise
            else:
                book(answer)
                return
    times = patience.SENDS_PER_RUN
    raise Unavailable(f"the server did not answer {times} times to the request of {step}")


def _refuse_endless(migration: Migration, step: str) -> None:
    """A request that was sent again and again without an answer, over all runs, ends the attempt."""
    store = migration.tracking.store
    sent = store.sends(migration.attempt, step) - (migration.seen.announced == step)
    if sent < patience.MOST_SENDS:
        return
    what = f"the server never answered the request of {step}, which was sent {sent} times"
    store.end_attempt(migration.lease, TargetState.FAILED, what)
    raise StepFailed(what, "--retry-failed tries once more, with a new target.", "no answer")


def record_send(migration: Migration, step: str) -> bool:
    """Commit that a request is about to be sent, unless that is on record already.

    Returns False where another import of the same owner is in doubt.
    """
    if migration.seen.announced == step:
        migration.seen.announced = ""
        return True
    return migration.tracking.store.record_send(migration.lease, migration.attempt, step)


def settle_doubt(
    migration: Migration,
    step: str,
    find: Callable[[], Union[Absent, Ambiguous, T]],
    book: Callable[[T], None],
    *,
    timed_out: bool,
) -> bool:
    """Find out what an unanswered request did, and book it. False: surely nothing."""
    waited_s = seconds_since(migration, step)
    found = look_until(
        migration.clock,
        find,
        lambda found: not isinstance(found, (Absent, Ambiguous)),
        timed_out=timed_out,
        waited_s=waited_s,
    )
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


def look_until(
    clock: Clock,
    look: Callable[[], T],
    sure: Callable[[T], bool],
    *,
    timed_out: bool,
    waited_s: float = 0.0,
) -> T:
    """Look, and where nothing certain is there, again later: it may still be on its way.

    What was sent a moment ago may take a while to show in any listing, so the looks go on,
    further and further apart, until it is as old as that; there are two at least.

    Args:
        waited_s: how long ago it was sent.
    """
    found = look()
    pause_s = patience.second_look(timed_out)
    while not sure(found):
        clock.sleep(pause_s)
        found = look()
        waited_s += pause_s
        if waited_s >= patience.VISIBLE_WITHIN_S:
            break
        pause_s = min(2 * pause_s, patience.VISIBLE_WITHIN_S - waited_s)
    return found


def seconds_since(migration: Migration, step: str) -> float:
    """About how long ago a request was sent last; the future counts as just now, from then on."""
    tracked = migration.reload()
    sent = [intent for intent in tracked.intents if intent.step == step] if tracked else []
    sent_at = parse_time(sent[-1].opened_at) if sent else None
    if sent_at is None:
        return 0.0
    ago_s = (migration.clock.utc() - sent_at).total_seconds()
    if ago_s < -SAME_CLOCK.total_seconds():
        # Else it would be just now until that time has come.
        migration.tracking.store.date_back(migration.lease, migration.attempt, sent[-1])
    return max(0.0, ago_s)


def in_doubt(migration: Migration, step: str) -> Optional[bool]:
    """Whether a request of a step may have been sent without an answer: whether it timed out.

    None where nothing is in doubt. What this run has only announced is none.
    """
    intent = migration.record.intent(step)
    if intent is None or intent.sends == 0 or migration.seen.announced == step:
        return None
    return intent.timed_out
