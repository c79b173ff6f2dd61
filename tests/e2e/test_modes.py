"""The modes of a migration: what is done at once, what is left to ``--verify``, how many at once."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import pytest

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.sample import sample_world
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.support.terminal import GEMMA, M3, MAPPED, WAIT, Operator

CHATS = "--migrate-chats"


@pytest.fixture
def loaded(world: World) -> Collection:
    """Return a collection with documents, connectors and chats."""
    return world.add_collection("anna", "Alpha", M3, documents=3, connectors=2, chats=2)


def numbers(world: World, collection_id: str) -> Tuple[int, int]:
    """How many connectors and chats a collection holds."""
    held = world.collections[collection_id]
    return len(held.connectors), len(world.sessions_of(collection_id))


@pytest.mark.promise("parallel.submits-and-exits")
def test_parallel_run_ends_while_the_imports_run(operator: Operator, world: World) -> None:
    sources = [world.add_collection("anna", f"Number {n}", M3, documents=2) for n in range(3)]
    for source in sources:
        world.set_fate(source.id, Fate.NEVER_END)
    said = operator.admin("--users", "anna", MAPPED).out
    assert world.running_imports() == 3
    assert "3 importing" in said
    for row in operator.rows():
        assert (row["job_status"], row["import_submitted"]) == ("submitted", 1)
        assert (row["import_completed"], row["completed_at"]) == (0, None)
        assert row["job_id"] in world.jobs
    assert "--verify" in said


@pytest.mark.promise("parallel.moves-wait-for-verify", "migrate-chats.deferred")
def test_parallel_run_leaves_connectors_and_chats(operator: Operator, loaded: Collection) -> None:
    world = operator.world
    said = operator.admin("--users", "anna", MAPPED, CHATS).out
    world.wait_until_idle()
    assert numbers(world, loaded.id) == (2, 2)
    assert "--verify --migrate-chats" in said
    operator.admin("--verify")
    assert numbers(world, loaded.id) == (0, 2)
    assert numbers(world, operator.target_of(loaded.id).id) == (2, 0)
    operator.admin("--verify", CHATS)
    assert numbers(world, loaded.id) == (0, 0)
    assert numbers(world, operator.target_of(loaded.id).id) == (2, 2)


@pytest.mark.promise("wait.does-everything")
@pytest.mark.parametrize("fork", [True, False], ids=["forked", "fresh process"])
def test_sequential_run_does_it_all(operator: Operator, loaded: Collection, fork: bool) -> None:
    operator.admin("--users", "anna", MAPPED, WAIT, CHATS, fork=fork)
    target = operator.target_of(loaded.id)
    assert target.embedding_model == GEMMA
    assert len(target.documents) == 3
    assert numbers(operator.world, target.id) == (2, 2)
    assert numbers(operator.world, loaded.id) == (0, 0)
    row = operator.row(loaded.id)
    steps = [name for name in row if name.endswith(("ed", "copied")) and row[name] in (0, 1)]
    assert len(steps) == 6
    assert all(row[name] == 1 for name in steps)
    assert row["job_status"] == "completed"


@pytest.mark.promise("migrate-chats.opt-in")
def test_chats_stay_unless_asked_for(operator: Operator, loaded: Collection) -> None:
    operator.admin("--users", "anna", MAPPED, WAIT)
    assert numbers(operator.world, loaded.id) == (0, 2)
    assert operator.row(loaded.id)["chats_migrated"] == 0


@pytest.mark.promise("wait.one-at-a-time")
def test_sequential_run_takes_one_collection_at_a_time(operator: Operator, world: World) -> None:
    for number in range(4):
        world.add_collection("anna", f"Number {number}", M3, documents=2, connectors=1)
    operator.admin("--users", "anna", MAPPED, WAIT)
    assert world.peak_running_imports == 1
    # Create, move, create, move: the next one begins when the last one has ended.
    create, move = "POST /collections", "migrate_scheduled_connectors"
    routes = [request.route for request in operator.server.requests if request.mutating]
    kinds = [route for route in routes if route == create or route.endswith(move)]
    assert [kind == create for kind in kinds] == [True, False] * 4


@pytest.mark.promise("max-concurrent-jobs.reached-and-kept")
@pytest.mark.parametrize("jobs", [2, 4])
def test_concurrent_jobs_are_reached_and_never_exceeded(
    operator: Operator, world: World, jobs: int
) -> None:
    world.times.import_s = 0.3
    for number in range(2 * jobs + 1):
        owner = ("anna", "bertil")[number % 2]
        world.add_collection(owner, f"Number {number}", M3, documents=1)
    operator.admin("--all-users", MAPPED, WAIT, "--max-concurrent-jobs", str(jobs))
    assert world.peak_running_imports == jobs
    assert {row["job_status"] for row in operator.rows()} == {"completed"}


@pytest.mark.promise("max-concurrent-jobs.reached-and-kept")
def test_imports_found_running_count_as_jobs(operator: Operator, world: World) -> None:
    first = world.add_collection("anna", "Running already", M3)
    world.set_fate(first.id, Fate.NEVER_END)
    operator.admin("--users", "anna", MAPPED)
    world.add_collection("anna", "New one", M3)
    running = operator.start_admin("--users", "anna", MAPPED, WAIT)
    running.wait_until(lambda: operator.server.counts().get("GET /jobs/{job_id}", 0) >= 5)
    assert len(world.import_jobs()) == 1
    world.cancel_job(world.import_jobs(first.id)[0].id)
    assert running.wait().code == 1
    assert world.peak_running_imports == 1
    assert len(world.import_jobs()) == 2


@pytest.mark.promise("max-concurrent-jobs.needs-wait")
def test_concurrent_jobs_mean_nothing_without_waiting(operator: Operator, world: World) -> None:
    for number in range(3):
        source = world.add_collection("anna", f"Number {number}", M3)
        world.set_fate(source.id, Fate.NEVER_END)
    operator.admin("--users", "anna", MAPPED, "--max-concurrent-jobs", "1")
    assert world.running_imports() == 3


@pytest.mark.promise("max-concurrent-requests.kept")
@pytest.mark.parametrize("mode", [(), (WAIT, "--max-concurrent-jobs", "6")])
def test_requests_in_flight_are_bounded(
    operator: Operator, world: World, mode: Tuple[str, ...]
) -> None:
    for number in range(6):
        world.add_collection(("anna", "bertil")[number % 2], f"Number {number}", M3)
    world.habits.latency_s = 0.02
    operator.admin("--all-users", MAPPED, *mode, "--max-concurrent-requests", "3")
    assert operator.server.peak_in_flight == 3


def migrated(world: World, folder: Path, *runs: Tuple[str, ...]) -> object:
    """The end state of a world after these runs of an admin."""
    folder.mkdir()
    world.times.import_s, world.times.move_s = 0.03, 0.01
    with SandboxServer(world) as server:
        operator = Operator(server, folder)
        for words in runs:
            operator.admin(*words)
            world.wait_until_idle()
    return world.snapshot()


@pytest.mark.promise("modes.same-end")
def test_both_modes_come_to_the_same_end(tmp_path: Path) -> None:
    one, two, three = (sample_world() for _ in range(3))
    scope = ("--all-users", MAPPED, CHATS)
    parallel = migrated(one, tmp_path / "parallel", scope, ("--verify", CHATS))
    assert migrated(two, tmp_path / "sequential", (*scope, WAIT)) == parallel
    several = (*scope, WAIT, "--max-concurrent-jobs", "4")
    assert migrated(three, tmp_path / "several", several) == parallel


@pytest.mark.promise("failure.others-go-on")
@pytest.mark.parametrize("mode", [(), (WAIT,), (WAIT, "--max-concurrent-jobs", "3")])
def test_a_failure_does_not_stop_the_others(
    operator: Operator, world: World, mode: Tuple[str, ...]
) -> None:
    bad = world.add_collection("anna", "Bad one", M3)
    good = [world.add_collection("anna", f"Good {n}", M3) for n in range(3)]
    world.set_fate(bad.id, Fate.REFUSE)
    said = operator.admin("--users", "anna", MAPPED, *mode, code=1).out
    world.wait_until_idle()
    assert [len(operator.target_of(one.id).documents) for one in good] == [3, 3, 3]
    assert f"Failed: Bad one ({bad.id})" in said
    assert operator.target_of(bad.id).documents == []
