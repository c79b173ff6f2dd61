"""Faults that stay: one collection fails alone, and says so; a mended server finishes it."""

from __future__ import annotations

import itertools
import json
import re
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Sequence, Tuple

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.errors import TrackingError
from h2ogpte_migration.sandbox import faults
from h2ogpte_migration.sandbox.faults import RateLimit, Request, call, close, html_page, reply
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from h2ogpte_migration.tracking.store import Store

from .harness import (
    MODES,
    JumpingClock,
    Result,
    admin_waits,
    difference,
    run,
    say,
    serving,
    settled,
    small_world,
    twins,
    undisturbed,
    unlike,
    world_for,
)

COLLECTION = "/collections/{collection_id}"

STEPS: Dict[str, str] = {
    f"GET {COLLECTION}": "start",
    "POST /collections": "create",
    f"PATCH {COLLECTION}": "settings",
    f"PUT {COLLECTION}/metadata": "settings",
    f"PUT {COLLECTION}/prompt_template": "settings",
    f"PUT {COLLECTION}/exempt_from_chat_expiry": "settings",
    f"PUT {COLLECTION}/permissions/{{username}}": "permissions",
    f"PUT {COLLECTION}/group_permissions/{{group_id}}": "permissions",
    f"GET {COLLECTION}/documents": "import",
    f"POST {COLLECTION}/import_collection_job": "import",
    f"GET {COLLECTION}/scheduled_connectors": "connectors",
    f"POST {COLLECTION}/migrate_scheduled_connectors": "connectors",
    f"GET {COLLECTION}/chats": "chats",
    f"POST {COLLECTION}/migrate_chat_sessions_job": "chats",
}
"""Routes whose failure must stop a collection, and the step in which that shows."""

WARNED = {
    "settings": "collection settings",
    "chat_settings": "chat settings",
    "permissions": "user shares",
    "group_permissions": "group shares",
}
"""What a source carries and the server does not tell: a kept warning, and on with the rest."""

HEALTHY = "Healthy"


def _about(server: SandboxServer, name: str) -> Callable[[Request], bool]:
    """Requests about a collection or its targets."""

    def is_about(request: Request) -> bool:
        world = server.world
        ids = {world.find(name).id, *(target.id for target in world.targets_of(name))}
        body: Any = request.body if isinstance(request.body, dict) else {}
        return any(one in request.path for one in ids) or name in str(body.get("name", ""))

    return is_about


def test_permanent_faults_fail_their_collections_alone_and_a_mended_server_finishes_them(
    clock: JumpingClock, tmp_path: Path
) -> None:
    """A collection for each route, whose requests on that route fail; and one that is well."""
    routes = {f"Case {number:02}": route for number, route in enumerate(STEPS, 10)}
    owners = dict(zip(routes, itertools.cycle(["anna", "bertil"])))
    with serving(twins({**owners, HEALTHY: "bertil"})) as server:
        ids = {name: server.world.find(name).id for name in routes}
        for name, route in routes.items():
            server.faults.add(reply(500), route=route, when=_about(server, name), times=None)
        result = admin_waits(server, tmp_path / "run", "--max-failures", "0")
        assert result.code == 1, result.text
        failed = [line for line in result.out.splitlines() if line.startswith("Failed: ")]
        assert len(failed) == len(routes), result.text
        for name, route in routes.items():
            begin = f"Failed: {name} ({ids[name]}): {STEPS[route]}: "
            (line,) = (line for line in failed if line.startswith(begin))
            assert "500" in line or "did not answer" in line, route
        assert re.search(r"^Next: h2ogpte-migrate .*--all-users", result.out, re.M), result.text
        assert f"Summary: 1 done, {len(routes)} failed." in result.out
        assert "bug" not in result.text
        server.faults.clear()
        again = admin_waits(server, tmp_path / "run", "--max-failures", "0")
        wrong = unlike(settled(server.world), HEALTHY)
    assert again.code == 0, again.text
    assert not wrong, wrong


def test_what_a_server_never_tells_becomes_a_warning(clock: JumpingClock, tmp_path: Path) -> None:
    with serving(small_world()) as server:
        papers = server.world.find("Papers", "anna")
        for what in WARNED:
            route = f"GET {COLLECTION}/{what}"
            server.faults.add(reply(500), route=route, when=_about(server, "Papers"), times=None)
        result = admin_waits(server, tmp_path / "run")
    assert result.code == 0, result.text
    for what in WARNED.values():
        warning = f"Warning: Papers ({papers.id}): the {what} could not be read, and so not copied"
        assert warning in result.out
    assert "Summary: 4 done." in result.out


def test_other_permanent_faults_fail_their_collections_alone_too(
    clock: JumpingClock, tmp_path: Path
) -> None:
    with serving(small_world()) as server:
        route = f"GET {COLLECTION}/documents"
        for name, fault in (("Drafts", close()), ("Board", html_page())):
            server.faults.add(fault, route=route, when=_about(server, name), times=None)
        result = admin_waits(server, tmp_path / "run")
    assert result.code == 1
    assert result.out.count("Failed: Drafts (") == 1
    assert result.out.count("Failed: Board (") == 1
    assert "Summary: 2 done, 2 failed." in result.out


def test_a_server_that_is_down_at_the_start_costs_one_line(
    clock: JumpingClock, tmp_path: Path
) -> None:
    with serving(small_world()) as server:
        url = server.url
    begun = time.monotonic()
    words = ["--url", url, "--admin-key", "sk-sandbox-admin", "--all-users"]
    result = run(tmp_path / "run", *words, "--use-model-mappings")
    assert result.code == 1
    errors = [line for line in result.err.splitlines() if line]
    assert len(errors) == 2, result.err  # what happened, and what to do
    assert "can't be reached" in errors[0]
    assert "6 attempts" in errors[0]
    assert errors[1] == "Check --url and the network."
    assert time.monotonic() - begun < 10


def _told_or_not() -> List[Any]:
    """Each way to run it, told in turns how long to wait or not; all of it is slow."""
    return [
        pytest.param(told, mode, marks=[] if (number + told) % 2 else [pytest.mark.slow])
        for told in (True, False)
        for number, mode in enumerate(MODES)
    ]


@pytest.mark.parametrize(("retry_after", "mode"), _told_or_not())
def test_a_sustained_rate_limit_loses_nothing(
    retry_after: bool,
    mode: str,
    clock: JumpingClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The server's patience follows the clock on which the tool waits.
    monkeypatch.setattr(faults, "time", SimpleNamespace(monotonic=clock.now))
    wanted = undisturbed(mode, tmp_path).snapshot
    with serving(world_for(mode, tmp_path)) as server:
        server.faults.rate_limit = limit = RateLimit(20, burst=2, retry_after=retry_after)
        result = MODES[mode](server, tmp_path / "run")
        server.faults.clear()
        wrong = difference(wanted, settled(server.world))
    assert result.code == 0, result.text
    assert not wrong, wrong
    assert limit.refused
    say([f"rate limit: {limit.refused} refused, {len(server.requests)} requests in all"])


@pytest.mark.parametrize("how", [(), ("--wait-for-completion", "--max-concurrent-jobs", "8")])
def test_of_forty_collections_whose_import_is_refused_alike_few_targets_are_made(
    how: Tuple[str, ...], clock: JumpingClock, tmp_path: Path
) -> None:
    world = World()
    world.add_user("admin", admin=True, key="sk-sandbox-admin")
    for number in range(8):
        world.add_user(f"user{number}")
    for number in range(40):
        world.add_collection(f"user{number % 8}", f"Notes {number}", documents=1)
    route = f"POST {COLLECTION}/import_collection_job"
    with serving(world) as server:
        server.faults.add(reply(403), route=route, times=None)
        words = ("--url", server.url, "--admin-key", "sk-sandbox-admin", "--all-users")
        words += ("--use-model-mappings", "--max-concurrent-requests", "8", *how)
        result = run(tmp_path / "run", *words)
    assert result.code == 1, result.text
    assert "failed alike" in result.out
    made = [item for item in world.collections.values() if item.name.startswith("(Migrated)")]
    assert 5 <= len(made) <= 5 + 8 - 1


# -- keys ----------------------------------------------------------------------------------
def _keys_made_for(server: SandboxServer, username: str) -> int:
    keys = server.world.keys.values()
    return sum(k.username == username and k.name.startswith("h2ogpte-migrate") for k in keys)


@pytest.mark.parametrize("way", ["expired", "revoked"])
def test_a_temporary_key_that_is_refused_in_mid_run_is_renewed_once(
    way: str, clock: JumpingClock, tmp_path: Path
) -> None:
    """An owner for each route at which his key is spoilt; and one whose key stays good."""
    routes = {
        "anna": "POST /collections",
        "bertil": f"GET {COLLECTION}/documents",
        "clara": f"POST {COLLECTION}/import_collection_job",
        "david": "GET /jobs/{job_id}",
        "emma": f"POST {COLLECTION}/migrate_scheduled_connectors",
        "frida": f"POST {COLLECTION}/migrate_chat_sessions_job",
    }
    names = {f"That of {owner}": owner for owner in routes}
    with serving(twins({**names, HEALTHY: "gustav"})) as server:

        def spoil(owner: str) -> None:
            with server.world.lock:
                for key in server.world.alive_keys():
                    if key.username == owner and key.name.startswith("h2ogpte-migrate"):
                        key.deleted = key.deleted or way == "revoked"
                        key.expires_at = server.world.now()

        rules = {
            owner: server.faults.add(
                call(partial(spoil, owner)),
                route=route,
                when=lambda request, owner=owner: request.username == owner,
            )
            for owner, route in routes.items()
        }
        result = admin_waits(server, tmp_path / "run")
        made = {owner: _keys_made_for(server, owner) for owner in [*routes, "gustav"]}
        wrong = unlike(settled(server.world), HEALTHY)
    assert {owner: rule.hits for owner, rule in rules.items()} == dict.fromkeys(routes, 1)
    assert result.code == 0, result.text
    assert not wrong, wrong
    assert made == {**dict.fromkeys(routes, 2), "gustav": 1}


def test_a_key_that_is_refused_again_and_again_fails_its_owner_alone(
    clock: JumpingClock, tmp_path: Path
) -> None:
    with serving(small_world()) as server:
        when = lambda r: r.username == "anna"  # noqa: E731
        server.faults.add(reply(401), when=when, times=None)
        result = admin_waits(server, tmp_path / "run")
        assert 1 <= _keys_made_for(server, "anna") <= 1 + patience.MOST_RENEWALS
        assert not [k for k in server.world.alive_keys() if k.name.startswith("h2ogpte-migrate")]
    assert result.code == 1
    assert "emporary key" in result.out
    assert "Summary: 2 done, 2 failed." in result.out


REVOKED_AT = ("POST /admin/api_keys", "POST /collections", "GET /jobs/{job_id}")
"""Ever later in a run, so that those that stop there can come in a row."""


@pytest.mark.parametrize(
    ("skip", "routes"),
    [(0, REVOKED_AT), (1, REVOKED_AT), (2, REVOKED_AT[1:])],  # it needs two temporary keys only
    ids=["first", "second", "third"],
)
def test_a_revoked_admin_key_stops_the_run_and_says_so(
    skip: int, routes: Sequence[str], clock: JumpingClock, tmp_path: Path
) -> None:
    """Runs that are stopped, each further on than the one before, and one that ends it all."""
    wanted = undisturbed("admin", tmp_path).snapshot
    with serving(small_world()) as server:
        world = server.world

        def revoke() -> None:
            world.keys["sk-sandbox-admin"].deleted = True

        for route in routes:
            rule = server.faults.add(call(revoke), route=route, skip=skip)
            result = admin_waits(server, tmp_path / "run")
            assert rule.hits, route
            _stopped_for_its_key(result)
            world.keys["sk-sandbox-admin"].deleted = False
        again = admin_waits(server, tmp_path / "run")
        wrong = difference(wanted, settled(world))
    assert again.code == 0, again.text
    assert not wrong, wrong


def _stopped_for_its_key(result: Result) -> None:
    if "Summary: 4 done." in result.out:
        # All was done when the key went: only the temporary keys could not be deleted.
        assert "may still exist; the next run deletes it" in result.out
    else:
        assert result.code == 1, result.text
        assert "401" in result.err
        assert "Is the key mistyped, expired or deleted?" in result.err
        assert "Summary: " in result.out
    assert "bug" not in result.text


@pytest.mark.promise("admin.keys-that-stay")
def test_a_key_that_is_never_deleted_is_for_people_from_the_second_run_on(
    clock: JumpingClock, tmp_path: Path
) -> None:
    world = small_world()
    with serving(world) as server:
        admin = ["--url", server.url, "--admin-key", "sk-sandbox-admin"]
        server.faults.add(reply(403), route="DELETE /admin/api_keys/{key_id}", times=None)
        words = ("--users", "bertil", "--use-model-mappings", "--wait-for-completion")
        first = run(tmp_path, *admin, *words)
        assert first.code == 0, first.text
        assert "1 temporary key may still exist; the next run deletes it" in first.out
        (name,) = [key.name for key in world.alive_keys() if key.name.startswith("h2ogpte-migrate")]
        for command in (["--verify"], ["--cleanup", "--yes"], ["--verify", "--quiet"]):
            later = run(tmp_path, *admin, *command)
            told = " ".join(later.text.split())
            assert later.code == 1, later.text
            assert told.count(f"the temporary key '{name}' of bertil") == 1
            assert "delete it by hand, in h2oGPTe among the API keys" in told
            assert "the next run deletes it" not in told
        again = run(tmp_path, *admin, "--verify", "--quiet")
        assert (again.code, again.out) == (1, ""), "once a day is enough"
        server.faults.clear()
        mended = run(tmp_path, *admin, "--verify")
        assert mended.code == 0, mended.text
    assert name not in [key.name for key in world.alive_keys()]


@pytest.mark.parametrize("more", [(), ("--quiet",)], ids=["aloud", "quiet"])
def test_what_is_known_is_told_and_reported_where_the_key_is_refused_in_mid_run(
    more: Tuple[str, ...], clock: JumpingClock, tmp_path: Path
) -> None:
    with serving(small_world()) as server:

        def revoke() -> None:
            server.faults.add(reply(401), when=lambda q: q.username == "admin", times=None)

        server.faults.add(call(revoke), route="POST /admin/api_keys", skip=1)
        result = admin_waits(server, tmp_path, "--report", "run.json", *more)
    assert (result.code, "401" in result.err) == (1, True), result.text
    assert "Interrupted: " in result.out
    assert bool(more) or "Summary: " in result.out
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert len(told["collections"]) == 4
    assert told["exit_code"] == 1
    assert any("Stopped early: " in text and "401" in text for text in told["remarks"])


def test_what_was_done_is_told_where_the_database_cannot_be_read_any_more(
    clock: JumpingClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> Any:
        raise TrackingError("The database was lost.")

    monkeypatch.setattr(Store, "warnings", lost)
    with serving(small_world()) as server:
        result = admin_waits(server, tmp_path)
    assert result.code == 1
    assert "Error: The database was lost." in result.err
    assert "Summary: 4 done." in result.out
