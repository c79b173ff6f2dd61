"""``--rollback``: the way back, and what later runs make of it."""

from __future__ import annotations

import shlex

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.sandbox.faults import Action, FixedReply, call, reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import JobKind
from h2ogpte_migration.sandbox.world import World
from tests.e2e.prepared import chain, migrated
from tests.support.command import Result
from tests.support.earlier import by_version_1_2_0
from tests.support.terminal import GEMMA, LARGE, M3, MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)
ROLLBACK, CHATS, FORCE, VERIFY = "--rollback", "--migrate-chats", "--force-remigrate", "--verify"


def held(world: World, collection_id: str) -> object:
    """Connectors and chats of a collection."""
    collection = world.collections[collection_id]
    return len(collection.connectors), len(world.sessions_of(collection_id))


@pytest.mark.promise("rollback.comes-back")
@pytest.mark.parametrize("scope", [[], ["--users", "anna"], ["--all-users"], ["--collections"]])
def test_connectors_and_chats_come_back(operator: Operator, world: World, scope: list) -> None:
    source = migrated(operator)
    target = operator.target_of(source.id)
    words = [*scope, source.id] if scope == ["--collections"] else scope
    operator.admin(ROLLBACK, *words)
    assert held(world, source.id) == (2, 2)
    assert held(world, target.id) == (0, 0)
    assert "1 rolled back" in operator.plain("--status").out
    row = operator.row(source.id)
    assert (row["connectors_migrated"], row["chats_migrated"], row["import_completed"]) == (0, 0, 1)


def test_documents_that_only_the_target_holds_are_told_of(operator: Operator, world: World) -> None:
    source = migrated(operator)
    world.add_document(operator.target_of(source.id).id, "by a connector.txt")
    said = operator.admin(ROLLBACK)
    assert "the target holds 1 document that its source does not; they stay there" in said.text
    assert "does not; they stay" in operator.plain("--status").text


def test_its_owner_rolls_back(operator: Operator, world: World) -> None:
    source = migrated(operator)
    operator.user("anna", ROLLBACK)
    assert held(world, source.id) == (2, 2)


def test_what_version_1_2_0_migrated_is_rolled_back(operator: Operator, world: World) -> None:
    source = by_version_1_2_0(operator, "finished")
    operator.admin(ROLLBACK)
    assert held(world, source.id) == (2, 2)


@pytest.mark.promise("rollback.comes-back")
def test_a_later_plain_run_leaves_it_alone_and_a_forced_one_migrates_it_anew(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    first = operator.target_of(source.id)
    operator.admin(ROLLBACK)
    operator.server.forget_requests()
    for words in ((*SCOPE, WAIT, CHATS), (VERIFY, CHATS), (ROLLBACK,)):
        operator.admin(*words)
        assert operator.changes() == {}
        assert held(world, source.id) == (2, 2)
    said = operator.admin(*SCOPE, WAIT, CHATS)
    assert "--force-remigrate migrates it anew" in said.out + operator.log
    operator.admin(*SCOPE, FORCE, WAIT, CHATS)
    second = operator.target_of(source.id)
    assert second is not first
    assert held(world, second.id) == (2, 2)


@pytest.mark.parametrize(
    "operation",
    ["list_scheduled_connectors_for_collection", "list_chat_sessions_for_collection"],
)
def test_an_empty_listing_that_the_record_contradicts_is_not_believed(
    operator: Operator, world: World, operation: str
) -> None:
    source = migrated(operator)
    target = operator.target_of(source.id)
    world.habits.empty_listings = f"{operation}:1"
    operator.admin(ROLLBACK)
    assert held(world, source.id) == (2, 2)
    assert held(world, target.id) == (0, 0)


@pytest.mark.promise("rollback.comes-back")
def test_what_did_not_come_back_is_told_by_its_count(operator: Operator, world: World) -> None:
    source = migrated(operator)
    target = operator.target_of(source.id)
    lost = world.sessions_of(target.id)[0]
    operator.server.faults.add(
        call(lambda: world.drop_session(lost.id)),
        route="POST /collections/{collection_id}/migrate_chat_sessions_job",
    )
    said = operator.admin(ROLLBACK, "--details", code=None)
    assert held(world, source.id) == (2, 1)
    words = "the source had 0 chats, 2 were moved back, and it has 1 now"
    assert words in said.out + operator.plain("--status", "--all").out


def test_a_target_that_is_gone_is_told_and_nothing_counts_as_rolled_back(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    world.drop_collection(operator.target_of(source.id).id)
    said = operator.admin(ROLLBACK, code=1)
    assert "the target was deleted after the end, with what it held" in said.out
    assert "--rollback --retry-failed" not in said.out
    assert f"{MAPPED} --wait-for-completion --migrate-chats --collections {source.id}" in said.out
    again = operator.admin(ROLLBACK, "--collections", source.id, code=1)
    assert "the target was deleted after the end" in again.out
    status = operator.plain("--status", "--check", code=1).out
    assert "1 failed" in status
    assert "rolled back" not in status
    operator.admin(*SCOPE, WAIT, "--retry-failed")
    assert len(operator.target_of(source.id).documents) == 2
    operator.plain("--status", "--check")


def test_what_a_former_target_holds_is_named_where_the_target_is_gone(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    former = operator.target_of(source.id)
    operator.admin(*SCOPE, FORCE, WAIT)
    world.drop_collection(operator.target_of(source.id).id)
    said = operator.admin(ROLLBACK, code=1)
    assert f"the former target {former.id} still holds 2 chats" in said.out
    command = f"--move-connectors --move-chats --from {former.id} --to {source.id}"
    assert command in said.out
    operator.admin(*command.split())
    assert len(world.sessions_of(source.id)) == 2


@pytest.mark.parametrize("kind", [JobKind.MOVE_CONNECTORS, JobKind.MOVE_CHATS])
def test_a_target_that_goes_in_the_middle_of_a_rollback_leaves_it_open(
    operator: Operator, world: World, kind: str
) -> None:
    source = migrated(operator)
    target = operator.target_of(source.id)
    world.set_fate(target.id, Fate.REFUSE, kind=kind)
    operator.admin(ROLLBACK, code=1)
    status = operator.plain("--status", "--check", code=1).out
    assert "failed       Alpha" in status
    assert status.splitlines()[-1].endswith(f"--admin-key --rollback --collections {source.id}")
    world.drop_collection(target.id)
    said = operator.admin(ROLLBACK, code=1)
    assert "deleted after the end, with what it held" in said.out
    assert "1 failed" in operator.plain("--status", "--check", code=1).out


@pytest.mark.parametrize("lost", [0, 1])
def test_a_target_that_goes_once_everything_had_come_back_is_rolled_back(
    operator: Operator, world: World, lost: int
) -> None:
    source = migrated(operator)
    target = operator.target_of(source.id)
    operator.server.faults.add(
        reply(500),
        route="GET /collections/{collection_id}/chats",
        times=None,
        # The move has ended, and the run does not get to see it.
        when=lambda asked: target.id in asked.path and not world.sessions_of(target.id),
    )
    operator.admin(ROLLBACK, "--retries", "0", code=1)
    operator.server.faults.clear()
    assert held(world, source.id) == (2, 2)
    for session in world.sessions_of(source.id)[:lost]:
        world.drop_session(session.id)
    world.drop_collection(target.id)
    said = operator.admin(ROLLBACK, code=1 if lost else 0)
    assert ("1 rolled back" in said.out) == (not lost)
    assert ("deleted after the end, with what it held" in said.out) == bool(lost)
    status = operator.plain("--status", "--check", code=1 if lost else 0).out
    assert ("1 rolled back" in status) == (not lost)


def test_what_was_only_counted_when_the_target_went_did_not_come_back(
    operator: Operator, world: World
) -> None:
    """New chats in the source are as many as were lost: the number alone does not tell."""
    source = migrated(operator)
    target = operator.target_of(source.id)
    operator.server.faults.add(
        reply(500), route="POST /collections/{collection_id}/migrate_chat_sessions_job", times=None
    )
    operator.admin(ROLLBACK, "--retries", "0", code=1)
    operator.server.faults.clear()
    world.drop_collection(target.id)
    for name in ("one", "two"):
        world.add_chat(source.id, "anna", name)
    said = operator.admin(ROLLBACK, code=1)
    assert "deleted after the end, with what it held" in said.out


def test_what_failed_and_had_nothing_that_moved_is_no_matter_of_a_rollback(
    operator: Operator, world: World
) -> None:
    source = world.add_collection("anna", "Plain", M3, documents=1)
    operator.admin(*SCOPE, WAIT, CHATS)
    world.drop_collection(operator.target_of(source.id).id)
    assert "the target was deleted" in operator.admin(*SCOPE, WAIT, CHATS, code=1).text
    operator.server.forget_requests()
    operator.admin(ROLLBACK)
    assert not [one for one in operator.server.requests if source.id in one.path]


def test_a_former_target_that_people_deleted_is_no_loss_of_a_rollback(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    former = operator.target_of(source.id)
    former.connectors.pop()
    world.drop_session(world.sessions_of(former.id)[0].id)
    operator.admin(*SCOPE, FORCE, WAIT, CHATS)
    world.drop_collection(former.id)
    said = operator.admin(ROLLBACK)
    assert "1 rolled back" in said.out
    assert held(world, source.id) == (1, 1)


def test_the_status_names_the_way_on_of_an_interrupted_rollback_and_of_nothing_else(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    other = world.add_collection("anna", "Other", documents=1, connectors=1)
    operator.admin(*SCOPE, WAIT, CHATS)
    world.set_fate(operator.target_of(source.id).id, Fate.REFUSE, kind=JobKind.MOVE_CONNECTORS)
    operator.admin(ROLLBACK, "--collections", source.id, code=1)
    command = operator.plain("--status").out.splitlines()[-1]
    assert f"--rollback --collections {source.id}" in command
    assert other.id not in command


def test_a_deleted_middle_of_a_chain_is_no_failure_of_its_first_link(
    operator: Operator, world: World
) -> None:
    (source,) = chain(operator, 1)
    middle = operator.target_of(source.id)
    world.drop_collection(middle.id)
    end = operator.target_of(middle.id)
    said = operator.admin(ROLLBACK, "--collections", source.id, code=1)
    assert "was itself migrated on" in said.out
    assert f"--rollback --collections {middle.id}" not in said.out
    assert f"--move-connectors --move-chats --from {end.id} --to {source.id}" in said.out
    said = operator.admin(ROLLBACK, "--collections", middle.id, code=1)
    assert "there is nothing to move back to" in said.out
    operator.plain("--status", "--check")
    operator.admin("--move-connectors", "--move-chats", "--from", end.id, "--to", source.id)
    assert held(world, source.id) == (1, 1)


@pytest.mark.parametrize("words", [(WAIT, "--target-model", GEMMA), (VERIFY,)])
def test_what_was_migrated_on_stands_for_the_first_source_once_the_middle_is_deleted(
    operator: Operator, world: World, words: tuple
) -> None:
    (source,) = chain(operator, 1)
    middle = operator.target_of(source.id)
    end = operator.target_of(middle.id)
    world.drop_collection(middle.id)
    said = operator.admin(*words, "--collections", source.id, "--details")
    assert f"{end.id} stands for it" in said.out
    operator.plain("--status", "--check")
    world.drop_collection(end.id)
    operator.admin(VERIFY, "--collections", source.id, code=1)
    assert operator.row(source.id)["job_status"] == "failed"


def test_chats_left_at_the_start_of_a_chain_without_its_middle_are_told_the_way_to_its_end(
    operator: Operator, world: World
) -> None:
    (source,) = chain(operator, 1)
    middle = operator.target_of(source.id)
    end = operator.target_of(middle.id)
    world.drop_collection(middle.id)
    unchatted = "UPDATE collection_migrations SET chats_migrated = 0 WHERE old_collection_id = ?"
    operator.sql(unchatted, source.id)
    world.add_chat(source.id, "anna", None)
    said = operator.admin(VERIFY, CHATS, "--collections", source.id, code=1)
    command = f"--move-chats --from {source.id} --to {end.id}"
    assert command in said.out
    assert all(command in shlex.join(words) for words in next_commands(said))
    assert operator.row(source.id)["job_status"] == "completed"


def test_a_plain_run_notes_the_way_back_of_what_it_leaves_as_finished(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    operator.admin(*SCOPE, WAIT, CHATS)
    assert f"--rollback --collections {source.id}" in operator.log.replace(" --users anna", "")


def test_an_interrupted_rollback_goes_on_and_a_plain_run_does_not_move_things_to_and_fro(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    target = operator.target_of(source.id)
    route = "POST /collections/{collection_id}/migrate_chat_sessions_job"
    operator.server.faults.add(reply(400), route=route, times=None)
    operator.admin(ROLLBACK, code=1)
    assert held(world, source.id) == (2, 0)
    said = operator.admin(*SCOPE, WAIT, CHATS, code=1)
    assert "--rollback goes on with it" in said.out
    assert held(world, source.id) == (2, 0)
    operator.server.faults.clear()
    follow(operator, said)
    assert held(world, source.id) == (2, 2)
    assert held(world, target.id) == (0, 0)


def test_a_move_back_that_was_left_running_and_does_not_show_is_waited_for(
    operator: Operator, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its origin lists tells that it is not over: the source is empty from the start."""
    source = migrated(operator)
    world.times.move_s = 60.0
    monkeypatch.setattr(patience, "MOVE_PATIENCE_S", 0.1)
    assert "is still running" in operator.admin(ROLLBACK, code=1).out
    monkeypatch.undo()
    (job,) = (job for job in world.jobs.values() if job.running)
    world.times.move_s = 0.01
    del world.jobs[job.id]

    def shows_and_ends() -> None:
        world.jobs[job.id], job.duration_s = job, 0.0

    asked = {"route": "GET /jobs/{job_id}", "when": lambda one: job.id in one.path}
    operator.server.faults.add(call(shows_and_ends), skip=2, **asked)
    operator.admin(ROLLBACK)
    assert held(world, source.id) == (2, 2)
    moves = [one.path for one in operator.server.requests if "migrate_scheduled" in one.path]
    assert len([path for path in moves if source.id in path]) == 1, "moved once"


def test_what_another_command_holds_is_not_rolled_back_and_said_so(
    operator: Operator, world: World
) -> None:
    source = world.add_collection("anna", "Alpha", M3, documents=2, connectors=2)
    operator.admin(*SCOPE)
    world.wait_until_idle()
    world.times.move_s = 60.0
    verifies = operator.start_admin(VERIFY)
    verifies.wait_until(
        lambda: any(job.kind == JobKind.MOVE_CONNECTORS for job in world.jobs.values())
    )
    said = operator.admin(ROLLBACK, code=1)
    assert f"process {verifies.pid}" in said.text
    assert "Run this command again when that has ended." in said.text
    # Who merely goes on with it finds it in good hands.
    assert f"process {verifies.pid}" in operator.admin(VERIFY, code=0).text
    verifies.kill()
    assert held(world, source.id) != (0, 0), "nothing has moved so far"


def test_a_dry_run_shows_it_and_changes_nothing(operator: Operator, world: World) -> None:
    source = migrated(operator)
    before = operator.db.read_bytes()
    operator.server.forget_requests()
    said = operator.admin(ROLLBACK, "--dry-run", "--details")
    assert operator.changes() == {}
    assert operator.db.read_bytes() == before
    assert held(world, source.id) == (0, 0)
    target = operator.target_of(source.id)
    assert f"Alpha ({source.id}) of anna: roll back" in said.out
    assert f"  from {target.name} ({target.id}): connectors: 2, chats: 2\n" in said.out
    assert "1 to roll back" in said.out
    assert "Chats stay" not in said.out, "it is them who move"
    assert "permissions" not in said.out, "they were not looked at"


def test_a_target_that_cannot_be_read_holds_up_no_other_of_a_dry_run(
    operator: Operator, world: World
) -> None:
    gone, there = (
        world.add_collection("anna", name, M3, documents=1, connectors=1, chats=1)
        for name in ("Gone", "There")
    )
    operator.admin(*SCOPE, WAIT, CHATS)
    del world.collections[operator.target_of(gone.id).id]
    said = operator.admin(ROLLBACK, "--dry-run", code=1).out
    assert f"Can't be read: Gone ({gone.id}): GET /collections/" in said
    assert "404" in said
    assert "1 not available" in said
    assert f"There ({there.id})" in said
    assert "connectors: 1, chats: 1" in said


def test_nothing_is_rolled_back_of_what_was_not_imported(operator: Operator, world: World) -> None:
    source = migrated(operator, "created")
    operator.server.forget_requests()
    said = operator.admin(ROLLBACK, "--collections", source.id)
    assert operator.changes() == {}
    assert "nothing was moved to its target" in said.out + operator.log


# -- more than one target --------------------------------------------------------------------
def test_what_a_former_target_holds_comes_back_as_well(operator: Operator, world: World) -> None:
    """A forced run without --migrate-chats leaves the chats where the first one moved them."""
    source = migrated(operator)
    first = operator.target_of(source.id)
    operator.admin(*SCOPE, FORCE, WAIT)
    assert held(world, first.id) == (0, 2)
    operator.admin(ROLLBACK)
    assert held(world, source.id) == (2, 2)
    assert held(world, first.id) == (0, 0)


def test_a_chain_comes_back_from_its_last_link_to_its_first(
    operator: Operator, world: World
) -> None:
    sources = chain(operator, 2)
    world.times.move_s = 0.08  # longer than anything else takes: nothing is in order by chance
    operator.admin(ROLLBACK)
    assert [held(world, source.id) for source in sources] == [(1, 1)] * 2


@pytest.mark.parametrize("onwards", [FORCE, "a third model"])
def test_what_a_database_from_a_backup_does_not_find_is_not_back(
    operator: Operator, world: World, onwards: str
) -> None:
    source = migrated(operator)
    backup = operator.db.read_bytes()
    if onwards == FORCE:
        operator.admin(*SCOPE, WAIT, CHATS, FORCE)
    else:
        middle = operator.target_of(source.id).id
        operator.admin("--collections", middle, "--target-model", LARGE, WAIT, CHATS)
    operator.db.write_bytes(backup)
    said = operator.admin(ROLLBACK, code=1).out
    assert "2 connectors and 2 chats moved to the target are not there any more" in said
    assert held(world, source.id) == (0, 0)
    assert "1 rolled back" in operator.plain("--status").out


@pytest.mark.parametrize("forced", [False, True])
def test_a_chain_that_version_1_2_0_left_is_a_chain(
    operator: Operator, world: World, forced: bool
) -> None:
    source = by_version_1_2_0(operator, "finished")
    middle = operator.target_of(source.id)
    by_version_1_2_0(operator, "finished", middle, LARGE)
    end = operator.target_of(middle.id)
    said = operator.admin("--collections", source.id, "--target-model", GEMMA, WAIT, CHATS).out
    assert "already migrated" in said
    if forced:
        words = ("--collections", source.id, "--target-model", GEMMA, WAIT, CHATS, FORCE)
        assert f"{end.id}, to which the former target {middle.id}" in operator.admin(*words).out
    operator.admin(ROLLBACK)
    assert [held(world, one.id) for one in (source, middle, end)] == [(2, 2), (0, 0), (0, 0)]


def test_what_a_former_target_was_migrated_on_to_comes_back_before_it_does(
    operator: Operator, world: World
) -> None:
    sources = chain(operator, 2)
    operator.admin(*SCOPE, FORCE, WAIT, CHATS)
    world.times.move_s = 0.08
    said = operator.admin(ROLLBACK)
    assert "were moved back, and it has" not in said.out
    assert [held(world, source.id) for source in sources] == [(1, 1)] * 2


def next_commands(said: Result) -> list:
    """What the summary says to type next, as words to run it with here."""
    lines = [line for line in said.out.splitlines() if line.startswith("Next")]
    words = [shlex.split(line.partition("h2ogpte-migrate ")[2]) for line in lines]
    return [[word for word in found if word not in ("--admin-key",)] for found in words]


def follow(operator: Operator, said: Result) -> None:
    """Type what the summary names; every command has to end well."""
    commands = next_commands(said)
    assert commands, said.out
    for words in commands:
        at = words.index("--url")
        operator.admin(*words[:at], *words[at + 2 :])


@pytest.mark.parametrize("gone", [False, True])
def test_what_a_former_target_was_migrated_on_to_is_not_forgotten_by_a_rollback(
    operator: Operator, world: World, gone: bool
) -> None:
    (source,) = chain(operator, 1)
    middle = operator.target_of(source.id)
    end = operator.target_of(middle.id)
    if gone:
        world.drop_collection(middle.id)
    operator.admin("--collections", source.id, "--target-model", GEMMA, FORCE, WAIT, CHATS)
    said = operator.admin(ROLLBACK, "--collections", source.id, code=1)
    assert f"former target {middle.id} was itself migrated on, to {end.id}" in said.out
    assert "that holds 1 connector, 1 chat" in said.out
    follow(operator, said)
    operator.admin(ROLLBACK, "--collections", source.id)
    assert held(world, source.id) == (1, 1)
    operator.admin(ROLLBACK)
    operator.plain("--status", "--check")


def test_what_went_with_the_end_of_a_chain_does_not_count_as_rolled_back(
    operator: Operator, world: World
) -> None:
    (source,) = chain(operator, 1)
    middle = operator.target_of(source.id)
    world.drop_collection(operator.target_of(middle.id).id)
    for _ in range(2):
        said = operator.admin(ROLLBACK, code=1)
        assert "rolled back" not in said.out.splitlines()[-2]
        assert "2 failed" in said.out
    said = operator.admin(ROLLBACK, "--collections", source.id, code=1)
    assert "1 connector, 1 chat went with" in said.out


@pytest.mark.parametrize("route", ["scheduled_connectors", "chats"])
def test_what_the_source_holds_again_is_not_lost_though_one_look_at_it_comes_up_empty(
    operator: Operator, world: World, route: str
) -> None:
    (source,) = chain(operator, 1)
    middle = operator.target_of(source.id)
    world.drop_collection(operator.target_of(middle.id).id)
    world.add_connector(source.id)  # people made good what went with the end of the chain
    world.add_chat(source.id, "anna", None)
    empty = operator.server.faults.add(
        Action(reply=FixedReply(200, b"[]")),
        route=f"GET /collections/{{collection_id}}/{route}",
        when=lambda asked: source.id in asked.path,
    )
    said = operator.admin(ROLLBACK, "--collections", source.id)
    assert empty.hits == 1
    assert "1 rolled back" in said.out
    assert operator.row(source.id)["job_status"] == "completed"


def test_once_the_end_of_a_chain_without_its_middle_is_emptied_its_rollback_ends(
    operator: Operator, world: World
) -> None:
    (source,) = chain(operator, 1)
    middle = operator.target_of(source.id)
    world.drop_collection(middle.id)
    said = operator.admin(ROLLBACK, code=1)
    assert all(ROLLBACK not in words for words in next_commands(said))
    follow(operator, said)
    assert held(world, source.id) == (1, 1)
    again = ("--collections", source.id, "--target-model", GEMMA, WAIT, CHATS)
    said = operator.admin(*again, code=1)
    assert "the source holds connectors and chats again" in said.out
    said = operator.admin(ROLLBACK)
    assert "1 rolled back" in said.out
    assert "nothing is left to move back" in said.out
    operator.admin(*again)
    operator.plain("--status", "--check")
    assert held(world, source.id) == (1, 1)


def test_what_a_later_link_brings_while_a_rollback_is_interrupted_comes_back_as_well(
    operator: Operator, world: World
) -> None:
    (source,) = chain(operator, 1)
    middle = operator.target_of(source.id)
    operator.admin(ROLLBACK, "--collections", middle.id)
    route = "POST /collections/{collection_id}/migrate_chat_sessions_job"
    operator.server.faults.add(reply(400), route=route, times=None)
    operator.admin(ROLLBACK, "--collections", source.id, code=1)
    operator.server.faults.clear()
    assert held(world, source.id) == (1, 0)
    world.add_connector(middle.id)  # by whatever run goes on with the later link
    operator.admin(ROLLBACK, "--collections", source.id)
    assert held(world, source.id) == (2, 1)


def test_chats_that_never_moved_do_not_hold_up_a_run_once_the_middle_of_a_chain_is_deleted(
    operator: Operator, world: World
) -> None:
    source = world.add_collection("anna", "Alpha", documents=1, connectors=1, chats=1)
    world.add_chat(source.id, "anna", None).archived = True
    first = ("--collections", source.id, "--target-model", GEMMA, WAIT, CHATS)
    operator.admin(*first)
    middle = operator.target_of(source.id)
    operator.admin("--collections", middle.id, "--target-model", LARGE, WAIT, CHATS)
    world.drop_collection(middle.id)
    assert held(world, source.id) == (0, 1)
    assert "stands for it" in operator.admin(*first, "--details").out


def test_the_first_link_of_a_chain_does_not_come_back_alone(
    operator: Operator, world: World
) -> None:
    (source,) = chain(operator, 1)
    middle = operator.target_of(source.id)
    said = operator.admin(ROLLBACK, "--collections", source.id, code=1)
    assert f"was itself migrated on, to {operator.row(middle.id)['new_collection_id']}" in said.out
    assert f"--rollback --collections {middle.id}" in said.out
    operator.admin(ROLLBACK, "--collections", middle.id)
    operator.admin(ROLLBACK, "--collections", source.id)
    assert held(world, source.id) == (1, 1)


@pytest.mark.parametrize("scope", [["--users", "anna"], ["--collections"]])
def test_what_was_rolled_back_is_migrated_to_another_model_from_its_source(
    operator: Operator, world: World, scope: list
) -> None:
    source = migrated(operator)
    dead = operator.target_of(source.id)
    operator.admin(ROLLBACK)
    world.add_document(source.id, "new.pdf")
    words = [*scope, source.id] if scope == ["--collections"] else scope
    operator.admin(*words, "--target-model", "BAAI/bge-large-en-v1.5", FORCE, WAIT, CHATS)
    target = operator.target_of(source.id)
    assert target is not dead
    assert len(target.documents) == len(source.documents)
    assert held(world, target.id) == (2, 2)


def test_what_is_held_stands_for_nothing(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", documents=2, connectors=1, chats=1)
    world.set_fate(source.id, Fate.LOSE_SOME, times=1)
    operator.admin(*SCOPE, WAIT, CHATS, code=1)
    onwards = ("--all-users", "--target-model", "BAAI/bge-large-en-v1.5")
    said = operator.admin(*onwards, WAIT, CHATS, code=1)
    assert "whose migration is not over; finish that with --verify" in said.text
    assert len(world.targets_of("Alpha")) == 1


# -- whose it is, and what is not there yet --------------------------------------------------
def rename(world: World, old: str, new: str) -> None:
    """As an administrator of the server may: the account stays the same."""
    with world.lock:
        world.users[new] = world.users.pop(old)
        world.users[new].username = new
        for thing in (*world.collections.values(), *world.keys.values(), *world.sessions.values()):
            if thing.username == old:
                thing.username = new


@pytest.mark.parametrize("by_owner", [False, True])
def test_an_owner_who_was_renamed_is_still_the_owner(
    operator: Operator, world: World, by_owner: bool
) -> None:
    source = migrated(operator)
    rename(world, "anna", "anna.new")
    said = operator.user("anna.new", ROLLBACK) if by_owner else operator.admin(ROLLBACK)
    assert "1 rolled back" in said.out
    assert held(world, source.id) == (2, 2)


def test_what_is_still_importing_is_told_of(operator: Operator, world: World) -> None:
    migrated(operator, "importing")
    said = operator.admin(ROLLBACK, code=1)
    assert "1 collection is not imported yet: --verify will move what is theirs" in said.text
