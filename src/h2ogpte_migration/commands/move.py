"""Move connectors or chats between any two collections of one owner, for recovery."""

from __future__ import annotations

from typing import List, Optional

from h2ogpte_migration.errors import ExitCode, NotFound, Rejected, StepFailed, ToolError
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Collection, JobId, SourceId, id_forms
from h2ogpte_migration.run.discovery import find_for_admin
from h2ogpte_migration.run.scope import Wanted
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps import moves, ragcheck
from h2ogpte_migration.steps.moves import MOVES, Way
from h2ogpte_migration.tracking.leases import Lease
from h2ogpte_migration.tracking.records import RunInfo


def run(session: Session) -> int:
    """Check everything, then move; returns the exit code.

    Raises:
        ToolError: a collection is not there, not owned by the same user, or worked on.
    """
    options = session.options
    source = _find(session, options.from_id)
    target = _find(session, options.to_id)
    _are_two(source, target)
    _same_owner(session, source, target)
    gateway = session.credentials.gateway_for(source.owner)
    leases = _lease(session, [source.id, target.id])
    jobs = _ByHand(session, leases)
    gateway = gateway.guarded(jobs.still_ours)
    way = Way(gateway, session.clock, source.id, target.id)
    try:
        _sweep_test_chats(session, gateway, leases)
        for step in _steps(session):
            _move(session, way, step, jobs)
    except StepFailed as error:
        raise ToolError(error.message, error.hint) from error
    finally:
        for lease in leases:
            session.tracking.leases.release(lease)
        session.credentials.release(source.owner)
    return ExitCode.OK


def _sweep_test_chats(session: Session, gateway: Gateway, leases: List[Lease]) -> None:
    """What a dead run left is to be told from the chats that move."""
    leftovers = session.tracking.leftovers
    for lease in leases:
        chats = leftovers.test_chats_left(lease.source_id)
        doubts = ragcheck.sweep(gateway, leftovers, chats, session.clock)
        for text in (*doubts, *ragcheck.forget(leftovers, lease.source_id)):
            session.console.attention(f"Warning: {text}")


def _steps(session: Session) -> List[str]:
    chosen = (
        (StepName.CONNECTORS, session.options.move_connectors),
        (StepName.CHATS, session.options.move_chats),
    )
    return [step for step, wanted in chosen if wanted]


def _find(session: Session, collection_id: str) -> Collection:
    if session.admin:
        wanted = Wanted(collections=(collection_id,))
        found = find_for_admin(session, session.gateway, wanted).collections
        if not found:
            raise ToolError(f"There is no collection {collection_id}.", "Nothing was moved.")
        return found[0]
    for form in id_forms(collection_id):
        try:
            return session.gateway.collection(form)
        except NotFound:
            continue
        except Rejected as error:
            raise ToolError(
                f"The collection {collection_id} can't be read with this key: {error.message}",
                "Nothing was moved.",
            ) from error
    raise ToolError(f"There is no collection {collection_id}.", "Nothing was moved.")


def _are_two(source: Collection, target: Collection) -> None:
    """What a server makes of a move from a collection to itself is not in its contract."""
    if source.id in id_forms(target.id):
        raise ToolError(
            f"--from and --to name the same collection, {source.name} ({source.id}).",
            "Nothing was moved.",
            ExitCode.USAGE,
        )


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


def _lease(session: Session, ids: List[str]) -> List[Lease]:
    """Take the tracked collections behind both ids, so that nobody works on them meanwhile."""
    held, store = session.tracking.leases, session.tracking.store
    leases: List[Lease] = []
    for collection_id in ids:
        for source_id in (SourceId(collection_id), *store.sources_of(collection_id)):
            claimed = held.claim(source_id)
            if isinstance(claimed, RunInfo):
                for lease in leases:
                    held.release(lease)
                raise ToolError(
                    f"The collection {collection_id} is being worked on by {claimed}.",
                    "Nothing was moved. Try again when that run has ended.",
                )
            leases.append(claimed)
    return leases


class _ByHand:
    """The jobs of a move by hand: on nobody's record, under the leases of both ends."""

    def __init__(self, session: Session, leases: List[Lease]) -> None:
        self._session = session
        self._leases = leases
        self.is_ours = session.tracking.store.job_is_claimed

    def before_write(self) -> None:
        self._session.clock.check()
        self.still_ours()

    def still_ours(self) -> None:
        """Right before each attempt of it, however long that waited."""
        for lease in self._leases:
            if not self._session.tracking.leases.still_holds(lease):
                raise ToolError(
                    f"Another process took over collection {lease.source_id}.",
                    "Try again when that run has ended.",
                )

    def record_job(self, job_id: Optional[JobId]) -> None:
        """Moving again is harmless: what a killed move left running needs no record."""


def _move(session: Session, way: Way, step: str, jobs: _ByHand) -> None:
    kind = MOVES[step]
    left = moves.left_in(way, kind)
    if not left.total:
        session.console.info(f"There were no {kind.noun} to move.")
        _say_what_stays(session, left.words(kind))
        return
    there = kind.count(way.gateway, way.destination)
    left = moves.move_all(way, kind, jobs)
    _say_what_stays(session, left.words(kind))
    now = kind.count(way.gateway, way.destination)
    moved = kind.number(max(0, now - there))
    session.console.info(f"Moved {moved}: the target had {there} and has {now} now.")


def _say_what_stays(session: Session, words: str) -> None:
    if words:
        session.console.attention(words)
