"""What is on record about collections: the life of an attempt, fact by fact."""

from __future__ import annotations

import sqlite3
import weakref
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

import pytest
from tests.support.each import each

from h2ogpte_migration.errors import LeaseLost
from h2ogpte_migration.model import (
    Collection,
    Document,
    Finding,
    ImportOptions,
    JobId,
    Permissions,
    Share,
    SourceId,
    TargetId,
)
from h2ogpte_migration.states import Position, StepName, TargetState, Verdict
from h2ogpte_migration.tracking import Database, Tracking, schema
from h2ogpte_migration.tracking.leases import Lease
from h2ogpte_migration.tracking.records import Attempt, Intent, KeptWarning, Tracked, Watched
from h2ogpte_migration.tracking.store import NewAttempt, Store

C1, C2 = SourceId("c1"), SourceId("c2")
MADE_AT = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=timezone.utc)
OPTIONS = ImportOptions(copy_document=True, ocr_model="off")
KIND = "ImportCollectionIntoCollectionJob"
FACTS_OF_SOURCE = {"metadata": {"ä": [1, None]}}
STEP_COLUMNS = schema.DOCUMENTED_COLUMNS[-6:]
HOLDS_BACK = Finding("missing", "1 document missing", blocking=True, samples=("a.pdf",))
REMARK = Finding("late", "2 documents left behind", samples=("b.pdf", "c.pdf"))
WATCHED = Watched("running 10", MADE_AT)


class Desk:
    """A store, a run that works with it, and the way through an attempt's life."""

    def __init__(self, path: Path) -> None:
        self.database = Database.to_write(path)
        self.tracking = Tracking(self.database)
        self.store = self.tracking.store
        self.leases = self.tracking.leases
        self.tracking.runs.begin("1.3", "test")

    def lease(self, source_id: SourceId = C1) -> Lease:
        lease = self.leases.claim(source_id)
        assert isinstance(lease, Lease)
        return lease

    def begin(
        self, source_id: SourceId = C1, owner: str = "anna", start: Optional[str] = None
    ) -> Attempt:
        source = Collection(source_id, f"name of {source_id}", owner, "old")
        new = NewAttempt(source, f"id-{owner}", "new", OPTIONS, Attempt.RUN)
        self.store.begin_attempt(self.lease(source_id), new, free_name, start)
        return self.attempt(source_id)

    def tracked(self, source_id: SourceId = C1) -> Tracked:
        tracked = self.store.load(source_id)
        assert tracked is not None
        return tracked

    def attempt(self, source_id: SourceId = C1) -> Attempt:
        attempt = self.tracked(source_id).attempt
        assert attempt is not None
        return attempt

    def position(self, source_id: SourceId = C1) -> Position:
        return self.tracked(source_id).position

    def make(self, target_id: str = "t1", source_id: SourceId = C1) -> Attempt:
        attempt = self.attempt(source_id)
        target = Collection(target_id, attempt.target_name, "anna", "new", created_at=MADE_AT)
        self.store.record_target(self.lease(source_id), attempt, target, FACTS_OF_SOURCE)
        return self.attempt(source_id)

    def created(self, source_id: SourceId = C1, owner: str = "anna", target: str = "t1") -> Attempt:
        self.begin(source_id, owner)
        attempt = self.make(target, source_id)
        self.store.finish_settings(self.lease(source_id), attempt, ())
        self.store.finish_permissions(self.lease(source_id), attempt, Permissions(False), ())
        return attempt

    def submitted(self, source_id: SourceId = C1, job: str = "j1", target: str = "t1") -> Attempt:
        attempt = self.created(source_id, target=target)
        self.store.record_send(self.lease(source_id), attempt, StepName.IMPORT)
        self.store.record_import_job(
            self.lease(source_id), attempt, JobId(job), KIND, adopted=False
        )
        return attempt

    def imported(self) -> Attempt:
        attempt = self.submitted()
        self.store.finish_import(self.lease(), attempt)
        return attempt

    def columns(self, source_id: SourceId = C1) -> Dict[str, Any]:
        row = self.database.row(
            "SELECT * FROM collection_migrations WHERE old_collection_id = :id", {"id": source_id}
        )
        assert row is not None
        return dict(row)

    def count(self, table: str) -> int:
        row = self.database.row(f"SELECT count(*) FROM {table}")
        assert row is not None
        return int(row[0])


def free_name(taken: Set[str]) -> str:
    number = 1
    while f"target {number}" in taken:
        number += 1
    return f"target {number}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database lies."""
    return tmp_path / "tracking.db"


@pytest.fixture
def desk(path: Path) -> Iterator[Desk]:
    """Return a store on a new database, and a run that works with it."""
    desk = Desk(path)
    yield desk
    desk.database.close()


# -- the way of an attempt -----------------------------------------------------------------
def test_nothing_is_on_record_about_what_was_never_begun(desk: Desk) -> None:
    assert desk.store.load(C1) is None
    assert list(desk.store.records()) == []
    assert desk.store.history(C1) == []
    assert set(desk.store.past_targets()) == set()
    assert desk.store.reserved_names() == {}


def test_an_attempt_goes_through_the_positions_in_their_order(desk: Desk) -> None:
    store, lease = desk.store, desk.lease()
    attempt = desk.begin()
    assert desk.position() == Position.CREATING
    attempt = desk.make()
    assert desk.position() == Position.CONFIGURING, "the settings are not there yet"
    store.finish_settings(lease, attempt, ["no thumbnail"])
    assert desk.position() == Position.CREATED
    store.finish_permissions(lease, attempt, Permissions(True, ("read",)), [])
    assert desk.position() == Position.SHARED
    assert store.record_send(lease, attempt, StepName.IMPORT)
    assert desk.position() == Position.SUBMITTING
    store.record_import_job(lease, attempt, JobId("j1"), KIND, adopted=False)
    assert desk.position() == Position.IMPORTING
    store.record_job_running(lease, attempt, WATCHED)
    assert desk.position() == Position.IMPORTING
    store.finish_import(lease, attempt, ["some errors"])
    assert desk.position() == Position.IMPORTED
    store.record_validation(lease, attempt, Verdict.HELD, [HOLDS_BACK], 0)
    assert desk.position() == Position.HELD
    store.record_validation(lease, attempt, Verdict.CLEAN, [], 0)
    assert desk.position() == Position.VALIDATED
    store.finish_move(lease, attempt, StepName.CONNECTORS, {"source": 1, "target": 0})
    assert desk.position() == Position.CONNECTED
    store.finish_move(lease, attempt, StepName.CHATS, None)
    assert desk.position() == Position.FINISHED


def test_the_documented_columns_tell_the_same_and_never_go_back(desk: Desk) -> None:
    store, lease = desk.store, desk.lease()
    seen: List[Tuple[Any, ...]] = []
    statuses: List[str] = []

    def look() -> None:
        row = desk.columns()
        seen.append(tuple(row[name] for name in STEP_COLUMNS))
        statuses.append(row["job_status"])

    attempt = desk.begin()
    look()
    attempt = desk.make()
    look()
    store.finish_settings(lease, attempt, [])
    look()
    store.finish_permissions(lease, attempt, Permissions(False), [])
    look()
    store.record_send(lease, attempt, StepName.IMPORT)
    look()
    store.record_import_job(lease, attempt, JobId("j1"), KIND, adopted=False)
    look()
    store.record_job_running(lease, attempt, WATCHED)
    look()
    store.finish_import(lease, attempt)
    look()
    store.record_validation(lease, attempt, Verdict.CLEAN, [], 0)
    look()
    store.finish_move(lease, attempt, StepName.CONNECTORS, None)
    look()
    store.finish_move(lease, attempt, StepName.CHATS, None)
    look()
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == ((0,) * 6, (1,) * 6)
    assert statuses == ["pending"] * 5 + ["submitted", "running"] + ["completed"] * 4
    row = desk.columns()
    assert (row["old_collection_id"], row["old_collection_name"]) == ("c1", "name of c1")
    assert (row["new_collection_id"], row["new_collection_name"]) == ("t1", "target 1")
    assert (row["old_model"], row["new_model"], row["job_id"]) == ("old", "new", "j1")
    assert (row["user_id"], row["username"], row["error"]) == ("id-anna", "anna", None)
    for column in ("created_at", "completed_at"):
        assert datetime.fromisoformat(row[column]).utcoffset() is not None


def test_an_attempt_keeps_what_it_began_with(desk: Desk) -> None:
    desk.begin()
    attempt = desk.make()
    rights = Permissions(True, (), (Share("bo"),), (Share("g", ("read",)),))
    desk.store.finish_permissions(desk.lease(), attempt, rights, [])
    attempt = desk.attempt()
    assert attempt.import_options == OPTIONS
    assert (attempt.model, attempt.owner, attempt.source_name) == ("new", "anna", "name of c1")
    assert attempt.source_facts == FACTS_OF_SOURCE
    assert attempt.permissions == rights
    assert (attempt.target_id, attempt.target_created_at) == ("t1", MADE_AT)
    assert (attempt.state, attempt.origin, attempt.adopted) == (TargetState.LIVE, "run", False)
    later = MADE_AT.replace(year=2027)
    desk.store.record_target_time(desk.lease(), attempt, later)
    assert desk.attempt().target_created_at == later


def test_an_error_is_on_record_until_the_next_checkpoint(desk: Desk) -> None:
    desk.begin()
    desk.store.record_error(desk.lease(), "no room")
    assert (desk.columns()["error"], desk.columns()["job_status"]) == ("no room", "pending")
    assert desk.position() == Position.CREATING, "an error is no failure of the import"
    attempt = desk.make()
    desk.store.finish_settings(desk.lease(), attempt, [])
    assert desk.columns()["error"] is None


# -- names, and beginning anew -------------------------------------------------------------
def test_names_are_never_given_out_twice_to_an_owner(desk: Desk) -> None:
    assert desk.begin(C1).target_name == "target 1"
    assert desk.begin(C2).target_name == "target 2"
    assert desk.begin(C1).target_name == "target 3"
    assert desk.begin(SourceId("c3"), "bertil").target_name == "target 1"
    assert desk.store.reserved_names() == {
        "anna": {"target 1", "target 2", "target 3"},
        "bertil": {"target 1"},
    }
    named = desk.store.attempts_named("anna", "target 2")
    assert [attempt.source_id for attempt in named] == [C2]
    assert desk.store.attempts_named("bertil", "target 2") == []


def test_a_name_that_is_taken_is_refused_and_changes_nothing(desk: Desk) -> None:
    desk.begin(C1)
    source = Collection("c2", "n", "anna", "old")
    with pytest.raises(sqlite3.IntegrityError):
        desk.store.begin_attempt(
            desk.lease(C2), NewAttempt(source, None, "new", OPTIONS, "run"), lambda _: "target 1"
        )
    assert desk.store.load(C2) is None


def test_a_forced_migration_supersedes_and_forgets_nothing(desk: Desk) -> None:
    first = desk.imported()
    desk.store.finish_settings(desk.lease(), first, ["no thumbnail"])
    desk.begin(start="force")
    assert desk.position() == Position.CREATING
    row = desk.columns()
    assert [row[name] for name in ("new_collection_id", "job_id", "completed_at", "error")] == [
        None
    ] * 4
    old, new = desk.store.history(C1)
    assert (old.id, old.state, old.target_id) == (first.id, TargetState.SUPERSEDED, "t1")
    assert old.reason
    assert (new.state, new.target_id) == (TargetState.LIVE, None)
    assert set(desk.store.past_targets()) == {"t1"}
    assert desk.store.job_is_claimed(JobId("j1"))
    assert desk.tracking.runs.has_started(C1, "force", "new")
    assert desk.count("warnings") == 1


def test_a_restart_gives_the_target_up_and_begins_another_with_the_same_wishes(desk: Desk) -> None:
    first = desk.submitted()
    desk.store.restart(desk.lease(), TargetState.ABANDONED, "its content is in doubt", free_name)
    assert desk.position() == Position.CREATING
    second = desk.attempt()
    assert (second.origin, second.model, second.import_options) == ("restart", "new", OPTIONS)
    assert (second.owner, second.source_name) == ("anna", "name of c1")
    assert second.target_name != first.target_name
    old = desk.store.history(C1)[0]
    assert (old.state, old.reason) == (TargetState.ABANDONED, "its content is in doubt")
    row = desk.columns()
    assert (row["old_model"], row["user_id"], row["job_id"]) == ("old", "id-anna", None)


def test_a_failed_import_stays_failed_with_its_reason_and_its_target(desk: Desk) -> None:
    desk.submitted()
    desk.store.end_attempt(desk.lease(), TargetState.FAILED, "disk full on the server")
    tracked = desk.tracked()
    assert tracked.position == Position.FAILED
    assert tracked.attempt is None
    assert (tracked.record.error, tracked.record.target_id) == ("disk full on the server", "t1")
    (attempt,) = desk.store.history(C1)
    assert (attempt.state, attempt.target_id) == (TargetState.FAILED, "t1")
    desk.begin(start="retry")
    assert desk.position() == Position.CREATING
    assert [attempt.state for attempt in desk.store.history(C1)] == [
        TargetState.FAILED,
        TargetState.LIVE,
    ]


def test_history_only_grows(desk: Desk) -> None:
    counts = []
    ends = [fate for fate in TargetState if fate != TargetState.LIVE]
    for number, fate in enumerate(ends * 2):
        desk.begin()
        desk.make(f"t{number}")
        desk.store.restart(desk.lease(), fate, "why", free_name)
        counts.append(len(desk.store.history(C1)))
    assert counts == [2 * number for number in range(1, 11)]
    assert len(desk.store.past_targets()) == 10


def test_a_target_that_appears_late_goes_into_the_history_once(desk: Desk) -> None:
    attempt = desk.created()
    twin = Collection("t2", attempt.target_name, "anna", "new")
    for _ in range(2):
        desk.store.record_late_duplicate("anna", twin, attempt, "appeared late")
    desk.store.record_late_duplicate(
        "anna", Collection("t1", "x", "anna", "new"), attempt, "known already"
    )
    live, late = desk.store.history(C1)
    assert (live.target_id, live.state) == ("t1", TargetState.LIVE)
    assert (late.target_id, late.origin, late.state) == ("t2", "twin", TargetState.ABANDONED)
    assert desk.tracked().record.target_id == "t1"
    assert set(desk.store.past_targets()) == {"t1", "t2"}


# -- requests that may have been sent ------------------------------------------------------
def test_a_send_is_on_record_until_it_is_known_what_became_of_it(desk: Desk) -> None:
    store, lease = desk.store, desk.lease()
    attempt = desk.begin()
    intent = desk.tracked().intent(StepName.CREATE)
    assert intent is not None
    assert (intent.sends, intent.timed_out) == (1, False), "on record before it is sent"
    store.record_no_answer(lease, attempt, StepName.CREATE, True)
    store.record_no_answer(lease, attempt, StepName.CREATE, False)
    intent = desk.tracked().intent(StepName.CREATE)
    assert intent is not None
    assert (intent.sends, intent.timed_out) == (1, True), "the longer wait stays wanted"
    store.record_unsent(lease, attempt, StepName.CREATE)
    store.record_unsent(lease, attempt, StepName.CREATE)
    intent = desk.tracked().intent(StepName.CREATE)
    assert intent is not None
    assert intent.sends == 0
    store.record_send(lease, attempt, StepName.CREATE)
    desk.make()
    assert desk.tracked().intent(StepName.CREATE) is None
    assert store.sends(attempt, StepName.CREATE) == 1


def test_a_request_that_was_refused_long_ago_and_is_sent_again_was_sent_just_now(
    desk: Desk,
) -> None:
    attempt = desk.created()
    desk.store.record_send(desk.lease(), attempt, StepName.IMPORT)
    desk.store.record_unsent(desk.lease(), attempt, StepName.IMPORT)
    with desk.database.transaction() as db:
        db.execute("UPDATE intents SET opened_at = '2020-01-01T00:00:00+00:00'")
    desk.store.record_send(desk.lease(), attempt, StepName.IMPORT)
    intent = desk.tracked().intent(StepName.IMPORT)
    assert intent is not None
    assert intent.opened_at > "2020-01-02"


def test_what_was_looked_for_twice_and_not_found_is_in_doubt_no_more(desk: Desk) -> None:
    store, lease = desk.store, desk.lease()
    attempt = desk.created()
    for number in (1, 2, 3):
        assert store.record_send(lease, attempt, StepName.IMPORT)
        assert desk.position() == Position.SUBMITTING
        assert store.import_in_doubt("anna") is not None
        store.record_absent(lease, attempt, StepName.IMPORT)
        assert desk.position() == Position.SHARED
        assert store.import_in_doubt("anna") is None
        assert store.sends(attempt, StepName.IMPORT) == number


def test_an_import_that_is_booked_is_not_unbooked_by_a_look_that_came_too_late(desk: Desk) -> None:
    attempt = desk.submitted()
    before = desk.columns()
    desk.store.record_absent(desk.lease(), attempt, StepName.IMPORT)
    assert desk.columns() == before
    assert desk.position() == Position.IMPORTING


def test_an_import_that_was_surely_refused_is_not_in_doubt(desk: Desk) -> None:
    attempt = desk.created()
    desk.store.record_send(desk.lease(), attempt, StepName.IMPORT)
    desk.store.record_unsent(desk.lease(), attempt, StepName.IMPORT)
    assert desk.position() == Position.SHARED
    assert desk.store.import_in_doubt("anna") is None


def test_of_one_owner_one_import_is_in_doubt_at_a_time(desk: Desk) -> None:
    store = desk.store
    first = desk.created(C1)
    second = desk.created(C2, target="t2")
    stranger = desk.created(SourceId("c3"), "bertil", "t3")
    assert store.record_send(desk.lease(C1), first, StepName.IMPORT)
    assert not store.record_send(desk.lease(C2), second, StepName.IMPORT)
    assert desk.position(C2) == Position.SHARED, "nothing was recorded"
    assert store.sends(second, StepName.IMPORT) == 0
    assert store.record_send(desk.lease(SourceId("c3")), stranger, StepName.IMPORT)
    assert store.record_send(desk.lease(C1), first, StepName.IMPORT), "the one in doubt itself may"
    in_doubt = store.import_in_doubt("anna")
    assert in_doubt is not None
    assert in_doubt.source_id == C1
    store.record_import_job(desk.lease(C1), first, JobId("j1"), KIND, adopted=False)
    assert store.import_in_doubt("anna") is None
    assert store.record_send(desk.lease(C2), second, StepName.IMPORT)


@pytest.mark.parametrize("how", ["restart", "begin", "end"])
def test_an_import_in_doubt_does_not_outlive_its_attempt(desk: Desk, how: str) -> None:
    attempt = desk.created(C1)
    second = desk.created(C2, target="t2")
    desk.store.record_send(desk.lease(C1), attempt, StepName.IMPORT)
    if how == "restart":
        desk.store.restart(desk.lease(C1), TargetState.ABANDONED, "in doubt", free_name)
    elif how == "begin":
        desk.begin(C1)
    else:
        desk.store.end_attempt(desk.lease(C1), TargetState.FAILED, "failed")
    assert desk.store.import_in_doubt("anna") is None
    assert desk.store.record_send(desk.lease(C2), second, StepName.IMPORT)


# -- jobs ----------------------------------------------------------------------------------
def test_a_job_belongs_to_one_collection(desk: Desk) -> None:
    desk.submitted(C1)
    second = desk.created(C2, target="t2")
    assert desk.store.job_is_claimed(JobId("j1"))
    assert not desk.store.job_is_claimed(JobId("j2"))
    with pytest.raises(LeaseLost, match="j1"):
        desk.store.record_import_job(desk.lease(C2), second, JobId("j1"), KIND, adopted=True)
    assert desk.position(C2) == Position.SHARED
    assert desk.tracked(C2).record.job_id is None
    with pytest.raises(LeaseLost, match="j1"):
        desk.store.record_move_job(desk.lease(C2), second, StepName.CHATS, JobId("j1"), KIND)


def test_the_same_job_may_be_recorded_again_by_its_collection(desk: Desk) -> None:
    attempt = desk.submitted()
    desk.store.record_import_job(desk.lease(), attempt, JobId("j1"), KIND, adopted=True)
    assert desk.attempt().adopted
    assert desk.count("jobs") == 1


def test_a_job_of_a_row_of_version_1_2_0_is_claimed_before_it_is_adopted(path: Path) -> None:
    desk = legacy_desk(path, collection_created=1, import_submitted=1, job_id="j9")
    assert desk.store.job_is_claimed(JobId("j9"))
    desk.database.close()


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        ("error = 'no matter'", False),
        ("job_status = NULL, import_completed = NULL", False),
        ("import_completed = 1", True),
        ("job_status = 'failed'", True),
        ("job_id = 'another'", True),
        ("job_id = NULL", True),
    ],
)
def test_an_id_of_a_job_that_is_over_may_be_given_out_again(
    desk: Desk, row: str, taken: bool
) -> None:
    desk.submitted(C1)
    with desk.database.transaction() as db:
        db.execute(f"UPDATE collection_migrations SET {row}")
    second = desk.created(C2, target="t2")
    record = lambda: desk.store.record_import_job(  # noqa: E731
        desk.lease(C2), second, JobId("j1"), KIND, adopted=True
    )
    if not taken:
        with pytest.raises(LeaseLost, match="j1"):
            record()
        return
    record()
    assert desk.tracked(C2).record.job_id == "j1"
    owner = desk.database.row("SELECT attempt_id FROM jobs WHERE job_id = 'j1'")
    assert owner is not None
    assert owner["attempt_id"] == second.id


def test_a_job_of_an_earlier_attempt_may_be_that_of_the_next(desk: Desk) -> None:
    desk.submitted()
    desk.begin()
    attempt = desk.make("t2")
    desk.store.record_import_job(desk.lease(), attempt, JobId("j1"), KIND, adopted=True)
    assert desk.tracked().record.job_id == "j1"


def test_a_job_that_stands_in_a_row_of_version_1_2_0_alone_is_nobody_elses(path: Path) -> None:
    """Its row is a claim before this tool has made an attempt of it."""
    desk = legacy_desk(path, collection_created=1, import_submitted=1, job_id="j9")
    assert desk.store.job_is_claimed(JobId("j9"))
    assert not desk.store.job_is_claimed(JobId("j8"))
    second = desk.created(C2, target="t2")
    desk.store.record_import_job(desk.lease(C2), second, JobId("j8"), KIND, adopted=False)
    with pytest.raises(LeaseLost, match="j9"):
        desk.store.record_move_job(desk.lease(C2), second, StepName.CHATS, JobId("j9"), KIND)
    desk.database.close()


def test_an_import_whose_job_is_gone_but_whose_documents_are_there_is_done(desk: Desk) -> None:
    attempt = desk.created()
    desk.store.record_send(desk.lease(), attempt, StepName.IMPORT)
    desk.store.record_import_found_done(desk.lease(), attempt)
    assert desk.position() == Position.IMPORTED
    assert desk.attempt().adopted
    assert desk.columns()["job_status"] == "completed"
    assert desk.store.import_in_doubt("anna") is None


# -- baseline and validation ---------------------------------------------------------------
def rows(number: int) -> Iterator[Document]:
    for index in range(number):
        yield Document(f"d{index}", f"name {index}", "completed" if index % 2 else "failed", index)


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 2500])
def test_a_baseline_comes_back_as_it_was(desk: Desk, number: int) -> None:
    attempt = desk.created()
    assert desk.store.announce_import(desk.lease(), attempt, rows(number))
    assert list(desk.store.baseline(attempt)) == list(rows(number))
    assert desk.store.has_baseline(attempt)


def test_a_baseline_is_read_and_written_as_a_stream(desk: Desk) -> None:
    attempt = desk.created()
    alive: weakref.WeakSet[Watched] = weakref.WeakSet()
    most = []

    class Watched(Document):
        """A document that can be looked after."""

    def watched() -> Iterator[Document]:
        for row in rows(300):
            document = Watched(row.id, row.name, row.status, row.index)
            alive.add(document)
            yield document
            del document
            most.append(len(alive))

    assert desk.store.announce_import(desk.lease(), attempt, watched())
    assert max(most) <= 3, "what was read is written before the rest is read"
    stream = desk.store.baseline(attempt)
    assert next(stream).id == "d0"


def test_a_baseline_that_broke_off_is_replaced(desk: Desk) -> None:
    attempt = desk.created()
    with pytest.raises(RuntimeError):
        desk.store.announce_import(desk.lease(), attempt, breaks_off())
    assert desk.store.announce_import(desk.lease(), attempt, rows(3))
    assert [document.id for document in desk.store.baseline(attempt)] == ["d0", "d1", "d2"]


def breaks_off() -> Iterator[Document]:
    yield from rows(25)
    raise RuntimeError("rows shifted")


def test_an_import_is_announced_with_its_baseline_in_one_commit(desk: Desk) -> None:
    attempt = desk.created()
    other = Database.to_read(desk.database.path)
    seen = []

    def watched() -> Iterator[Document]:
        yield from rows(3)
        seen.append((count_in(other, "baseline"), count_in(other, "intents WHERE sends > 0")))

    before = count_in(other, "intents WHERE sends > 0")
    assert desk.store.announce_import(desk.lease(), attempt, watched())
    assert seen == [(0, before)]
    assert count_in(other, "baseline") == 3
    assert count_in(other, "intents WHERE sends > 0") == before + 1
    assert desk.position() == Position.SUBMITTING
    other.close()


def count_in(database: Database, table: str) -> int:
    return int(database.rows(f"SELECT count(*) FROM {table}")[0][0])


def test_an_import_whose_baseline_breaks_off_was_not_announced(desk: Desk) -> None:
    attempt = desk.created()
    with pytest.raises(RuntimeError):
        desk.store.announce_import(desk.lease(), attempt, breaks_off())
    assert desk.position() == Position.SHARED
    assert desk.store.sends(attempt, StepName.IMPORT) == 0
    assert desk.store.import_in_doubt("anna") is None


def test_while_another_import_of_the_owner_is_in_doubt_not_even_the_baseline_stays(
    desk: Desk,
) -> None:
    first, second = desk.created(C1), desk.created(C2, target="t2")
    assert desk.store.announce_import(desk.lease(C1), first, rows(1))
    assert not desk.store.announce_import(desk.lease(C2), second, rows(2))
    assert not desk.store.has_baseline(second)
    assert list(desk.store.baseline(second)) == []
    assert desk.position(C2) == Position.SHARED
    desk.store.record_import_job(desk.lease(C1), first, JobId("j1"), KIND, adopted=False)
    assert desk.store.announce_import(desk.lease(C2), second, rows(2))


def test_a_request_that_was_sent_is_no_baseline(desk: Desk) -> None:
    """A row of 1.2.0 counts as sent, and has none: nothing could be missing from nothing."""
    attempt = desk.created()
    desk.store.record_send(desk.lease(), attempt, StepName.IMPORT)
    assert not desk.store.has_baseline(attempt)


def test_a_baseline_that_broke_off_leaves_the_one_before(desk: Desk) -> None:
    """It is one commit with the request, so there is never half of one; the old one is whole."""
    attempt = desk.created()
    desk.store.announce_import(desk.lease(), attempt, rows(3))
    with pytest.raises(RuntimeError):
        desk.store.announce_import(desk.lease(), attempt, breaks_off())
    assert len(list(desk.store.baseline(attempt))) == 3
    assert desk.store.sends(attempt, StepName.IMPORT) == 1


def test_an_import_that_never_came_to_be_is_not_submitted_any_more(desk: Desk) -> None:
    """Else its position would stay the same after the look, and it would be looked for forever."""
    attempt = desk.created()
    desk.store.record_send(desk.lease(), attempt, StepName.IMPORT)
    desk.store.record_absent(desk.lease(), attempt, StepName.IMPORT)
    tracked = desk.store.load(attempt.source_id)
    assert tracked is not None
    assert tracked.position == Position.SHARED


def test_a_baseline_is_kept_until_nothing_feeds_the_source_any_more(desk: Desk) -> None:
    attempt = desk.created()
    desk.store.announce_import(desk.lease(), attempt, rows(3))
    desk.store.record_import_job(desk.lease(), attempt, JobId("j1"), KIND, adopted=False)
    desk.store.finish_import(desk.lease(), attempt)
    for verdict in (Verdict.PENDING, Verdict.HELD, Verdict.CLEAN):
        desk.store.record_validation(desk.lease(), attempt, verdict, [HOLDS_BACK], 0)
        assert len(list(desk.store.baseline(attempt))) == 3
    desk.store.finish_move(desk.lease(), attempt, StepName.CONNECTORS, None)
    assert list(desk.store.baseline(attempt)) == []


def test_baselines_of_attempts_do_not_mix_and_do_not_outlive_them(desk: Desk) -> None:
    first = desk.created(C1)
    second = desk.created(C2, target="t2")
    desk.store.announce_import(desk.lease(C1), first, rows(2))
    desk.store.record_import_job(desk.lease(C1), first, JobId("j1"), KIND, adopted=False)
    desk.store.announce_import(desk.lease(C2), second, rows(3))
    assert len(list(desk.store.baseline(first))) == 2
    desk.begin(C1)
    assert list(desk.store.baseline(first)) == []
    assert len(list(desk.store.baseline(second))) == 3


def test_a_held_collection_says_why_and_is_freed_by_ignoring_it(desk: Desk) -> None:
    attempt = desk.imported()
    findings = [HOLDS_BACK, REMARK]
    desk.store.record_validation(desk.lease(), attempt, Verdict.HELD, findings, 2)
    tracked = desk.tracked()
    assert tracked.position == Position.HELD
    assert tracked.record.error == "held: 1 document missing: a.pdf"
    assert tracked.validation is not None
    assert tracked.validation.findings == tuple(findings)
    assert tracked.validation.late_documents == 2
    assert not tracked.validation.settled
    assert [warning.text for warning in desk.store.warnings(C1)] == [str(REMARK)]
    desk.store.record_validation(desk.lease(), attempt, Verdict.HELD, findings, 2, ignored=True)
    tracked = desk.tracked()
    assert tracked.position == Position.VALIDATED
    assert tracked.record.error == ""
    assert tracked.validation is not None
    assert tracked.validation.settled
    assert {warning.text for warning in desk.store.warnings(C1)} == {str(REMARK), str(HOLDS_BACK)}


@pytest.mark.parametrize(
    ("verdict", "ignored", "settled"),
    [
        (Verdict.CLEAN, False, True),
        (Verdict.HELD, False, False),
        (Verdict.HELD, True, True),
        (Verdict.PENDING, False, False),
        (Verdict.PENDING, True, False),
    ],
)
def test_moves_may_go_ahead_once_a_validation_is_settled(
    desk: Desk, verdict: str, ignored: bool, settled: bool
) -> None:
    attempt = desk.imported()
    desk.store.record_validation(desk.lease(), attempt, verdict, [], 0, ignored=ignored)
    validation = desk.tracked().validation
    assert validation is not None
    assert validation.settled is settled


# -- warnings ------------------------------------------------------------------------------
def test_warnings_are_kept_once_each_in_their_order(desk: Desk) -> None:
    attempt = desk.created()
    desk.store.finish_settings(desk.lease(), attempt, ["b", "a"])
    desk.store.finish_settings(desk.lease(), attempt, ["a", "b"])
    desk.store.finish_import(desk.lease(), attempt, ["c", "a"])
    desk.store.finish_import(desk.lease(), attempt, [])
    expected = [
        KeptWarning(C1, "settings", "b"),
        KeptWarning(C1, "settings", "a"),
        KeptWarning(C1, "job", "c"),
    ]
    assert desk.store.warnings(C1) == expected
    assert desk.store.warnings(C2) == []


def test_the_warnings_of_a_target_that_is_not_used_any_more_are_not_told_again(desk: Desk) -> None:
    attempt = desk.created()
    desk.store.finish_settings(desk.lease(), attempt, ["old"])
    desk.begin()
    assert desk.store.warnings(C1) == []
    assert desk.count("warnings") == 1, "but they stay on record"


def test_the_warnings_of_a_failed_import_are_still_told(desk: Desk) -> None:
    attempt = desk.submitted()
    desk.store.finish_settings(desk.lease(), attempt, ["no thumbnail"])
    desk.store.end_attempt(desk.lease(), TargetState.FAILED, "failed")
    desk.store.record_late_duplicate("anna", Collection("t2", "x", "anna", "new"), attempt, "late")
    assert [warning.text for warning in desk.store.warnings(C1)] == ["no thumbnail"]


# -- moves ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("step", "column"),
    [(StepName.CONNECTORS, "connectors_migrated"), (StepName.CHATS, "chats_migrated")],
)
def test_a_move_is_on_record_from_its_counts_to_its_end(desk: Desk, step: str, column: str) -> None:
    store, lease, attempt = desk.store, desk.lease(), desk.imported()
    assert store.moved_counts(attempt, step) is None
    store.record_move_counts(lease, attempt, step, {"source": 2, "target": 0})
    store.record_move_job(lease, attempt, step, JobId("m1"), "Move")
    intent = desk.tracked().intent(step)
    assert intent is not None
    assert (intent.job_id, intent.counts) == ("m1", {"source": 2, "target": 0})
    assert store.job_is_claimed(JobId("m1"))
    store.record_move_job(lease, attempt, step, None, "Move")
    intent = desk.tracked().intent(step)
    assert intent is not None
    assert intent.job_id is None, "that job is over, another may follow"
    assert desk.columns()[column] == 0
    store.finish_move(lease, attempt, step, {"source": 2, "target": 2})
    assert desk.tracked().intent(step) is None
    assert desk.columns()[column] == 1
    assert store.moved_counts(attempt, step) == {"source": 2, "target": 2}


def test_a_move_of_nothing_keeps_the_counts_of_an_earlier_try(desk: Desk) -> None:
    attempt = desk.imported()
    desk.store.record_move_counts(desk.lease(), attempt, StepName.CHATS, {"source": 2, "target": 0})
    desk.store.finish_move(desk.lease(), attempt, StepName.CHATS, None)
    assert desk.store.moved_counts(attempt, StepName.CHATS) == {"source": 2, "target": 0}


# -- the lease behind every fact -----------------------------------------------------------
JOB = JobId("j7")
TARGET = Collection("t7", "n", "anna", "new", created_at=MADE_AT)
AHEAD = Intent(C1, "anna", StepName.IMPORT, True, 1, False, None, None)
Fact = Callable[[Store, Lease, Attempt], Any]

FACTS: Dict[str, Fact] = {
    "agree": lambda store, lease, _: store.agree(lease, OPTIONS),
    "begin_attempt": lambda store, lease, _: store.begin_attempt(
        lease, NewAttempt(TARGET, None, "new", OPTIONS, "run"), free_name
    ),
    "restart": lambda store, lease, _: store.restart(
        lease, TargetState.ABANDONED, "why", free_name
    ),
    "record_target": lambda store, lease, attempt: store.record_target(lease, attempt, TARGET, {}),
    "record_target_time": lambda store, lease, attempt: store.record_target_time(
        lease, attempt, MADE_AT
    ),
    "finish_settings": lambda store, lease, attempt: store.finish_settings(lease, attempt, []),
    "finish_permissions": lambda store, lease, attempt: store.finish_permissions(
        lease, attempt, Permissions(False), []
    ),
    "record_error": lambda store, lease, _: store.record_error(lease, "x"),
    "finish_step": lambda store, lease, attempt: store.finish_step(lease, attempt, "tags", ["x"]),
    "end_attempt": lambda store, lease, _: store.end_attempt(lease, TargetState.FAILED, "x"),
    "record_send": lambda store, lease, attempt: store.record_send(lease, attempt, StepName.IMPORT),
    "record_unsent": lambda store, lease, attempt: store.record_unsent(
        lease, attempt, StepName.CREATE
    ),
    "date_back": lambda store, lease, attempt: store.date_back(lease, attempt, AHEAD),
    "record_job_missed": lambda store, lease, attempt: store.record_job_missed(
        lease, attempt, MADE_AT
    ),
    "record_absent": lambda store, lease, attempt: store.record_absent(
        lease, attempt, StepName.CREATE
    ),
    "record_no_answer": lambda store, lease, attempt: store.record_no_answer(
        lease, attempt, StepName.CREATE, True
    ),
    "record_import_job": lambda store, lease, attempt: store.record_import_job(
        lease, attempt, JOB, KIND, adopted=False
    ),
    "record_import_found_done": lambda store, lease, attempt: store.record_import_found_done(
        lease, attempt
    ),
    "record_job_running": lambda store, lease, attempt: store.record_job_running(
        lease, attempt, WATCHED
    ),
    "record_rights": lambda store, lease, attempt: store.record_rights(
        lease, attempt, Permissions(False)
    ),
    "record_late_rights": lambda store, lease, attempt: store.record_late_rights(
        lease, attempt, Permissions(True), Permissions(False)
    ),
    "rename_target": lambda store, lease, attempt: store.rename_target(lease, attempt, free_name),
    "finish_rollback": lambda store, lease, attempt: store.finish_rollback(lease, attempt),
    "finish_import": lambda store, lease, attempt: store.finish_import(lease, attempt),
    "announce_import": lambda store, lease, attempt: store.announce_import(lease, attempt, rows(2)),
    "record_validation": lambda store, lease, attempt: store.record_validation(
        lease, attempt, Verdict.CLEAN, [REMARK], 0
    ),
    "record_move_counts": lambda store, lease, attempt: store.record_move_counts(
        lease, attempt, StepName.CHATS, {}
    ),
    "record_move_job": lambda store, lease, attempt: store.record_move_job(
        lease, attempt, StepName.CHATS, JOB, KIND
    ),
    "finish_move": lambda store, lease, attempt: store.finish_move(
        lease, attempt, StepName.CONNECTORS, None
    ),
}


def dump(database: Database) -> List[Tuple[Any, ...]]:
    tables = [
        row["name"]
        for row in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        if row["name"] != "sqlite_sequence"
    ]
    return [
        (table, *tuple(row)) for table in tables for row in database.rows(f"SELECT * FROM {table}")
    ]


def test_every_fact_about_a_collection_is_in_the_table_of_this_test() -> None:
    facts = {
        name
        for name, method in vars(Store).items()
        if callable(method)
        and not name.startswith("_")
        and "lease" in method.__code__.co_varnames[: method.__code__.co_argcount]
    }
    assert facts == set(FACTS)


@pytest.mark.parametrize("how", ["released", "taken over"])
def test_no_fact_is_recorded_without_the_lease(desk: Desk, how: str) -> None:
    lease, attempt = desk.lease(), desk.begin()
    desk.leases.release(lease)
    if how == "taken over":
        other = Tracking(desk.database)
        other.runs.begin("1.3", "other")
        assert isinstance(other.leases.claim(C1), Lease)

    def is_not_recorded(fact: str) -> None:
        before = dump(desk.database)
        with pytest.raises(LeaseLost, match="c1"):
            FACTS[fact](desk.store, lease, attempt)
        assert dump(desk.database) == before

    each(FACTS, is_not_recorded)


@pytest.mark.parametrize("fact", sorted(set(FACTS) - {"agree"}))
def test_with_the_lease_the_same_fact_goes_through(desk: Desk, fact: str) -> None:
    desk.begin()
    attempt = desk.make("t0")
    FACTS[fact](desk.store, desk.lease(), attempt)


def test_giving_a_source_back_loses_no_lease_of_another_one(desk: Desk) -> None:
    desk.begin(C1)
    first, second = desk.lease(C1), desk.lease(C2)
    desk.leases.release(second)
    assert desk.leases.still_holds(first)
    desk.store.record_error(first, "still mine")
    assert desk.columns(C1)["error"] == "still mine"


def test_a_source_that_was_given_back_can_be_taken_again_and_is_then_held(desk: Desk) -> None:
    attempt = desk.begin()
    desk.leases.release(desk.lease())
    lease = desk.lease()
    desk.store.record_no_answer(lease, attempt, StepName.CREATE, True)
    assert desk.leases.still_holds(lease), "recording a fact renews it"


# -- steps without a column ----------------------------------------------------------------
def test_a_step_without_a_column_is_done_for_its_attempt_alone(desk: Desk) -> None:
    attempt = desk.imported()
    assert desk.tracked().checkpoints == frozenset()
    desk.store.finish_step(desk.lease(), attempt, "tags", ["1 tag too long"])
    desk.store.finish_step(desk.lease(), attempt, "tags", ["1 tag too long"])
    assert desk.tracked().checkpoints == frozenset({"tags"})
    assert desk.position() == Position.IMPORTED, "positions are the documented columns' own"
    assert desk.store.warnings(C1) == [KeptWarning(C1, "tags", "1 tag too long")]
    (row,) = desk.database.rows("SELECT * FROM checkpoints")
    assert (row["attempt_id"], row["step"], row["detail"]) == (attempt.id, "tags", None)
    assert datetime.fromisoformat(row["done_at"]).utcoffset() is not None
    desk.begin()
    assert desk.tracked().checkpoints == frozenset(), "a fresh target has none of it"
    assert desk.count("checkpoints") == 1, "but it stays on record"


def test_checkpoints_of_sources_do_not_mix(desk: Desk) -> None:
    first = desk.created(C1)
    desk.created(C2, target="t2")
    desk.store.finish_step(desk.lease(C1), first, "tags")
    assert desk.tracked(C1).checkpoints == frozenset({"tags"})
    assert desk.tracked(C2).checkpoints == frozenset()


# -- questions about many ------------------------------------------------------------------
def test_verification_looks_at_what_is_not_over(desk: Desk) -> None:
    def finish(source_id: SourceId, *steps: str) -> None:
        attempt = desk.submitted(source_id, f"j-{source_id}", f"t-{source_id}")
        desk.store.finish_import(desk.lease(source_id), attempt)
        for step in steps:
            desk.store.finish_move(desk.lease(source_id), attempt, step, None)

    desk.begin(SourceId("creating"))
    finish(SourceId("imported"))
    finish(SourceId("connected"), StepName.CONNECTORS)
    finish(SourceId("finished"), StepName.CONNECTORS, StepName.CHATS)
    desk.submitted(SourceId("failed"), "j-failed", "t-failed")
    desk.store.end_attempt(desk.lease(SourceId("failed")), TargetState.FAILED, "x")

    def ids(with_chats: bool) -> List[str]:
        return [record.source_id for record in desk.store.unfinished(with_chats=with_chats)]

    assert ids(False) == ["creating", "imported"]
    assert ids(True) == ["creating", "imported", "connected"]


def test_failed_ones_are_counted_by_what_is_on_record(desk: Desk) -> None:
    assert list(desk.store.failed()) == []
    for ident in ("running", "failed"):
        desk.submitted(SourceId(ident), f"j-{ident}", f"t-{ident}")
    desk.store.end_attempt(desk.lease(SourceId("failed")), TargetState.FAILED, "x")
    assert [record.source_id for record in desk.store.failed()] == ["failed"]


def test_targets_that_were_given_up_or_vanished_are_counted_since_people_last_asked_for_one(
    desk: Desk,
) -> None:
    counted = []
    for _ in range(2):
        desk.begin()
        for fate in (TargetState.ABANDONED, TargetState.VANISHED, TargetState.ABANDONED):
            counted.append(desk.store.count_given_up(C1))
            desk.store.restart(desk.lease(), fate, "why", free_name)
        late = Collection(f"late-{len(counted)}", "x", "anna", "new")
        desk.store.record_late_duplicate("anna", late, desk.attempt(), "late")
        counted.append(desk.store.count_given_up(C1))
    assert counted == [0, 1, 2, 3, 0, 1, 2, 3]
    assert desk.store.count_given_up(C2) == 0


def every_step(number: int) -> Dict[str, int]:
    return {name: number >> place & 1 for place, name in enumerate(STEP_COLUMNS)}


def test_what_is_listed_as_finished_is_what_its_position_says(desk: Desk) -> None:
    """Over every combination of columns, also such as cannot arise."""
    columns = ("old_collection_id", "new_collection_id", "job_status", *STEP_COLUMNS)
    sql = (
        f"INSERT INTO collection_migrations ({', '.join(columns)}) "
        f"VALUES ({', '.join(':' + name for name in columns)})"
    )
    with desk.database.transaction() as db:
        for number in range(64):
            for status in (None, "completed", "failed"):
                for target in (None, "t"):
                    ident = f"{number}-{status}-{target}"
                    fixed = {"old_collection_id": ident, "job_status": status}
                    new = {"new_collection_id": target and f"t-{ident}"}
                    db.execute(sql, {**fixed, **new, **every_step(number)})
    over = (Position.CONNECTED, Position.FINISHED)
    everything = [record.source_id for record in desk.store.records()]
    told = [record.source_id for record in desk.store.finished()]
    assert told == [ident for ident in everything if desk.position(ident) in over]
    assert told


def test_thousands_of_records_come_once_each_while_others_are_written(desk: Desk) -> None:
    with desk.database.transaction() as db:
        db.executemany(
            "INSERT INTO collection_migrations (old_collection_id) VALUES (?)",
            [(f"s{number}",) for number in range(2500)],
        )
    seen = []
    for record in desk.store.records():
        if not seen:
            desk.begin(C1)
        seen.append(record.source_id)
    assert len(seen) == len(set(seen))
    assert seen[:2500] == [f"s{number}" for number in range(2500)]


def test_a_target_leads_to_the_sources_that_it_was_made_for(desk: Desk) -> None:
    desk.created(C1)
    desk.begin(C1)
    desk.make("t2")
    assert desk.store.sources_of("c1") == [], "a source is no target of its own"
    assert desk.store.sources_of("t1") == [C1], "a superseded target"
    assert desk.store.sources_of("t2") == [C1], "the current one"
    assert desk.store.sources_of("t3") == []
    assert desk.store.record_of_target("t1") is None
    record = desk.store.record_of_target("t2")
    assert record is not None
    assert record.source_id == C1


# -- rows of version 1.2.0 -----------------------------------------------------------------
def legacy_desk(path: Path, **columns: Any) -> Desk:
    values = {
        "old_collection_id": "c1",
        "old_collection_name": "Papers",
        "new_collection_id": "t1",
        "new_collection_name": "(Migrated) Papers - 20250101_000000",
        "old_model": "old",
        "new_model": "new",
        "job_status": "pending",
        "user_id": "u1",
        "username": "anna",
        "created_at": "2025-01-01 00:00:00",
        **columns,
    }
    connection = sqlite3.connect(str(path))
    connection.execute(schema.DOCUMENTED_TABLE)
    connection.execute(
        f"INSERT INTO collection_migrations ({', '.join(values)}) "
        f"VALUES ({', '.join(':' + name for name in values)})",
        values,
    )
    connection.commit()
    connection.close()
    return Desk(path)


MADE = {"collection_created": 1, "permissions_copied": 1}
SENT = {**MADE, "import_submitted": 1, "job_id": "j1", "job_status": "submitted"}
DONE = {**SENT, "import_completed": 1, "job_status": "completed"}
LEGACY = [
    pytest.param({"new_collection_id": None}, Position.NEW, None, id="creation failed"),
    pytest.param({"new_collection_id": ""}, Position.NEW, None, id="an empty id"),
    pytest.param({}, Position.CONFIGURING, TargetState.LIVE, id="target, no settings"),
    pytest.param({"collection_created": 1}, Position.SUBMITTING, TargetState.LIVE, id="created"),
    pytest.param(MADE, Position.SUBMITTING, TargetState.LIVE, id="shared"),
    pytest.param(
        {**MADE, "error": "boom"}, Position.SUBMITTING, TargetState.LIVE, id="shared, with an error"
    ),
    pytest.param({**SENT, "job_id": None}, Position.SUBMITTING, TargetState.LIVE, id="job unknown"),
    pytest.param(SENT, Position.IMPORTING, TargetState.LIVE, id="submitted"),
    pytest.param(
        {**SENT, "job_status": "running"}, Position.IMPORTING, TargetState.LIVE, id="running"
    ),
    pytest.param(DONE, Position.IMPORTED, TargetState.LIVE, id="imported"),
    pytest.param(
        {**DONE, "job_id": None}, Position.IMPORTED, TargetState.LIVE, id="imported, waited for"
    ),
    pytest.param(
        {**DONE, "connectors_migrated": 1}, Position.CONNECTED, TargetState.LIVE, id="connected"
    ),
    pytest.param(
        {**DONE, "connectors_migrated": 1, "chats_migrated": 1},
        Position.FINISHED,
        TargetState.LIVE,
        id="finished",
    ),
    pytest.param(
        {**SENT, "job_status": "failed", "error": "boom"},
        Position.FAILED,
        TargetState.FAILED,
        id="failed",
    ),
]


@pytest.mark.parametrize(("columns", "expected", "fate"), LEGACY)
def test_a_row_of_version_1_2_0_continues_where_it_stood(
    path: Path, columns: Dict[str, Any], expected: Position, fate: Optional[TargetState]
) -> None:
    desk = legacy_desk(path, **columns)
    before = desk.columns()
    assert desk.position() == expected
    for _ in range(2):
        desk.store.agree(desk.lease(), OPTIONS)
        assert desk.position() == expected, "adopting changes nothing, once or twice"
    assert desk.columns() == before
    history = desk.store.history(C1)
    assert [attempt.state for attempt in history] == ([fate] if fate else [])
    if history:
        assert (history[0].target_id, history[0].origin) == ("t1", Attempt.LEGACY)
        assert history[0].import_options == OPTIONS
        assert set(desk.store.past_targets()) == {"t1"}
    desk.database.close()


@pytest.mark.parametrize(("columns", "expected", "fate"), LEGACY)
def test_status_reads_a_database_of_version_1_2_0_as_it_is(
    path: Path, columns: Dict[str, Any], expected: Position, fate: object
) -> None:
    connection = sqlite3.connect(str(path))
    connection.execute(schema.DOCUMENTED_TABLE)
    values = {"old_collection_id": "c1", "new_collection_id": "t1", **columns}
    connection.execute(
        f"INSERT INTO collection_migrations ({', '.join(values)}) "
        f"VALUES ({', '.join(':' + name for name in values)})",
        values,
    )
    connection.commit()
    connection.close()
    database = Database.to_read(path)
    store = Store(database)
    tracked = store.load(C1)
    assert tracked is not None
    assert tracked.position == expected
    assert (set(store.past_targets()), store.reserved_names(), store.warnings(C1)) == (
        set(),
        {},
        [],
    )
    database.close()


def test_a_legacy_import_that_was_looked_for_and_not_found_is_submitted(path: Path) -> None:
    desk = legacy_desk(path, **MADE)
    desk.store.agree(desk.lease(), OPTIONS)
    attempt = desk.attempt()
    desk.store.record_send(desk.lease(), attempt, StepName.IMPORT)
    desk.store.record_absent(desk.lease(), attempt, StepName.IMPORT)
    assert desk.position() == Position.SHARED
    desk.database.close()


def test_a_legacy_collection_whose_moves_are_over_needs_no_validation(path: Path) -> None:
    desk = legacy_desk(path, **{**DONE, "connectors_migrated": 1})
    desk.store.agree(desk.lease(), OPTIONS)
    validation = desk.tracked().validation
    assert validation is not None
    assert validation.settled
    desk.database.close()


def test_a_legacy_target_that_is_forced_anew_stays_in_the_history(path: Path) -> None:
    desk = legacy_desk(path, **DONE)
    desk.store.agree(desk.lease(), OPTIONS)
    desk.begin(start="force")
    desk.store.agree(desk.lease(), OPTIONS)
    assert [attempt.target_id for attempt in desk.store.history(C1)] == [TargetId("t1"), None]
    assert desk.store.history(C1)[0].state == TargetState.SUPERSEDED
    desk.database.close()


@pytest.mark.parametrize("what", ["targets_of", "moved_of"])
def test_what_is_asked_of_one_source_does_not_read_all_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Of 50,000 collections each is asked several times when they are rolled back."""
    plans: List[str] = []
    rows = desk.database.rows

    def explained(sql: str, values: Any = None) -> List[sqlite3.Row]:
        plans.extend(row["detail"] for row in rows(f"EXPLAIN QUERY PLAN {sql}", values))
        return rows(sql, values)

    monkeypatch.setattr(desk.database, "rows", explained)
    assert not getattr(desk.store, what)(C1)
    assert plans
    read = ("SCAN attempts", "SCAN TABLE attempts", "SCAN collection_", "SCAN TABLE collection_")
    assert not [plan for plan in plans if plan.startswith(read)], plans
