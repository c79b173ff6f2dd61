"""What many tests begin with is done by the first of them; the others take up what that left.

World and database are put back as they were once the commands had ended, for each test a copy of its
own. So a test that starts from a finished migration costs what it does with it, not what led there.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Hashable, List

from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.crash.lab import clone
from tests.support.earlier import by_this_tool
from tests.support.terminal import GEMMA, LARGE, MAPPED, WAIT, Operator


@dataclass(frozen=True)
class _Kept:
    """What the commands left, and the ids of the collections that the test is about."""

    world: World
    database: bytes
    ids: List[str]


_kept: Dict[Hashable, _Kept] = {}
_TIME = re.compile(r"\b\d{10}\.\d+")


def once(
    name: Hashable, server: SandboxServer, database: Path, prepare: Callable[[], List[Collection]]
) -> List[Collection]:
    """Prepare a server and a database, or put them back as that left them the first time.

    Neither requests nor logs are left, so that a test finds the same whether it is the first one.
    What a test made before belongs to what is prepared: in another world it is done anew.

    Args:
        name: what is done; the same words each time.
        database: where the commands of ``prepare`` keep theirs.
        prepare: returns the collections that the test is about.

    Returns:
        Those collections, as they are in the world now: not the objects that a test made before.
    """
    key = (name, _as_it_is(server))
    if key not in _kept:
        ids = [collection.id for collection in prepare()]
        _kept[key] = _Kept(clone(server.world), copied(database), ids)
        for file in database.parent.glob("*.log"):
            file.unlink()
        server.forget_requests()
    else:
        _put_back(_kept[key], server, database)
    return [server.world.collections[found] for found in _kept[key].ids]


def _as_it_is(server: SandboxServer) -> str:
    """All that could make the commands do something else, but for the times at which it was made."""
    assert not server.requests, "something was done before"
    assert not server.faults.rules, "what strikes has to come afterwards"
    world = server.world
    state = {name: value for name, value in vars(world).items() if name not in ("lock", "clock")}
    state["random"] = hash(world.random.getstate())
    return _TIME.sub("then", repr(sorted(state.items())))


def _put_back(kept: _Kept, server: SandboxServer, database: Path) -> None:
    """Into the world that the test has, so that it need not ask for another one."""
    state: Dict[str, Any] = dict(vars(clone(kept.world)))
    del state["lock"]
    with server.world.lock:
        vars(server.world).update(state)
    database.parent.mkdir(parents=True, exist_ok=True)
    database.write_bytes(kept.database)
    bring_over(database, server)


def bring_over(database: Path, server: SandboxServer) -> None:
    """Have a copied database say that it was made here, of this server."""
    with closing(sqlite3.connect(database)) as connection, connection:
        bound = "(SELECT value FROM meta WHERE key = 'server_url')"
        connection.execute(
            f"UPDATE runs SET folder = ?, command = replace(command, {bound}, ?)",
            (str(database.parent), server.url),
        )
        connection.execute("UPDATE meta SET value = ? WHERE key = 'server_url'", (server.url,))


def copied(path: Path) -> bytes:
    """The whole of a database, without its ``-wal``."""
    copy = path.with_suffix(".copy")
    with closing(sqlite3.connect(path)) as origin, closing(sqlite3.connect(copy)) as backup:
        origin.backup(backup)
    data = copy.read_bytes()
    copy.unlink()
    return data


def migrated(operator: Operator, state: str = "finished") -> Collection:
    """A collection that this tool has brought into a state; see ``by_this_tool``."""
    (source,) = once(state, operator.server, operator.db, lambda: [by_this_tool(operator, state)])
    return source


def chain(operator: Operator, number: int) -> List[Collection]:
    """Collections that were migrated, and their targets migrated on to a third model."""
    return once(("chain", number), operator.server, operator.db, lambda: _chain(operator, number))


def _chain(operator: Operator, number: int) -> List[Collection]:
    sources = [
        operator.world.add_collection("anna", f"Alpha {n}", documents=1, connectors=1, chats=1)
        for n in range(number)
    ]
    operator.admin("--users", "anna", MAPPED, WAIT, "--migrate-chats")
    onwards = ("--all-users", "--source-model", GEMMA, "--target-model", LARGE)
    operator.admin(*onwards, WAIT, "--migrate-chats")
    return sources
