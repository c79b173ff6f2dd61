"""Moving connectors and chats by hand."""

from __future__ import annotations

from typing import Tuple

import pytest

from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.world import World
from tests.support.command import Result
from tests.support.terminal import GEMMA, M3, Operator

Pair = Tuple[Collection, Collection]


@pytest.fixture
def pair(world: World) -> Pair:
    """Return two collections of anna, the first with connectors and chats."""
    source = world.add_collection(
        "anna", "From", M3, connectors=2, chats={"anna": 1, "bertil": 2}, shares={"bertil": None}
    )
    return source, world.add_collection("anna", "To", GEMMA, connectors=1, chats=1)


def ends(pair: Pair) -> Tuple[str, ...]:
    return ("--from", pair[0].id, "--to", pair[1].id)


def held(world: World, pair: Pair) -> Tuple[Tuple[int, int], ...]:
    """How many connectors and chats each of the two holds."""
    return tuple((len(one.connectors), len(world.sessions_of(one.id))) for one in pair)


@pytest.mark.promise("move.connectors", "move.chats", "move.both")
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--move-connectors",), ((0, 3), (3, 1))),
        (("--move-chats",), ((2, 0), (1, 4))),
        (("--move-connectors", "--move-chats"), ((0, 0), (3, 4))),
    ],
    ids=["connectors", "chats", "both"],
)
@pytest.mark.parametrize("who", ["owner", "admin"])
def test_moves(
    operator: Operator,
    world: World,
    pair: Pair,
    flags: Tuple[str, ...],
    expected: Tuple[Tuple[int, int], ...],
    who: str,
) -> None:
    words = (*flags, *ends(pair))
    result = operator.user("anna", *words) if who == "owner" else operator.admin(*words)
    assert held(world, pair) == expected
    assert "Moved" in result.out


@pytest.mark.parametrize("who", ["owner", "admin"])
def test_an_id_in_capitals_is_the_same_id(
    operator: Operator, world: World, pair: Pair, who: str
) -> None:
    def run(origin: str, destination: str, code: int) -> Result:
        words = ("--move-connectors", "--from", origin, "--to", destination)
        if who == "owner":
            return operator.user("anna", *words, code=code)
        return operator.admin(*words, code=code)

    source, target = (one.id for one in pair)
    said = run(source.upper(), source, 2).err
    assert f"--from and --to name the same collection, From ({source})." in said
    assert operator.changes() == {}
    run(source.upper(), target.upper(), 0)
    assert held(world, pair) == ((0, 3), (3, 1))


@pytest.mark.promise("move.both")
def test_moves_in_a_fresh_process(operator: Operator, world: World, pair: Pair) -> None:
    operator.admin("--move-connectors", "--move-chats", *ends(pair), fork=False)
    assert held(world, pair) == ((0, 0), (3, 4))


@pytest.mark.promise("move.admin-impersonates")
def test_an_admin_works_with_a_key_of_the_owner(
    operator: Operator, world: World, pair: Pair
) -> None:
    operator.admin("--move-connectors", *ends(pair))
    movers = [r.username for r in operator.server.requests if "migrate_scheduled" in r.route]
    assert movers == ["anna"]
    assert operator.server.counts()["POST /admin/api_keys"] == 1
    assert {key.name for key in world.alive_keys()} == {"default"}


@pytest.mark.promise("move.nothing-is-success")
def test_nothing_to_move_is_a_success(operator: Operator, world: World) -> None:
    empty = (
        world.add_collection("anna", "From", M3),
        world.add_collection("anna", "To", M3),
    )
    said = operator.user("anna", "--move-connectors", "--move-chats", *ends(empty)).out
    assert "There were no connectors to move" in said
    assert "There were no chats to move" in said
    assert operator.changes() == {}


@pytest.mark.promise("move.one-owner")
@pytest.mark.parametrize("who", ["owner", "admin"])
def test_the_two_must_have_one_owner(
    operator: Operator, world: World, pair: Pair, who: str
) -> None:
    other = world.add_collection("bertil", "Bertil's", M3, shares={"anna": None})
    words = ("--move-connectors", "--from", pair[0].id, "--to", other.id)
    result = (
        operator.user("anna", *words, code=None)
        if who == "owner"
        else operator.admin(*words, code=None)
    )
    assert result.code == 1
    assert "different owners" in result.err
    assert operator.changes() == {}


@pytest.mark.promise("move.own-only")
def test_an_owner_moves_only_what_is_his(operator: Operator, world: World, pair: Pair) -> None:
    result = operator.user("bertil", "--move-connectors", *ends(pair), code=1)
    assert result.err
    assert operator.changes() == {}
    assert held(world, pair) == ((2, 3), (1, 1))


@pytest.mark.promise("move.must-exist")
@pytest.mark.parametrize("who", ["owner", "admin"])
@pytest.mark.parametrize("end", ["--from", "--to"])
def test_both_must_exist(operator: Operator, world: World, pair: Pair, who: str, end: str) -> None:
    unknown = world.new_id()
    words = list(ends(pair))
    words[words.index(end) + 1] = unknown
    result = (
        operator.user("anna", "--move-chats", *words, code=1)
        if who == "owner"
        else operator.admin("--move-chats", *words, code=1)
    )
    assert f"There is no collection {unknown}" in result.err
    assert operator.changes() == {}


@pytest.mark.promise("move.refused-combinations")
def test_a_move_is_no_migration(operator: Operator, pair: Pair) -> None:
    for more in (("--verify",), ("--use-model-mappings",), ("--users", "anna")):
        operator.admin("--move-chats", *ends(pair), *more, code=2)
    operator.admin("--move-chats", "--from", pair[0].id, "--to", pair[0].id, code=2)
    operator.admin("--move-chats", "--from", pair[0].id, code=2)
    assert operator.server.requests == []
