"""Terminals and systems of all kinds: other alphabets, no UTF-8, no signals of Unix."""

from __future__ import annotations

import importlib
import signal
from pathlib import Path
from typing import Any, Dict

import pytest

from h2ogpte_migration.run import signals
from h2ogpte_migration.sandbox.world import World
from tests.support.terminal import M3, MAPPED, WAIT, Operator

NAME = "Résumés 価格表 – №1 🙂"
WINDOWS = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "LC_ALL": "C", "LANG": "C"}
ASCII = {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "LC_ALL": "C", "LANG": "C"}


@pytest.mark.parametrize("env", [WINDOWS, ASCII], ids=["cp1252", "ascii"])
def test_any_alphabet_of_the_terminal_will_do(
    operator: Operator, world: World, tmp_path: Path, env: Dict[str, str]
) -> None:
    source = world.add_collection("anna", NAME, M3, documents=["Ünïcödé 表.pdf"], chats=1)
    ids = tmp_path / "ids.txt"
    ids.write_text(f"# {NAME}\n{source.id}\n", encoding="utf-8")
    how: Dict[str, Any] = {"env": env, "fork": False}
    scope = ("--collections-file", "ids.txt", MAPPED)
    operator.admin(*scope, "--dry-run", "--report", "plan.csv", **how)
    said = operator.admin(*scope, WAIT, "--migrate-chats", "--report", "run.html", **how).out
    assert "Summary: 1 done" in said
    operator.plain("--status", "--all", "--report", "status.json", **how)
    assert next(t.name for t in world.targets_of(NAME)).startswith(f"(Migrated) {NAME} - ")
    assert NAME in operator.log, "files are UTF-8 whatever the terminal is"
    for name in ("plan.csv", "run.html"):
        assert NAME in (tmp_path / name).read_text(encoding="utf-8-sig"), name


def test_signals_of_unix_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGHUP", "SIGKILL", "SIGQUIT"):
        monkeypatch.delattr(signal, name, raising=False)
    try:
        assert set(importlib.reload(signals)._CODES) == {signal.SIGINT, signal.SIGTERM}
    finally:
        monkeypatch.undo()
        importlib.reload(signals)
