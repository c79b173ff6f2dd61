"""Whether a former target may be deleted: it must hold nothing that is nowhere else.

The one place that decides it, asked when targets are listed and again right before each is deleted.
In doubt it is kept, with the reason.
"""

from __future__ import annotations

from typing import Optional

from h2ogpte_migration import patience
from h2ogpte_migration.errors import NotFound, ServerError
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection
from h2ogpte_migration.naming import normalise
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps.moves import MOVES, Way, left_in
from h2ogpte_migration.steps.presence import alone_and_listed, is_empty, is_gone
from h2ogpte_migration.tracking.records import Attempt
from h2ogpte_migration.ui.text import plural


class Gone(Exception):
    """The target does not exist any more."""


def why_kept(migration: Migration, former: Attempt) -> str:
    """Why a former target must not be deleted; empty where it may be.

    Raises:
        Gone: somebody deleted it already.
    """
    target_id = str(former.target_id)
    try:
        found = migration.gateway.collection(target_id)
    except NotFound as error:
        if is_gone(migration.gateway, migration.clock, target_id):
            raise Gone from error
        return "the server does not show it right now"
    except ServerError as error:
        return f"it can't be read: {error.message}"
    try:
        return (
            _somebodys(migration, former, found)
            or _in_use(migration, target_id)
            or _written_to(migration, former)
            or _pointed_at(migration, target_id)
            or _holds_more(migration, former, target_id)
        )
    except ServerError as error:
        return f"what it holds can't be read: {error.message}"


def _somebodys(migration: Migration, former: Attempt, found: Collection) -> str:
    """It must be what was made here, and nobody's by now."""
    if migration.tracking.store.is_in_use(str(former.target_id)):
        return "it is the source or the current target of a migration"
    if normalise(found.name) != normalise(former.target_name):
        return f"it was renamed to {found.name}: somebody uses it"
    if found.owner != former.owner and not migration.is_owners(found.owner):
        return f"it is owned by {found.owner} by now"
    if found.model != former.model:
        return f"its model is {found.model}, not {former.model}"
    return ""


def _in_use(migration: Migration, target_id: str) -> str:
    way = Way(migration.gateway, migration.clock, target_id, "")
    for step in (StepName.CONNECTORS, StepName.CHATS):
        kind = MOVES[step]
        left = left_in(way, kind)
        if left.total:
            return f"it still holds {kind.number(left.listed or left.hidden)}"
    return ""


def _pointed_at(migration: Migration, target_id: str) -> str:
    """Keys, tasks or assistants of people that would point at nothing."""
    pointers = migration.shared.pointers(migration.gateway, target_id, False, False)
    return pointers[0] if pointers else ""


def _written_to(migration: Migration, former: Attempt) -> str:
    """No job may be about to bring documents into it."""
    store = migration.tracking.store
    job_id = store.job_of(former)
    if job_id is not None:
        job = migration.gateway.job(job_id)
        if job is not None and not job.ended:
            return f"its import job {job_id} is still running"
    for job in migration.gateway.jobs():
        harmless = job.ended or job.kind.startswith("Delete")
        if not harmless and not store.job_is_claimed(job.id):
            # No job says which collection it is about: uploads, crawls and moves may be about this.
            return f"a job of its owner is running ({job.kind} {job.id}), and may write to it"
    return ""


def _holds_more(migration: Migration, former: Attempt, target_id: str) -> str:
    """Every document must be in the source, or in a validated current target, as well.

    What it lists must be all that it counts by then: listings may lag behind.
    """
    gateway, clock, unlisted = migration.gateway, migration.clock, 0
    if is_empty(gateway, clock, target_id):
        return ""
    live = _validated_target(migration, target_id)
    for look in (1, 2):
        if look == 2:
            clock.sleep(patience.SECOND_LOOK_S)
        try:
            only_here, shown = alone_and_listed(migration, former, live)
        except NotFound:
            return "its source is gone, and no validated target stands for it"
        unlisted = (gateway.collection(target_id).document_count or 0) - shown
        if unlisted <= 0:
            what = f"it holds {plural(only_here, 'document')} found nowhere else"
            return what if only_here else ""
    return f"it counts {plural(unlisted, 'document')} more than it lists"


def _validated_target(migration: Migration, judged: str) -> Optional[str]:
    """The target in use, if all arrived in it. The one that is judged can't speak for itself."""
    tracked = migration.tracked
    if tracked is None or tracked.attempt is None or tracked.validation is None:
        return None
    target_id = tracked.attempt.target_id
    return target_id if tracked.validation.settled and target_id != judged else None
