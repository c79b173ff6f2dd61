"""Quick jobs, and somebody at a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.support.terminal import Operator


@pytest.fixture
def world(world: World) -> World:
    """Return the world of every test, with quicker jobs."""
    world.times.import_s = 0.03
    world.times.move_s = 0.01
    return world


@pytest.fixture
def operator(server: SandboxServer, tmp_path: Path) -> Operator:
    """Return somebody who works on ``server`` in ``tmp_path``."""
    return Operator(server, tmp_path)
