"""The same command again, from every state that an earlier run may have left.

Each case runs over a database of this tool and over one of version 1.2.0, in both modes.
"""

from __future__ import annotations

from typing import Any, Tuple

import pytest

from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.world import World
from tests.e2e.prepared import migrated
from tests.support.earlier import FLAGS, by_version_1_2_0, let_jobs_end
from tests.support.terminal import MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)
CHATS = "--migrate-chats"
MAKERS = {"ours": migrated, "version 1.2.0": by_version_1_2_0}

both_modes = pytest.mark.parametrize("mode", [(), (WAIT,)], ids=["parallel", "sequential"])
both_origins = pytest.mark.parametrize("made_by", list(MAKERS))


def bring(operator: Operator, made_by: str, state: str) -> Tuple[Collection, Any]:
    """A source in a state, with its target; requests are counted from here."""
    source = MAKERS[made_by](operator, state)
    target = operator.target_of(source.id)
    operator.server.forget_requests()
    return source, target


def held(world: World, collection: Collection) -> Tuple[int, int, int]:
    """How many documents, connectors and chats a collection holds."""
    sessions = world.sessions_of(collection.id)
    return len(collection.documents), len(collection.connectors), len(sessions)


@pytest.mark.promise("resume.created", "legacy.continued")
@both_modes
@both_origins
def test_created(operator: Operator, world: World, made_by: str, mode: Tuple[str, ...]) -> None:
    source, target = bring(operator, made_by, "created")
    source.shares["admin"] = ["read", "chat"]  # permissions are copied again
    operator.admin(*SCOPE, *mode)
    world.wait_until_idle()
    assert operator.target_of(source.id) is target
    assert target.shares == {"bertil": ["read"], "admin": ["read", "chat"]}
    assert len(world.import_jobs(source.id)) == 1
    assert held(world, target) == ((2, 2, 0) if mode else (2, 0, 0))
    assert len(world.targets_of("Alpha")) == 1


@pytest.mark.promise("resume.importing")
@both_origins
def test_importing_is_left_to_verify(operator: Operator, world: World, made_by: str) -> None:
    source, target = bring(operator, made_by, "importing")
    said = operator.admin(*SCOPE).out
    assert operator.changes() == {}
    assert "--verify" in said
    assert world.running_imports() == 1
    let_jobs_end(world)
    operator.admin("--verify")
    assert held(world, target) == (2, 2, 0)
    assert operator.row(source.id)["job_status"] == "completed"


@pytest.mark.promise("resume.importing-waited-for", "legacy.continued")
@both_origins
def test_importing_is_waited_for(operator: Operator, world: World, made_by: str) -> None:
    _, target = bring(operator, made_by, "importing")
    running = operator.start_admin(*SCOPE, WAIT)
    running.wait_until(lambda: operator.server.counts().get("GET /jobs/{job_id}"))
    let_jobs_end(world)
    assert running.wait().code == 0
    assert held(world, target) == (2, 2, 0)
    assert len(world.import_jobs()) == 1


@pytest.mark.promise("resume.imported", "legacy.continued")
@both_modes
@both_origins
def test_imported(operator: Operator, world: World, made_by: str, mode: Tuple[str, ...]) -> None:
    source, target = bring(operator, made_by, "imported")
    operator.admin(*SCOPE, *mode)
    assert held(world, target) == (2, 2, 0)
    assert held(world, source) == (2, 0, 2)
    assert len(world.import_jobs()) == 1


@pytest.mark.promise("resume.imported", "retry.not-for-moves")
@both_origins
def test_imported_is_mended_by_verify(operator: Operator, world: World, made_by: str) -> None:
    source, target = bring(operator, made_by, "imported")
    operator.admin("--verify", CHATS)
    assert held(world, target) == (2, 2, 2)
    assert held(world, source) == (2, 0, 0)


@pytest.mark.promise("resume.connected", "legacy.continued")
@both_modes
@both_origins
def test_connected(operator: Operator, world: World, made_by: str, mode: Tuple[str, ...]) -> None:
    source, target = bring(operator, made_by, "connected")
    operator.admin(*SCOPE, *mode)
    assert operator.changes() == {}
    operator.admin(*SCOPE, *mode, CHATS)
    assert held(world, target) == (2, 2, 2)
    assert operator.row(source.id)["chats_migrated"] == 1


@pytest.mark.promise("resume.finished", "legacy.continued")
@both_modes
@both_origins
def test_finished(operator: Operator, world: World, made_by: str, mode: Tuple[str, ...]) -> None:
    source, target = bring(operator, made_by, "finished")
    before = world.snapshot()
    said = operator.admin(*SCOPE, *mode, CHATS).out
    assert operator.changes() == {}
    assert world.snapshot() == before
    assert operator.target_of(source.id) is target
    assert "already migrated" in said


@pytest.mark.promise("resume.failed", "retry.new-target")
@both_modes
@both_origins
def test_failed(operator: Operator, world: World, made_by: str, mode: Tuple[str, ...]) -> None:
    source, target = bring(operator, made_by, "failed")
    said = operator.admin(*SCOPE, *mode, code=1).out
    assert operator.changes() == {}
    assert "--retry-failed" in said
    operator.admin(*SCOPE, *mode, "--retry-failed")
    world.wait_until_idle()
    new = operator.target_of(source.id)
    assert new is not target
    assert target.id in world.collections
    assert held(world, new) == ((2, 2, 0) if mode else (2, 0, 0))


@pytest.mark.promise("force.any-state", "legacy.continued")
@both_origins
@pytest.mark.parametrize("state", ["created", "imported", "connected", "finished", "failed"])
def test_forced(operator: Operator, world: World, made_by: str, state: str) -> None:
    source, target = bring(operator, made_by, state)
    operator.admin(*SCOPE, WAIT, "--force-remigrate")
    new = operator.target_of(source.id)
    assert new is not target
    assert target.id in world.collections
    assert len(new.documents) == 2
    row = operator.row(source.id)
    assert (row["job_status"], row["error"]) == ("completed", None)


@pytest.mark.promise("legacy.continued")
@pytest.mark.parametrize("state", list(FLAGS))
def test_the_documented_query_works_over_both(operator: Operator, state: str) -> None:
    query = (
        "SELECT old_collection_name, job_status, import_completed, connectors_migrated, "
        "chats_migrated, error FROM collection_migrations;"
    )
    source = by_version_1_2_0(operator, state)
    before = operator.sql(query)
    assert before[0]["old_collection_name"] == source.name
    let_jobs_end(operator.world)
    operator.admin("--verify", code=None)
    columns = operator.sql("PRAGMA table_info(collection_migrations)")
    assert [column["name"] for column in columns][:3] == [
        "old_collection_id",
        "old_collection_name",
        "new_collection_id",
    ]
    assert len(columns) == 19
    assert len(operator.sql(query)) == 1


@pytest.mark.promise("resume.says-what-it-found")
def test_a_resumed_run_says_what_it_found(operator: Operator, world: World) -> None:
    bring(operator, "ours", "finished")
    running = world.add_collection("anna", "Beta", "BAAI/bge-m3")
    from h2ogpte_migration.sandbox.habits import Fate

    world.set_fate(running.id, Fate.NEVER_END)
    operator.admin(*SCOPE)
    said = operator.admin(*SCOPE).out
    found = next(line for line in said.splitlines() if "1 importing" in line)
    assert "1 done" in found
