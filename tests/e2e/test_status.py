"""``--status``: the database told, without a server, a key, or the client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.world import World
from tests.support.earlier import FLAGS, by_version_1_2_0
from tests.support.terminal import M3, MAPPED, Operator


@pytest.fixture
def worked(operator: Operator, world: World) -> Operator:
    """Return the operator after a run with one of each: done, failed, running, with a warning."""
    world.add_collection("anna", "Good", M3, thumbnail="a.png")
    bad = world.add_collection("anna", "Bad", M3)
    slow = world.add_collection("anna", "Slow", M3)
    world.set_fate(bad.id, Fate.FAIL)
    world.set_fate(slow.id, Fate.NEVER_END)
    operator.admin("--users", "anna", MAPPED)
    while world.running_imports() > 1:
        pass
    operator.admin("--verify", code=1)
    operator.server.stop()
    return operator


@pytest.mark.promise("status.table", "status.kept-warnings", "status.no-server")
@pytest.mark.parametrize("fork", [True, False], ids=["forked", "fresh process"])
def test_table(worked: Operator, fork: bool) -> None:
    said = worked.plain("--status", fork=fork).out
    assert "Collections: 3 (1 importing, 1 connected, 1 failed)" in said
    lines = {
        line.split()[0]: line for line in said.splitlines() if line.startswith(("Bad", "Slow"))
    }
    assert "--retry-failed" in lines["Bad"]
    assert "--verify" in lines["Slow"]
    assert "thumbnail a.png" in said
    assert "Run 1 of" in said
    assert "exit 1" in said


@pytest.mark.promise("status.json", "status.kept-warnings")
def test_json(worked: Operator) -> None:
    told = json.loads(worked.plain("--status", "--json").out)
    assert told["counts"] == {"importing": 1, "connected": 1, "failed": 1}
    assert told["total"] == 3
    assert {row["source_name"]: row["position"] for row in told["unfinished"]} == {
        "Bad": "failed",
        "Slow": "importing",
    }
    assert "thumbnail" in told["warnings"][0]["text"]
    assert [run["exit_code"] for run in told["runs"]].count(1) == 1
    assert told["server"] == worked.server.url


@pytest.mark.promise("status.changes-nothing")
@pytest.mark.parametrize("state", list(FLAGS))
def test_the_database_stays_as_it_is(operator: Operator, state: str) -> None:
    by_version_1_2_0(operator, state)
    before = {path.name: path.read_bytes() for path in operator.folder.iterdir()}
    said = operator.plain("--status").out
    operator.plain("--status", "--json")
    assert {path.name: path.read_bytes() for path in operator.folder.iterdir()} == before
    assert "Collections: 1" in said


@pytest.mark.promise("status.no-database")
def test_without_a_database(operator: Operator) -> None:
    result = operator.plain("--status", code=2)
    assert "There is no tracking database" in result.err
    assert list(operator.folder.iterdir()) == []


@pytest.mark.promise("status.db-path")
def test_another_database(worked: Operator) -> None:
    (worked.folder / "sub").mkdir()
    worked.folder = worked.folder / "sub"
    assert "Collections: 3" in worked.plain("--status", "--db-path", "../migration_tracking.db").out


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
