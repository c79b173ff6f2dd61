"""``--verify``: what it looks after, in which scope, and what it tells."""

from __future__ import annotations

from typing import Dict, List

import pytest

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.world import World
from tests.support.earlier import let_jobs_end
from tests.support.terminal import M3, MAPPED, WAIT, Operator

VERIFY = "--verify"


@pytest.fixture
def submitted(operator: Operator, world: World) -> Dict[str, Collection]:
    """Return collections of two owners, by name, whose imports have ended unseen."""
    made = {}
    for owner, name in (("anna", "A1"), ("anna", "A2"), ("bertil", "B1")):
        made[name] = world.add_collection(owner, name, M3, documents=2, connectors=1)
    operator.admin("--all-users", MAPPED)
    world.wait_until_idle()
    operator.server.forget_requests()
    return made


def done(operator: Operator) -> List[str]:
    """The names of what is completed."""
    rows = operator.rows()
    return [row["old_collection_name"] for row in rows if row["connectors_migrated"]]


@pytest.mark.promise("verify.finishes-imports", "verify.begins-nothing")
@pytest.mark.parametrize("fork", [True, False], ids=["forked", "fresh process"])
def test_verify_finishes_what_was_submitted(
    operator: Operator, world: World, submitted: Dict[str, Collection], fork: bool
) -> None:
    new = world.add_collection("anna", "New", M3)
    said = operator.admin(VERIFY, fork=fork).out
    assert done(operator) == ["A1", "A2", "B1"]
    assert set(operator.changes()) == {
        "POST /collections/{collection_id}/migrate_scheduled_connectors"
    }
    assert "3 done" in said
    for row in operator.rows():
        assert row["job_status"] == "completed"
        assert row["completed_at"]
        assert row["import_completed"] == 1
    assert world.targets_of(new.name) == []


@pytest.mark.promise("verify.all-as-admin", "verify.nothing-twice")
def test_verify_again_has_nothing_to_do(
    operator: Operator, submitted: Dict[str, Collection]
) -> None:
    operator.admin(VERIFY)
    operator.server.forget_requests()
    said = operator.admin(VERIFY).out
    assert operator.changes() == {}
    assert "nothing to do" in said
    assert not any(key.name != "default" for key in operator.world.alive_keys())


@pytest.mark.promise("verify.by-users")
def test_verify_of_some_users(operator: Operator, submitted: Dict[str, Collection]) -> None:
    operator.admin(VERIFY, "--users", "bertil")
    assert done(operator) == ["B1"]


@pytest.mark.promise("verify.all-as-admin")
def test_verify_of_all_users(operator: Operator, submitted: Dict[str, Collection]) -> None:
    operator.admin(VERIFY, "--all-users")
    assert done(operator) == ["A1", "A2", "B1"]


@pytest.mark.promise("verify.by-collections")
@pytest.mark.parametrize("key", ["admin", "anna"])
def test_verify_of_some_collections(
    operator: Operator, submitted: Dict[str, Collection], key: str
) -> None:
    words = (VERIFY, "--collections", submitted["A2"].id)
    operator.admin(*words) if key == "admin" else operator.user(key, *words)
    assert done(operator) == ["A2"]


@pytest.mark.promise("verify.by-file")
def test_verify_of_a_file(operator: Operator, submitted: Dict[str, Collection]) -> None:
    (operator.folder / "ids").write_text(f"{submitted['A1'].id}\n#\n{submitted['B1'].id}\n")
    operator.admin(VERIFY, "--collections-file", "ids")
    assert done(operator) == ["A1", "B1"]


@pytest.mark.promise("verify.own-account")
def test_verify_as_a_user_is_about_the_own_account(
    operator: Operator, submitted: Dict[str, Collection]
) -> None:
    operator.user("anna", VERIFY)
    assert done(operator) == ["A1", "A2"]


@pytest.mark.promise("verify.unknown-named")
def test_ids_that_were_never_migrated_are_named(
    operator: Operator, world: World, submitted: Dict[str, Collection]
) -> None:
    other = world.add_collection("anna", "Never migrated", M3)
    said = operator.admin(VERIFY, "--collections", f"{submitted['A1'].id},{other.id}", code=1).out
    assert f"Not available: {other.id}: not on record in this database" in said
    assert done(operator) == ["A1"]


@pytest.mark.promise("verify.unknown-named")
def test_users_and_others_collections_are_named(
    operator: Operator, submitted: Dict[str, Collection]
) -> None:
    said = operator.admin(VERIFY, "--users", "anna,nobody,ana", code=1).out
    assert "Not available: nobody: nothing of this user is on record." in said
    assert "Not available: ana: nothing of this user is on record; did you mean anna?" in said
    said = operator.user("anna", VERIFY, "--collections", submitted["B1"].id, code=1).out
    assert f"Not available: {submitted['B1'].id}: it is not yours, but owned by bertil" in said
    assert done(operator) == ["A1", "A2"]


@pytest.mark.promise("verify.counts")
def test_verify_counts_each_kind_of_end(operator: Operator, world: World) -> None:
    fates = {
        "Good": Fate.SUCCEED,
        "Failing": Fate.FAIL,
        "Canceled": Fate.CANCEL,
        "Slow": Fate.NEVER_END,
    }
    for name, fate in fates.items():
        source = world.add_collection("anna", name, M3, connectors=1, chats=1)
        world.set_fate(source.id, fate)
    operator.admin("--users", "anna", MAPPED)
    while world.running_imports() > 1:
        pass
    said = operator.admin(VERIFY, "--migrate-chats", code=1).out
    assert "Summary: 1 done, 2 failed, 1 importing" in said
    assert "Failed: Failing" in said
    assert "Failed: Canceled" in said
    assert "canceled" in said
    status = {row["old_collection_name"]: row["job_status"] for row in operator.rows()}
    assert status == {
        "Good": "completed",
        "Failing": "failed",
        "Canceled": "failed",
        "Slow": "running",
    }


@pytest.mark.promise("verify.running-is-well")
def test_a_running_import_is_no_failure(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Slow", M3, connectors=1)
    world.set_fate(source.id, Fate.NEVER_END)
    operator.admin("--users", "anna", MAPPED)
    said = operator.admin(VERIFY).out
    assert "1 importing" in said
    assert "Next: h2ogpte-migrate" in said
    assert len(source.connectors) == 1
    assert operator.row(source.id)["job_status"] == "running"


@pytest.mark.promise("verify.wait")
def test_verify_that_waits(operator: Operator, world: World) -> None:
    for name in ("A1", "A2"):
        world.set_fate(world.add_collection("anna", name, M3, connectors=1).id, Fate.NEVER_END)
    operator.admin("--users", "anna", MAPPED)
    running = operator.start_admin(VERIFY, WAIT)
    running.wait_until(lambda: operator.server.counts().get("GET /jobs/{job_id}", 0) >= 4)
    let_jobs_end(world)
    assert running.wait().code == 0
    assert done(operator) == ["A1", "A2"]


@pytest.mark.promise("verify.db-path")
def test_verify_with_another_database_finds_nothing(
    operator: Operator, submitted: Dict[str, Collection]
) -> None:
    said = operator.admin(VERIFY, "--db-path", "other.db", code=2).err
    assert str(operator.folder / "other.db") in said
    assert not (operator.folder / "other.db").exists()
    assert done(operator) == []
    assert operator.changes() == {}
    (operator.folder / "elsewhere").mkdir()
    operator.folder = operator.folder / "elsewhere"
    operator.admin(VERIFY, "--db-path", "../migration_tracking.db")
    operator.folder = operator.folder.parent
    assert done(operator) == ["A1", "A2", "B1"]


@pytest.mark.promise("verify.interrupted-before-import")
def test_verify_names_what_was_never_submitted(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3)
    world.set_fate(source.id, Fate.REFUSE, times=1)
    operator.admin("--users", "anna", MAPPED, code=1)
    said = operator.admin(VERIFY, code=1).out
    assert "run the migration command again" in said
    assert world.import_jobs() == []
