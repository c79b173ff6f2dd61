"""The unmodified client of the vendor, against the sandbox."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List

import pytest
from tests.support.client import put_in_place

from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

put_in_place()

Connect = Callable[..., Any]


@pytest.fixture
def world(world: World) -> World:
    """Return the world of every test, whose jobs have ended when the client first asks for them."""
    times = world.times
    times.import_s = times.move_s = times.delete_s = times.insert_s = times.ingest_s = 0.0
    return world


@pytest.fixture
def connect(server: SandboxServer) -> Iterator[Connect]:
    """Return a function from a username (or ``secret=``) to a client of ``server``."""
    from h2ogpte import H2OGPTE

    clients: List[Any] = []

    def to(username: str = "anna", *, secret: str = "") -> Any:
        client = H2OGPTE(server.url, api_key=secret or server.world.key_of(username))
        clients.append(client)
        return client

    yield to
    for client in clients:
        client._rest_client.rest_client.pool_manager.clear()


@pytest.fixture
def anna(connect: Connect) -> Any:
    """Return the client of an ordinary user."""
    return connect("anna")


@pytest.fixture
def admin(connect: Connect) -> Any:
    """Return the client of the admin."""
    return connect("admin")
