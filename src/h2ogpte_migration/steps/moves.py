"""Move connectors and chat sessions from the source to its target.

Moving again is harmless, and done means that the source lists none, whatever a job said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Optional

from h2ogpte_migration.errors import NotFound, StepFailed
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Job, JobId, JobKind, Json, SourceId, TargetId
from h2ogpte_migration.states import Step
from h2ogpte_migration.steps.base import Waiter
from h2ogpte_migration.steps.presence import is_gone

PATIENCE_S = 900.0
"""How long a move job is waited for before its collection is left for a later run."""


@dataclass(frozen=True)
class MoveKind:
    """What differs between the two moves."""

    noun: str
    job_kind: str
    count: Callable[[Gateway, str], int]
    submit: Callable[[Gateway, SourceId, TargetId], JobId]


def _count_connectors(gateway: Gateway, collection_id: str) -> int:
    return len(gateway.connectors(collection_id))


def _count_chats(gateway: Gateway, collection_id: str) -> int:
    # The listing decides, as a count may leave out other users' sessions; it also answers
    # the common case, none, with one request.
    page = gateway.chats(collection_id, limit=100)
    return len(page) if len(page) < 100 else max(len(page), gateway.chat_count(collection_id))


MOVES: Dict[Step, MoveKind] = {
    Step.CONNECTORS: MoveKind(
        "connectors",
        JobKind.CONNECTORS,
        _count_connectors,
        lambda gateway, source, target: gateway.move_connectors(source=source, target=target),
    ),
    Step.CHATS: MoveKind(
        "chats",
        JobKind.CHATS,
        _count_chats,
        lambda gateway, source, target: gateway.move_chats(source=source, target=target),
    ),
}


def left_in(gateway: Gateway, kind: MoveKind, source_id: str) -> int:
    """How many the source holds; none where it does not exist any more."""
    try:
        return kind.count(gateway, source_id)
    except NotFound:
        if not is_gone(gateway, source_id):
            raise
        return 0


def counts(source: int, target: Optional[int]) -> Json:
    """The counts of a move, as they are kept."""
    return {"source": source, "target": target}


def await_job(gateway: Gateway, waiter: Waiter, job_id: JobId, noun: str) -> Optional[Job]:
    """Poll a move job to its end; None where the server keeps no record of it.

    Raises:
        StepFailed: it did not end in ``PATIENCE_S``; it goes on at the server.
    """
    began = waiter.monotonic()
    while True:
        job = gateway.job(job_id)
        if job is None or job.ended:
            return job
        elapsed = waiter.monotonic() - began
        if elapsed > PATIENCE_S:
            raise StepFailed(
                f"the job {job_id} that moves the {noun} is still running",
                "Run the same command later; it waits for that job first.",
            )
        waiter.sleep(poll_delay(elapsed))


def poll_delay(elapsed_s: float) -> float:
    """From 0.1 s towards 5 s, so that an end is noticed within 5 % of the job's duration."""
    return min(5.0, max(0.1, elapsed_s * 0.05))
