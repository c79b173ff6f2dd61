"""Terminals and systems of all kinds: other alphabets, no UTF-8, no signals of Unix."""

from __future__ import annotations

import importlib
import signal
from pathlib import Path
from typing import Any, Dict, Set

import pytest

from h2ogpte_migration.run import signals
from h2ogpte_migration.sandbox.world import World
from tests.support.terminal import M3, MAPPED, WAIT, Operator

NAME = "Résumés 価格表 – №1 🙂"
WINDOWS = {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "LC_ALL": "C", "LANG": "C"}
ASCII = {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "LC_ALL": "C", "LANG": "C"}


PLAN, RUN, STATUS = "a plan", "a run", "the status"


@pytest.mark.parametrize(
    ("env", "shown"),
    [
        # Each is shown to one of them, by an interpreter of its own.
        pytest.param(WINDOWS, {RUN}, id="cp1252"),
        pytest.param(ASCII, {PLAN, STATUS}, id="ascii"),
        pytest.param(WINDOWS, {PLAN, STATUS}, id="cp1252, the rest", marks=pytest.mark.slow),
        pytest.param(ASCII, {RUN}, id="ascii, the rest", marks=pytest.mark.slow),
    ],
)
def test_any_alphabet_of_the_terminal_will_do(
    operator: Operator, world: World, tmp_path: Path, env: Dict[str, str], shown: Set[str]
) -> None:
    source = world.add_collection("anna", NAME, M3, documents=["Ünïcödé 表.pdf"], chats=1)
    ids = tmp_path / "ids.txt"
    ids.write_text(f"# {NAME}\n{source.id}\n", encoding="utf-8")
    scope = ("--collections-file", "ids.txt", MAPPED)

    def how(what: str) -> Dict[str, Any]:
        return {"env": env, "fork": False} if what in shown else {}

    operator.admin(*scope, "--dry-run", "--report", "plan.csv", **how(PLAN))
    more = ("--migrate-chats", "--report", "run.html")
    assert "Summary: 1 done" in operator.admin(*scope, WAIT, *more, **how(RUN)).out
    operator.plain("--status", "--all", "--report", "status.json", **how(STATUS))
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
