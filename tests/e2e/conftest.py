"""Quick jobs, and somebody at a terminal; perhaps against a server with other habits.

``python -m pytest tests/e2e --habit page_cap=7`` runs everything here at such a server;
``test_every_habit.py`` tries some of it under every value of every habit.
"""

from __future__ import annotations

from pathlib import Path
from typing import List

import pytest

from h2ogpte_migration.sandbox.habits import read_setting
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.e2e.habits import reason_to_leave_out
from tests.support.terminal import Operator


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Leave out what a habit changes legitimately."""
    habits = config.getoption("--habit")
    for item in items if habits else ():
        reason = reason_to_leave_out(item.nodeid, habits)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def world(world: World, request: pytest.FixtureRequest) -> World:
    """Return the world of every test, with quicker jobs, and the habits of the command line."""
    world.times.import_s = 0.03
    world.times.move_s = 0.01
    for text in request.config.getoption("--habit"):
        for name, value in read_setting(text).items():
            setattr(world.habits, name, value)
    return world


@pytest.fixture
def operator(server: SandboxServer, tmp_path: Path) -> Operator:
    """Return somebody who works on ``server`` in ``tmp_path``."""
    return Operator(server, tmp_path)
