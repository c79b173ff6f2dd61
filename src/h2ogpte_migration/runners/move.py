"""Move connectors or chats between any two collections of one owner, for recovery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional

from h2ogpte_migration.driving.drive import SECOND_LOOK_AFTER_TIMEOUT_S, SECOND_LOOK_S
from h2ogpte_migration.errors import NotFound, OutcomeUnknown, Rejected, StepFailed, ToolError
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Collection, Job, SourceId, TargetId
from h2ogpte_migration.runners import scope
from h2ogpte_migration.runners.session import Session
from h2ogpte_migration.states import Step
from h2ogpte_migration.steps import moves, ragcheck
from h2ogpte_migration.tracking.records import Holder
from h2ogpte_migration.tracking.runs import Runs
from h2ogpte_migration.tracking.store import Lease, Store

TRIES = 3


@dataclass(frozen=True)
class Moved:
    """What a move came to."""

    noun: str
    before: int
    target_before: int
    target_after: int


def run(session: Session) -> List[Moved]:
    """Check everything, then move.

    Raises:
        ToolError: a collection is not there, not owned by the same user, or worked on.
    """
    options, runs = session.options, session.runs
    if runs is None or session.store is None:
        raise ToolError("bug: a move needs its database")
    source = _find(session, options.from_id)
    target = _find(session, options.to_id)
    _same_owner(session, source, target)
    gateway = session.credentials.gateway_for(source.owner)
    leases = _lease(runs, session.store, [source.id, target.id])
    try:
        for lease in leases:
            # What a dead run left is to be told from the chats that move.
            ragcheck.sweep(gateway, runs, lease.source_id)
            ragcheck.give_up(runs, lease.source_id)
        return [_move(session, gateway, leases, step, source, target) for step in _steps(session)]
    finally:
        for lease in leases:
            runs.release(lease)
        session.credentials.release(source.owner)


def _steps(session: Session) -> List[Step]:
    chosen = (
        (Step.CONNECTORS, session.options.move_connectors),
        (Step.CHATS, session.options.move_chats),
    )
    return [step for step, wanted in chosen if wanted]


def _find(session: Session, collection_id: str) -> Collection:
    if session.admin:
        wanted = scope.Wanted(collections=(collection_id,))
        found = scope.find_as_admin(session.gateway, wanted).collections
        if not found:
            raise ToolError(f"There is no collection {collection_id}.", "Nothing was moved.")
        return found[0]
    try:
        return session.gateway.collection(collection_id)
    except NotFound as error:
        raise ToolError(f"There is no collection {collection_id}.", "Nothing was moved.") from error
    except Rejected as error:
        raise ToolError(
            f"The collection {collection_id} can't be read with this key: {error.message}",
            "Nothing was moved.",
        ) from error


def _same_owner(session: Session, source: Collection, target: Collection) -> None:
    if source.owner != target.owner:
        raise ToolError(
            f"The collections have different owners: {source.id} is {source.owner}'s, "
            f"{target.id} is {target.owner}'s.",
            "The server moves only between collections of one owner. Nothing was moved.",
        )
    if not session.admin and source.owner != session.identity.username:
        raise ToolError(
            f"The collections are owned by {source.owner}, not by you.", "Nothing was moved."
        )


def _lease(runs: Runs, store: Store, ids: List[str]) -> List[Lease]:
    """Take the tracked collections behind both ids, so that nobody works on them meanwhile."""
    leases: List[Lease] = []
    for collection_id in ids:
        for source_id in store.sources_behind(collection_id):
            claimed = runs.claim(source_id)
            if isinstance(claimed, Holder):
                for lease in leases:
                    runs.release(lease)
                raise ToolError(
                    f"The collection {collection_id} is being worked on by {claimed}.",
                    "Nothing was moved. Try again when that run has ended.",
                )
            leases.append(claimed)
    return leases


def _move(
    session: Session,
    gateway: Gateway,
    leases: List[Lease],
    step: Step,
    source: Collection,
    target: Collection,
) -> Moved:
    kind = moves.MOVES[step]
    before = kind.count(gateway, source.id)
    target_before = kind.count(gateway, target.id)
    left, tries, words = before, 0, ""
    while left and tries < TRIES:
        session.waiter.check()
        _check_leases(session, leases)
        words = _move_once(session, gateway, kind, source.id, target.id)
        tries += 1
        left = kind.count(gateway, source.id)
    if left:
        raise ToolError(
            f"{left} of {before} {kind.noun} are still in {source.id}: {words}".rstrip(": "),
            "Run the same command again; it moves the rest.",
        )
    return Moved(kind.noun, before, target_before, kind.count(gateway, target.id))


def _check_leases(session: Session, leases: List[Lease]) -> None:
    for lease in leases:
        if session.runs is not None and not session.runs.still_holds(lease):
            raise ToolError(
                f"Another process took over collection {lease.source_id}.",
                "Try again when that run has ended.",
            )


def _move_once(
    session: Session, gateway: Gateway, kind: moves.MoveKind, source: str, target: str
) -> str:
    """One move job, waited for; returns what it complained about."""
    try:
        job_id = kind.submit(gateway, SourceId(source), TargetId(target))
    except OutcomeUnknown as error:
        session.waiter.sleep(SECOND_LOOK_AFTER_TIMEOUT_S if error.timed_out else SECOND_LOOK_S)
        return error.message
    try:
        job: Optional[Job] = moves.await_job(gateway, session.waiter, job_id, kind.noun)
    except StepFailed as error:
        raise ToolError(error.message, error.hint) from error
    return "; ".join(job.errors[:3]) if job is not None else ""
