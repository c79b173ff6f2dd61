"""Runs that are cut short, and the same command again.

The whole of it, instant by instant, is what the crash tests are about; these are the cases that
people meet.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from typing import Tuple

import pytest

from h2ogpte_migration.sandbox.faults import reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.world import World
from tests.support.earlier import let_jobs_end, loaded_source
from tests.support.terminal import M3, MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)
CHATS = "--migrate-chats"


@pytest.mark.promise("killed.import-wait")
@pytest.mark.parametrize("fork", [True, False], ids=["forked", "fresh process"])
def test_killed_while_it_waits_for_the_import(operator: Operator, world: World, fork: bool) -> None:
    source = loaded_source(world)
    world.set_fate(source.id, Fate.NEVER_END)
    words = (*SCOPE, WAIT, CHATS)
    running = operator.start_admin(*words, fork=fork)
    running.wait_until(lambda: operator.server.counts().get("GET /jobs/{job_id}", 0) >= 2)
    running.kill()
    assert running.wait().code == -signal.SIGKILL
    let_jobs_end(world)
    operator.admin(*words)
    (target,) = world.targets_of("Alpha")
    (job,) = world.import_jobs()
    assert operator.row(source.id)["job_id"] == job.id
    assert sorted(m.document.id for m in target.documents) == sorted(
        m.document.id for m in source.documents
    )
    assert (len(target.connectors), len(world.sessions_of(target.id))) == (2, 2)
    assert {key.name for key in world.alive_keys()} == {"default"}


@pytest.mark.promise("killed.same-end")
@pytest.mark.parametrize(
    "route",
    [
        "POST /collections",
        "PUT /collections/{collection_id}/permissions/{username}",
        "POST /collections/{collection_id}/import_collection_job",
        "POST /collections/{collection_id}/migrate_scheduled_connectors",
        "POST /collections/{collection_id}/migrate_chat_sessions_job",
    ],
)
@pytest.mark.parametrize("after", [False, True], ids=["before the work", "after the work"])
def test_killed_at_each_step(operator: Operator, world: World, route: str, after: bool) -> None:
    from h2ogpte_migration.sandbox.faults import call

    source = loaded_source(world)
    runs = []
    operator.server.faults.add(call(lambda: runs[0].kill(), after=after, drop=True), route=route)
    runs.append(operator.start_admin(*SCOPE, WAIT, CHATS))
    assert runs[0].wait().code == -signal.SIGKILL
    operator.admin(*SCOPE, WAIT, CHATS)
    target = operator.target_of(source.id)
    assert sorted(m.document.id for m in target.documents) == sorted(
        m.document.id for m in source.documents
    )
    assert (len(target.connectors), len(world.sessions_of(target.id))) == (2, 2)
    assert target.shares == source.shares
    assert len(world.targets_of("Alpha")) == 1
    assert {key.name for key in world.alive_keys()} == {"default"}


@pytest.mark.promise("interrupted.first-signal")
@pytest.mark.skipif(sys.platform == "win32", reason="os.kill with SIGINT")
def test_ctrl_c_while_the_command_is_still_loading_shows_no_traceback() -> None:
    code = (
        "import os, signal, sys\n"
        "class Press:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'h2ogpte_migration.cli':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Press())\n"
        "from h2ogpte_migration.__main__ import run\n"
        "sys.argv = ['h2ogpte-migrate', '--version']\n"
        "run()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == -signal.SIGINT
    assert (ran.stdout, ran.stderr) == ("", "")


@pytest.mark.promise("interrupted.first-signal")
@pytest.mark.parametrize(
    ("number", "code", "fork"),
    [
        pytest.param(
            number,
            code,
            fork,
            id=f"{'forked' if fork else 'fresh process'}-{code}",
            # Where it began is no matter of the signal: by default one shows that.
            marks=() if fork or number == signal.SIGINT else pytest.mark.slow,
        )
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129))
        for fork in (True, False)
    ],
)
def test_interrupted_by_hand(
    operator: Operator, world: World, number: int, code: int, fork: bool
) -> None:
    source = loaded_source(world)
    world.add_collection("anna", "Not begun", M3)
    world.set_fate(source.id, Fate.NEVER_END)
    running = operator.start_admin(*SCOPE, WAIT, "--report", "run.json", fork=fork)
    running.wait_until(lambda: operator.server.counts().get("GET /jobs/{job_id}", 0) >= 2)
    running.signal(number)
    result = running.wait()
    assert result.code == code
    report = json.loads((operator.folder / "run.json").read_text(encoding="utf-8"))
    assert report["exit_code"] == code
    assert world.running_imports() == 1
    assert {key.name for key in world.alive_keys()} == {"default"}
    (line,) = [line for line in result.out.splitlines() if line.startswith("Next: ")]
    assert WAIT in line
    assert "Summary: " in result.out
    assert world.targets_of("Not begun") == []
    standing = operator.plain("--status", "--check", code=1).out
    assert "0 of 2 migrated" in standing
    assert "1 not started" in standing
    assert re.search(r"\(not begun\) +0 +1 .*\(not begun\) +0 +1", standing), "tables add up"
    assert "last run: interrupted" in standing
    let_jobs_end(world)
    operator.admin(*SCOPE, WAIT)
    assert len(world.import_jobs(source.id)) == 1
    assert "2 of 2 migrated (100%)" in operator.plain("--status", "--check").out


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("status", [503, 401], ids=["tried again", "an error"])
def test_interrupted_while_it_logs_in(
    operator: Operator, world: World, number: int, code: int, status: int
) -> None:
    runs = []
    started = threading.Event()

    def stop() -> None:
        started.wait()
        runs[0].signal(number)
        runs[0].wait_until(lambda: "Stopping: " in runs[0].so_far())

    refused = replace(reply(status), call=stop)
    operator.server.faults.add(refused, route="GET /rpc/meta")
    runs.append(operator.start_admin(*SCOPE))
    started.set()
    said = runs[0].wait()
    assert said.code == code
    assert ("Error:" in said.err) == (status == 401)


@pytest.mark.promise("leases.several-terminals")
@pytest.mark.parametrize("mode", [(), (WAIT,)], ids=["parallel", "sequential"])
def test_two_terminals_do_nothing_twice(
    operator: Operator, world: World, mode: Tuple[str, ...]
) -> None:
    for number in range(8):
        world.add_collection("anna", f"Number {number}", M3, documents=2, connectors=1)
    runs = [operator.start_admin(*SCOPE, *mode) for _ in range(2)]
    results = [run.wait() for run in runs]
    for result in results:
        assert "Traceback" not in result.text
        assert "bug" not in result.text
    operator.admin(*SCOPE, WAIT)
    for number in range(8):
        (target,) = world.targets_of(f"Number {number}")
        assert (len(target.documents), len(target.connectors)) == (2, 1)
    assert len(world.import_jobs()) == 8
