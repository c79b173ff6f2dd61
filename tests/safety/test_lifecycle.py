"""Archived sources, dates in the past, limits, quotas, and ids in capitals."""

from __future__ import annotations

from pathlib import Path

import pytest

from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from ..faults.harness import LARGE, Result, run, serving

pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def world() -> World:
    world = World()
    world.times.import_s = world.times.move_s = 0.02
    world.add_user("admin", admin=True)
    for name in ("anna", "bertil"):
        world.add_user(name)
    return world


def migrate(server: SandboxServer, folder: Path, *more: str) -> Result:
    scope = [] if "--collections" in more else ["--all-users"]
    words = ["--url", server.url, "--admin-key", "sk-sandbox-admin", *scope]
    return run(folder, *words, "--use-model-mappings", *more)


def flat(text: str) -> str:
    return " ".join(text.split())


def migrated(world: World) -> int:
    return sum(item.imported for item in world.collections.values())


@pytest.mark.parametrize("status", ["archived", "Archived", "deleted", "deleting"])
def test_a_source_out_of_use_is_skipped_with_the_reason(
    world: World, tmp_path: Path, status: str
) -> None:
    source = world.add_collection("anna", "Old", LARGE, status=status)
    world.add_collection("anna", "New", LARGE)
    with serving(world) as server:
        result = migrate(server, tmp_path)
        assert len(world.collections) == 3
        assert f"Skipped: Old ({source.id}): it is {status.lower()}" in result.text
        named = migrate(server, tmp_path, "--collections", source.id)
    assert (result.code, named.code) == (0, 0), result.text
    assert len(world.collections) == 3


def test_a_source_that_is_archived_in_mid_migration_is_left_where_it_stands(
    world: World, tmp_path: Path
) -> None:
    source = world.add_collection("anna", "Old", LARGE)
    with serving(world) as server:
        assert migrate(server, tmp_path).code == 0
        world.wait_until_idle()
        source.status = "archived"
        words = ["--url", server.url, "--admin-key", "sk-sandbox-admin", "--verify"]
        assert run(tmp_path, *words).code == 0


def test_a_server_of_tomorrow_has_other_states(world: World, tmp_path: Path) -> None:
    world.add_collection("anna", "Papers", LARGE, status="hibernating")
    with serving(world) as server:
        assert migrate(server, tmp_path, "--wait-for-completion").code == 0
    assert migrated(world) == 1


def test_a_date_in_the_past_and_a_limit_that_is_passed_are_warnings(
    world: World, tmp_path: Path
) -> None:
    world.add_collection("anna", "Expired", LARGE, expiry_date=world.now() - 86400 * 30)
    world.add_collection("anna", "Large", LARGE, documents=5, size_limit=2000)
    world.add_collection(
        "anna", "Fine", LARGE, expiry_date=world.now() + 86400 * 30, size_limit=10**6
    )
    with serving(world) as server:
        plan = flat(migrate(server, tmp_path, "--dry-run").text)
        result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert plan.count("is in the past") == 1
    assert plan.count("exceed the size limit of 2000") == 1
    status = flat(run(tmp_path, "--status").text)
    assert status.count("is in the past") == 1
    assert status.count("exceed the size limit of 2000") == 1


@pytest.mark.parametrize("status", [403, 400, 409, 422])
def test_a_quota_of_collections_counts_for_its_owner(
    world: World, tmp_path: Path, status: int
) -> None:
    for number in range(6):
        world.add_collection("anna", f"A{number}", LARGE, settings={"ocr_model": "auto"})
    world.add_collection("bertil", "B", LARGE)
    world.habits.collections_per_user, world.habits.quota_status = 2, status
    with serving(world) as server:
        result = migrate(server, tmp_path, "--max-failures", "3")
        creations = [r for r in server.requests if r.route == "POST /collections"]
    assert result.code == 1
    assert "a quota of anna is used up" in result.text
    assert "The quota of 2 collections is exceeded" in result.text
    assert "failed alike" not in result.text
    assert len(creations) == 7, "a quota is no refusal of a part: asked once each"
    world.wait_until_idle()
    assert migrated(world) == 1


def test_a_quota_of_documents_counts_for_its_owner(world: World, tmp_path: Path) -> None:
    for number in range(4):
        world.add_collection("anna", f"A{number}", LARGE, documents=3)
    world.add_collection("bertil", "B", LARGE)
    world.habits.documents_per_user = 13
    with serving(world) as server:
        result = migrate(server, tmp_path, "--max-failures", "2")
        assert result.code == 1
        assert "a quota of anna is used up" in result.text
        assert "failed alike" not in result.text
        world.wait_until_idle()
        assert [c for c in world.collections.values() if c.username == "bertil" and c.imported]
        # Once there is room, the same command goes on with the same targets.
        count = len(world.collections)
        world.habits.documents_per_user = None
        assert migrate(server, tmp_path, "--wait-for-completion").code == 0
        assert len(world.collections) == count


@pytest.mark.parametrize("as_admin", [True, False])
@pytest.mark.parametrize("ids_ignore_case", [True, False])
def test_ids_in_capitals_are_found(
    world: World, tmp_path: Path, as_admin: bool, ids_ignore_case: bool
) -> None:
    source = world.add_collection("anna", "Papers", LARGE)
    world.habits.filter_ignores_case = False
    world.habits.ids_ignore_case = ids_ignore_case
    key = ["--admin-key", "sk-sandbox-admin"] if as_admin else ["--user-key", "sk-sandbox-anna"]
    with serving(world) as server:
        words = ["--url", server.url, *key, "--collections", source.id.upper()]
        result = run(tmp_path, *words, "--use-model-mappings")
        assert result.code == 0, result.text
        world.wait_until_idle()
        assert migrated(world) == 1
        result = run(tmp_path, *words, "--verify")
        assert result.code == 0, result.text
        assert "never migrated" not in result.text


def test_one_collection_named_twice_is_migrated_once(world: World, tmp_path: Path) -> None:
    source = world.add_collection("anna", "Papers", LARGE)
    with serving(world) as server:
        ids = f"{source.id},{source.id.upper()}"
        assert migrate(server, tmp_path, "--collections", ids).code == 0
    assert len(world.collections) == 2
