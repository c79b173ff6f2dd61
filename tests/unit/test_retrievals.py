"""What checks of the retrieval leave on record, and what they hold back and let go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Iterator, Optional

import pytest
from tests.unit.test_store import C1, Desk

from h2ogpte_migration.errors import LeaseLost
from h2ogpte_migration.model import Document, Finding
from h2ogpte_migration.results import OutcomeKind
from h2ogpte_migration.retrieval import FINDING, Measures, Overall, Retrieval
from h2ogpte_migration.states import Position, Verdict
from h2ogpte_migration.tracking.leases import Lease
from h2ogpte_migration.tracking.records import Attempt

GOOD = Retrieval(7, Measures.of([1, 2], 10), Measures.of([1, 1], 10), min_recall=0.5)
BAD = Retrieval(7, Measures.of([1, None], 10), lost=("b.pdf",), not_found=("b.pdf",), min_recall=1)
MISSING = Finding("missing", "1 document missing", blocking=True)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "tracking.db")
    yield desk
    desk.database.close()


def validated(desk: Desk, *findings: Finding) -> Attempt:
    attempt = desk.created()
    desk.store.announce_import(desk.lease(), attempt, [Document("d", "a.pdf", "completed")])
    desk.store.record_import_found_done(desk.lease(), attempt)
    verdict = Verdict.HELD if findings else Verdict.CLEAN
    desk.store.record_validation(
        desk.lease(), attempt, verdict, findings, 0, ignored=bool(findings)
    )
    return attempt


def record(
    desk: Desk, attempt: Attempt, outcome: Retrieval, *, look_again: bool = False
) -> Optional[Finding]:
    finding = outcome.finding()
    retrievals = desk.tracking.retrievals
    retrievals.record(desk.lease(), attempt, outcome, finding, look_again=look_again)
    return finding


def test_the_last_outcome_is_on_record_with_its_time(desk: Desk) -> None:
    attempt = validated(desk)
    assert desk.tracking.retrievals.last(attempt) is None
    record(desk, attempt, BAD)
    record(desk, attempt, GOOD)
    last = desk.tracking.retrievals.last(attempt)
    assert last is not None
    assert last.checked_at
    assert replace(last, checked_at="") == GOOD
    assert desk.count("retrievals") == 1


def test_what_is_found_too_little_holds_back_and_a_good_check_lets_go(desk: Desk) -> None:
    attempt = validated(desk)
    assert desk.position() == Position.VALIDATED
    record(desk, attempt, BAD)
    assert desk.position() == Position.HELD
    assert desk.columns()["error"].endswith("not found: b.pdf")
    record(desk, attempt, GOOD)
    assert desk.position() == Position.VALIDATED
    assert desk.columns()["error"] is None


def test_after_a_while_in_held_documents_are_compared_anew_before_anything_moves(
    desk: Desk,
) -> None:
    attempt = validated(desk)
    record(desk, attempt, BAD)
    record(desk, attempt, GOOD, look_again=True)
    assert desk.position() == Position.IMPORTED


def test_what_else_blocks_goes_on_blocking(desk: Desk) -> None:
    attempt = validated(desk, MISSING)
    assert desk.position() == Position.VALIDATED, "it was accepted"
    record(desk, attempt, BAD)
    assert desk.position() == Position.HELD
    record(desk, attempt, GOOD, look_again=True)
    assert desk.position() == Position.HELD
    validation = desk.tracked().validation
    assert validation is not None
    assert validation.findings == (MISSING,)


def test_a_good_check_leaves_alone_what_was_accepted(desk: Desk) -> None:
    attempt = validated(desk, MISSING)
    record(desk, attempt, GOOD)
    assert desk.position() == Position.VALIDATED


def test_what_people_accept_holds_back_no_more_and_stays_a_warning(desk: Desk) -> None:
    attempt = validated(desk)
    record(desk, attempt, replace(BAD, accepted=True))
    assert desk.position() == Position.VALIDATED
    assert [item.text for item in desk.store.warnings(C1)] == [f"{BAD.finding()} (accepted)"]


def test_accepting_later_is_on_record(desk: Desk) -> None:
    attempt = validated(desk)
    record(desk, attempt, BAD)
    desk.tracking.retrievals.accept(desk.lease(), attempt)
    last = desk.tracking.retrievals.last(attempt)
    assert last is not None
    assert last.accepted
    assert desk.position() == Position.VALIDATED
    assert desk.columns()["error"] is None


def test_a_problem_is_one_warning_that_goes_with_the_next_good_check(desk: Desk) -> None:
    attempt = validated(desk)
    for problem in ("500", "404", "404"):
        record(desk, attempt, Retrieval(7, problem=problem))
    (warning,) = desk.store.warnings(C1)
    assert warning.text == "retrieval could not be checked: 404"
    record(desk, attempt, GOOD)
    assert desk.store.warnings(C1) == []


def test_a_lost_lease_records_nothing(desk: Desk) -> None:
    attempt, stranger = validated(desk), Lease(C1, 999)
    with pytest.raises(LeaseLost):
        desk.tracking.retrievals.record(stranger, attempt, BAD, BAD.finding(), look_again=False)
    assert desk.count("retrievals") == 0
    assert desk.position() == Position.VALIDATED


def test_status_and_reports_read_it_back_and_add_it_up(desk: Desk) -> None:
    attempt = validated(desk)
    record(desk, attempt, BAD)
    (row,) = desk.tracking.accounts.rows()
    assert row.kind in (OutcomeKind.HELD, OutcomeKind.LEASED_ELSEWHERE)
    assert row.recorded is not None
    assert row.recorded.retrieval is not None
    assert row.recorded.retrieval.lost == ("b.pdf",)
    added = desk.tracking.accounts.retrieval()
    assert added == Overall(collections=1, documents=2, found=1, lost=1)
    record(desk, attempt, Retrieval(7, problem="404"))
    assert desk.tracking.accounts.retrieval() == Overall(unchecked=1)


def test_the_finding_is_told_apart_from_those_of_documents() -> None:
    assert {FINDING}.isdisjoint({"missing", "duplicated", "newly_bad", "wrong_model", "late"})
