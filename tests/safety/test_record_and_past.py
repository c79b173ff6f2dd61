"""The record is a claim, and the past stays in sight: row, attempt and server must agree."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import List

import pytest

from h2ogpte_migration.sandbox.faults import Action, FixedReply, reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.world import World
from tests.crash.lab import HURRIED
from tests.support.command import Running
from tests.support.earlier import by_this_tool, by_version_1_2_0, let_jobs_end
from tests.support.launcher import PLAN
from tests.support.terminal import GEMMA, MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)
QUICK = {PLAN: json.dumps(asdict(HURRIED))}
"""Second looks come soon."""
CHATS, FORCE, RETRY, VERIFY = "--migrate-chats", "--force-remigrate", "--retry-failed", "--verify"


def edit(operator: Operator, statement: str, *values: object) -> None:
    """What somebody does with ``sqlite3``."""
    with closing(sqlite3.connect(operator.db)) as connection, connection:
        connection.execute(statement, values)


def put_in_place(operator: Operator, copy: Path) -> None:
    """An older copy of the database, as from a backup."""
    for file in operator.folder.glob("migration_tracking.db*"):
        file.unlink()
    shutil.copy(copy, operator.db)


def yesterdays(operator: Operator) -> Path:
    return Path(shutil.copy(operator.db, operator.folder / "yesterday.db"))


def fill(world: World, origin: str, collection: Collection) -> None:
    """As an import that somebody else began has left it."""
    with world.lock:
        collection.documents = list(world.collections[origin].documents)


def names_in(collection: Collection) -> List[str]:
    return sorted(member.document.name for member in collection.documents)


def forget_jobs(world: World) -> None:
    with world.lock:
        world.jobs.clear()


def chats_of(world: World, collection_id: str) -> int:
    return len(world.sessions_of(collection_id))


# -- former targets ------------------------------------------------------------------------
def test_what_a_first_target_holds_comes_along_when_a_forced_one_failed_and_is_retried(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "finished")
    first = operator.target_of(source.id)
    assert (len(first.connectors), chats_of(world, first.id)) == (2, 2)
    world.set_fate(source.id, Fate.FAIL, times=1)
    said = operator.admin(*SCOPE, FORCE, WAIT, CHATS, code=1)
    assert first.id in said.out, "the first target is named, with what it holds"
    assert "2 connectors, 2 chats" in said.out
    operator.admin(*SCOPE, RETRY, WAIT, CHATS)
    last = operator.target_of(source.id)
    assert (len(last.connectors), chats_of(world, last.id)) == (2, 2)
    assert (len(first.connectors), chats_of(world, first.id)) == (0, 0)


def test_a_killed_forced_run_continued_plainly_leaves_nothing_in_the_first_target(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "finished")
    first = operator.target_of(source.id)
    world.set_fate(source.id, Fate.NEVER_END)
    running = operator.start_admin(*SCOPE, FORCE, WAIT, CHATS)
    running.wait_until(lambda: world.running_imports() and operator.row(source.id)["job_id"])
    running.kill()
    running.wait()
    let_jobs_end(world)
    operator.admin(*SCOPE, WAIT, CHATS)
    last = operator.target_of(source.id)
    assert last is not first
    assert (len(last.connectors), chats_of(world, last.id)) == (2, 2)
    assert not first.connectors


def test_documents_that_people_put_into_a_former_target_are_named(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "finished")
    first = operator.target_of(source.id)
    world.add_document(first.id, "written by anna.txt")
    said = operator.admin(*SCOPE, FORCE, WAIT, CHATS).out
    assert f"the former target {first.id} still holds 1 document" in said


# -- row against attempt -------------------------------------------------------------------
def test_a_target_that_another_program_put_into_the_row_is_the_one_that_is_moved_into(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "importing")
    ours = operator.target_of(source.id)
    theirs = world.add_collection("anna", "(Migrated) Alpha - 20260101_000000", GEMMA)
    fill(world, source.id, theirs)
    edit(
        operator,
        "UPDATE collection_migrations SET new_collection_id = ?, job_id = NULL, "
        "job_status = 'completed', import_submitted = 1, import_completed = 1",
        theirs.id,
    )
    operator.admin(VERIFY, CHATS)
    assert (len(theirs.connectors), chats_of(world, theirs.id)) == (2, 2)
    assert (len(ours.connectors), chats_of(world, ours.id)) == (0, 0)
    fates = {row["target_id"]: row["fate"] for row in operator.sql("SELECT * FROM attempts")}
    assert fates == {ours.id: "superseded", theirs.id: "live"}


def test_a_failed_row_that_people_set_to_completed_is_taken_at_its_word(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "failed")
    target = operator.target_of(source.id)
    fill(world, source.id, target)
    edit(
        operator,
        "UPDATE collection_migrations SET job_status = 'completed', import_submitted = 1, "
        "import_completed = 1, error = NULL",
    )
    said = operator.admin(VERIFY, CHATS)
    assert "bug" not in said.text
    assert len(target.connectors) == 2


def test_a_retry_of_version_1_2_0_after_our_failure_is_continued(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "failed")
    theirs = world.add_collection("anna", "(Migrated) Alpha - 20260101_000000", GEMMA)
    fill(world, source.id, theirs)
    edit(
        operator,
        "UPDATE collection_migrations SET new_collection_id = ?, job_id = 'gone', "
        "job_status = 'submitted', import_submitted = 1, import_completed = 0, error = NULL",
        theirs.id,
    )
    said = operator.admin(VERIFY, CHATS)
    assert "bug" not in said.text
    assert len(theirs.connectors) == 2


def test_a_row_without_its_target_gets_it_back(operator: Operator, world: World) -> None:
    source = by_this_tool(operator, "imported")
    target = operator.target_of(source.id)
    edit(operator, "UPDATE collection_migrations SET new_collection_id = NULL")
    operator.admin(*SCOPE, WAIT, CHATS)
    assert operator.target_of(source.id) is target
    assert len(world.targets_of("Alpha")) == 1


# -- record against server -----------------------------------------------------------------
def test_a_database_of_before_the_import_imports_nothing_twice(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "created")
    yesterday = yesterdays(operator)
    operator.admin(*SCOPE, WAIT)
    target = operator.target_of(source.id)
    before = names_in(target)
    forget_jobs(world)
    put_in_place(operator, yesterday)
    operator.admin(*SCOPE, WAIT, code=None)
    assert names_in(target) == before
    assert len(world.targets_of("Alpha")) == 1


@pytest.mark.parametrize("shared", [True, False])
def test_a_database_of_before_the_rights_tells_where_the_target_in_use_has_less(
    operator: Operator, world: World, shared: bool
) -> None:
    source = by_this_tool(operator, "created")
    edit(operator, "UPDATE attempts SET permissions = NULL")
    edit(operator, "UPDATE collection_migrations SET permissions_copied = 0")
    yesterday = yesterdays(operator)
    operator.admin(*SCOPE, WAIT)
    target = operator.target_of(source.id)
    if not shared:
        target.shares.clear()
    before = dict(target.shares)
    put_in_place(operator, yesterday)
    said = operator.admin(*SCOPE, WAIT)
    assert ("shared less widely than its source" in said.text) == (not shared)
    assert target.shares == before, "people may have withdrawn it"


def test_one_empty_listing_of_a_target_that_says_it_is_finished_stops_nothing(
    operator: Operator, world: World
) -> None:
    """A row of another program, taken up: what its target holds is looked at twice."""
    source = by_this_tool(operator, "importing")
    theirs = world.add_collection("anna", "(Migrated) Alpha - 20260101_000000", GEMMA)
    fill(world, source.id, theirs)
    edit(
        operator,
        "UPDATE collection_migrations SET new_collection_id = ?, job_id = NULL, "
        "job_status = 'completed', import_submitted = 1, import_completed = 1",
        theirs.id,
    )
    operator.server.faults.add(
        Action(reply=FixedReply(200, b"[]")),
        route="GET /collections/{collection_id}/documents",
        when=lambda request: theirs.id in request.path,
        times=1,
    )
    operator.admin(VERIFY, CHATS)
    assert (len(theirs.connectors), chats_of(world, theirs.id)) == (2, 2)


def test_a_database_of_before_the_import_stops_where_the_target_is_in_use(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "created")
    yesterday = yesterdays(operator)
    operator.admin(*SCOPE, WAIT)
    target = operator.target_of(source.id)
    world.add_document(target.id, "written by anna.txt")
    forget_jobs(world)
    put_in_place(operator, yesterday)
    said = operator.admin(*SCOPE, WAIT, code=1)
    assert "inconsistent" in said.out
    assert len(world.import_jobs()) <= 1
    assert len(world.targets_of("Alpha")) == 1


def test_a_retry_from_an_old_database_starts_nothing_where_a_good_target_exists(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "failed")
    yesterday = yesterdays(operator)
    operator.admin(*SCOPE, RETRY, WAIT)
    good = operator.target_of(source.id)
    put_in_place(operator, yesterday)
    said = operator.admin(*SCOPE, RETRY, WAIT, code=1)
    assert good.id in said.out
    assert len(world.targets_of("Alpha")) == 2


def test_a_target_deleted_after_the_end_is_no_success(operator: Operator, world: World) -> None:
    source = by_this_tool(operator, "finished")
    target = operator.target_of(source.id)
    world.delete_collection(target.id)
    said = operator.admin(VERIFY, "--collections", source.id, code=1, env=QUICK)
    assert "deleted" in said.out
    operator.admin(*SCOPE, RETRY, WAIT)
    assert operator.target_of(source.id).id != target.id


def test_a_database_that_is_deleted_during_a_run_is_no_success(
    operator: Operator, world: World
) -> None:
    world.add_collection("anna", "Alpha")
    world.times.import_s = 0.5
    running = operator.start_admin(*SCOPE, WAIT)
    running.wait_until(lambda: world.running_imports())
    for file in operator.folder.glob("migration_tracking.db*"):
        file.unlink()
    result = running.wait()
    assert result.code == 1, result.text
    assert "was deleted or replaced during this run" in result.text


def test_two_databases_at_the_same_moment_are_told_of(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha")
    world.set_fate(source.id, Fate.NEVER_END)
    first = operator.start_admin(*SCOPE, WAIT, "--db-path", "one.db")
    first.wait_until(lambda: world.running_imports())
    # Begun before the other's target was there: its listing did not show it.
    world.add_collection("anna", "(Migrated) Alpha - 20260101_000000", GEMMA)
    let_jobs_end(world)
    result = first.wait()
    assert result.code == 1, result.text
    assert "migrated twice" in result.text


def test_an_id_of_a_job_that_the_server_gives_out_again_is_taken(
    operator: Operator, world: World
) -> None:
    by_this_tool(operator, "finished")
    world.habits.job_ids_reused = True
    forget_jobs(world)
    source = world.add_collection("anna", "Beta")
    said = operator.admin(*SCOPE, WAIT)
    assert "Taken over" not in said.out
    assert operator.row(source.id)["import_completed"] == 1


# -- one in doubt does not stop the others ---------------------------------------------------
@pytest.mark.parametrize("how", ["target answers 500", "row deleted"])
def test_an_import_in_doubt_does_not_stop_its_owners_others(
    operator: Operator, world: World, how: str
) -> None:
    source = by_this_tool(operator, "created")
    edit(
        operator,
        "UPDATE intents SET sends = 1 WHERE step = 'import' AND state = 'open'",
    )
    if how == "row deleted":
        edit(operator, "DELETE FROM collection_migrations")
    target = world.targets_of("Alpha")[0]
    operator.server.faults.add(
        reply(500), when=lambda request: target.id in request.path, times=None
    )
    other = world.add_collection("anna", "Beta")
    said = operator.admin(*SCOPE, WAIT, "--retries", "0", code=None, env=QUICK)
    assert "bug" not in said.text
    assert operator.row(other.id)["import_completed"] == 1, said.text
    assert source.id


def test_targets_given_up_are_bounded_over_all_runs(operator: Operator, world: World) -> None:
    """Whatever is wrong with a source, commands that are repeated do not fill the server."""
    source = world.add_collection("anna", "Alpha", documents=2)
    operator.server.faults.add(
        reply(502, after=True),
        route="POST /collections/{collection_id}/import_collection_job",
        times=None,
    )
    world.set_fate(source.id, Fate.FAIL_ON_SOME)
    codes: List[int] = [operator.admin(*SCOPE, WAIT, code=None, env=QUICK).code for _ in range(4)]
    assert codes[-1] == 1
    assert len(world.targets_of("Alpha")) <= 5
    assert operator.row(source.id)["error"]


def test_a_forced_run_that_was_killed_once_all_was_brought_over_leaves_nothing_open(
    operator: Operator, world: World
) -> None:
    source = by_this_tool(operator, "finished")
    running: List[Running] = []
    operator.server.faults.add(
        Action(after=True, call=lambda: running[0].kill()),
        route="POST /collections/{collection_id}/migrate_scheduled_connectors",
    )
    running.append(operator.start_admin(*SCOPE, FORCE, WAIT, env=QUICK))
    running[0].wait()
    operator.admin(*SCOPE, FORCE, WAIT, env=QUICK)
    assert len(operator.target_of(source.id).connectors) == 2
    with closing(sqlite3.connect(operator.db)) as db:
        assert db.execute("SELECT step FROM intents WHERE state = 'open'").fetchall() == []


# -- a job of which the server keeps no record ------------------------------------------------
def half_arrived(operator: Operator, source: Collection) -> None:
    """The job is forgotten, and not all documents are there."""
    forget_jobs(operator.world)
    target = operator.target_of(source.id)
    with operator.world.lock:
        target.documents = target.documents[:1]


LONG_AGO = "2026-01-01T00:00:00+00:00"


def test_a_forgotten_job_of_version_1_2_0_is_not_waited_for_for_ever(operator: Operator) -> None:
    source = by_version_1_2_0(operator, "importing")
    half_arrived(operator, source)
    assert "1 importing" in operator.admin(VERIFY).out
    edit(operator, "UPDATE checkpoints SET done_at = ? WHERE step = 'job missed'", LONG_AGO)
    said = operator.admin(VERIFY, code=1).text
    assert "the server keeps no record of the job any more" in said


def test_what_a_clock_that_was_ahead_has_dated_is_not_a_moment_ago_for_ever(
    operator: Operator,
) -> None:
    source = by_this_tool(operator, "importing")
    half_arrived(operator, source)
    edit(operator, "UPDATE intents SET opened_at = '2999-01-01T00:00:00+00:00'")
    edit(operator, "UPDATE collection_migrations SET job_status = 'submitted'")
    operator.admin(VERIFY)
    (sent,) = operator.sql("SELECT opened_at FROM intents WHERE step = 'import'")
    assert sent["opened_at"] < "2999"
    edit(operator, "UPDATE intents SET opened_at = ?", LONG_AGO)
    said = operator.admin(VERIFY, code=1).text
    assert "the server keeps no record of the job any more" in said
