"""``--check-server``: it works through, tells what differs, and leaves nothing, whatever the server does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from .harness import JumpingClock, Result, difference, run, serving, settled, small_world

TARGET = "mixedbread-ai/mxbai-embed-large-v1"
KEYS = {"admin": "--admin-key", "anna": "--user-key"}


def check(server: SandboxServer, folder: Path, *words: str, who: str = "admin") -> Result:
    key = ("--url", server.url, KEYS[who], f"sk-sandbox-{who}", "--timeout", "1")
    return run(folder, *key, "--check-server", "--target-model", TARGET, *words)


def what_is_left(world: World, before: Dict[str, Any], folder: Path) -> List[str]:
    """Everything that differs from before, and the record that should be gone."""
    left = difference(before, settled(world))
    return left + [path.name for path in folder.glob("*.check-server*")]


@pytest.fixture
def server(clock: JumpingClock) -> Iterator[SandboxServer]:
    world = small_world()
    world.times.ingest_s = 0.02
    with serving(world) as running:
        yield running


def told(result: Result) -> Dict[str, str]:
    """The verdict of each habit, from the report."""
    report = json.loads((result.folder / "check.json").read_text(encoding="utf-8"))
    return {row["habit"]: row["verdict"] for row in report["assumptions"]}


@pytest.mark.parametrize("who", KEYS)
def test_it_works_through_and_leaves_nothing(
    server: SandboxServer, tmp_path: Path, who: str
) -> None:
    before = settled(server.world)
    result = check(server, tmp_path, "--report", "check.json", who=who)
    assert result.code == 0, result.text
    assert what_is_left(server.world, before, tmp_path) == []
    assert "The migration works here" in result.out
    report = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert report["worked"]
    assert all(row["same"] for row in report["compared"]), report["compared"]
    assert "differs" not in told(result).values()
    assert report["key_life_time"] == ("30 days" if who == "admin" else "")
    assert not (tmp_path / "migration_tracking.db").exists()
