"""Whether the documents of a migrated collection are found, in the new index as in the old one.

Informational, unless ``--min-recall`` is given: then what finds less holds connectors and chats
back until a check finds enough or people accept it. That lasts over runs: it stands as a
blocking finding in the last validation, which every later validation takes over.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import replace
from typing import Optional

from h2ogpte_migration.errors import ServerError, StepFailed, Unauthorized
from h2ogpte_migration.migration import Migration
from h2ogpte_migration.model import Finding
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.retrieval import FINDING, Retrieval
from h2ogpte_migration.states import Position, StepName
from h2ogpte_migration.steps import probing
from h2ogpte_migration.tracking.records import Validation

WAYS_OUT = (
    "Run --verify --verify-retrieval once they are found, or --retry-failed for a new target, or "
    "--verify --ignore-validation to accept it."
)
_TOO_LATE = (
    "--rollback brings them back, --force-remigrate makes a new target, "
    "--ignore-validation accepts it."
)

log = logging.getLogger(__name__)


def run(migration: Migration) -> Optional[Result]:
    """Look for documents, once a run; what finds less than was asked for goes no further."""
    outcome = _check(migration)
    finding = outcome.finding()
    if finding is None or outcome.accepted:
        return None
    return _held(migration, finding)


def kept_finding(migration: Migration) -> Optional[Finding]:
    """What an earlier check holds back; looked for again where this run is asked to look.

    For validations, which begin from nothing otherwise.
    """
    if _holding(migration.record.validation) is None:
        return None
    if migration.policy.retrieval is not None and StepName.RETRIEVAL not in migration.seen.done:
        _check(migration)
        migration.seen.done.add(StepName.RETRIEVAL)
        migration.reload()
    return _holding(migration.record.validation)


def held_back(migration: Migration) -> Optional[Result]:
    """Right before chats move: what holds them back; None where nothing does, or it is accepted."""
    finding = _holding(migration.record.validation)
    if finding is None:
        return None
    if migration.policy.ignore_validation:
        migration.tracking.retrievals.accept(migration.lease, migration.attempt)
        migration.reload()
        return None
    return _held(migration, finding)


def _holding(validation: Optional[Validation]) -> Optional[Finding]:
    if validation is None or validation.ignored:
        return None
    found = (item for item in validation.findings if item.code == FINDING and item.blocking)
    return next(found, None)


def _check(migration: Migration) -> Retrieval:
    """Ask both indexes and record what they answer; whatever goes wrong is an outcome too."""
    asked, retrievals = migration.policy.retrieval, migration.tracking.retrievals
    if asked is None:
        raise StepFailed("bug: a check of the retrieval that nobody asked for")
    last = retrievals.last(migration.attempt)
    min_recall = asked.min_recall
    if min_recall is None and last is not None and _holding(migration.record.validation):
        min_recall = last.min_recall
    seed = last.seed if last is not None else zlib.crc32(migration.source_id.encode())
    outcome = Retrieval(seed, min_recall=min_recall)
    try:
        outcome = probing.look(migration, asked, outcome)
    except Unauthorized:
        raise
    except ServerError as error:
        outcome = replace(outcome, problem=error.message.rstrip("."))
    if outcome.problem:
        migration.on_warning(outcome.words)
    finding = outcome.finding()
    accepted = finding is not None and migration.policy.ignore_validation
    outcome = replace(outcome, accepted=accepted)
    log.log(logging.WARNING if finding or outcome.problem else logging.INFO, "%s", outcome.words)
    position = migration.record.position
    retrievals.record(
        migration.lease,
        migration.attempt,
        outcome,
        finding if position != Position.FINISHED else None,
        look_again=position == Position.HELD,
    )
    migration.seen.retrieval = outcome
    return outcome


def _held(migration: Migration, finding: Finding) -> Result:
    migration.reload()
    finished = migration.record.position == Position.FINISHED
    what = (
        "connectors and chats were moved before"
        if finished
        else (
            "chats are held back"
            if migration.record.position == Position.CONNECTED
            else "connectors and chats are held back"
        )
    )
    log.error("%s: %s", what, finding.text)
    return migration.result(
        OutcomeKind.HELD,
        step=StepName.RETRIEVAL,
        reason=f"{what}: {finding}",
        hint=_TOO_LATE if finished else WAYS_OUT,
        needs_attention=True,
        findings=(finding,),
    )
