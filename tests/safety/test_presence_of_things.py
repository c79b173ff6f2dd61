"""Empty, gone, ended: none of it is believed from one answer, and nothing is waited for for ever."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Iterator, List, Optional

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.gateway import paging
from h2ogpte_migration.sandbox import faults
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.e2e.prepared import once
from tests.faults.harness import LARGE, M3, TIMEOUT_S, JumpingClock, Result, clock, run, serving

__all__ = ["clock"]

IMPORT = "POST /collections/{collection_id}/import_collection_job"
DOCUMENTS = "/collections/{collection_id}/documents"


def _sleep(self: Clock, seconds: float) -> None:
    self.stop.wait(min(seconds, 0.25))
    self.check()


@pytest.fixture(autouse=True)
def short(clock: JumpingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The looks are as far apart as a test can afford."""
    monkeypatch.setattr(patience, "EMPTY_LOOK_S", 0.01)
    monkeypatch.setattr(patience, "SECOND_LOOK_S", 0.05)
    monkeypatch.setattr(patience, "SECOND_LOOK_AFTER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(patience, "VISIBLE_WITHIN_S", 3.0)
    monkeypatch.setattr(Clock, "sleep", _sleep)


@pytest.fixture
def world() -> World:
    world = World()
    world.times.import_s = world.times.move_s = 0.02
    world.add_user("admin", admin=True)
    world.add_user("anna")
    return world


@pytest.fixture
def server(world: World) -> Iterator[SandboxServer]:
    with serving(world) as server:
        yield server


@pytest.fixture
def source(world: World) -> Collection:
    return world.add_collection(
        "anna", "Papers", LARGE, documents=["a.pdf", "b.pdf", "c.pdf"], connectors=2, chats=2
    )


def command(server: SandboxServer, folder: Path, *words: str) -> Result:
    """As the owner, with chats."""
    common = ["--url", server.url, "--timeout", str(TIMEOUT_S), "--user-key", "sk-sandbox-anna"]
    return run(folder, *common, "--migrate-chats", *words)


def migrate(server: SandboxServer, folder: Path, *words: str) -> Result:
    return command(server, folder, "--target-model", M3, "--wait-for-completion", *words)


def verify(server: SandboxServer, folder: Path, *words: str) -> Result:
    return command(server, folder, "--verify", *words)


def submitted(server: SandboxServer, folder: Path, source: Collection) -> Collection:
    """The source once the server has imported what was submitted."""

    def commands() -> List[Collection]:
        command(server, folder, "--target-model", M3)
        server.world.wait_until_idle()
        return [source]

    (found,) = once("submitted", server, folder / "migration_tracking.db", commands)
    return found


def row(folder: Path) -> sqlite3.Row:
    path = next(folder.glob("*.db"))
    with closing(sqlite3.connect(str(path))) as db:
        db.row_factory = sqlite3.Row
        return db.execute("SELECT * FROM collection_migrations").fetchone()  # type: ignore[no-any-return]


def target(world: World) -> Collection:
    """The only target that was made."""
    found = world.targets_of("Papers")
    assert len(found) == 1, found
    return found[0]


def names(collection: Collection) -> List[str]:
    return sorted(line.document.name for line in collection.documents)


def assert_all_moved(world: World, source: Collection) -> None:
    made = target(world)
    assert names(made) == ["a.pdf", "b.pdf", "c.pdf"]
    assert (len(source.connectors), len(made.connectors)) == (0, 2)
    assert (len(world.sessions_of(source.id)), len(world.sessions_of(made.id))) == (0, 2)


# -- empty listings --------------------------------------------------------------------------
@pytest.mark.parametrize(
    "operation",
    [
        "list_chat_sessions_for_collection:1",
        "list_scheduled_connectors_for_collection:1",
        "list_documents_for_collection:1",
    ],
)
def test_one_empty_listing_is_not_believed(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path, operation: str
) -> None:
    world.habits.empty_listings = operation
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)
    assert "added to the source" not in result.text


def test_chats_that_are_counted_and_not_listed_are_moved_all_the_same(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    world.habits.empty_listings = "list_chat_sessions_for_collection"
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)
    assert "did not move" not in result.text


def test_a_baseline_that_stays_empty_imports_nothing(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    world.habits.empty_listings = "list_documents_for_collection"
    result = migrate(server, tmp_path)
    assert result.code == 1
    assert "counts 3 documents and lists 0" in result.text
    assert world.import_jobs() == []


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_an_error_that_is_answered_in_place_of_metadata_is_not_copied(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path, times: Optional[int]
) -> None:
    error = faults.Action(reply=faults.FixedReply(200, b'{"error": "internal"}'))
    server.faults.add(error, route="GET /collections/{collection_id}/metadata", times=times)
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert target(world).metadata == {}
    assert ("collection metadata" in result.text) == (times is None)


@pytest.mark.parametrize("shown", [True, False])
def test_a_field_of_metadata_that_is_called_error_is_copied(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path, shown: bool
) -> None:
    world.habits.collection_has_metadata = shown
    source.metadata = {"error": "none so far"} if shown else {"error": "none", "checked": "yes"}
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert target(world).metadata == source.metadata
    assert "collection metadata" not in result.text


# -- what is visible late --------------------------------------------------------------------
@pytest.mark.parametrize(
    "habit",
    [
        {"collections_readable_after_s": 0.3},
        {"collections_listed_after_s": 0.3},
        {"jobs_listed_after_s": 0.3, "jobs_readable_after_s": 0.3},
        {"documents_listed_after_s": 0.3},
        {"chats_listed_after_s": 0.3},
    ],
    ids=lambda habit: next(iter(habit)),
)
def test_what_shows_late_is_waited_for(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path, habit: Any
) -> None:
    for name, value in habit.items():
        setattr(world.habits, name, value)
    source.metadata = {"cost_centre": "4711"}
    source.is_public, source.public_permissions = True, ["read"]
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)
    assert len(world.import_jobs()) == 1
    assert (target(world).metadata, target(world).is_public) == (source.metadata, True)
    assert "could not be" not in result.text


def test_an_unanswered_import_whose_job_shows_late_is_not_sent_twice(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    world.habits.jobs_listed_after_s = world.habits.documents_listed_after_s = 0.4
    server.faults.add(faults.reply(502, after=True), route=IMPORT)
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert len(world.import_jobs()) == 1
    assert_all_moved(world, source)


def test_a_gateways_404_ends_nothing(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    source = submitted(server, tmp_path, source)
    world.habits.foreign_404 = "get_collection:1,get_job:1,list_documents_for_collection:1"
    result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)


# -- jobs --------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_job_whose_record_vanished_is_decided_by_documents(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path, status: int
) -> None:
    source = submitted(server, tmp_path, source)
    world.habits.forget_ended_jobs_after_s = 0.0
    world.habits.unknown_job_status = status
    result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)


def test_a_failed_job_that_brought_everything_is_an_import(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    world.set_fate(source.id, Fate.FAIL_AFTER_ALL)
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)
    assert "no document is missing" in result.text + command(server, tmp_path, "--status").text


def test_only_a_document_that_was_never_usable_is_missing(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    bad = world.add_collection(
        "anna", "Papers", LARGE, documents=["a.pdf", ("x.pdf", "failed")], connectors=1
    )
    world.habits.failed_job_brings_rest = True
    result = migrate(server, tmp_path)
    assert result.code == 1
    assert "x.pdf" in result.text
    assert len(bad.connectors) == 1
    assert row(tmp_path)["job_status"] == "completed", "held, not failed"
    accepted = verify(server, tmp_path, "--ignore-validation")
    assert accepted.code == 0, accepted.text
    assert len(target(world).connectors) == 1


@pytest.mark.parametrize("mode", ["wait", "verify"])
@pytest.mark.parametrize("word", ["in progress", "stale"])
def test_a_zombie_job_is_ended_by_its_documents(
    world: World,
    server: SandboxServer,
    source: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    word: str,
) -> None:
    world.habits.zombie_jobs = "imports"
    world.habits.job_running_word = word
    monkeypatch.setattr(patience, "STALE_JOB_S", 0.1 if mode == "wait" else 900.0)
    if mode == "wait":
        result = migrate(server, tmp_path)
    else:
        command(server, tmp_path, "--target-model", M3)
        assert "importing" in verify(server, tmp_path).text
        assert world.import_jobs()[0].progress == 1.0 or verify(server, tmp_path)
        monkeypatch.setattr(patience, "STALE_JOB_S", 0.0)
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)


def test_a_job_that_stands_still_with_all_documents_is_over_long_before_it_is_stale(
    world: World,
    server: SandboxServer,
    source: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.habits.zombie_jobs = "imports"
    monkeypatch.setattr(patience, "SEEMS_OVER_S", 0.1)
    assert migrate(server, tmp_path).code == 0
    assert_all_moved(world, source)


def test_a_job_that_stands_still_for_a_while_is_waited_for(
    world: World,
    server: SandboxServer,
    source: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.times.import_s = 0.4
    world.habits.job_running_word = "indexing"
    monkeypatch.setattr(patience, "SEEMS_OVER_S", 0.05)
    assert migrate(server, tmp_path).code == 0
    assert_all_moved(world, source)


@pytest.mark.parametrize("word", ["success", "Finished", "timeout", "Timed out"])
def test_other_words_for_the_end_of_a_job_are_understood_at_once(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path, word: str
) -> None:
    world.habits.job_success_word = word
    source = submitted(server, tmp_path, source)
    assert verify(server, tmp_path).code == 0
    assert_all_moved(world, source)


def test_an_import_that_was_canceled_has_failed_whatever_it_brought(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    world.habits.job_success_word = "canceled"
    result = migrate(server, tmp_path)
    assert result.code == 1
    assert "canceled" in result.text
    assert row(tmp_path)["job_status"] == "failed"
    assert len(source.connectors) == 2


def test_a_job_that_stands_still_without_all_documents_is_no_success(
    world: World,
    server: SandboxServer,
    source: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.set_fate(source.id, Fate.NEVER_END)
    monkeypatch.setattr(patience, "STALE_JOB_S", 0.1)
    result = migrate(server, tmp_path)
    assert result.code == 1
    assert "stands still" in result.text
    assert len(source.connectors) == 2


def test_an_unknown_word_for_a_failed_job_ends_it(
    world: World,
    server: SandboxServer,
    source: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.habits.job_failure_word = "timeout"
    world.set_fate(source.id, Fate.FAIL)
    monkeypatch.setattr(patience, "STALE_JOB_S", 0.1)
    result = migrate(server, tmp_path)
    assert result.code == 1
    assert row(tmp_path)["job_status"] == "failed", result.text


def test_zombie_moves_end_with_what_the_origin_lists(
    world: World,
    server: SandboxServer,
    source: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.habits.zombie_jobs = "moves"
    monkeypatch.setattr(patience, "MOVE_SETTLED_S", 0.05)
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)


def test_jobs_of_others_are_not_adopted(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    world.add_user("bertil")
    other = world.add_collection("bertil", "Other", LARGE)
    theirs = world.add_collection("bertil", "Theirs", M3, documents=0)
    world.habits.jobs_of_others_listed = True

    def meanwhile() -> None:
        with world.lock:
            world.start_import(world.users["bertil"], other, theirs.id, {})

    server.faults.add(faults.call(meanwhile, drop=True), route=IMPORT)
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)


# -- people work in the target -----------------------------------------------------------------
def test_a_target_that_somebody_works_in_is_not_given_up(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    server.faults.add(faults.reply(502, after=True), route=IMPORT)
    command(server, tmp_path, "--target-model", M3)
    world.wait_until_idle()
    made = target(world)
    world.remove_document(made.id, made.documents[0].document.id)
    world.add_document(made.id, "mine.pdf")
    world.add_chat(made.id, "anna", "work")
    result = verify(server, tmp_path)
    assert result.code == 1
    assert "missing in the target" in result.text
    assert target(world).id == made.id
    assert row(tmp_path)["new_collection_id"] == made.id


@pytest.mark.parametrize("work", ["document", "chat"])
def test_an_import_found_by_documents_keeps_what_people_did(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path, work: str
) -> None:
    """No job is left to tell, and the documents are not exactly the source's."""
    world.habits.forget_ended_jobs_after_s = 0.0

    def meanwhile() -> None:
        world.wait_until_idle()
        made = world.targets_of("Papers")[0]
        world.remove_document(made.id, made.documents[0].document.id)
        if work == "document":
            world.add_document(made.id, "mine.pdf")
        else:
            world.add_chat(made.id, "anna", "work")

    server.faults.add(faults.reply(502, after=True), route=IMPORT)
    server.faults.add(faults.call(meanwhile), route="GET /jobs")
    result = migrate(server, tmp_path)
    assert result.code == 1
    made = target(world)
    assert "missing in the target" in result.text
    assert len(source.connectors) == 2
    assert row(tmp_path)["new_collection_id"] == made.id


def test_a_document_that_never_imports_costs_one_target(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    world.set_fate(source.id, Fate.FAIL_ON_SOME)
    server.faults.add(faults.reply(502, after=True), route=IMPORT, times=None)
    first = migrate(server, tmp_path)
    assert first.code == 1
    assert len(world.targets_of("Papers")) == 1
    second = migrate(server, tmp_path, "--retry-failed")
    assert second.code == 1
    assert len(world.targets_of("Papers")) == 2
    assert "missing" in second.text


def test_a_newer_upload_of_a_known_name_is_not_doubled(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    source = submitted(server, tmp_path, source)
    world.add_document(target(world).id, "a.pdf")
    result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert len(target(world).connectors) == 2


# -- documents that arrive late ----------------------------------------------------------------
def test_documents_that_arrive_late_follow_before_the_connectors(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    source = submitted(server, tmp_path, source)
    late = world.add_document(source.id, "late.pdf")
    server.requests.clear()
    result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert names(target(world)) == ["a.pdf", "b.pdf", "c.pdf", "late.pdf"]
    assert late.id in {line.document.id for line in target(world).documents}
    routes = [request.route for request in server.requests if request.mutating]
    assert "PUT" in routes[0], routes
    assert "migrate_scheduled_connectors" in routes[1]


def test_an_unanswered_late_document_is_not_put_there_twice(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    source = submitted(server, tmp_path, source)
    world.add_document(source.id, "late.pdf")
    server.faults.add(faults.reply(502, after=True), when=lambda request: request.method == "PUT")
    result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert names(target(world)) == ["a.pdf", "b.pdf", "c.pdf", "late.pdf"]


@pytest.mark.parametrize("why", ["copies", "refused"])
def test_late_documents_that_cannot_follow_hold_the_connectors(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path, why: str
) -> None:
    more = ["--copy-document"] if why == "copies" else []
    command(server, tmp_path, "--target-model", M3, *more)
    world.wait_until_idle()
    world.add_document(source.id, "late.pdf")
    world.habits.missing_operations = "insert_document_into_collection"
    result = verify(server, tmp_path)
    assert result.code == 1
    assert "late.pdf" in result.text
    assert "--ignore-validation" in result.text
    assert len(source.connectors) == 2
    accepted = verify(server, tmp_path, "--ignore-validation")
    assert accepted.code == 0, accepted.text
    assert len(target(world).connectors) == 2


# -- archived chats ------------------------------------------------------------------------------
@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("alone", [False, True])
def test_archived_chats_are_told_and_end_the_move(
    world: World,
    server: SandboxServer,
    source: Collection,
    tmp_path: Path,
    listed: bool,
    alone: bool,
) -> None:
    world.habits.archived_chats_listed = listed
    for session in world.sessions_of(source.id)[: 2 if alone else 1]:
        world.archive_chat(session.id)
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert f"{'2 chats' if alone else '1 chat'} of the source" in result.text
    assert "archived" in result.text
    again = verify(server, tmp_path)
    assert again.code == 0, again.text
    assert row(tmp_path)["chats_migrated"] == 1


# -- paging --------------------------------------------------------------------------------------
def test_a_server_that_ignores_the_offset(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    world.habits.offset_ignored = True
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)


def test_a_long_listing_without_offsets_is_a_clear_error(
    world: World, server: SandboxServer, tmp_path: Path
) -> None:
    world.add_collection("anna", "Papers", LARGE, documents=520)
    world.habits.offset_ignored = True
    result = migrate(server, tmp_path)
    assert result.code == 1
    assert "sends the same page again" in result.text
    assert world.import_jobs() == []


@pytest.mark.parametrize("expected", [True, False])
def test_short_pages_without_offsets_are_not_taken_for_all_documents(
    world: World, server: SandboxServer, tmp_path: Path, expected: bool
) -> None:
    world.add_collection("anna", "Papers", LARGE, documents=30)
    world.habits.offset_ignored, world.habits.page_cap = True, 20
    world.habits.stale_document_counts = not expected
    result = migrate(server, tmp_path)
    assert result.code == 1
    assert world.import_jobs() == []
    assert "more than its first 20 rows can't be read" in result.text


@pytest.mark.parametrize("habit", ["", "order"])
def test_short_pages_without_offsets_are_not_taken_for_all_collections(
    world: World, server: SandboxServer, tmp_path: Path, habit: str
) -> None:
    for number in range(30):
        world.add_collection("anna", f"Papers {number:02}", LARGE, documents=1)
    world.habits.offset_ignored, world.habits.page_cap = True, 20
    if habit:
        page = json.dumps(
            [
                {"id": item.id, "name": item.name, "username": "anna", "embedding_model": LARGE}
                for item in list(world.collections.values())[:20]
            ]
        )
        always = faults.Action(reply=faults.FixedReply(200, page.encode()))
        for route in ("GET /collections", "GET /collections/all"):
            server.faults.add(always, route=route, times=None)
    result = command(server, tmp_path, "--use-model-mappings", "--dry-run")
    assert result.code == 1
    words = "nothing tells whether the rows" if habit else "more than its first 20 rows"
    assert words in " ".join(result.text.split())


def test_a_server_that_refuses_the_documented_page_size(
    world: World, server: SandboxServer, source: Collection, tmp_path: Path
) -> None:
    world.habits.refused_limit_above = 50
    result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert_all_moved(world, source)


def test_collections_that_may_not_have_been_listed_are_no_success(
    world: World, server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are alike change places at each request, and one reading is all there is."""
    monkeypatch.setattr(paging, "MAX_PASSES_REORDERED", 1)
    monkeypatch.setattr(paging, "MAX_PASSES", 1)
    for _ in range(40):
        world.add_collection("anna", "New Collection", M3, documents=0)
    world.habits.shuffle_ties, world.habits.page_cap = True, 7
    result = command(server, tmp_path, "--use-model-mappings", "--dry-run")
    assert result.code == 1
    assert "some may not have been seen; run the same command again" in result.text
