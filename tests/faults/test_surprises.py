"""Servers that are newer, older, slower to settle or plainly odd: the migration ends right."""

from __future__ import annotations

import random
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Set

import pytest

from h2ogpte_migration.sandbox import server as sandbox_server
from h2ogpte_migration.sandbox.calls import Reply
from h2ogpte_migration.sandbox.faults import call, close
from h2ogpte_migration.sandbox.habits import Habits
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from .harness import (
    LARGE,
    M3,
    MODES,
    difference,
    run,
    say,
    serving,
    settled,
    small_world,
    twins,
    undisturbed,
    world_for,
)

HABITS: Dict[str, Dict[str, Any]] = {
    "newer server": {"newer_server": True},
    "pages of one": {"page_cap": 1},
    "pages of two": {"page_cap": 2},
    "pages of three, ties shuffled": {"page_cap": 3, "shuffle_ties": True},
    "ties shuffled": {"shuffle_ties": True},
    "sparse listings": {"listings_are_sparse": True},
    "no metadata in records": {"collection_has_metadata": False},
    "stale counts": {"stale_document_counts": True},
    "caller not among the users": {"users_include_caller": False},
    "owner not among the shares": {"permissions_include_owner": False},
    "null for all rights": {"public_null_for_all_rights": True},
    "deleted keys listed": {"deleted_keys_listed": True},
    "filters with case": {"filter_ignores_case": False},
    "times with an offset": {"timestamps": "offset"},
    "naive times": {"timestamps": "naive"},
    "percent": {"percentages": "percent"},
    "clock ahead": {"clock_offset_h": 9.5},
    "clock behind": {"clock_offset_h": -30.0},
    "clock a year ahead, naive": {"clock_offset_h": 8800.0, "timestamps": "naive"},
    "jobs answered with 400": {"unknown_job_status": 400},
    "keys gone with 404": {"missing_key_delete_status": 404},
    "keys gone with 204": {"missing_key_delete_status": 204},
    "shares conflict": {"repeated_share_conflicts": True},
    "nulls refused": {"refuse_null_settings": True},
    "workspaces fall back": {"strict_workspaces": False},
    "doubled ids are new": {"doubled_ids": "new"},
    "ended jobs hidden": {"hide_ended_jobs_after_s": 0.0},
    "ended jobs forgotten": {"forget_ended_jobs_after_s": 0.0},
    "admin reads jobs": {"admin_reads_jobs": True},
    "everything at once": {
        "newer_server": True,
        "page_cap": 3,
        "shuffle_ties": True,
        "listings_are_sparse": True,
        "collection_has_metadata": False,
        "stale_document_counts": True,
        "users_include_caller": False,
        "timestamps": "offset",
        "percentages": "percent",
        "clock_offset_h": -5.0,
        "doubled_ids": "new",
        "public_null_for_all_rights": True,
    },
}


def _set(world: World, habits: Dict[str, Any]) -> None:
    for name, value in habits.items():
        assert hasattr(world.habits, name)
        setattr(world.habits, name, value)


COMBINED = (
    "pages of one",
    "pages of three, ties shuffled",
    "clock a year ahead, naive",
    "everything at once",
)
"""What the default run tries: single habits are tried by ``tests/safety/test_every_habit.py``."""
AT_ONCE = 6
"""How many habits a run of the default one is under, where one alone is tried by the whole matrix."""
SAMPLED = [
    pytest.param(habits, id=name, marks=[] if name in COMBINED else [pytest.mark.slow])
    for name, habits in HABITS.items()
]
OTHER_MODES = [pytest.param(mode, marks=pytest.mark.slow) for mode in MODES if mode != "verify"]


@pytest.mark.parametrize("mode", ["verify", *OTHER_MODES])
@pytest.mark.parametrize("habits", SAMPLED)
def test_a_habit_of_the_server_changes_nothing(
    habits: Dict[str, Any], mode: str, clock: Any, tmp_path: Path
) -> None:
    wanted = undisturbed(mode, tmp_path).snapshot
    with serving(world_for(mode, tmp_path)) as server:
        _set(server.world, habits)
        result = MODES[mode](server, tmp_path / "odd")
        _set(server.world, {name: getattr(Habits(), name) for name in habits})
        wrong = difference(wanted, settled(server.world))
    assert result.code == 0, result.text
    assert not wrong, wrong


def _clash(habits: Dict[str, Any], others: Dict[str, Any]) -> bool:
    """Whether they turn the same switch; tiny pages in no order are a matter of their own."""
    paging = {"page_cap", "shuffle_ties"}
    return bool(set(habits) & set(others) or (paging & set(habits) and paging & set(others)))


def _several_at_once() -> List[Any]:
    """By default some habits together that do not clash; all of them alone are slow."""
    groups: List[Dict[str, Dict[str, Any]]] = []
    for name, habits in HABITS.items():
        fits = (
            group
            for group in groups
            if len(group) < AT_ONCE and not any(_clash(habits, one) for one in group.values())
        )
        group = next(fits, None)
        if group is None:
            group = {}
            groups.append(group)
        group[name] = habits
    together = [
        pytest.param({k: v for one in group.values() for k, v in one.items()}, id=" + ".join(group))
        for group in groups
    ]
    grouped = (name for group in groups if len(group) > 1 for name in group)
    return [
        *together,
        *(pytest.param(HABITS[name], id=name, marks=pytest.mark.slow) for name in grouped),
    ]


@pytest.mark.parametrize("habits", _several_at_once())
def test_a_lost_answer_is_cleared_up_whatever_the_habits(
    habits: Dict[str, Any], clock: Any, tmp_path: Path
) -> None:
    """The look for what an unanswered request did reads listings, times and counts."""
    wanted = undisturbed("admin", tmp_path).snapshot
    with serving(small_world()) as server:
        _set(server.world, habits)
        for route in (
            "POST /collections",
            "POST /collections/{collection_id}/import_collection_job",
        ):
            server.faults.add(close(after=True), route=route, skip=1)
            server.faults.add(close(), route=route)
        result = MODES["admin"](server, tmp_path / "odd")
        _set(server.world, {name: getattr(Habits(), name) for name in habits})
        wrong = difference(wanted, settled(server.world))
    assert result.code == 0, result.text
    assert not wrong, wrong


# -- answers with more, less and other things in them ---------------------------------------
Change = Callable[[Any, random.Random], Any]

_OPTIONAL: Set[str] = {
    "document_count", "document_size", "updated_at", "created_at", "user_count",
    "sessions_count", "status", "thumbnail", "has_default_guardrails", "size", "page_count",
    "passed_percentage", "failed_percentage", "progress", "duration", "duration_seconds",
    "start_time", "statuses", "name_of_server", "email", "subject", "build", "global_configs",
    "user_configs", "picture", "groups", "workspaces", "permissions_of_server", "ui_config",
    "license_expired", "license_expiry_date", "languages", "display_name", "lang",
}  # fmt: skip
"""Fields that an answer may lack although the contract names them."""


def _with_novelties(value: Any, chance: random.Random) -> Any:
    """Fields that nobody knows, everywhere but in what users store."""
    if isinstance(value, list):
        return [_with_novelties(item, chance) for item in value]
    if isinstance(value, dict) and "id" in value:
        return {**value, "novelty": {"deep": [1, None]}, "x-another": chance.random()}
    return value


def _without_options(value: Any, chance: random.Random) -> Any:
    if isinstance(value, list):
        return [_without_options(item, chance) for item in value]
    if isinstance(value, dict) and "id" in value:
        is_document = "metadata_dict" in value and "embedding_model" not in value
        kept = _OPTIONAL - {"status"} if is_document else _OPTIONAL
        return {key: item for key, item in value.items() if key not in kept}
    return value


def _nulls(value: Any, chance: random.Random) -> Any:
    if isinstance(value, list):
        return [_nulls(item, chance) for item in value]
    if isinstance(value, dict) and "id" in value:
        is_document = "metadata_dict" in value and "embedding_model" not in value
        kept = _OPTIONAL - {"status"} if is_document else _OPTIONAL
        return {key: None if key in kept else item for key, item in value.items()}
    return value


def _odd_enums(value: Any, chance: random.Random) -> Any:
    """Values of enumerations that no client knows yet."""
    if isinstance(value, list):
        return [_odd_enums(item, chance) for item in value]
    if isinstance(value, dict) and "id" in value:
        changed = dict(value)
        if "overall_status" in changed:
            running = changed["overall_status"] == "in progress"
            changed["overall_status"] = "warming up" if running else changed["overall_status"]
            changed["status"] = "Quantum"
        elif "embedding_model" in changed:
            changed["status"] = "quantum"
            changed.setdefault("rag_type", "rlm_rag")
        return changed
    return value


def _junk_rows(value: Any, chance: random.Random) -> Any:
    """Rows that name nothing, in listings that come in one piece."""
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return [*value, {}, {"id": None, "username": None, "group_id": None}]
    return value


ANSWERS: Dict[str, Change] = {
    "more fields": _with_novelties,
    "fewer fields": _without_options,
    "nulls": _nulls,
    "other values": _odd_enums,
    "rows that name nothing": _junk_rows,
}

_IN_PAGES = ("/collections", "/collections/all", "/users", "/documents", "/api_keys")


def _answer_with(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    chance = random.Random(7)
    real = sandbox_server.perform  # which may have been changed before

    def perform(world: World, method: str, path: str, **call: Any) -> Reply:
        reply = real(world, method, path, **call)
        paged = path.endswith(_IN_PAGES)
        if not reply.has_body or reply.status >= 300 or (change is _junk_rows and paged):
            return reply
        return Reply(reply.status, change(reply.body, chance))

    monkeypatch.setattr(sandbox_server, "perform", perform)


TOGETHER = (
    ("more fields", "fewer fields"),
    ("nulls", "rows that name nothing"),
    ("other values",),
)
"""Which of them the default run tries in one, and each of them alone is slow."""


@pytest.mark.parametrize("mode", ["verify", *OTHER_MODES])
@pytest.mark.parametrize(
    "names",
    [
        *(pytest.param(names, id=" + ".join(names)) for names in TOGETHER),
        *(
            pytest.param((name,), id=name, marks=pytest.mark.slow)
            for name in ANSWERS
            if name != "other values"
        ),
    ],
)
def test_answers_with_other_things_in_them_change_nothing(
    names: Sequence[str], mode: str, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = undisturbed(mode, tmp_path).snapshot
    with serving(world_for(mode, tmp_path)) as server:
        with monkeypatch.context() as patch:
            for name in names:
                _answer_with(patch, ANSWERS[name])
            result = MODES[mode](server, tmp_path / "odd")
        got = settled(server.world)
    if "other values" in names:
        wanted, got = deepcopy(wanted), deepcopy(got)
        for name, twins in got["collections"].items():
            if "(Migrated)" in name and twins[0]["rag_type"] == "rlm_rag":
                twins[0]["rag_type"] = None  # the newest type was carried over like any other
    wrong = difference(wanted, got)
    assert result.code == 0, result.text
    assert not wrong, wrong


def test_metadata_that_are_no_object_in_the_record_are_asked_for_by_themselves(
    clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = undisturbed("admin", tmp_path).snapshot
    with serving(world_for("admin", tmp_path)) as server:
        odd: List[Any] = ["text", 7, [], [{"topic": "x"}]]
        shown = dict(zip(server.world.collections, odd))
        assert len(shown) == len(odd)

        def change(value: Any, _: random.Random) -> Any:
            is_record = isinstance(value, dict) and "embedding_model" in value
            if not is_record:
                return value
            return {**value, "metadata_dict": shown.get(value["id"], "of a target")}

        with monkeypatch.context() as patch:
            _answer_with(patch, change)
            result = MODES["admin"](server, tmp_path / "odd")
        got = settled(server.world)
    assert result.code == 0, result.text
    assert not difference(wanted, got)


# -- a world that does not stand still ------------------------------------------------------
def _crowd(count: int) -> World:
    world = World()
    world.times.import_s = world.times.move_s = 0.01
    world.add_user("admin", admin=True)
    for number in range(6):
        world.add_user(f"user{number}")
    for number in range(count):
        world.add_collection(f"user{number % 6}", f"c{number % 7}", M3, documents=1)
    world.habits.page_cap = 5
    return world


def _all_dry(server: SandboxServer, folder: Path) -> str:
    words = [
        "--url",
        server.url,
        "--admin-key",
        "sk-sandbox-admin",
        "--all-users",
        "--dry-run",
        "--details",
    ]
    result = run(folder, *words, "--use-model-mappings")
    gone = "Can't be read: " in result.out  # listed, and deleted before it was looked at
    assert result.code == int(gone), result.text
    return result.out


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["renames", "creates and deletes", "documents"])
def test_listings_that_change_between_pages_skip_nothing_and_double_nothing(
    kind: str, seed: int, clock: Any, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    world = _crowd(30)
    world.habits.shuffle_ties = True
    lasting = list(world.collections.values())
    passing: List[str] = []

    def disturb() -> None:
        with world.lock:
            if kind == "renames":
                chance.choice(lasting).name = f"c{chance.randrange(9)}"
            elif kind == "documents":
                chosen = chance.choice(lasting)
                world.add_document(chosen.id, "new.pdf")
            elif passing and chance.random() < 0.5:
                world.drop_collection(passing.pop(chance.randrange(len(passing))))
            else:
                name = chance.choice(["a", "c3", "z"])
                passing.append(world.add_collection("user1", name, LARGE, documents=0).id)

    with serving(world) as server:
        server.faults.add(call(disturb), route="GET /collections/all", times=None)
        out = _all_dry(server, tmp_path / "run")
    for collection in lasting:
        assert out.count(f"({collection.id}) of ") == 1, collection.name


@pytest.mark.parametrize("seed", range(2))
def test_documents_that_come_while_they_are_listed_are_found_or_left_behind_but_never_lost(
    seed: int, clock: Any, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    world = World()
    world.times.import_s = 0.01
    world.add_user("admin", admin=True)
    source = world.add_collection("admin", "Busy", M3, documents=45)
    world.habits.page_cap = 10
    world.habits.shuffle_ties = True
    there = {membership.document.id for membership in source.documents}
    left = [6]

    def disturb() -> None:
        with world.lock:
            if left[0] and chance.random() < 0.4:
                left[0] -= 1
                world.add_document(source.id, f"late {left[0]}.pdf")

    route = "GET /collections/{collection_id}/documents"
    with serving(world) as server:
        server.faults.add(
            call(disturb), route=route, when=lambda r: source.id in r.path, times=None
        )
        words = ["--url", server.url, "--admin-key", "sk-sandbox-admin", "--all-users"]
        result = run(tmp_path, *words, "--use-model-mappings", "--wait-for-completion")
        targets = world.targets_of("Busy")
    assert result.code == 0, result.text
    assert len(targets) == 1
    arrived = [membership.document.id for membership in targets[0].documents]
    assert there <= set(arrived)
    assert len(arrived) == len(set(arrived))


def test_a_long_listing_that_keeps_changing_is_read_to_its_end(clock: Any, tmp_path: Path) -> None:
    world = _crowd(0)
    for number in range(1500):
        world.add_collection(f"user{number % 6}", f"c{number % 50}", LARGE, documents=0)
    wanted = [world.add_collection("user1", f"m{n}", M3, documents=0) for n in range(5)]
    world.habits.page_cap = 50
    others = [c for c in world.collections.values() if c.embedding_model == LARGE]
    chance = random.Random(3)

    def disturb() -> None:
        with world.lock:
            for _ in range(5):
                world.drop_collection(others.pop(chance.randrange(len(others))).id)

    with serving(world) as server:
        server.faults.add(call(disturb), route="GET /collections/all", times=None)
        words = ["--url", server.url, "--admin-key", "sk-sandbox-admin", "--all-users"]
        words += ["--target-model", "h2oai/embeddinggemma-300m-qat-q8_0-unquantized"]
        result = run(tmp_path, *words, "--source-model", M3, "--dry-run", "--details")
        say([f"{len(server.requests)} requests"])
    assert result.code == 0, result.text
    for collection in wanted:
        assert result.out.count(f"({collection.id}) of ") == 1


def test_collections_deleted_between_listing_and_migration_are_reported_alone(
    clock: Any, tmp_path: Path
) -> None:
    names = ("Papers", "Board", "Empty folder")
    with serving(small_world()) as server:
        world = server.world
        doomed = {name: world.find(name).id for name in names}

        def delete() -> None:
            for collection_id in doomed.values():
                world.delete_collection(collection_id)

        server.faults.add(call(delete), route="GET /embedding_models")
        result = MODES["admin"](server, tmp_path / "run")
        snapshot = settled(world)
    assert result.code == 1
    assert (
        "Failed: 3 collections: start: the source collection does not exist any more" in result.out
    )
    lines = result.out.splitlines()
    for name, collection_id in doomed.items():
        assert sum(line.startswith(f"  {name} ({collection_id}) of ") for line in lines) == 1, name
    assert "Summary: 1 done, 3 failed." in result.out
    targets = [key for key in snapshot["collections"] if "(Migrated) " in key]
    assert targets == ["anna/(Migrated) Drafts"]
    assert snapshot["keys"] == ["admin/default", "anna/default", "bertil/default"]


DELETED_AT = {
    "anna": "POST /collections",
    "bertil": "PUT /collections/{collection_id}/metadata",
    "clara": "GET /collections/{collection_id}/permissions",
    "david": "POST /collections/{collection_id}/import_collection_job",
    "emma": "GET /jobs/{job_id}",
    "frida": "POST /collections/{collection_id}/migrate_chat_sessions_job",
}
"""At the first request of an owner on this route, that owner's collection is deleted."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_source_deleted_at_any_moment_never_gets_stuck(
    after: bool, clock: Any, tmp_path: Path
) -> None:
    with serving(
        twins({**{f"That of {owner}": owner for owner in DELETED_AT}, "Kept": "gustav"})
    ) as server:
        world = server.world
        rules = {}
        for owner, route in DELETED_AT.items():
            doomed = world.find(f"That of {owner}").id
            rules[owner] = server.faults.add(
                call(partial(world.delete_collection, doomed), after=after),
                route=route,
                when=lambda request, owner=owner: request.username == owner,
            )
        first = MODES["admin"](server, tmp_path / "run")
        assert {owner: rule.hits for owner, rule in rules.items()} == dict.fromkeys(DELETED_AT, 1)
        second = MODES["admin"](server, tmp_path / "run")
        snapshot = settled(world)
    assert first.code in (0, 1)
    assert "bug" not in first.text + second.text
    assert "interrupted" not in second.text
    assert len(snapshot["collections"].get("gustav/(Migrated) Kept", [])) == 1
    assert [key for key in snapshot["keys"] if not key.endswith("/default")] == []
