"""``--check-server``: it works through, tells what differs, and leaves nothing, whatever the server does."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.sandbox.cases import CASES, Case, case
from h2ogpte_migration.sandbox.faults import Action, FixedReply, call, close, late, reply
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from .harness import (
    JumpingClock,
    check_server,
    difference,
    run,
    serving,
    settled,
    small_world,
)

VISIBLE_S = 5.0
"""How long something new may take to show; with the lags of habits below it."""
AT_ONCE_S = 0.1
"""The same where everything shows at once: so long is what never comes looked for, in a loop."""


@pytest.fixture
def hurry(clock: JumpingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless jobs, and what does not show, are left soon."""
    for name in ("STALE_JOB_S", "MOVE_SETTLED_S"):
        monkeypatch.setattr(patience, name, 0.3)
    monkeypatch.setattr(patience, "VISIBLE_WITHIN_S", AT_ONCE_S)


@pytest.fixture
def server(hurry: None) -> Iterator[SandboxServer]:
    """A server on the small world."""
    with serving(small_world()) as running:
        yield running


def what_is_left(world: World, before: Dict[str, Any], folder: Path) -> List[str]:
    """Everything that differs from before, and the record that should be gone."""
    left = difference(before, settled(world)) if not _zombies(world) else _lines(world, before)
    return left + [path.name for path in folder.glob("*.check-server*")]


def _zombies(world: World) -> bool:
    return bool(world.habits.zombie_jobs)


def _lines(world: World, before: Dict[str, Any]) -> List[str]:
    after = world.snapshot()  # jobs that never end are the server's matter
    return difference({**before, "running_jobs": 0}, {**after, "running_jobs": 0})


def report_of(folder: Path) -> Dict[str, Any]:
    report: Dict[str, Any] = json.loads((folder / "check.json").read_text(encoding="utf-8"))
    return report


def verdicts(folder: Path) -> Dict[str, str]:
    """The verdict of each habit, from the report."""
    return {row["habit"]: row["verdict"] for row in report_of(folder)["assumptions"]}


# -- an ordinary server ------------------------------------------------------------------
@pytest.mark.promise("check-server.works-through")
@pytest.mark.parametrize("who", ["admin", "anna"])
def test_it_works_through_and_leaves_nothing(
    server: SandboxServer, tmp_path: Path, who: str
) -> None:
    before = settled(server.world)
    result = check_server(server, tmp_path, "--report", "check.json", who=who)
    assert result.code == 0, result.text
    assert what_is_left(server.world, before, tmp_path) == []
    assert "The migration works here" in result.out
    report = report_of(tmp_path)
    assert report["worked"]
    assert all(row["same"] for row in report["compared"]), report["compared"]
    assert {row["what"] for row in report["compared"]} >= {"documents", "chat", "metadata"}
    assert "differs" not in verdicts(tmp_path).values()
    assert report["key_life_time"] == ("30 days" if who == "admin" else "")
    assert not (tmp_path / "migration_tracking.db").exists()


def test_it_touches_nothing_of_a_migration_and_its_report_can_be_a_page_without_secrets(
    server: SandboxServer, tmp_path: Path
) -> None:
    database = tmp_path / "migration_tracking.db"
    database.write_bytes(b"whatever is in there")
    collections = set(server.world.collections)
    assert check_server(server, tmp_path, "--report", "check.html").code == 0
    assert database.read_bytes() == b"whatever is in there"
    touched = {
        part
        for request in server.requests
        if request.mutating
        for part in request.path.split("/")
        if part in collections
    }
    assert touched == set()
    page = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert "could not tell" in page
    assert "sk-sandbox" not in page


def test_a_report_that_cannot_be_written_is_told(server: SandboxServer, tmp_path: Path) -> None:
    (tmp_path / "check.json").mkdir()
    before = settled(server.world)
    result = check_server(server, tmp_path, "--report", str(tmp_path / "check.json"), who="anna")
    assert result.code in (1, 2)
    assert what_is_left(server.world, before, tmp_path) == []


@pytest.mark.parametrize("words", [("--copy-document",), ("--skip-reparse",)])
def test_documents_are_taken_over_as_asked(
    server: SandboxServer, tmp_path: Path, words: List[str]
) -> None:
    before = settled(server.world)
    result = check_server(server, tmp_path, *words, who="anna")
    assert result.code == 0, result.text
    assert what_is_left(server.world, before, tmp_path) == []


def test_a_key_of_no_administrator_is_refused_with_nothing_made(
    server: SandboxServer, tmp_path: Path
) -> None:
    before = settled(server.world)
    words = ["--url", server.url, "--admin-key", "sk-sandbox-anna", "--check-server"]
    assert run(tmp_path, *words, "--target-model", "BAAI/bge-m3").code == 2
    assert what_is_left(server.world, before, tmp_path) == []


def test_an_unknown_model_is_refused_with_nothing_made(
    server: SandboxServer, tmp_path: Path
) -> None:
    before = settled(server.world)
    words = ["--url", server.url, "--user-key", "sk-sandbox-anna", "--check-server"]
    result = run(tmp_path, *words, "--target-model", "no/such-model")
    assert result.code == 2
    assert what_is_left(server.world, before, tmp_path) == []


# -- servers that differ -----------------------------------------------------------------
FAILS = {
    "server_version=1.6.40",
    "empty_listings=list_documents_for_collection",
    "key_lifetime_cap_days=0.5",
    "key_lifetime_cap_days=0.02",
    "key_refusal_status=422+key_lifetime_cap_days=0.5",
    "collections_per_user=3",
    "quota_status=400+collections_per_user=3",
    "quota_status=409+collections_per_user=3",
    "quota_status=422+collections_per_user=3",
}
"""What a migration can't work with, for those whom it concerns."""
TOLD = {
    "server_version=9.0.0",
    "missing_operations=list_scheduled_tasks,list_scheduled_tasks_by_admin,list_ai_assistants,"
    "call_database,get_collection_graph_status,list_tags",
    "refused_limit_above=50",
    "limit_ignored=True",
    "offset_ignored=True",
    "filter_ignores_case=False",
    "ids_ignore_case=True",
    "users_include_caller=False",
    "listings_are_sparse=True",
    "collection_has_metadata=False",
    "stale_document_counts=True",
    "permissions_include_owner=False",
    "deleted_keys_listed=True",
    "collections_listed_after_s=2.0",
    "collections_readable_after_s=1.0",
    "documents_listed_after_s=2.0",
    "chats_listed_after_s=2.0",
    "chats_readable_after_s=1.0",
    "jobs_listed_after_s=3.0",
    "jobs_readable_after_s=1.0",
    "keys_listed_after_s=3.0",
    "forbidden_is_401=True",
    "broken_operations=get_collection_group_permissions",
    "broken_operations=get_collection_permissions,list_collection_public_permissions",
    "broken_operations=get_collection_settings,get_collection_chat_settings",
    "broken_operations=list_scheduled_tasks,list_scheduled_tasks_by_admin,list_ai_assistants,"
    "list_all_api_keys",
    "timestamps=offset",
    "timestamps=naive",
    "percentages=percent",
    "clock_offset_h=5.0",
    "clock_offset_h=-800.0",
    "job_success_word=stale",
    "job_words_in_capitals=True",
    "unknown_job_status=400",
    "unknown_job_status=401",
    "unknown_job_status=500",
    "missing_key_delete_status=404",
    "missing_key_delete_status=204",
    "key_lifetime_cap_days=7.0",
    "key_lifetime_cap_days=0.5",
    "key_lifetime_cap_days=0.02",
    "collections_per_user=3",
    "server_defaults=guardrails",
    "server_defaults=pii",
    "server_defaults=forced",
    "patch_blanks=True",
    "name_limit=40",
    "name_limit=20",
    "zombie_jobs=imports",
    "zombie_jobs=moves",
    "zombie_jobs=all",
    "import_flags_ignored=preserve_metadata",
    "import_flags_ignored=copy_lifecycle_settings",
    "hide_ended_jobs_after_s=0.0",
    "forget_ended_jobs_after_s=0.0",
}
"""Habits that a check sees; others can't be told from what it may do."""
AS_ADMIN = ("key", "list_users", "list_all_collections")
SAMPLE = (
    "patch_blanks=True",
    "zombie_jobs=all",
    "name_limit=20",
    "restless=skip",
    "key_lifetime_cap_days=0.5",
    "collections_per_user=3",
)


def _at_a_server_that_differs(
    each: Case, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> List[str]:
    """What is wrong with a check there; empty if nothing is."""
    if "_after_s" in each.name:
        monkeypatch.setattr(patience, "VISIBLE_WITHIN_S", VISIBLE_S)
    who = "admin" if any(word in each.assumption.operations for word in AS_ADMIN) else "anna"
    world = small_world()
    with serving(world) as server:
        before = settled(world)
        each.apply(world.habits)
        # Shortened like the looks that the migration itself gives to what is missing: they do not wait here.
        lag_s = world.habits.documents_listed_after_s
        world.habits.documents_listed_after_s = min(0.02, lag_s)
        result = check_server(server, folder, "--report", "check.json", who=who)
        wrong = what_is_left(world, before, folder)
    if result.code != (1 if each.name in FAILS else 0):
        wrong.append(f"exit {result.code}\n{result.text}")
    if (folder / "check.json").exists():
        verdict = verdicts(folder)[each.assumption.habit]
        if (verdict == "differs") != (each.name in TOLD):
            wrong.append(f"told as: {verdict}")
    return [f"{each.name}: {what}" for what in wrong]


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("name", SAMPLE)
def test_it_leaves_nothing_at_a_server_that_differs_and_tells_how(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _at_a_server_that_differs(case(name), tmp_path / "check", monkeypatch) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("each", CASES, ids=lambda each: each.name[:60])
def test_every_habit_for_itself(
    each: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _at_a_server_that_differs(each, tmp_path / "check", monkeypatch) == []


def test_a_migration_that_does_not_work_is_told_and_nothing_is_left(
    server: SandboxServer, tmp_path: Path
) -> None:
    before = settled(server.world)
    real = server.world.start_job

    def failing(kind: str, *args: Any, **more: Any) -> Any:
        job = real(kind, *args, **more)
        if more.get("source_id"):
            job.fate = Fate.FAIL
        return job

    server.world.start_job = failing  # type: ignore[method-assign]
    result = check_server(server, tmp_path, who="anna")
    assert result.code == 1
    assert "The migration did not work here" in result.out
    assert what_is_left(server.world, before, tmp_path) == []


# -- what others have --------------------------------------------------------------------
@pytest.mark.promise("check-server.others")
def test_collections_with_similar_names_survive(server: SandboxServer, tmp_path: Path) -> None:
    world = server.world
    # A first check is killed right after its creation: its name and its record stay.
    server.faults.add(close(after=True), route="POST /collections", times=None)
    server.faults.add(reply(500), route="GET /collections", times=None)
    assert check_server(server, tmp_path, who="anna").code == 1
    (ours,) = (c for c in world.collections.values() if c.name.startswith("h2ogpte-check-"))
    token = ours.description.split()[-1]
    theirs = {
        world.add_collection("anna", name, description=described, documents=1).id
        for name, described in (
            (ours.name, "mine"),
            (ours.name, ""),
            (f"(Migrated) {ours.name} - 20260101_000000", "mine"),
            ("h2ogpte-check-notes", f"about {token[:16]}"),
            ("h2ogpte-check-", ""),
        )
    }
    theirs.add(world.add_collection("bertil", ours.name, description=ours.description).id)
    server.faults.clear()
    result = check_server(server, tmp_path, who="anna")
    assert result.code == 0, result.text
    assert ours.id not in world.collections
    assert theirs <= set(world.collections)
    assert list(tmp_path.glob("*.check-server*")) == []


@pytest.mark.promise("check-server.leaves-nothing")
@pytest.mark.parametrize(
    "route", ["DELETE /collections/{collection_id}", "DELETE /chats/{session_id}"]
)
def test_a_stop_in_the_middle_of_the_removal_does_not_end_it(
    server: SandboxServer, tmp_path: Path, route: str
) -> None:
    before = settled(server.world)
    stopped = replace(reply(503), call=lambda: os.kill(os.getpid(), signal.SIGINT))
    server.faults.add(stopped, route=route)
    result = check_server(server, tmp_path, "--report", "check.json")
    assert result.code == 130
    assert "Nothing of the check is left at the server." in result.out
    assert report_of(tmp_path)["left"] == []
    assert what_is_left(server.world, before, tmp_path) == []


@pytest.mark.promise("check-server.leaves-nothing")
@pytest.mark.parametrize("skip", [0, 1], ids=["the scratch collection", "its target"])
def test_what_does_not_show_yet_when_a_check_is_stopped_is_not_taken_for_gone(
    server: SandboxServer,
    clock: JumpingClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    skip: int,
) -> None:
    before = settled(server.world)
    habits = server.world.habits

    def stop() -> None:
        habits.collections_readable_after_s = habits.collections_listed_after_s = 0.4
        os.kill(os.getpid(), signal.SIGINT)

    server.faults.add(call(stop), route="POST /collections", skip=skip)
    monkeypatch.setattr(patience, "VISIBLE_WITHIN_S", 20.0)
    clock.on_pause = lambda: time.sleep(0.02)
    result = check_server(server, tmp_path)
    assert result.code == 130
    assert "Nothing of the check is left at the server." in result.out
    habits.collections_readable_after_s = habits.collections_listed_after_s = 0.0
    assert what_is_left(server.world, before, tmp_path) == []


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_was_set_decides_nothing_about_what_is_in_doubt(
    server: SandboxServer,
    clock: JumpingClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hours: int,
) -> None:
    before = settled(server.world)
    for route in ("POST /ingest/plain_text/job", "GET /collections/{collection_id}/documents"):
        server.faults.add(reply(500), route=route, times=None)
    assert check_server(server, tmp_path, who="anna").code == 1
    server.faults.clear()
    real, waited_s = Clock.utc, clock.paused_s
    monkeypatch.setattr(Clock, "utc", lambda self: real(self) + timedelta(hours=hours))
    monkeypatch.setattr(patience, "VISIBLE_WITHIN_S", 20.0)
    result = check_server(server, tmp_path, who="anna")
    assert result.code == 0, result.text
    assert 15 < clock.paused_s - waited_s < 60
    assert what_is_left(server.world, before, tmp_path) == []


@pytest.mark.parametrize("times", [1, None])
def test_a_chat_that_is_listed_without_an_id_is_left_alone(
    server: SandboxServer, tmp_path: Path, times: Optional[int]
) -> None:
    before = settled(server.world)
    without = Action(reply=FixedReply(200, b'[{"name": "hers"}]'))
    server.faults.add(without, route="GET /collections/{collection_id}/chats", times=times)
    said = check_server(server, tmp_path, who="anna")
    assert "bug" not in said.text
    if times is None:
        assert said.code == 1
        assert "holds 1 chat that the check did not make" in said.out
        server.faults.clear()
        assert check_server(server, tmp_path, who="anna").code == 0
    assert what_is_left(server.world, before, tmp_path) == []


@pytest.mark.parametrize("what", ["document", "chat"])
def test_a_scratch_collection_that_somebody_uses_is_left_alone(
    server: SandboxServer, tmp_path: Path, what: str
) -> None:
    world = server.world

    def use(_: Any = None) -> None:
        (scratch,) = (c for c in world.collections.values() if c.name.startswith("h2ogpte-check-"))
        if what == "document":
            world.add_document(scratch.id, "mine.pdf")
        else:
            world.add_chat(scratch.id, "anna", "mine")

    server.faults.add(call(use), route="GET /jobs/{job_id}", skip=1)
    result = check_server(server, tmp_path, who="anna")
    assert result.code == 1
    assert "that the check did not make" in result.text
    assert [c for c in world.collections.values() if c.name.startswith("h2ogpte-check-")]
    again = check_server(server, tmp_path, who="anna")
    assert again.code == 1
    assert "Nothing was made" in again.text


def test_a_document_that_comes_between_ours_is_not_taken_for_ours(
    server: SandboxServer, tmp_path: Path
) -> None:
    world = server.world

    def use() -> None:
        (scratch,) = (c for c in world.collections.values() if c.name.startswith("h2ogpte-check-"))
        world.add_document(scratch.id, "mine.pdf")

    # Right before the second one: one of ours and this make two that are good.
    world.times.ingest_s = 0.3
    server.faults.add(call(use), route="POST /ingest/plain_text/job", skip=1)
    assert check_server(server, tmp_path, who="anna").code == 1
    (scratch,) = (c for c in world.collections.values() if c.name.startswith("h2ogpte-check-"))
    assert "mine.pdf" in {line.document.name for line in scratch.documents}


def test_what_another_user_left_is_not_touched(server: SandboxServer, tmp_path: Path) -> None:
    server.faults.add(reply(403), route="DELETE /collections/{collection_id}", times=None)
    assert check_server(server, tmp_path, who="anna").code == 1
    server.faults.clear()
    server.forget_requests()
    result = check_server(server, tmp_path)
    assert result.code == 1
    assert "only a key of anna can delete it" in result.text
    assert server.counts(mutating=True) == {}
    assert check_server(server, tmp_path, who="anna").code == 0


# -- lost replies ------------------------------------------------------------------------
@pytest.mark.parametrize(
    "losses",
    [
        {
            "POST /collections": close(after=True),
            "POST /chats": close(after=True),
            "POST /admin/api_keys": close(after=True),
        },
        {"POST /collections": close(), "POST /ingest/plain_text/job": late(0.15)},
        {"POST /collections": late(0.15)},
    ],
    ids=["after", "before", "late"],
)
def test_lost_replies_leave_nothing(
    server: SandboxServer, tmp_path: Path, losses: Dict[str, Action]
) -> None:
    before = settled(server.world)
    rules = {route: server.faults.add(loss, route=route) for route, loss in losses.items()}
    result = check_server(server, tmp_path)
    assert [route for route, rule in rules.items() if not rule.hits] == []
    assert result.code == 0, result.text
    assert what_is_left(server.world, before, tmp_path) == []


def test_a_key_that_was_never_made_is_not_still_at_the_server(
    server: SandboxServer, tmp_path: Path
) -> None:
    """It may come late: the next run looks once more, and until then that is said, and no more."""
    before = settled(server.world)
    rule = server.faults.add(close(), route="POST /admin/api_keys")
    result = check_server(server, tmp_path)
    assert rule.hits == 1
    assert result.code == 0, result.text
    assert "Still at the server" not in result.text
    assert "1 temporary key may still exist; the next run deletes it." in result.text
    again = check_server(server, tmp_path)
    assert again.code == 0, again.text
    assert "may still exist" not in again.text
    assert what_is_left(server.world, before, tmp_path) == []


def test_a_server_that_goes_down_at_the_end_keeps_the_record_and_the_next_check_sweeps(
    server: SandboxServer, tmp_path: Path
) -> None:
    before = settled(server.world)
    server.faults.add(reply(503), route="DELETE /collections/{collection_id}", times=None)
    result = check_server(server, tmp_path, who="anna")
    assert result.code == 1
    assert "Still at the server" in result.text
    server.faults.clear()
    again = check_server(server, tmp_path, who="anna")
    assert again.code == 0, again.text
    assert "Deleting what an earlier check left" in again.text
    assert what_is_left(server.world, before, tmp_path) == []
