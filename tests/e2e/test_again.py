"""Retrying and forcing: fresh targets, what becomes of the old ones, and how to recover."""

from __future__ import annotations

import re
import shlex
from typing import List

import pytest

from h2ogpte_migration.sandbox.faults import reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.world import World
from tests.e2e.prepared import migrated
from tests.support.earlier import let_jobs_end, loaded_source
from tests.support.terminal import M3, MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)
CHATS = "--migrate-chats"
FORCE = "--force-remigrate"
DETAILS = "--details"
RETRY = "--retry-failed"


def printed_moves(text: str) -> List[List[str]]:
    """The commands with ``--move-...`` that were printed, as words."""
    found = re.findall(r"h2ogpte-migrate --url .*--move-.*", text)
    return [shlex.split(command)[1:] for command in found]


@pytest.mark.promise("retry.only-failed", "retry.names-the-old-target")
def test_retry_starts_only_what_failed(operator: Operator, world: World) -> None:
    good = world.add_collection("anna", "Good", M3)
    bad = world.add_collection("anna", "Bad", M3)
    running = world.add_collection("anna", "Running", M3)
    world.set_fate(bad.id, Fate.FAIL, times=1)
    world.set_fate(running.id, Fate.NEVER_END)
    operator.admin(*SCOPE)
    while world.running_imports() > 1:
        pass
    operator.admin("--verify", code=1)
    old = operator.target_of(bad.id)
    operator.server.forget_requests()
    operator.admin(*SCOPE, RETRY)
    assert operator.server.counts()["POST /collections"] == 1
    assert operator.target_of(bad.id) is not old
    assert old.id in operator.log
    assert len(world.targets_of("Good")) == len(world.targets_of("Running")) == 1
    assert operator.row(good.id)["connectors_migrated"] == 1


@pytest.mark.promise("retry.waits-and-moves")
def test_retry_in_self_service_does_it_all(operator: Operator, world: World) -> None:
    source = loaded_source(world)
    world.set_fate(source.id, Fate.FAIL, times=1)
    operator.user("anna", MAPPED, WAIT, code=1)
    operator.user("anna", MAPPED, RETRY, WAIT, CHATS)
    target = operator.target_of(source.id)
    assert len(target.documents) == len(target.connectors) == len(world.sessions_of(target.id)) == 2


@pytest.mark.promise("retry.only-failed")
def test_retry_also_begins_what_is_new(operator: Operator, world: World) -> None:
    world.add_collection("anna", "New", M3)
    operator.admin(*SCOPE, RETRY)
    assert len(operator.rows()) == 1


@pytest.mark.promise("history.nothing-forgotten")
def test_every_target_stays_on_record(operator: Operator, world: World) -> None:
    source = migrated(operator, "failed")
    operator.admin(*SCOPE, RETRY, WAIT)
    operator.admin(*SCOPE, FORCE, WAIT)
    rows = operator.sql("SELECT target_id, fate FROM attempts ORDER BY id")
    assert [row["fate"] for row in rows] == ["failed", "superseded", "live"]
    assert {row["target_id"] for row in rows} == {one.id for one in world.targets_of("Alpha")}
    assert rows[-1]["target_id"] == operator.target_of(source.id).id


@pytest.mark.promise("force.recovery-commands")
def test_forced_run_prints_the_commands_that_recover(operator: Operator, world: World) -> None:
    source = migrated(operator)
    first = operator.target_of(source.id)
    said = operator.admin(*SCOPE, FORCE, WAIT, DETAILS).out
    second = operator.target_of(source.id)
    assert second is not first
    # Connectors are always moved, chats were not asked for: they are named.
    assert (len(first.connectors), len(second.connectors)) == (0, 2)
    (words,) = printed_moves(said)
    assert "--move-connectors" not in words
    assert "--move-chats" in words
    assert words[words.index("--from") + 1] == first.id
    assert printed_moves(operator.log)
    operator.plain(*words, env={"H2OGPTE_ADMIN_KEY": operator.server.admin_key})
    assert len(world.sessions_of(second.id)) == 2


@pytest.mark.promise("force.recovery-commands")
def test_recovery_in_parallel_mode_ends_where_it_should(operator: Operator, world: World) -> None:
    source = migrated(operator)
    first = operator.target_of(source.id)
    (words,) = printed_moves(operator.admin(*SCOPE, FORCE, DETAILS).out)
    world.wait_until_idle()
    operator.plain(*words, env={"H2OGPTE_ADMIN_KEY": operator.server.admin_key})
    operator.admin("--verify", CHATS)
    second = operator.target_of(source.id)
    assert len(second.connectors) == 2
    assert len(world.sessions_of(second.id)) == 2
    assert not first.connectors


@pytest.mark.promise("force.recovery-commands", "resume.recovery-commands")
def test_nothing_to_recover_prints_no_command(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    operator.admin(*SCOPE, WAIT)
    assert printed_moves(operator.admin(*SCOPE, FORCE, WAIT, DETAILS).out) == []
    assert printed_moves(operator.admin(*SCOPE, WAIT, DETAILS).out) == []


@pytest.mark.promise("resume.recovery-commands")
def test_a_skipped_collection_names_the_command_that_brings_it_back(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    target = operator.target_of(source.id)
    assert printed_moves(operator.admin(*SCOPE, WAIT).out) == []
    (command,) = re.findall(r"h2ogpte-migrate --url .*--rollback.*", operator.log)
    words = shlex.split(command)[1:]
    operator.plain(*words, env={"H2OGPTE_ADMIN_KEY": operator.server.admin_key})
    assert (len(source.connectors), len(target.connectors)) == (2, 0)


@pytest.mark.promise("force.not-twice")
@pytest.mark.parametrize("flag", [FORCE, RETRY])
def test_an_interrupted_forced_run_continues(operator: Operator, world: World, flag: str) -> None:
    source = migrated(operator, "finished" if flag == FORCE else "failed")
    world.set_fate(source.id, Fate.NEVER_END)
    running = operator.start_admin(*SCOPE, WAIT, flag)
    running.wait_until(lambda: world.running_imports() and operator.row(source.id)["job_id"])
    running.kill()
    assert running.wait().code == -9
    let_jobs_end(world)
    world.set_fate(source.id, Fate.SUCCEED)
    operator.admin(*SCOPE, WAIT, flag)
    assert len(world.targets_of("Alpha")) == 2
    assert len(world.import_jobs()) == 2
    # That run ended: forcing makes a new one again, while nothing is left to retry.
    operator.admin(*SCOPE, WAIT, flag)
    assert len(world.targets_of("Alpha")) == (3 if flag == FORCE else 2)


@pytest.mark.promise("force.not-twice")
def test_no_command_that_is_named_forces_once_more_what_was_forced(
    operator: Operator, world: World
) -> None:
    refused = world.add_collection("anna", "Refused", M3)
    world.add_collection("anna", "Good", M3)
    operator.admin(*SCOPE, WAIT)
    world.set_fate(refused.id, Fate.REFUSE)
    said = operator.admin(*SCOPE, WAIT, FORCE, code=1).out
    assert "without --force-remigrate; it continues from here" in said
    verified = operator.admin("--verify", code=1).out
    status = operator.plain("--status").out
    world.set_fate(refused.id, Fate.SUCCEED)
    for text in (said, verified, status):
        (line,) = re.findall(r"h2ogpte-migrate --url .*--use-model-mappings.*", text)
        assert FORCE not in line
        operator.plain(*shlex.split(line)[1:], env={"H2OGPTE_ADMIN_KEY": "sk-sandbox-admin"})
    assert len(world.targets_of("Good")) == len(world.targets_of("Refused")) == 2


@pytest.mark.promise("force.recovery-commands")
def test_one_command_brings_over_the_chats_of_all_former_targets(
    operator: Operator, world: World
) -> None:
    for name in ("Alpha", "Beta"):
        world.add_collection("anna", name, M3, chats=2)
    operator.admin(*SCOPE, WAIT, CHATS)
    said = operator.admin(*SCOPE, WAIT, FORCE).out
    assert len(printed_moves(said)) == 2
    (line,) = re.findall(r"^Next: h2ogpte-migrate (.*)$", said, re.M)
    operator.plain(*shlex.split(line), env={"H2OGPTE_ADMIN_KEY": operator.server.admin_key})
    newest = [operator.target_of(row["old_collection_id"]) for row in operator.rows()]
    assert [len(world.sessions_of(target.id)) for target in newest] == [2, 2]
    assert "Next: " not in operator.admin(*SCOPE, WAIT, CHATS).out


@pytest.mark.promise("force.not-twice")
@pytest.mark.parametrize("fate", [Fate.FAIL, Fate.LOSE_SOME])
def test_what_failed_or_is_held_in_a_forced_run_is_retried_by_the_command_that_is_named(
    operator: Operator, world: World, fate: Fate
) -> None:
    bad = world.add_collection("anna", "Bad", M3, documents=4)
    world.add_collection("anna", "Good", M3)
    world.set_fate(bad.id, fate, times=1)
    said = operator.admin(*SCOPE, WAIT, FORCE, code=1).out
    (line,) = re.findall(r"h2ogpte-migrate (--url .*--retry-failed.*)", said)
    operator.plain(*shlex.split(line), env={"H2OGPTE_ADMIN_KEY": operator.server.admin_key})
    assert (len(world.targets_of("Good")), len(world.targets_of("Bad"))) == (1, 2)


def test_what_a_forced_run_could_not_begin_is_named_by_its_id_and_forced_then(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    other = world.add_collection("anna", "Other", documents=1)
    operator.admin(*SCOPE, WAIT, CHATS)
    former = operator.target_of(source.id)
    operator.server.faults.add(
        reply(400), when=lambda asked: asked.path.endswith(f"/collections/{source.id}"), times=None
    )
    said = operator.admin(*SCOPE, FORCE, WAIT, CHATS, code=1).text
    operator.server.faults.clear()
    assert "continues from here" not in said
    (command,) = re.findall(r"Next.*(h2ogpte-migrate --url .*)", said)
    assert f"--collections {source.id}" in command
    begun = operator.target_of(other.id)
    operator.admin(*shlex.split(command)[4:])
    assert operator.target_of(source.id) is not former
    assert operator.target_of(other.id) is begun


def test_a_forced_run_that_goes_on_and_fails_before_its_first_step_is_not_forced_once_more(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    world.set_fate(source.id, Fate.NEVER_END)
    operator.admin(*SCOPE, FORCE)
    operator.sql("INSERT OR REPLACE INTO marks VALUES (?, 'force', 1)", source.id)
    begun = operator.target_of(source.id)
    let_jobs_end(world)
    operator.server.faults.add(reply(403), route="POST /admin/api_keys", times=None)
    said = operator.admin(*SCOPE, FORCE, WAIT, code=1).text
    operator.server.faults.clear()
    (command,) = re.findall(r"Next.*(h2ogpte-migrate --url .*)", said)
    assert FORCE not in command
    operator.admin(*shlex.split(command)[4:])
    assert operator.target_of(source.id) is begun


def test_what_a_former_target_still_holds_goes_where_the_migration_has_moved_all_else(
    operator: Operator, world: World
) -> None:
    source = migrated(operator)
    former = operator.target_of(source.id)
    chats = "POST /collections/{collection_id}/migrate_chat_sessions_job"
    operator.server.faults.add(reply(403), route=chats, times=None)
    said = operator.admin(*SCOPE, WAIT, CHATS, FORCE, code=1).out
    operator.server.faults.clear()
    target = operator.target_of(source.id)
    (words,) = printed_moves(said)
    assert words[words.index("--from") + 1 : words.index("--from") + 4 : 2] == [
        former.id,
        target.id,
    ]
    operator.plain(*words, env={"H2OGPTE_ADMIN_KEY": operator.server.admin_key})
    assert len(world.sessions_of(target.id)) == 2
