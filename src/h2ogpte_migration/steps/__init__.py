"""The steps of one collection's migration, in their order: the table that the pipeline runs.

A new step is a file here and a row below. Its checkpoint is the documented column that it
sets, or else a row in ``checkpoints`` under its name (``Store.finish_step``). What is due after
the connectors, unasked, stands in ``tracking.rows.BRINGING_OVER`` as well: by that, ``--verify``
and ``--status`` find what is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, FrozenSet, Optional, Tuple

from h2ogpte_migration.migration import Migration
from h2ogpte_migration.planner import Policy
from h2ogpte_migration.results import Result
from h2ogpte_migration.states import AFTER_IMPORT, Position, StepName
from h2ogpte_migration.steps import (
    create,
    former,
    importing,
    job,
    moves,
    permissions,
    presence,
    ragcheck,
    retrieval,
    rollback,
    settings,
    validate,
)
from h2ogpte_migration.tracking.records import Tracked


@dataclass(frozen=True)
class Step:
    """A row of the table.

    Args:
        name: what record, times and reports call it.
        run: does it. A result ends the collection's turn; None goes on from what is on record.
        at: the positions at which it is due.
        verb: what people read while it is done.
        wanted: whether it was asked for, and there is anything for it to do.
        once_a_run: it is done again in each run, and leaves no checkpoint.
        of_the_target: whether a failure of it speaks of the server, so that the same one at many
            collections stops the run: steps up to the end of the import.
    """

    name: str
    run: Callable[[Migration], Optional[Result]]
    at: Tuple[Position, ...]
    verb: str
    wanted: Callable[[Policy, Tracked], bool] = lambda _policy, _tracked: True
    once_a_run: bool = False
    of_the_target: bool = False


STEPS: Tuple[Step, ...] = (
    Step(StepName.CREATE, create.run, (Position.CREATING,), "creating", of_the_target=True),
    Step(
        StepName.SETTINGS, settings.run, (Position.CONFIGURING,), "configuring", of_the_target=True
    ),
    Step(StepName.PERMISSIONS, permissions.run, (Position.CREATED,), "sharing", of_the_target=True),
    Step(
        StepName.IMPORT,
        importing.run,
        (Position.SHARED, Position.SUBMITTING),
        "submitting",
        of_the_target=True,
    ),
    Step(
        StepName.ROLLBACK,
        rollback.begin,
        AFTER_IMPORT,
        "rolling back",
        wanted=lambda policy, _: policy.rollback,
    ),
    Step(
        StepName.CONNECTORS_BACK,
        rollback.connectors,
        (Position.ROLLING_BACK,),
        "moving connectors back",
        wanted=lambda policy, _: policy.rollback,
    ),
    Step(
        StepName.CHATS_BACK,
        rollback.chats,
        (Position.ROLLING_BACK,),
        "moving chats back",
        wanted=lambda policy, _: policy.rollback,
    ),
    Step(
        StepName.ROLLED_BACK,
        rollback.finish,
        (Position.ROLLING_BACK,),
        "rolling back",
        wanted=lambda policy, _: policy.rollback,
    ),
    Step(StepName.JOB, job.run, (Position.IMPORTING,), "importing", of_the_target=True),
    Step(StepName.VALIDATE, validate.run, (Position.IMPORTED, Position.HELD), "validating"),
    Step(
        StepName.RETRIEVAL,
        retrieval.run,
        (Position.VALIDATED, Position.CONNECTED, Position.FINISHED),
        "looking for documents",
        wanted=lambda policy, _: policy.retrieval is not None,
        once_a_run=True,
    ),
    Step(
        StepName.QUESTION,
        ragcheck.run,
        (Position.VALIDATED, Position.CONNECTED, Position.FINISHED),
        "asking",
        wanted=lambda policy, _: policy.verify_query is not None,
        once_a_run=True,
    ),
    Step(StepName.CONNECTORS, moves.connectors, (Position.VALIDATED,), "moving connectors"),
    Step(
        StepName.CHATS,
        moves.chats,
        (Position.CONNECTED,),
        "moving chats",
        # Once begun they are gone on with, as all else is.
        wanted=lambda policy, tracked: policy.migrate_chats or tracked.chats_open,
    ),
    Step(
        StepName.FORMER_CONNECTORS,
        former.connectors,
        (Position.CONNECTED, Position.FINISHED),
        "bringing over connectors",
        wanted=lambda _, tracked: tracked.former_targets,
    ),
    Step(
        StepName.FORMER_CHATS,
        former.chats,
        (Position.FINISHED,),
        "bringing over chats",
        wanted=lambda _, tracked: tracked.former_targets,
    ),
    Step(
        StepName.LOOK,
        presence.run,
        (Position.CONNECTED, Position.FINISHED),
        "looking",
        wanted=lambda policy, _: policy.look_again,
        once_a_run=True,
    ),
)

BY_NAME = {step.name: step for step in STEPS}


def due(tracked: Tracked, policy: Policy, done: FrozenSet[str] = frozenset()) -> Optional[Step]:
    """The step that comes next; None where all that was asked for is done.

    Args:
        done: steps that are done once a run, and were in this one.
    """
    for step in STEPS:
        if (
            tracked.position in step.at
            and step.wanted(policy, tracked)
            and step.name not in tracked.checkpoints
            and step.name not in done
        ):
            return step
    return None
