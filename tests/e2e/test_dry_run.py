"""``--dry-run``: everything is shown, and nothing is changed anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, Tuple

import pytest

from h2ogpte_migration.sandbox.sample import sample_world
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.e2e.prepared import migrated
from tests.support.earlier import FLAGS, by_version_1_2_0
from tests.support.terminal import GEMMA, M3, MAPPED, Operator

DRY = "--dry-run"
KEY_ROUTES = ("POST /admin/api_keys", "DELETE /admin/api_keys/{key_id}")


def files(folder: Path) -> Dict[str, bytes]:
    """Everything in a folder but the logs."""
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.suffix not in (".log",)
    }


@pytest.mark.promise("dry-run.shows-all")
@pytest.mark.parametrize("fork", [True, False], ids=["forked", "fresh process"])
def test_everything_is_shown(operator: Operator, world: World, fork: bool) -> None:
    source = world.add_collection(
        "anna",
        "Alpha",
        M3,
        documents=7,
        connectors=2,
        chats=3,
        public=["read"],
        shares={"bertil": ["read", "chat"]},
        group_shares={"staff": ["edit"]},
        inactivity_interval=90,
        size_limit=10**9,
        expiry_date=world.now() + 10**7,
    )
    skipped = world.add_collection("anna", "Beta", "intfloat/e5-large-v2")
    said = operator.admin("--users", "anna", MAPPED, DRY, fork=fork).out
    for words in (
        f"Alpha ({source.id}) of anna: migrate",
        f"model: {M3} -> {GEMMA}",
        "documents: 7 (7.2 kB), connectors: 2, chats: 3",
        "public (read)",
        "user bertil (read, chat)",
        f"group {world.add_group('staff')} (edit)",
        "inactivity_interval: 90",
        "size_limit: 1000000000",
        "expiry_date: 20",
        "documents referenced; OCR model auto",
        f"Would skip: Beta ({skipped.id})",
        "Nothing was changed.",
    ):
        assert words in said
    assert operator.changes() == {}


@pytest.mark.promise("dry-run.shows-all")
def test_import_settings_are_those_of_the_command_line(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    copied = operator.admin("--users", "anna", MAPPED, DRY, "--copy-document").out
    assert "documents copied" in copied
    chunks = operator.user("anna", MAPPED, DRY, "--skip-reparse").out
    assert "without parsing" in chunks
    assert "OCR" not in chunks


@pytest.mark.promise("dry-run.shows-all")
def test_many_are_shown_as_totals_with_how_all_are_imported(
    operator: Operator, world: World
) -> None:
    for number in range(5):
        world.add_collection("anna", f"Alpha {number}", M3, inactivity_interval=90)
    brief = operator.admin("--users", "anna", MAPPED, DRY).out
    assert brief.count("documents referenced; OCR model auto") == 1
    assert "Permissions and lifecycle settings of each collection: with --details" in brief
    assert "inactivity_interval" not in brief
    long = operator.admin("--users", "anna", MAPPED, DRY, "--details").out
    assert long.count("inactivity_interval: 90") == 5


def test_the_page_for_whoever_approves_says_what_the_terminal_says(
    operator: Operator, world: World
) -> None:
    for number in range(5):
        world.add_collection("anna", f"Alpha {number}", M3, chats=2, shares={"bertil": ["read"]})
    told = operator.admin("--users", "anna", MAPPED, DRY, "--report", "plan.html").out
    page = (operator.folder / "plan.html").read_text(encoding="utf-8")
    for words in ("documents referenced; OCR model auto", "Chats stay: 10 chats", "Shared: 5 coll"):
        assert words in told
        assert words in page
    assert page.count("user bertil (read)") == 5
    (following,) = [line[6:] for line in told.splitlines() if line.startswith("Next: ")]
    assert following in page


def test_a_plan_with_nothing_to_do_names_no_command(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    assert "Next: " in operator.admin("--users", "anna", MAPPED, DRY).out
    operator.admin("--users", "anna", MAPPED, "--wait-for-completion")
    assert "Next: " not in operator.admin("--users", "anna", MAPPED, DRY).out
    operator.db.unlink()
    lost = operator.admin("--users", "anna", MAPPED, DRY, code=1).out
    assert "another database" in lost
    assert "Next: " not in lost


@pytest.mark.promise("dry-run.no-write")
def test_a_dry_run_leaves_nothing_behind(tmp_path: Path) -> None:
    world = sample_world()
    before = world.snapshot()
    with SandboxServer(world) as server:
        operator = Operator(server, tmp_path)
        operator.admin("--all-users", MAPPED, DRY)
        assert world.snapshot() == before
        assert set(server.counts(mutating=True)) <= set(KEY_ROUTES)
    assert files(tmp_path) == {}
    assert {key.name for key in world.alive_keys()} == {"default"}


@pytest.mark.promise("dry-run.keys-expire")
def test_keys_of_a_dry_run_expire_within_the_hour(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    operator.admin("--users", "anna", MAPPED, DRY, "--api-key-expiry", "30 days")
    made = [key for key in world.keys.values() if key.name != "default"]
    assert len(made) == 1
    assert made[0].expires_at is not None
    assert made[0].expires_at - made[0].created_at <= 3600


@pytest.mark.promise("dry-run.database-untouched")
@pytest.mark.parametrize("state", list(FLAGS))
@pytest.mark.parametrize("maker", [migrated, by_version_1_2_0], ids=["ours", "1.2.0"])
@pytest.mark.parametrize("flags", [(), ("--force-remigrate",)], ids=["plain", "forced"])
def test_a_database_that_is_there_is_only_read(
    operator: Operator, maker: object, state: str, flags: Tuple[str, ...]
) -> None:
    source = maker(operator, state)  # type: ignore[operator]
    before = files(operator.folder)
    operator.server.forget_requests()
    said = operator.admin("--users", "anna", MAPPED, DRY, *flags, code=None)
    assert files(operator.folder) == before
    assert operator.changes() == {}
    assert f"Alpha ({source.id})" in said.out
    action = next(line for line in said.out.splitlines() if line.startswith("Alpha ("))
    if flags:
        assert "migrate again (forced)" in action
    elif state == "failed":
        assert "--retry-failed" in action
    elif state in ("connected", "finished"):
        assert "leave: already migrated" in action
    else:
        assert "resume" in action or "leave: its import is running" in action


@pytest.mark.promise("dry-run.not-found-named")
def test_what_is_not_there_is_named(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3)
    unknown = world.new_id()
    said = operator.admin("--collections", f"{source.id},{unknown}", MAPPED, DRY, code=1).out
    assert f"Not available: {unknown}" in said
    assert "documents: 3" in said


@pytest.mark.promise("dry-run.next-command")
def test_the_real_command_is_told(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    said = operator.admin("--users", "anna", MAPPED, DRY).out
    (line,) = [line for line in said.splitlines() if line.startswith("Next: ")]
    assert "--users anna" in line
    assert DRY not in line
    assert "sk-" not in line


@pytest.mark.promise("dry-run.next-command")
def test_whoever_typed_the_key_is_told_that_the_next_command_lacks_it(
    operator: Operator, world: World
) -> None:
    world.add_collection("anna", "Alpha", M3)
    key = world.key_of("anna")
    typed = ("--url", operator.server.url, "--user-key", key, MAPPED)
    left_out = "The key is not repeated here: type it after --user-key, or put it into H2OGPTE_USER"
    known = operator.plain(*typed, DRY, env={"H2OGPTE_USER_KEY": key}).out
    assert "Next: " in known
    assert "not repeated" not in known
    for line in ((*typed, DRY), typed):
        said = operator.plain(*line).out
        assert said.count(left_out) == 1
        assert key not in said
