"""Rights follow the source, and only shrink in doubt: the target is never shared more widely."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

import pytest

from h2ogpte_migration.sandbox.faults import Action, FixedReply, Request, call, close, reply
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from ..e2e.prepared import once
from ..e2e.test_rollback import rename
from ..faults.harness import LARGE, Result, run, serving
from .lab import DATABASE

C = "/collections/{collection_id}"
IMPORT = f"POST {C}/import_collection_job"
SHARE = f"PUT {C}/permissions/{{username}}"
SHARE_GROUP = f"PUT {C}/group_permissions/{{group_id}}"
UNSHARE = f"DELETE {C}/permissions/{{username}}"
PUBLIC = f"POST {C}/is_public"
DOCUMENTS = f"GET {C}/documents"
USERS = f"GET {C}/permissions"
GROUPS = f"GET {C}/group_permissions"

pytestmark = pytest.mark.usefixtures("clock")


@pytest.fixture
def world() -> World:
    world = World()
    world.times.import_s = world.times.move_s = 0.02
    world.add_user("admin", admin=True)
    for name in ("anna", "bertil", "carla", "dora"):
        world.add_user(name)
    return world


def shared(world: World, name: str = "Papers", **more: Any) -> Collection:
    """A collection that two users and a group may see."""
    shares = {"bertil": ["read", "chat"], "carla": ["read"]}
    values = {"shares": shares, "group_shares": {"research": ["read", "chat"]}, **more}
    return world.add_collection("anna", name, LARGE, **values)


def targets(world: World, source: Collection) -> List[Collection]:
    """What was made of a source."""
    return [c for c in world.collections.values() if f"(Migrated) {source.name} - " in c.name]


def migrate(server: SandboxServer, folder: Path, *more: str) -> Result:
    words = ["--url", server.url, "--admin-key", "sk-sandbox-admin", "--all-users"]
    return run(folder, *words, "--use-model-mappings", *more)


def verify(server: SandboxServer, folder: Path, *more: str) -> Result:
    server.world.wait_until_idle()
    words = ["--url", server.url, "--admin-key", "sk-sandbox-admin", "--verify"]
    return run(folder, *words, *more)


def begun(
    server: SandboxServer, folder: Path, source: Collection, *, refused: bool = False
) -> Tuple[Collection, Collection]:
    """A source and its target, once its import was submitted; or refused, once."""

    def commands() -> List[Collection]:
        if refused:
            server.faults.add(reply(400), route=IMPORT)
        said = migrate(server, folder)
        assert said.code == refused, said.text
        return [source, *targets(server.world, source)]

    found, target = once(("begun", refused, source.id), server, folder / DATABASE, commands)
    return found, target


@pytest.mark.parametrize("permissions", ["read", {"read": True}, 7, [None]])
def test_a_share_that_cannot_be_understood_is_told_and_not_given(
    world: World, tmp_path: Path, permissions: Any
) -> None:
    source = shared(world)
    listed = [
        {"username": "anna", "permissions": ["read", "chat", "edit"]},
        {"username": "bertil", "permissions": permissions},
        {"username": "carla", "permissions": ["read"]},
    ]
    odd = Action(reply=FixedReply(200, json.dumps(listed).encode()))
    with serving(world) as server:
        server.faults.add(odd, route=USERS, times=None, when=lambda one: source.id in one.path)
        said = migrate(server, tmp_path, "--wait-for-completion")
        (target,) = targets(world, source)
        assert target.shares == {"carla": ["read"]}
        assert target.group_shares == source.group_shares
        assert "user shares of another shape than documented" in said.text
        assert "1 of 3" in said.text


ODD_LISTS: Dict[str, Tuple[str, bytes]] = {
    "nameless": (USERS, b'[{"permissions": ["read"]}]'),
    "odd rights": (USERS, b'[{"username": "bertil", "permissions": "read"}]'),
    "odd public rights": (f"GET {C}/public_permissions", b'{"permissions": ["read"]}'),
}


@pytest.mark.parametrize("times", [1, None])
@pytest.mark.parametrize("odd", ODD_LISTS)
def test_what_an_earlier_try_gave_is_not_taken_back_by_a_list_that_cannot_be_understood(
    world: World, tmp_path: Path, odd: str, times: Optional[int]
) -> None:
    source = shared(world, public=["read"])
    route, body = ODD_LISTS[odd]
    with serving(world) as server:
        source, target = begun(server, tmp_path, source, refused=True)
        source.group_shares.clear()  # that list is understood, and taken at its word
        seen = watch(server)
        server.forget_requests()
        answer = Action(reply=FixedReply(200, body))
        server.faults.add(
            answer, route=route, times=times, when=lambda asked: source.id in asked.path
        )
        result = migrate(server, tmp_path)
        taken = [r.route for r in server.requests if r.method == "DELETE" and C in r.route]
    assert result.code == 0, result.text
    assert seen[target.id] == (source.shares, {}, True)
    assert target.public_permissions == ["read"]
    assert len(taken) == 1  # the group's
    told = [text for text in kept_warnings(tmp_path) if "was left to it" in text]
    assert len(told) == (times is None)


def says_of_public(server: SandboxServer, of: Collection, value: Any, times: Optional[int]) -> None:
    """The collection's record, with another word for whether it is public."""
    record = {"id": of.id, "name": of.name, "username": "anna", "embedding_model": LARGE}
    body = json.dumps({**record, "document_count": 3, "is_public": value}).encode()
    server.faults.add(
        Action(reply=FixedReply(200, body)),
        route=f"GET {C}",
        times=times,
        when=lambda asked: asked.path.endswith(of.id),
    )


@pytest.mark.parametrize("value", ["true", "yes", 1, {}])
@pytest.mark.parametrize("times", [1, None])
def test_what_may_be_meant_for_public_is_told_and_makes_nothing_public(
    world: World, tmp_path: Path, value: Any, times: Optional[int]
) -> None:
    source = shared(world, public=["read"])
    with serving(world) as server:
        says_of_public(server, source, value, times)
        result = migrate(server, tmp_path, "--wait-for-completion")
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert target.imported
    assert target.is_public == (times == 1)
    told = [text for text in kept_warnings(tmp_path) if "neither true nor false" in text]
    assert bool(told) == (times is None)


def test_what_may_be_meant_for_public_takes_nothing_back(world: World, tmp_path: Path) -> None:
    source = shared(world, public=["read"])
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        says_of_public(server, source, "yes", None)
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert target.is_public
    assert any("whether the public rights are still" in text for text in kept_warnings(tmp_path))


def test_what_the_server_shared_at_creation_is_taken_back_whatever_the_list_says(
    world: World, tmp_path: Path
) -> None:
    world.habits.created_shared = "users"
    source = shared(world)
    with serving(world) as server:
        answer = Action(reply=FixedReply(200, b'[{"permissions": ["read"]}]'))
        server.faults.add(
            answer, route=USERS, times=None, when=lambda asked: source.id in asked.path
        )
        seen = watch(server)
        result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert list(seen.values()) == [({}, source.group_shares, False)]


@pytest.mark.parametrize("readable", [False, True])
def test_after_the_import_only_what_is_understood_takes_rights_back(
    world: World, tmp_path: Path, readable: bool
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        withdraw(source)
        if not readable:
            answer = Action(reply=FixedReply(200, b'[{"permissions": ["read"]}]'))
            server.faults.add(
                answer, route=USERS, times=None, when=lambda asked: source.id in asked.path
            )
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert ("bertil" in target.shares) == (not readable)
    assert target.group_shares == {}


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "no json",
        '{"is_public": true, "public": "read"}',
        '{"users": [{"permissions": ["read"]}]}',
        '{"groups": 7}',
    ],
)
def test_a_record_of_rights_that_somebody_edited_is_told_and_not_guessed_at(
    world: World, tmp_path: Path, record: str
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        with closing(sqlite3.connect(str(tmp_path / DATABASE))) as db, db:
            db.execute("UPDATE attempts SET permissions = ?", (record,))
        withdraw(source)
        there = dict(target.shares)
        result = verify(server, tmp_path)
        assert result.code == 1
        words = " ".join(result.text.split())
        assert "inconsistent: the record of what the target was given can't be read" in words
        assert "bug" not in words
        assert target.shares == there
        assert run(tmp_path, "--status").code == 0


@pytest.mark.parametrize("odd", [*ODD_LISTS, "is_public"])
def test_a_plan_tells_of_rights_that_cannot_be_understood_and_takes_the_collection(
    world: World, tmp_path: Path, odd: str
) -> None:
    source = shared(world, public=["read"])
    with serving(world) as server:
        if odd == "is_public":
            says_of_public(server, source, "yes", None)
        else:
            route, body = ODD_LISTS[odd]
            server.faults.add(Action(reply=FixedReply(200, body)), route=route, times=None)
        said = migrate(server, tmp_path, "--dry-run", "--details")
    assert said.code == 0, said.text
    words = " ".join(said.text.split())
    assert "can't be read, and so would not be copied" in words
    assert f"group {next(iter(source.group_shares))} (read, chat)" in words


def withdraw(source: Collection) -> None:
    """Bertil, the group and the public may not see it any more; Carla may."""
    source.shares.pop("bertil", None)
    source.group_shares.clear()
    source.is_public, source.public_permissions = False, None


def watch(server: SandboxServer) -> Dict[str, Any]:
    """The rights on each target at the moment of its import."""
    seen: Dict[str, Any] = {}

    def look() -> None:
        for request in server.requests:
            if request.route == IMPORT:
                target = server.world.collections[request.path.split("/")[-2]]
                rights = (dict(target.shares), dict(target.group_shares), target.is_public)
                seen.setdefault(target.id, rights)

    server.faults.add(call(look), route=IMPORT, times=None)
    return seen


ONLY_CARLA = ({"carla": ["read"]}, {}, False)


def test_shares_withdrawn_while_a_collection_waits_for_its_slot(
    world: World, tmp_path: Path
) -> None:
    world.times.import_s = 0.6
    sources = [shared(world, name, public=True) for name in ("A", "B", "C")]

    def revoke() -> None:
        for source in sources:
            withdraw(source)

    with serving(world) as server:
        seen = watch(server)
        server.faults.add(call(revoke, after=True), route=SHARE_GROUP, skip=2)
        words = ["--wait-for-completion", "--max-concurrent-jobs", "2"]
        result = migrate(server, tmp_path, *words)
    assert result.code == 0, result.text
    assert list(seen.values())[-1] == ONLY_CARLA
    for source in sources:
        (target,) = targets(world, source)
        assert (target.shares, target.group_shares, target.is_public) == ONLY_CARLA


@pytest.mark.parametrize("when", ["before the import", "in the middle of sharing"])
def test_shares_withdrawn_between_an_interrupted_run_and_the_next(
    world: World, tmp_path: Path, when: str
) -> None:
    source = shared(world, public=True)
    route = DOCUMENTS if when == "before the import" else SHARE_GROUP
    with serving(world) as server:
        server.faults.add(reply(500), route=route)
        assert migrate(server, tmp_path, "--retries", "0", "--max-failures", "0").code == 1
        (target,) = targets(world, source)
        assert "bertil" in target.shares
        assert target.is_public
        # What somebody else did to the target meanwhile is theirs.
        target.shares["dora"] = ["read"]
        withdraw(source)
        seen = watch(server)
        result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert list(seen.values()) == [({"carla": ["read"], "dora": ["read"]}, {}, False)]


def test_shares_withdrawn_after_the_import_are_taken_back_at_validation(
    world: World, tmp_path: Path
) -> None:
    source = shared(world, public=["read", "chat"])
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        target.shares["dora"] = ["read"]
        withdraw(source)
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert (target.shares, target.group_shares, target.is_public) == (
        {"carla": ["read"], "dora": ["read"]},
        {},
        False,
    )


@pytest.mark.parametrize("adopted", [False, True])
@pytest.mark.parametrize("habit", ["public", "users"])
def test_what_a_server_shares_at_creation_is_taken_back_before_the_import(
    world: World, tmp_path: Path, habit: str, adopted: bool
) -> None:
    world.habits.created_shared = habit
    world.habits.collections_readable_after_s = 0.1
    private = world.add_collection("anna", "Private", LARGE)
    source = shared(world, shares={"carla": ["read"]}, group_shares={})
    with serving(world) as server:
        seen = watch(server)
        if adopted:
            server.faults.add(close(after=True), route="POST /collections", times=2)
        result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert [seen[targets(world, each)[0].id] for each in (private, source)] == [
        ({}, {}, False),
        ONLY_CARLA,
    ]


@pytest.mark.parametrize("conflicts", [False, True])
@pytest.mark.parametrize("when", ["before the import", "before validation"])
def test_a_narrower_list_of_rights_counts_as_well(
    world: World, tmp_path: Path, when: str, conflicts: bool
) -> None:
    source = shared(world, public=["read", "chat"])
    source.shares["dora"] = None  # all rights
    world.habits.repeated_share_conflicts = conflicts
    with serving(world) as server:
        source, _ = begun(server, tmp_path, source, refused=when == "before the import")
        source.shares.update(bertil=["read"], dora=["read"], carla=["read", "chat"])
        source.group_shares = {key: ["chat"] for key in source.group_shares}
        source.public_permissions = ["read"]
        result = migrate(server, tmp_path) if when == "before the import" else None
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert target.shares == {"bertil": ["read"], "dora": ["read"], "carla": ["read", "chat"]}
    assert list(target.group_shares.values()) == [["chat"]]
    assert target.public_permissions == ["read"]


@pytest.mark.parametrize("killed", [False, True])
def test_from_whom_rights_on_a_target_of_version_1_2_0_were_taken_is_kept(
    world: World, tmp_path: Path, killed: bool
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        target.shares["dora"] = ["read"]
        as_version_1_2_0_left_it(tmp_path)
        if killed:
            server.faults.add(close(after=True), route=UNSHARE, times=None)
            assert verify(server, tmp_path, "--retries", "0").code == 1
            server.faults.clear()
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert "dora" not in target.shares
    (warning,) = kept_warnings(tmp_path)
    assert "also where its owner gave it: user dora" in warning


def as_version_1_2_0_left_it(folder: Path) -> None:
    """The documented row alone: it kept no history, and no rights."""
    with closing(sqlite3.connect(str(folder / DATABASE))) as db, db:
        for table in ("attempts", "intents", "checkpoints", "jobs", "baseline"):
            db.execute(f"DELETE FROM {table}")


def kept_warnings(folder: Path) -> List[str]:
    with closing(sqlite3.connect(str(folder / DATABASE))) as db:
        return [text for (text,) in db.execute("SELECT text FROM warnings")]


def test_a_share_that_the_owner_took_from_the_target_is_not_given_again(
    world: World, tmp_path: Path
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        del target.shares["bertil"]
        source.shares["bertil"] = ["read"]
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert "bertil" not in target.shares


def test_rights_that_the_owner_gave_on_the_target_are_not_touched(
    world: World, tmp_path: Path
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        target.shares["carla"] = ["read", "chat"]
        target.is_public = True
        server.forget_requests()
        result = verify(server, tmp_path)
        assert not [r for r in server.requests if r.route in (SHARE, UNSHARE)]
    assert result.code == 0, result.text
    assert target.shares["carla"] == ["read", "chat"]
    assert target.is_public


def test_a_share_that_cannot_be_taken_back_stops_the_import(world: World, tmp_path: Path) -> None:
    source = shared(world)
    with serving(world) as server:
        source, _ = begun(server, tmp_path, source, refused=True)
        withdraw(source)
        server.faults.add(reply(403), route=UNSHARE)
        result = migrate(server, tmp_path)
        (target,) = targets(world, source)
        assert result.code == 1
        assert "shared more widely" in result.text
        assert not target.imported
        assert migrate(server, tmp_path).code == 0
        server.world.wait_until_idle()
    assert target.imported
    assert target.shares == {"carla": ["read"]}


def held_by_a_share(
    world: World, server: SandboxServer, folder: Path, *narrow: str, status: int = 403
) -> Collection:
    """A target that the server goes on sharing with Bertil, though the source does not."""
    source, target = begun(server, folder, shared(world, chats=1, connectors=1))
    source.shares["bertil"] = list(narrow)
    if not narrow:
        withdraw(source)
    for route in (SHARE, UNSHARE):
        server.faults.add(reply(status), route=route, times=None)
    result = verify(server, folder)
    assert result.code == 1, result.text
    assert "shared more widely than its source: with user bertil" in result.text
    assert source.connectors
    assert not target.connectors
    return target


@pytest.mark.parametrize("status", [403, 404, 409])
@pytest.mark.parametrize("narrow", [(), ("read",)])
def test_a_share_that_cannot_be_taken_back_holds_the_collection_back_until_it_can(
    world: World, tmp_path: Path, narrow: Tuple[str, ...], status: int
) -> None:
    with serving(world) as server:
        target = held_by_a_share(world, server, tmp_path, *narrow, status=status)
        assert verify(server, tmp_path).code == 1
        server.faults.clear()
        result = verify(server, tmp_path)
        assert result.code == 0, result.text
    assert target.shares.get("bertil", []) == list(narrow)
    assert target.connectors


def test_a_share_that_cannot_be_taken_back_may_be_accepted(world: World, tmp_path: Path) -> None:
    with serving(world) as server:
        target = held_by_a_share(world, server, tmp_path)
        result = verify(server, tmp_path, "--ignore-validation")
        assert result.code == 0, result.text
        assert "shared more widely" in result.text
        assert "group share(s) differ" not in result.text
    assert target.connectors


@pytest.mark.parametrize("when", ["before the import", "before validation"])
@pytest.mark.parametrize("status", [400, 403, 409])
@pytest.mark.parametrize("what", ["user", "public"])
def test_a_narrower_list_that_is_refused_takes_all_away(
    world: World, tmp_path: Path, what: str, status: int, when: str
) -> None:
    source = shared(world, shares={"bertil": ["read", "chat"]}, public=["read", "chat"])

    def narrow_is_refused() -> None:
        source.shares["bertil"], source.public_permissions = ["read"], ["read"]
        route = SHARE if what == "user" else PUBLIC
        server.faults.add(
            reply(status), route=route, times=None, when=lambda asked: "permissions" in asked.body
        )

    with serving(world) as server:
        source, _ = begun(server, tmp_path, source, refused=when == "before the import")
        narrow_is_refused()
        if when == "before the import":
            migrate(server, tmp_path)
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert target.imported
    if what == "user":
        assert target.shares == {}
        assert "the share with user bertil was refused" in result.text
    else:
        assert not target.is_public
        assert "could not be made public" in result.text


def test_withdrawn_shares_survive_a_lost_reply_of_the_import(world: World, tmp_path: Path) -> None:
    source = shared(world)
    with serving(world) as server:
        server.faults.add(close(after=True), route=IMPORT)
        server.faults.add(reply(502), route="GET /jobs", times=None)
        migrate(server, tmp_path, "--retries", "0")
        server.faults.clear()
        withdraw(source)
        server.world.wait_until_idle()
        result = migrate(server, tmp_path, "--wait-for-completion")
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert (target.shares, target.group_shares) == ({"carla": ["read"]}, {})


@pytest.mark.parametrize("broken", [USERS, GROUPS])
def test_a_permission_listing_that_is_broken_for_good_is_a_kept_warning(
    world: World, tmp_path: Path, broken: str
) -> None:
    source = shared(world)
    name = "get_collection_permissions" if broken == USERS else "get_collection_group_permissions"
    world.habits.broken_operations = name
    with serving(world) as server:
        result = migrate(server, tmp_path, "--wait-for-completion", "--retries", "1")
        status = run(tmp_path, "--status")
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert target.imported
    assert (target.shares == {}) == (broken == USERS)
    assert (target.group_shares == {}) == (broken == GROUPS)
    what = "user shares" if broken == USERS else "group shares"
    assert f"the {what} could not be read, and so not copied" in " ".join(status.text.split())


@pytest.mark.parametrize(
    "route", [USERS, GROUPS, f"GET {C}/public_permissions", f"GET {C}/settings"]
)
def test_a_passing_401_is_not_believed(world: World, tmp_path: Path, route: str) -> None:
    source = shared(world, public=["read"], settings={"max_tokens_per_chunk": 320})
    with serving(world) as server:
        server.faults.add(reply(401), route=route)
        result = migrate(server, tmp_path)
    assert result.code == 0, result.text
    assert "could not be read" not in result.text
    (target,) = targets(world, source)
    assert (target.shares, target.group_shares) == (source.shares, source.group_shares)
    assert target.public_permissions == ["read"]
    assert target.settings["max_tokens_per_chunk"] == 320


def test_a_broken_listing_of_public_rights_never_grants_all(world: World, tmp_path: Path) -> None:
    source = shared(world, public=["read"])
    world.habits.broken_operations = "list_collection_public_permissions"
    with serving(world) as server:
        result = migrate(server, tmp_path, "--wait-for-completion", "--retries", "1")
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert not target.is_public or target.public_permissions == []


def test_a_server_that_is_down_is_no_broken_listing(world: World, tmp_path: Path) -> None:
    source = shared(world)
    with serving(world) as server:
        server.faults.add(reply(503), route=USERS, times=None)
        server.faults.add(reply(503), route=f"GET {C}", skip=1, times=None)
        result = migrate(server, tmp_path, "--retries", "1")
        assert result.code == 1
        server.faults.clear()
        assert migrate(server, tmp_path).code == 0
    (target,) = targets(world, source)
    assert set(target.shares) == {"bertil", "carla"}


# -- shares that come to the source while its import runs ----------------------------------
def widen(source: Collection) -> None:
    """Dora, the staff and the public may see it as well; Carla may do more."""
    source.shares.update(dora=["read"], carla=["read", "chat"])
    source.group_shares["staff"] = ["read"]
    source.is_public, source.public_permissions = True, ["read"]


@pytest.mark.promise("migrated.late-shares")
@pytest.mark.parametrize("before", ["shared", "private"])
@pytest.mark.parametrize("others", [0, 1])
def test_shares_given_on_the_source_after_the_import_follow_with_the_verify(
    world: World, tmp_path: Path, before: str, others: int
) -> None:
    world.groups["staff"] = "Staff"
    source = shared(world, **({} if before == "shared" else {"shares": {}, "group_shares": {}}))
    for number in range(others):
        shared(world, f"Other {number}", shares={}, group_shares={})
    with serving(world) as server:
        source, _ = begun(server, tmp_path, source)
        widen(source)
        server.forget_requests()
        result = verify(server, tmp_path, "--details")
        written = [r for r in server.requests if r.route in (SHARE, SHARE_GROUP, PUBLIC)]
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert (target.shares, target.group_shares) == (source.shares, source.group_shares)
    assert target.public_permissions == ["read"]
    assert "shared with group staff, the public, user carla, user dora" in result.text
    assert not kept_warnings(tmp_path)
    assert len(written) == 4
    assert rights_on_record(tmp_path, source) == {"carla", "dora", *source.shares}


@pytest.mark.promise("migrated.late-shares")
@pytest.mark.parametrize("before", ["shared", "private"])
@pytest.mark.parametrize("others", [0, 2])
def test_shares_given_on_the_source_while_a_quick_import_is_waited_for_follow(
    world: World, tmp_path: Path, before: str, others: int
) -> None:
    world.groups["staff"] = "Staff"
    for number in range(others):  # these have been looked at by the time
        shared(world, f"Other {number}", shares={}, group_shares={})
    source = shared(world, **({} if before == "shared" else {"shares": {}, "group_shares": {}}))
    world.times.import_s = 0.1

    def just_then(request: Request) -> bool:
        if source.id in f"{request.path} {request.query} {request.body}":
            widen(source)
        return False

    with serving(world) as server:
        server.faults.add(reply(500), route=f"POST {C}/import_collection_job", when=just_then)
        result = migrate(server, tmp_path, "--wait-for-completion", "--max-concurrent-jobs", "1")
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert (target.shares, target.group_shares) == (source.shares, source.group_shares)
    assert target.public_permissions == ["read"]


@pytest.mark.parametrize("namesake", [False, True])
def test_late_shares_of_an_owner_who_was_renamed_follow_too(
    world: World, tmp_path: Path, namesake: bool
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, _ = begun(server, tmp_path, source)
        rename(world, "anna", "anna.new")
        source.shares["dora"] = ["read"]
        if namesake:  # somebody else has the owner's former name by now
            world.add_user("anna")
            source.shares["anna"] = ["read"]
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert target.shares == source.shares
    assert not [text for text in kept_warnings(tmp_path) if "shared" in text]


def test_a_target_is_not_made_public_by_a_listing_that_is_a_minute_old(
    world: World, tmp_path: Path
) -> None:
    source = shared(world, shares={}, group_shares={})
    shared(world, "Other", shares={}, group_shares={})
    with serving(world) as server:
        source, _ = begun(server, tmp_path, source)
        source.is_public, source.public_permissions = True, ["read"]

        def private_once_listed(asked: Request) -> bool:
            if f"/collections/{source.id}" in asked.path:
                source.is_public = False
            return False

        server.faults.add(reply(500), when=private_once_listed, times=None)
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    (target,) = targets(world, source)
    assert not target.is_public


def rights_on_record(folder: Path, source: Collection) -> Set[str]:
    """The users to whom the target of a source was given something, as is on record."""
    with closing(sqlite3.connect(str(folder / DATABASE))) as db:
        ((text,),) = db.execute(
            "SELECT permissions FROM attempts WHERE source_id = ?", (source.id,)
        )
    return {share["grantee"] for share in json.loads(text)["users"]}


@pytest.mark.parametrize("done", ["given", "taken", "widened"])
def test_shares_that_came_late_are_told_where_somebody_changed_who_may_see_the_target(
    world: World, tmp_path: Path, done: str
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        if done == "given":
            target.is_public = True
        elif done == "taken":
            del target.shares["bertil"]
        else:
            target.shares["carla"] = ["read", "chat"]
        there = dict(target.shares)
        source.shares["dora"] = ["read"]
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert target.shares == there
    told = "since its import the source was shared with user dora"
    assert any(told in text for text in kept_warnings(tmp_path))
    assert "share it in h2oGPTe" in " ".join(result.text.split())


def test_who_was_given_the_same_rights_on_both_sides_is_not_told(
    world: World, tmp_path: Path
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        source.shares["dora"] = ["read"]
        target.shares["dora"] = ["read", "chat"]
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert target.shares["dora"] == ["read", "chat"]
    assert not kept_warnings(tmp_path)


def test_a_late_share_that_was_not_given_to_its_end_is_given_by_the_next_verify(
    world: World, tmp_path: Path
) -> None:
    world.add_user("erik")
    source = shared(world)
    with serving(world) as server:
        source, _ = begun(server, tmp_path, source)
        source.shares.update(dora=["read"], erik=["read"])
        # Dora's arrives and its answer does not; Erik's is never sent.
        server.faults.add(close(after=True), route=SHARE, times=None)
        assert verify(server, tmp_path, "--retries", "0").code == 1
        server.faults.clear()
        (target,) = targets(world, source)
        assert "erik" not in target.shares
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert target.shares == source.shares
    assert not kept_warnings(tmp_path)


@pytest.mark.parametrize("where", ["on the source", "on the target"])
def test_a_late_share_that_is_withdrawn_again_is_not_given_again(
    world: World, tmp_path: Path, where: str
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, _ = begun(server, tmp_path, source)
        source.shares["dora"] = ["read"]
        (target,) = targets(world, source)
        world.wait_until_idle()
        arrived, target.documents = target.documents, []
        assert verify(server, tmp_path).code == 1
        assert "dora" in target.shares
        target.documents = arrived
        del (source if where == "on the source" else target).shares["dora"]
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert "dora" not in target.shares


def test_a_late_share_that_is_refused_is_a_kept_warning_and_asked_for_once(
    world: World, tmp_path: Path
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, _ = begun(server, tmp_path, source)
        source.group_shares["unknown"] = ["read"]
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert any("group unknown was refused" in text for text in kept_warnings(tmp_path))


@pytest.mark.parametrize("broken", [USERS, GROUPS])
def test_no_late_share_is_given_where_the_targets_own_can_not_be_read(
    world: World, tmp_path: Path, broken: str
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        source.shares["dora"] = ["read"]
        server.faults.add(
            reply(403), route=broken, times=None, when=lambda asked: target.id in asked.path
        )
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert "dora" not in target.shares
    assert "could not be read: share it in h2oGPTe" in kept_warnings(tmp_path)[0]


@pytest.mark.parametrize("record", ["version 1.2.0", "backup"])
def test_nothing_is_given_late_where_it_is_not_on_record_what_the_target_was_given(
    world: World, tmp_path: Path, record: str
) -> None:
    source = shared(world)
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        if record == "version 1.2.0":
            as_version_1_2_0_left_it(tmp_path)
        else:
            with closing(sqlite3.connect(str(tmp_path / DATABASE))) as db, db:
                db.execute("UPDATE collection_migrations SET permissions_copied = 0")
        source.shares["dora"] = ["read"]
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert "dora" not in target.shares
    assert any("user dora" in text for text in kept_warnings(tmp_path))


@pytest.mark.parametrize("what", ["user", "public"])
def test_what_somebody_gave_on_the_target_is_not_taken_with_what_the_source_withdrew(
    world: World, tmp_path: Path, what: str
) -> None:
    source = shared(world, public=["read"])
    with serving(world) as server:
        source, target = begun(server, tmp_path, source)
        if what == "user":
            target.shares["bertil"] = ["read", "chat", "write"]
        else:
            target.public_permissions = ["read", "chat"]
        withdraw(source)
        result = verify(server, tmp_path)
    assert result.code == 0, result.text
    assert ("bertil" in target.shares, target.is_public) == (what == "user", what == "public")
    assert target.group_shares == {}
    assert any("that somebody gave there" in text for text in kept_warnings(tmp_path))
