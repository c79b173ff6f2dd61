"""From what is on record to one position: total, and as the table of the state machine says."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any, Iterator, Tuple

import pytest

from h2ogpte_migration.states import (
    AFTER_IMPORT,
    BEFORE_IMPORT,
    STANDINGS,
    Evidence,
    JobStatus,
    Position,
    position,
)

STATUSES = (None, "", "pending", "submitted", "running", "completed", "failed", "sleeping")
COLUMNS = (
    "collection_created",
    "permissions_copied",
    "import_submitted",
    "import_completed",
    "connectors_migrated",
    "chats_migrated",
)
NOTHING = Evidence(
    has_attempt=False,
    has_target=False,
    has_job=False,
    job_status=None,
    collection_created=False,
    permissions_copied=False,
    import_submitted=False,
    import_completed=False,
    connectors_migrated=False,
    chats_migrated=False,
    import_intent_sent=False,
    held=False,
)
BEGUN = replace(NOTHING, has_attempt=True, job_status=JobStatus.PENDING)
MADE = replace(BEGUN, has_target=True)
CREATED = replace(MADE, collection_created=True)
SHARED = replace(CREATED, permissions_copied=True)
SUBMITTED = replace(SHARED, import_submitted=True, has_job=True, job_status=JobStatus.SUBMITTED)
IMPORTED = replace(SUBMITTED, import_completed=True, job_status=JobStatus.COMPLETED)
VALIDATED = replace(IMPORTED, validated=True)
CONNECTED = replace(VALIDATED, connectors_migrated=True)
FINISHED = replace(CONNECTED, chats_migrated=True)


@lru_cache(maxsize=None)
def everything() -> Tuple[Evidence, ...]:
    return tuple(every_evidence())


def every_evidence() -> Iterator[Evidence]:
    both = (False, True)
    booleans = ("has_attempt", "has_target", "has_job", *COLUMNS, "held", "validated")
    for values in product(both, repeat=len(booleans)):
        chosen: Any = dict(zip(booleans, values))
        for status, sent in product(STATUSES, (None, True, False)):
            yield Evidence(job_status=status, import_intent_sent=sent, **chosen)


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        pytest.param(None, Position.NEW, id="never seen"),
        pytest.param(NOTHING, Position.NEW, id="a row without anything"),
        pytest.param(
            replace(NOTHING, job_status="pending"), Position.NEW, id="creation failed in 1.2.0"
        ),
        pytest.param(
            replace(NOTHING, import_intent_sent=None), Position.NEW, id="1.2.0, nothing made"
        ),
        pytest.param(BEGUN, Position.CREATING, id="create intent open"),
        pytest.param(MADE, Position.CONFIGURING, id="target made, settings not"),
        pytest.param(
            replace(MADE, permissions_copied=True),
            Position.CONFIGURING,
            id="shared before settings",
        ),
        pytest.param(CREATED, Position.CREATED, id="created"),
        pytest.param(SHARED, Position.SHARED, id="shared"),
        pytest.param(
            replace(SHARED, import_intent_sent=True), Position.SUBMITTING, id="import sent, no job"
        ),
        pytest.param(
            replace(SHARED, import_intent_sent=None), Position.SUBMITTING, id="1.2.0, no intents"
        ),
        pytest.param(
            replace(SUBMITTED, has_job=False), Position.SUBMITTING, id="submitted, no job known"
        ),
        pytest.param(SUBMITTED, Position.IMPORTING, id="submitted"),
        pytest.param(replace(SUBMITTED, job_status="running"), Position.IMPORTING, id="running"),
        pytest.param(replace(SUBMITTED, job_status=None), Position.IMPORTING, id="status unknown"),
        pytest.param(IMPORTED, Position.IMPORTED, id="imported"),
        pytest.param(
            replace(IMPORTED, has_job=False), Position.IMPORTED, id="found done, without a job"
        ),
        pytest.param(replace(IMPORTED, held=True), Position.HELD, id="held back"),
        pytest.param(VALIDATED, Position.VALIDATED, id="validated"),
        pytest.param(
            replace(VALIDATED, held=True), Position.HELD, id="held back outweighs validated"
        ),
        pytest.param(
            replace(SUBMITTED, validated=True), Position.IMPORTING, id="validated before its end"
        ),
        pytest.param(CONNECTED, Position.CONNECTED, id="connectors moved"),
        pytest.param(
            replace(CONNECTED, validated=False), Position.CONNECTED, id="moved without validation"
        ),
        pytest.param(FINISHED, Position.FINISHED, id="chats moved"),
        pytest.param(replace(SUBMITTED, job_status="failed"), Position.FAILED, id="failed"),
        pytest.param(
            replace(CREATED, has_target=False), Position.INCONSISTENT, id="created without target"
        ),
        pytest.param(
            replace(SUBMITTED, has_target=False), Position.INCONSISTENT, id="import without target"
        ),
        pytest.param(
            replace(CREATED, connectors_migrated=True),
            Position.INCONSISTENT,
            id="connectors before the import",
        ),
        pytest.param(
            replace(SUBMITTED, chats_migrated=True),
            Position.INCONSISTENT,
            id="chats before the import",
        ),
        pytest.param(
            replace(IMPORTED, chats_migrated=True),
            Position.INCONSISTENT,
            id="chats before connectors",
        ),
        pytest.param(
            replace(IMPORTED, import_submitted=False),
            Position.INCONSISTENT,
            id="completed, never submitted",
        ),
    ],
)
def test_evidence_has_the_position_of_the_table(evidence: Any, expected: Position) -> None:
    assert position(evidence) == expected


@pytest.mark.parametrize("step", [*COLUMNS, "has_job"])
def test_a_step_that_was_done_without_any_target_is_inconsistent_not_new(step: str) -> None:
    done: Any = {step: True}
    assert position(replace(NOTHING, **done)) == Position.INCONSISTENT


def test_every_combination_has_a_position_and_every_position_a_combination() -> None:
    found = {position(evidence) for evidence in everything()}
    for evidence in everything():
        found.add(position(replace(evidence, rolling_back=True)))
        found.add(position(replace(evidence, rolling_back=True, rolled_back=True)))
    assert found == set(Position)


def test_what_failed_is_failed_whatever_else_is_on_record() -> None:
    for evidence in everything():
        failed = position(evidence) == Position.FAILED
        assert failed == (evidence.job_status == "failed"), evidence


def test_moves_on_record_need_a_completed_import_and_connectors_come_before_chats() -> None:
    for evidence in everything():
        moved = evidence.connectors_migrated or evidence.chats_migrated
        impossible = (moved and not evidence.import_completed) or (
            evidence.chats_migrated and not evidence.connectors_migrated
        )
        if impossible and evidence.job_status != "failed":
            assert position(evidence) == Position.INCONSISTENT, evidence


def test_new_is_only_what_left_no_trace() -> None:
    for evidence in everything():
        if position(evidence) == Position.NEW:
            assert not evidence.has_attempt
            assert not evidence.has_job
            assert not any(getattr(evidence, step) for step in COLUMNS)


def test_work_behind_the_creation_has_a_target() -> None:
    needs_target = set(Position) - {
        Position.NEW,
        Position.CREATING,
        Position.FAILED,
        Position.INCONSISTENT,
    }
    for evidence in everything():
        if position(evidence) in needs_target:
            assert evidence.has_target, evidence
            assert evidence.has_attempt, evidence


def test_an_import_that_may_be_under_way_is_never_taken_for_not_begun() -> None:
    """Also a row without intents, of version 1.2.0: its import may have left no trace."""
    for evidence in everything():
        if evidence.import_intent_sent is not False or evidence.import_submitted:
            assert position(evidence) not in (Position.CREATED, Position.SHARED), evidence


def test_held_shows_only_once_the_import_is_completed() -> None:
    for evidence in everything():
        here = position(evidence)
        if here == Position.HELD:
            assert evidence.held
            assert evidence.import_completed
        past = (Position.IMPORTED, Position.VALIDATED, Position.CONNECTED, Position.FINISHED)
        if here in past:
            assert not evidence.held


def test_validated_is_what_waits_for_its_connectors_and_was_found_well() -> None:
    for evidence in everything():
        here = position(evidence)
        if here in (Position.IMPORTED, Position.VALIDATED):
            assert evidence.validated == (here == Position.VALIDATED), evidence
            assert evidence.import_completed
            assert not evidence.connectors_migrated
        elif here != Position.HELD:
            other = replace(evidence, validated=not evidence.validated)
            assert position(other) == here, "nowhere else does a validation change anything"


def test_a_target_without_its_settings_is_configuring_and_only_that() -> None:
    for evidence in everything():
        here = position(evidence)
        if here == Position.CONFIGURING:
            assert evidence.has_target
            assert not evidence.collection_created
            assert not evidence.import_submitted
        if here == Position.CREATING:
            assert not evidence.has_target, "what is known is not looked for by its name"


def test_shared_is_created_with_rights_and_without_a_request() -> None:
    for evidence in everything():
        here = position(evidence)
        if here in (Position.CREATED, Position.SHARED):
            assert evidence.collection_created
            assert not evidence.import_submitted
            assert evidence.permissions_copied == (here == Position.SHARED), evidence


def test_the_documented_status_decides_nothing_but_failure() -> None:
    """The columns are the truth: a status word of another version changes no position."""
    for evidence in everything():
        if evidence.job_status not in ("failed", None):
            assert position(evidence) == position(replace(evidence, job_status=None)), evidence


def test_the_columns_in_their_order_lead_from_position_to_position() -> None:
    line = [BEGUN, MADE, CREATED, SHARED, SUBMITTED, IMPORTED, VALIDATED, CONNECTED, FINISHED]
    order = list(Position)
    ranks = [order.index(position(evidence)) for evidence in line]
    assert ranks == sorted(set(ranks)), "and each has one of its own"
    assert position(line[-1]) == Position.FINISHED


def test_every_position_has_a_row_in_the_table() -> None:
    assert list(STANDINGS) == list(Position), "in the order of the way"
    for row in STANDINGS.values():
        assert row.evidence
        assert row.following


def test_whoever_finds_a_collection_somewhere_is_told_how_it_goes_on() -> None:
    for where, row in STANDINGS.items():
        over = where in (Position.CONNECTED, Position.FINISHED, Position.ROLLED_BACK)
        assert bool(row.advice) != over, where
        assert bool(row.resumed) == (where != Position.NEW), where


def test_begun_and_not_imported_is_what_has_an_attempt_and_no_import_for_certain() -> None:
    for evidence in everything():
        here = position(evidence)
        if here in BEFORE_IMPORT:
            assert evidence.has_attempt
            assert not (evidence.import_submitted and evidence.has_job)
            assert not evidence.import_completed
    line = list(Position)
    first, last = line.index(Position.CREATING), line.index(Position.IMPORTING)
    assert tuple(line[first:last]) == BEFORE_IMPORT


def test_after_the_import_is_all_from_its_end_to_a_rollback() -> None:
    line = list(Position)
    first, last = line.index(Position.IMPORTED), line.index(Position.ROLLING_BACK)
    assert tuple(line[first:last]) == AFTER_IMPORT
