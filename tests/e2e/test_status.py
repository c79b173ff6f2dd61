"""``--status``: the database told, without a server, a key, or the client."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, List, Tuple

import pytest

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection, JobKind
from h2ogpte_migration.sandbox.world import World
from h2ogpte_migration.tracking import Database, Tracking
from tests.e2e.prepared import migrated, once
from tests.support.command import start_command
from tests.support.earlier import FLAGS, by_version_1_2_0
from tests.support.terminal import M3, MAPPED, Operator


@pytest.fixture
def worked(operator: Operator, world: World) -> Operator:
    """Return the operator after a run with one of each: done, failed, running, with a warning."""

    def commands() -> List[Collection]:
        world.add_collection("anna", "Good", M3, thumbnail="a.png")
        bad = world.add_collection("anna", "Bad", M3)
        slow = world.add_collection("anna", "Slow", M3)
        world.set_fate(bad.id, Fate.FAIL)
        world.set_fate(slow.id, Fate.NEVER_END)
        operator.admin("--users", "anna", MAPPED)
        while world.running_imports() > 1:
            pass
        operator.admin("--verify", code=1)
        return []

    once("worked", operator.server, operator.db, commands)
    operator.server.stop()
    return operator


@pytest.mark.promise("status.table", "status.kept-warnings", "status.no-server")
@pytest.mark.parametrize("fork", [True, False], ids=["forked", "fresh process"])
def test_screen(worked: Operator, fork: bool) -> None:
    said = worked.plain("--status", fork=fork).out
    assert "1 of 3 migrated (33%)" in said
    assert "1 done  1 failed  0 held  1 importing    last run: exit 1" in said
    needs = said.partition("NEEDS YOU (1)\n")[2].splitlines()
    assert needs[0].split()[:3] == ["failed", "Bad", "anna"]
    assert "Slow" not in said
    assert "thumbnail a.png" in said
    following = next(line for line in said.splitlines() if line.startswith("Next: "))
    assert f"--url {worked.server.url} --admin-key --users anna" in following
    assert following.endswith("--retry-failed")


@pytest.mark.promise("status.json", "status.kept-warnings")
def test_json(worked: Operator) -> None:
    told = json.loads(worked.plain("--status", "--json").out)
    assert told["schema"] == "h2ogpte-migrate/status/1"
    assert {kind: n for kind, n in told["counts"].items() if n} == {
        "importing": 1,
        "done": 1,
        "failed": 1,
    }
    assert told["counts"]["held"] == 0
    assert told["positions"]["connected"] == 1
    assert (told["total"], told["open"]) == (3, 2)
    assert {row["name"]: row["position"] for row in told["unfinished"]} == {
        "Bad": "failed",
        "Slow": "importing",
    }
    assert all(row["begun_at"].endswith("+00:00") for row in told["unfinished"])
    assert "collections" not in told
    assert "thumbnail" in told["warnings"][0]["text"]
    assert [run["exit_code"] for run in told["runs"]].count(1) == 1
    assert told["server"] == worked.server.url


def test_all_names_what_is_done_with_both_ids(worked: Operator) -> None:
    good = next(row for row in worked.rows() if row["old_collection_name"] == "Good")
    said = worked.plain("--status", "--all").out
    assert f"{good['old_collection_id']} -> {good['new_collection_id']}" in said
    told = json.loads(worked.plain("--status", "--all", "--json").out)
    kept = next(row for row in told["collections"] if row["name"] == "Good")
    assert kept["new_collection_id"] == good["new_collection_id"]
    assert kept["verdict"] == "clean"
    assert kept["validated_at"]
    assert kept["documents_before"] == kept["documents_after"] is not None


def test_it_can_be_narrowed(worked: Operator) -> None:
    bad = next(row for row in worked.rows() if row["old_collection_name"] == "Bad")
    for words, total in (
        (["--users", "anna"], 3),
        (["--users", "ann"], 0),
        (["--collections", bad["old_collection_id"]], 1),
        (["--collections", bad["new_collection_id"]], 1),
    ):
        assert json.loads(worked.plain("--status", "--json", *words).out)["total"] == total
    assert "Good" not in worked.plain("--status", "--collections", bad["old_collection_id"]).out


def test_check_tells_whether_anything_is_open(worked: Operator) -> None:
    good = next(row for row in worked.rows() if row["old_collection_name"] == "Good")
    worked.plain("--status", "--check", code=1)
    worked.plain("--status", "--check", "--collections", good["old_collection_id"])
    worked.plain("--status")


@pytest.mark.parametrize("later", [("--verify",), ("--users", "anna", MAPPED)], ids=" ".join)
def test_chats_that_were_asked_for_and_did_not_move_are_open(
    operator: Operator, world: World, later: Tuple[str, ...]
) -> None:
    """Who retires the old model by this answer would lose them."""
    source = world.add_collection("anna", "Alpha", M3, documents=1, chats=2)
    world.set_fate(source.id, Fate.REFUSE, kind=JobKind.MOVE_CHATS, times=1)
    whole = ("--users", "anna", MAPPED, "--wait-for-completion", "--migrate-chats")
    operator.admin(*whole, code=1)

    def told() -> Any:
        operator.plain("--status", "--report", "told.json")
        return json.loads((operator.folder / "told.json").read_text())["collections"][0]

    for outcome in ("failed", "interrupted"):
        said = operator.plain("--status", "--check", code=1).out
        assert f"1 {outcome}" in said
        assert "0 of 1 migrated" in said
        assert (told()["outcome"], told()["chats_moved"]) == (outcome, None)
        # As a run leaves it that was killed while they moved.
        operator.sql("UPDATE collection_migrations SET error = NULL")
    # What was begun is gone on with, by whatever looks after what is open.
    operator.admin(*later)
    assert (told()["outcome"], told()["chats_moved"]) == ("done", 2)
    operator.plain("--status", "--check")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(worked: Operator, columns: int) -> None:
    said = worked.plain("--status", "--all", env={"COLUMNS": str(columns)}).out
    lines = [line for line in said.splitlines() if not line.startswith("Next: ")]
    assert max(map(len, lines)) <= columns


def test_watch_follows_the_database_until_it_is_interrupted(worked: Operator) -> None:
    running = start_command(["--status", "--watch"], cwd=worked.folder)
    running.wait_until(lambda: "1 of 3 migrated" in running.so_far())
    running.signal(signal.SIGINT)
    assert running.wait().code == 130


@pytest.mark.parametrize("suffix", ["json", "csv", "html"])
def test_report(worked: Operator, suffix: str) -> None:
    path = worked.folder / f"stand.{suffix}"
    worked.plain("--status", "--report", path.name)
    text = path.read_text(encoding="utf-8")
    assert all(row["old_collection_id"] in text for row in worked.rows())
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.promise("status.changes-nothing")
@pytest.mark.parametrize("state", list(FLAGS))
def test_the_database_stays_as_it_is(operator: Operator, state: str) -> None:
    by_version_1_2_0(operator, state)
    before = {path.name: path.read_bytes() for path in operator.folder.iterdir()}
    said = operator.plain("--status").out
    operator.plain("--status", "--json")
    assert {path.name: path.read_bytes() for path in operator.folder.iterdir()} == before
    assert "of 1 migrated" in said


@pytest.mark.promise("status.no-database")
def test_without_a_database(operator: Operator) -> None:
    result = operator.plain("--status", code=2)
    assert (
        f"There is no tracking database {operator.folder / 'migration_tracking.db'}" in result.err
    )
    assert list(operator.folder.iterdir()) == []


@pytest.mark.promise("status.db-path")
def test_another_database(worked: Operator) -> None:
    (worked.folder / "sub").mkdir()
    worked.folder = worked.folder / "sub"
    assert "of 3 migrated" in worked.plain("--status", "--db-path", "../migration_tracking.db").out


def test_who_is_not_on_record_is_said_and_is_no_green_light(worked: Operator) -> None:
    said = worked.plain("--status", "--users", "ana").out
    assert "No collection of ana is on record; did you mean anna?" in said
    assert worked.plain("--status", "--users", "ana", "--check", code=1).out
    assert (
        "collection c-none is not on record"
        in worked.plain("--status", "--collections", "c-none", "--check", "--json", code=1).err
    )


def test_capitals_are_no_part_of_an_id_nor_hide_a_user(worked: Operator) -> None:
    row = worked.rows()[0]
    for name in ("old_collection_id", "new_collection_id"):
        ids = f"{row[name].upper()},{worked.rows()[1]['old_collection_id']}"
        said = worked.plain("--status", "--collections", ids, code=None).out
        assert "of 2 migrated" in said
        assert "not on record" not in said
    assert "did you mean anna?" in worked.plain("--status", "--users", "ANNA").out


def test_the_next_command_reaches_the_server_as_the_migration_did(
    operator: Operator, world: World
) -> None:
    world.add_collection("anna", "Good", M3)
    more = ("--migrate-chats", "--insecure", "--timeout", "7", "--quiet", "--db-path", "own.db")
    operator.admin("--users", "anna", MAPPED, *more)
    last = operator.plain("--status", "--db-path", "own.db").out.splitlines()[-1]
    assert last == (
        f"Next: h2ogpte-migrate --url {operator.server.url} --admin-key --insecure --migrate-chats "
        "--db-path own.db --timeout 7.0 --verify"
    )
    folder, operator.folder = operator.folder, operator.folder / "sub"
    operator.folder.mkdir()
    elsewhere = operator.plain("--status", "--db-path", "../own.db").out.splitlines()[-1]
    assert elsewhere == last.replace("Next: ", f"Next: cd {folder} && ")


def loaded_by(*words: str, cwd: Path) -> Any:
    """The modules that a command line has loaded when it ends."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write(chr(10) + ' '.join(sys.modules)))\n"
        "from h2ogpte_migration import app\n"
        "app.run()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, timeout=60
    )
    return set(ran.stderr.splitlines()[-1].split())


@pytest.mark.promise("status.without-the-client")
@pytest.mark.parametrize("words", [("--status",), ("--status", "--json")], ids=" ".join)
def test_the_client_is_not_imported(operator: Operator, words: Any) -> None:
    by_version_1_2_0(operator, "imported")
    loaded = loaded_by(*words, cwd=operator.folder)
    assert "h2ogpte_migration.commands.status" in loaded
    assert not loaded & {"h2ogpte", "aiohttp", "pydantic", "urllib3", "rich", "websockets"}


@pytest.mark.parametrize("made_by", [by_version_1_2_0, migrated])
@pytest.mark.parametrize("state", list(FLAGS))
def test_many_at_once_stand_where_each_alone_does(
    operator: Operator, made_by: Any, state: str
) -> None:
    source = made_by(operator, state)
    with closing(Database.to_read(operator.db)) as database:
        tracking = Tracking(database)
        alone = tracking.store.load(source.id)
        (row,) = tracking.accounts.rows()
        assert alone is not None
        assert row.position == alone.position
        assert tracking.accounts.counts().positions == {alone.position: 1}
        assert bool(tracking.accounts.needing()) == row.needs_attention
