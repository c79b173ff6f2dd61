"""Look after what was submitted: jobs, validation, connectors, chats. Begins nothing new."""

from __future__ import annotations

from typing import Iterator, List, Sequence, Tuple

from h2ogpte_migration.results import OutcomeKind, Result, not_available
from h2ogpte_migration.run import closing, former
from h2ogpte_migration.run.session import Session
from h2ogpte_migration.run.tracked import count_in_scope, in_scope, is_in_scope
from h2ogpte_migration.states import STANDINGS, Position
from h2ogpte_migration.steps import chains
from h2ogpte_migration.tracking.records import Record
from h2ogpte_migration.ui.text import plural


def run(session: Session) -> int:
    """Verify everything in scope that is on record and not over yet; returns the exit code."""
    records, missing = in_scope(session, _candidates(session))
    if not session.options.verify:
        records, unfinished = _finished_ones(session, records)
        missing += unfinished
    session.check_rights(record.owner for record in records)
    session.sweep_leftovers()
    failed = _failed_in_scope(session)
    session.console.info(f"To verify: {plural(len(records), 'collection')}.")
    if session.options.verify_query is not None and not records:
        session.console.info(
            "--verify-query asks what is verified now: name finished collections with "
            "--collections to have them asked."
        )
    policy = session.policy(verify=True)
    migrations = [session.tracked_migration(record, policy) for record in records]
    importing = {
        str(record.source_id)
        for record in records
        if record.import_submitted and not record.import_completed
    }
    result = session.carry_out(
        migrations,
        importing,
        lambda migration, outcome: former.remarks(session, migration, outcome),
        first=chains.first(records),
    )
    result.results += [*failed, *missing]
    if result.fatal is None:
        result.total = count_in_scope(session)
    return closing.tell(session, result)


def _candidates(session: Session) -> Iterator[Record]:
    """What is looked at where no ids are given: what is open; to check the retrieval, what is done."""
    store, options = session.tracking.store, session.options
    if options.retrieval is None:
        return store.unfinished(with_chats=options.migrate_chats)
    return store.standing() if options.verify else store.finished()


def _finished_ones(
    session: Session, records: Sequence[Record]
) -> Tuple[List[Record], List[Result]]:
    """For a check alone: those that are done with, and a result for each that was named in vain."""
    finished = {record.source_id for record in session.tracking.store.finished()}
    unfinished = [
        not_available(record.source_id, "its migration is not finished: --verify looks after it")
        for record in records
        if record.source_id not in finished
    ]
    return [record for record in records if record.source_id in finished], unfinished


def _failed_in_scope(session: Session) -> List[Result]:
    """Imports that failed for good: nothing is done about them, and they stay open."""
    if session.options.collections or not session.options.verify:
        return []  # looked at one by one, or not looked at
    return [
        Result(
            OutcomeKind.FAILED,
            record.source_id,
            record.source_name,
            record.owner,
            record.source_model,
            target_id=record.target_id,
            target_name=record.target_name,
            target_model=record.target_model,
            position=Position.FAILED,
            reason=record.error or STANDINGS[Position.FAILED].evidence,
            needs_attention=True,
            earlier=True,
        )
        for record in session.tracking.store.failed()
        if is_in_scope(session, record)
    ]
