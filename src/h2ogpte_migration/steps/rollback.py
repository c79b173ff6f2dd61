"""Bring connectors and chats back from the target to its source, exactly once like the way there.

That it was begun is on record first: from then on nothing is moved to the target any more. The
target stays; ``--cleanup`` deletes it.
"""

from __future__ import annotations

import logging
import operator
from dataclasses import replace
from typing import Iterable, List, Optional, Tuple

from h2ogpte_migration.errors import NotFound, Rejected, ServerError, StepFailed
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Collection, Json
from h2ogpte_migration.results import SOURCE_DELETED, OutcomeKind, Result
from h2ogpte_migration.states import StepName
from h2ogpte_migration.steps import former, ragcheck, refusals, tracing
from h2ogpte_migration.steps.moves import (
    KINDS,
    MOVES,
    Left,
    MoveKind,
    StepJobs,
    Way,
    held_by_source,
    left_in,
    move_all,
)
from h2ogpte_migration.steps.presence import found_nowhere_else, is_gone
from h2ogpte_migration.ui.text import plural

_THERE = {
    StepName.CONNECTORS_BACK: StepName.CONNECTORS,
    StepName.CHATS_BACK: StepName.CHATS,
}
"""The way there, for each way back."""

log = logging.getLogger(__name__)


def begin(migration: Migration) -> Optional[Result]:
    """Commit that what was moved goes back; the source must be there to take it.

    A target that is gone makes it a failed migration: what had been moved went with it.

    Raises:
        NotFound, StepFailed: the source does not exist any more, or belongs to somebody else.
    """
    source = _source(migration)
    if source is None:
        reason = "the source was deleted, and nothing is left to move back"
        return migration.result(OutcomeKind.LEFT, step=StepName.ROLLBACK, reason=reason)
    if not migration.is_owners(source.owner):
        raise StepFailed(
            f"the source is owned by {source.owner} by now; nothing was moved back",
            "It can't be rolled back: its connectors and chats stay with the target.",
        )
    failed = _failed_if_gone(migration)
    if failed is not None:
        return failed
    store, attempt = migration.tracking.store, migration.attempt
    _warn_of_what_stays(migration)
    store.finish_step(migration.lease, attempt, StepName.ROLLBACK, migration.take_warnings())
    return None


def _source(migration: Migration) -> Optional[Collection]:
    """None where neither it is there any more, nor anything to move back.

    Raises:
        StepFailed: it does not exist any more.
    """
    gateway, source_id = migration.gateway, migration.source_id
    try:
        return gateway.collection(source_id)
    except NotFound as error:
        if not is_gone(gateway, migration.clock, source_id):
            raise
        there = not is_gone(gateway, migration.clock, migration.target_id)
        if there and tracing.nothing_is_left(migration):
            return None
        way_out = tracing.to_where_it_came_from(migration)
        raise StepFailed(
            f"the source {source_id} was deleted: there is nothing to move back to",
            "It can't be rolled back: its connectors and chats stay with the target."
            + (f" To the source of that: {' '.join(way_out)}" if way_out else ""),
            SOURCE_DELETED,
            way_out,
        ) from error


def _failed_if_gone(migration: Migration, steps: Iterable[str] = tuple(MOVES)) -> Optional[Result]:
    """What a target held that was deleted went with it: that is not "rolled back", at whatever step.

    Unless all of it had come back before.

    Of one that was migrated on before nothing was lost by that: ``finish`` looks at it.

    Args:
        steps: what is looked for where the target was migrated on to.

    Raises:
        StepFailed: the target was itself migrated on, and what was moved is further on.
    """
    tracing.refuse_while_further_on(migration, steps)
    target_id = migration.target_id
    if not is_gone(migration.gateway, migration.clock, target_id):
        return None
    if tracing.was_migrated_on(migration, target_id) or _all_came_back(migration):
        return None
    failed = migration.import_failed(
        "the target was deleted after the end, with what it held",
        "target deleted",
        "It can't be rolled back. --retry-failed makes a new target.",
    )
    left = [item for item in former.holdings(migration) if item.connectors or item.chats]
    if not left:
        return failed
    ways = [
        f"{item}: --move-connectors --move-chats --from {item.target_id} --to {migration.source_id}"
        for item in left
    ]
    return replace(failed, hint=f"{failed.hint} But {'; '.join(ways)}")


def _all_came_back(migration: Migration) -> bool:
    """Whether the last move back had ended, and only its end was not seen: the source holds it all.

    By its number: where people opened chats in the source since, that does not tell.
    """
    counts = migration.tracking.store.moved_counts(migration.attempt, StepName.CHATS_BACK)
    if counts is None or StepName.CONNECTORS_BACK not in migration.record.checkpoints:
        return False
    begun = migration.tracking.store.sends(migration.attempt, StepName.CHATS_BACK)
    if counts["source"] and not begun:
        return False  # they were counted, and no job is known that moved them
    kind, wanted = KINDS[StepName.CHATS_BACK], _wanted(counts)
    return held_by_source(migration, kind, operator.eq, wanted) == wanted


def _wanted(counts: Json) -> int:
    """How many the source holds once all has come back that does not stay where it is."""
    return int(counts["target"] + counts["source"] - counts.get("stay", 0))


def _warn_of_what_stays(migration: Migration) -> None:
    """Documents do not come back; what people and connectors put into the target is told of."""
    try:
        number = found_nowhere_else(migration, migration.attempt)
    except NotFound:
        return  # a target that is gone, and was migrated on, holds nothing
    except ServerError as error:
        migration.warn(f"whether the target holds more than its source can't be read: {error}")
        return
    if number:
        documents = plural(number, "document")
        migration.warn(f"the target holds {documents} that its source does not; they stay there")


def connectors(migration: Migration) -> Optional[Result]:
    """Move the scheduled connectors back."""
    return _move_back(migration, StepName.CONNECTORS_BACK)


def chats(migration: Migration) -> Optional[Result]:
    """Move the chat sessions back; a test chat must not be among them."""
    ragcheck.give_up(migration)
    return _move_back(migration, StepName.CHATS_BACK)


def finish(migration: Migration) -> Optional[Result]:
    """Both are back: a later plain run leaves the collection alone.

    Of a chain, what an earlier run brought back is looked at once more: since then a later link may
    have brought more. So are former targets, of which one may have been refused. What went with a
    deleted collection is told, and does not count as rolled back.

    Raises:
        StepFailed: a former target could not be seen, or emptied; it may hold more.
    """
    if tracing.is_chained(migration) or len(_ways(migration)) > 1:
        for step in (step for step in _THERE if step not in migration.seen.done):
            failed = _move_back(migration, step)
            if failed is not None:
                return failed
    _refuse_while_some_is_refused(migration)
    lost = tracing.lost(migration)
    if lost:
        return migration.import_failed(
            f"not all that was moved came back: {lost}, which was deleted",
            "target deleted",
            "What was left is in the source again. --retry-failed makes a new target.",
        )
    nowhere = _found_nowhere(migration)
    migration.tracking.store.finish_rollback(migration.lease, migration.attempt)
    # What a forced run began was taken back: the next forced run forces again.
    migration.tracking.runs.end_starts([migration.source_id])
    log.info("rolled back: %s", nowhere or "connectors and chats are in the source again")
    if not nowhere:
        return None
    migration.reload()
    return migration.result(
        OutcomeKind.ROLLED_BACK,
        step=StepName.ROLLBACK,
        reason=nowhere,
        hint="People may have deleted or moved them, or this database is not the newest one: look "
        "for another collection of that name. --move-connectors and --move-chats bring them back.",
        needs_attention=True,
    )


def _found_nowhere(migration: Migration) -> str:
    """What was moved to the target, is not there any more and never came back; empty where nothing.

    So it is where a later migration moved it on that this database, as it came from a backup, does
    not know.
    """
    store, words = migration.tracking.store, []
    for back, there in _THERE.items():
        moved = store.moved_counts(migration.attempt, there)
        number = int(moved["source"]) if moved else 0
        if not number or store.moved_counts(migration.attempt, back):
            continue
        if held_by_source(migration, KINDS[back], operator.ge, number) < number:
            words.append(KINDS[back].number(number))
    if not words:
        return ""
    return f"{' and '.join(words)} moved to the target are not there any more, nor in the source"


def _refuse_while_some_is_refused(migration: Migration) -> None:
    refused, owner = migration.seen.refused, migration.owner
    if not refused:
        return
    these = " and ".join(f"the former target {name} ({why})" for name, why in refused.items())
    raise StepFailed(
        f"not all may have come back: the server does not let {owner} see or empty {these}; "
        "all else is in the source again",
        f"Run the same command again once {owner} may, or once that is deleted: it brings the rest.",
        "former target refused",
    )


def _move_back(migration: Migration, step: str) -> Optional[Result]:
    """Move until no target lists any; "none" has to agree with what is on record as moved.

    Former targets may hold some as well: a forced run moves chats on only where it is asked to.
    """
    failed = _failed_if_gone(migration, [_THERE[step]])
    if failed is not None:
        return failed
    store, kind = migration.tracking.store, KINDS[step]
    counts = store.moved_counts(migration.attempt, step)  # of a rollback that was interrupted
    held = _held(migration, kind, _on_record(migration, step, counts))
    if any(left.total for _, left in held):
        counts = counts or {
            "source": sum(
                left.hidden or kind.count(way.gateway, way.origin)
                for way, left in held
                if left.total
            ),
            "target": kind.count(migration.gateway, migration.source_id),
        }
        store.record_move_counts(migration.lease, migration.attempt, step, counts)
    stay = 0
    for way, left in held:
        stays = _empty(migration, way, step) if left.total else left
        stay += left.total if stays is None else stays.total
        if stays is not None and stays.words(kind, "target"):
            migration.warn(stays.words(kind, "target"))
    tracing.refuse_while_further_on(migration, [_THERE[step]])  # another run may move it there
    if counts:
        counts["stay"] = stay
        _verify(migration, kind, counts)
        migration.moved[step] = counts["source"] - stay
    store.finish_move(migration.lease, migration.attempt, step, counts, migration.take_warnings())
    migration.seen.done.add(step)
    return None


def _held(migration: Migration, kind: MoveKind, on_record: Optional[int]) -> List[Tuple[Way, Left]]:
    """What the target holds, and each former one; those that are refused are noted, and left out."""
    own, *others = _ways(migration)
    held = [(own, left_in(own, kind, on_record))]
    for way in others:
        try:
            held.append((way, former.look_into(way, kind)))
        except Rejected as error:
            migration.seen.refused[way.origin] = refusals.words(error)
    return held


def _empty(migration: Migration, way: Way, step: str) -> Optional[Left]:
    """Move all of it back; None, with a note, where a former target's move is refused."""
    try:
        return move_all(way, KINDS[step], StepJobs(migration, step))
    except Rejected as error:
        if way.origin == migration.target_id:
            raise
        migration.seen.refused[way.origin] = refusals.words(error)
        return None


def _ways(migration: Migration) -> List[Way]:
    """From the target to the source, and from each former target."""
    others = migration.tracking.store.former_targets(migration.source_id)
    targets = [migration.target_id, *(str(attempt.target_id) for attempt in others)]
    return [
        Way(migration.gateway, migration.clock, target, migration.source_id) for target in targets
    ]


def _on_record(migration: Migration, step: str, counts: Optional[Json]) -> Optional[int]:
    """How many the target held before, or how many were moved there; None where nobody noted it."""
    known = counts or migration.tracking.store.moved_counts(migration.attempt, _THERE[step])
    return int(known["source"]) if known else None


def _verify(migration: Migration, kind: MoveKind, counts: Json) -> None:
    """The source must hold what it held, and what came back; people may have deleted some."""
    wanted = _wanted(counts)
    found = held_by_source(migration, kind, operator.ge, wanted)
    counts["target_after"] = found
    if found < wanted:
        migration.warn(
            f"the source had {kind.number(counts['target'])}, {wanted - counts['target']} were moved "
            f"back, and it has {found} now"
        )
