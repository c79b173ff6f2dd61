"""What surrounds a run: checks before it, the server's identity, logs, limits and exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from datetime import datetime, timezone
from typing import Tuple

import pytest

from h2ogpte_migration.sandbox.faults import reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.support.command import run_command
from tests.support.terminal import M3, MAPPED, WAIT, Operator

SCOPE = ("--users", "anna", MAPPED)


# -- preflight -----------------------------------------------------------------------------
@pytest.mark.promise("preflight.told")
def test_what_was_checked_is_told_before_the_first_write(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    said = operator.admin(*SCOPE).out
    block = said[: said.index("Alpha")]
    assert f"Server: {operator.server.url}, version 1.7.5; key: admin." in block
    assert "Scope: 1 collection to migrate" in block
    assert "h2oai/embeddinggemma-300m-qat-q8_0-unquantized" in block


@pytest.mark.promise("preflight.key")
def test_a_wrong_key_is_refused(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    wrong = "sk-not-a-key-of-this-server"
    for kind, scope in (("admin", SCOPE), ("user", (MAPPED,))):
        result = run_command(
            [*scope, "--url", operator.server.url, f"--{kind}-key"],
            env={f"H2OGPTE_{kind.upper()}_KEY": wrong},
        )
        assert result.code == 2
        assert "does not take the key" in result.err
        assert wrong not in result.text
    assert operator.changes() == {}


@pytest.mark.promise("preflight.admin-rights")
@pytest.mark.parametrize("mode", ["migrate", "verify", "dry run"])
def test_an_admin_key_must_be_an_admins(operator: Operator, world: World, mode: str) -> None:
    world.add_collection("bertil", "Beta", M3, connectors=1)
    scope = ("--users", "bertil", MAPPED)
    if mode == "verify":
        operator.admin(*scope)
        operator.server.forget_requests()
    words = {"migrate": scope, "verify": ("--verify",), "dry run": (*scope, "--dry-run")}[mode]
    env = {"H2OGPTE_ADMIN_KEY": world.key_of("anna")}
    result = operator.admin(*words, code=2, env=env)
    assert "no administrator" in result.err
    assert "--user-key" in result.err
    assert operator.changes() == {}


@pytest.mark.promise("preflight.unreachable")
def test_a_server_that_is_not_there(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    operator.server.stop()
    result = operator.admin(*SCOPE, "--retries", "0", code=1)
    assert result.err.startswith("Error: ")
    assert len(result.err.splitlines()) <= 3


# -- the server of a database --------------------------------------------------------------
@pytest.mark.promise("binding.refused", "binding.rebind")
def test_a_database_belongs_to_its_server(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3, connectors=1)
    operator.admin(*SCOPE)
    world.wait_until_idle()
    first = operator.server
    with SandboxServer(world) as other:
        operator.server = other
        result = operator.admin("--verify", code=2)
        assert first.url in result.err
        assert other.url in result.err
        assert "--rebind-server" in result.err
        assert other.requests == []
        operator.admin("--verify", "--rebind-server")
        operator.admin("--verify")
    assert operator.row(source.id)["connectors_migrated"] == 1
    operator.server = first
    operator.admin("--verify", code=2)


@pytest.mark.promise("binding.normalised")
def test_the_same_server_in_other_letters(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    operator.admin(*SCOPE)
    env = {"H2OGPTE_ADMIN_KEY": operator.server.admin_key}
    for url in (operator.server.url + "/", operator.server.url.replace("http", "HTTP")):
        operator.plain("--verify", "--url", url, "--admin-key", env=env)


# -- output that nobody reads ----------------------------------------------------------------
def test_the_work_is_done_where_output_is_closed(operator: Operator, world: World) -> None:
    source = world.add_collection("anna", "Alpha", M3)
    words = [sys.executable, "-m", "h2ogpte_migration", *SCOPE, "--admin-key"]
    line = f"{shlex.join([*words, '--url', operator.server.url])} >&- 2>&-"
    env = {**os.environ, "H2OGPTE_ADMIN_KEY": operator.server.admin_key}
    ran = subprocess.run(["sh", "-c", line], cwd=operator.folder, env=env, timeout=60, check=False)
    assert ran.returncode == 0
    assert operator.target_of(source.id)


# -- logs ----------------------------------------------------------------------------------
@pytest.mark.promise("log.file-name")
def test_the_log_is_named_after_its_time(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    before = datetime.now(timezone.utc).replace(microsecond=0)
    said = operator.admin(*SCOPE).out
    (path,) = operator.logs
    assert f"Log: {path}" in said
    found = re.fullmatch(r"migration_(\d{8}_\d{6})\.log", path.name)
    assert found
    began = datetime.strptime(found.group(1), "%Y%m%d_%H%M%S").replace(tzinfo=timezone.utc)
    assert before <= began <= datetime.now(timezone.utc)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(operator.db.stat().st_mode) == 0o600


@pytest.mark.promise("log.collection-prefix", "log.jobs-and-errors")
def test_log_lines_carry_the_collection(operator: Operator, world: World) -> None:
    sources = [world.add_collection("anna", f"Collection {n}", M3) for n in ("Alpha", "Beta")]
    world.set_fate(sources[1].id, Fate.FAIL)
    operator.admin(*SCOPE, WAIT, "--max-concurrent-jobs", "2", code=1)
    log = operator.log.splitlines()
    for source in sources:
        own = [line for line in log if f"[{source.name}]" in line]
        assert any(world.import_jobs(source.id)[0].id in line for line in own)
    assert any(
        "[Collection Beta]" in line and "The embedding model gave no answer" in line for line in log
    )
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", line) for line in log)


@pytest.mark.promise("secrets.nowhere")
def test_keys_are_written_nowhere(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3, connectors=1)
    said = operator.admin(*SCOPE, WAIT, "--admin-key", operator.server.admin_key, code=2).text
    said += operator.plain(
        *SCOPE, WAIT, "--url", operator.server.url, "--admin-key", operator.server.admin_key
    ).text
    said += operator.plain("--status", "--json").text
    everything = said.encode() + b"".join(path.read_bytes() for path in operator.folder.iterdir())
    for secret in world.keys:
        assert secret.encode() not in everything


@pytest.mark.promise("untrusted.names")
def test_names_do_not_reach_the_terminal_raw(operator: Operator, world: World) -> None:
    name = "Evil \x1b[2J\u202e[bold]x[/bold]\nSummary: 9 done"
    world.add_collection("anna", name, M3)
    said = operator.admin(*SCOPE, WAIT).out
    for text in (said, operator.log, operator.plain("--status").out):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\nSummary: 9 done" not in text
    assert "[bold]x[/bold]" in said
    assert len(world.targets_of(name)) == 1


@pytest.mark.promise("runs.log-of-runs")
def test_runs_are_logged_in_the_database(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    operator.admin(*SCOPE)
    operator.admin("--verify", "--collections", "not-there", code=1)
    operator.user("anna", MAPPED, "--dry-run")
    runs = operator.sql("SELECT * FROM runs ORDER BY id")
    assert [run["exit_code"] for run in runs] == [0, 1]
    assert "--use-model-mappings" in runs[0]["command"]
    assert "--verify" in runs[1]["command"]
    for run in runs:
        assert run["started_at"] <= run["ended_at"]
        assert run["host"]
        assert run["version"]
        assert "sk-" not in run["command"]
        assert datetime.fromisoformat(run["started_at"].replace("Z", "+00:00")).tzinfo


# -- limits --------------------------------------------------------------------------------
@pytest.mark.promise("breaker.stops")
@pytest.mark.parametrize("mode", [(), (WAIT,)], ids=["parallel", "sequential"])
def test_a_sick_server_is_left_alone(
    operator: Operator, world: World, mode: Tuple[str, ...]
) -> None:
    for number in range(30):
        world.set_fate(world.add_collection("anna", f"Number {number}", M3).id, Fate.REFUSE)
    said = operator.admin(*SCOPE, *mode, "--max-concurrent-requests", "1", code=1).out
    assert "Stopped early: 5 collections failed alike" in said
    assert "Not started: " in said
    made = operator.server.counts()["POST /collections"]
    assert 5 <= made <= 8
    if mode:
        assert made == 5


@pytest.mark.promise("breaker.limit")
@pytest.mark.parametrize(("limit", "made"), [("2", 2), ("0", 8)])
def test_the_limit_of_failures(operator: Operator, world: World, limit: str, made: int) -> None:
    for number in range(8):
        world.set_fate(world.add_collection("anna", f"Number {number}", M3).id, Fate.REFUSE)
    operator.admin(*SCOPE, WAIT, "--max-failures", limit, code=1)
    assert operator.server.counts()["POST /collections"] == made


@pytest.mark.promise("breaker.success-resets")
def test_a_success_in_between_resets_the_count(operator: Operator, world: World) -> None:
    for number in range(6):
        source = world.add_collection("anna", f"Number {number:02}", M3)
        if number % 3:
            world.set_fate(source.id, Fate.FAIL)
    said = operator.admin(*SCOPE, WAIT, "--max-failures", "3", code=1).out
    assert "Stopped early" not in said
    assert "2 done, 4 failed" in said


# -- exit codes ----------------------------------------------------------------------------
@pytest.mark.promise("exit.codes")
def test_exit_codes(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    operator.admin(*SCOPE, WAIT, code=0, fork=True)
    for fork in (True, False):  # a fresh process ends with 0 in other tests
        operator.admin("--collections", "not-there", MAPPED, code=1, fork=fork)
        operator.admin("--users", "anna", code=2, fork=fork)
    assert operator.plain("--version", fork=True).out.startswith("h2ogpte-migrate ")


@pytest.mark.promise("exit.skips-are-no-failure")
def test_what_a_filter_leaves_out_is_no_failure(operator: Operator, world: World) -> None:
    world.add_user("Guest_1", guest=True)
    world.add_collection("Guest_1", "Trying", M3)
    world.add_collection("anna", "Alpha", "intfloat/e5-large-v2")
    said = operator.admin("--all-users", MAPPED, code=0).out
    assert "1 skipped" in said


@pytest.mark.promise("usage.nothing-sent")
def test_a_bad_line_sends_and_leaves_nothing(operator: Operator, world: World) -> None:
    bad = (
        ("--users", "anna"),
        (*SCOPE, "--target-model", "x"),
        (*SCOPE, "--retry-failed", "--force-remigrate"),
        (*SCOPE, "--copy-document", "--skip-reparse"),
        ("--verify", MAPPED),
        ("--verify", "--source-model", "x"),
        (*SCOPE, "--all-users"),
        (*SCOPE, "--user-key"),
    )
    for words in bad:
        assert operator.admin(*words, code=2).err.startswith("Error: ")
    both = operator.admin("--users", "anna", "--retry-failed", "--force-remigrate", code=2).err
    assert both.count("Error: ") == 2
    operator.user("anna", *SCOPE, code=2)
    assert operator.server.requests == []
    assert list(operator.folder.iterdir()) == []


@pytest.mark.promise("output.quiet")
def test_quiet_prints_only_what_needs_attention(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Good", M3)
    assert operator.admin(*SCOPE, WAIT, "--quiet").text.strip() == ""
    bad = world.add_collection("anna", "Bad", M3)
    world.set_fate(bad.id, Fate.FAIL)
    said = operator.admin(*SCOPE, WAIT, "--quiet", code=1).out
    assert "Failed: Bad" in said
    assert "Good" not in said


@pytest.mark.promise("output.summary")
def test_the_summary_says_where_everything_went(operator: Operator, world: World) -> None:
    sources = [world.add_collection("anna", f"Number {n}", M3) for n in range(2)]
    said = operator.admin(*SCOPE, WAIT).out
    for source in sources:
        target = operator.target_of(source.id)
        assert f"{source.name} ({source.id}) -> {target.name} ({target.id})" in said
    assert "Summary: 2 done." in said
    for word in ("Time by step: create", "at most 1 import and "):
        assert word in said


@pytest.mark.promise("env.variables-and-file")
def test_server_and_key_from_the_environment_or_its_file(operator: Operator, world: World) -> None:
    world.add_collection("anna", "Alpha", M3)
    url, key = operator.server.url, operator.server.admin_key
    operator.plain(*SCOPE, "--admin-key", env={"H2OGPTE_URL": url, "H2OGPTE_ADMIN_KEY": key})
    (operator.folder / ".env").write_text(
        f"H2OGPTE_URL={url}\nH2OGPTE_USER_KEY={world.key_of('anna')}\n"
    )
    operator.plain(MAPPED, "--user-key")
    assert len(world.targets_of("Alpha")) == 1


@pytest.mark.promise("sandbox.try-it")
def test_the_sandbox_needs_nothing(operator: Operator) -> None:
    said = operator.plain("--sandbox", "--users", "bertil", MAPPED, WAIT).out
    assert "3 done" in said
    assert not operator.db.exists()


@pytest.mark.promise("sandbox.try-it")
def test_whoever_wants_several_commands_on_one_sandbox_is_told_how(operator: Operator) -> None:
    words = ("--sandbox", "--users", "bertil", MAPPED, "--db-path", "kept.db")
    operator.plain(*words)
    for again in (words, ("--sandbox", "--verify")):
        assert "python -m h2ogpte_migration.sandbox" in operator.plain(*again, code=2).err


@pytest.mark.promise("failure.unreadable-owner")
def test_an_owner_who_can_not_be_impersonated(operator: Operator, world: World) -> None:
    bad = world.add_collection("anna", "Alpha", M3)
    good = world.add_collection("bertil", "Beta", M3)
    user = world.users["anna"].id
    operator.server.faults.add(
        reply(403),
        route="POST /admin/api_keys",
        when=lambda request: request.body["user_id"] == user,
        times=None,
    )
    said = operator.admin("--all-users", MAPPED, WAIT, code=1).out
    assert f"Failed: Alpha ({bad.id})" in said
    assert operator.row(good.id)["job_status"] == "completed"
    assert world.targets_of("Alpha") == []
    assert json.loads(operator.plain("--status", "--json").out)["total"] >= 1
