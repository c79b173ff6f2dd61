"""Somebody at a terminal: runs the command in a folder, and looks at what it left there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from . import waits
from .command import Result, Running, run_command, start_command
from .inprocess import run_here

M3 = "BAAI/bge-m3"
LARGE = "BAAI/bge-large-en-v1.5"
GEMMA = "h2oai/embeddinggemma-300m-qat-q8_0-unquantized"
MXBAI = "mixedbread-ai/mxbai-embed-large-v1"
UNMAPPED = "intfloat/e5-large-v2"

MAPPED = "--use-model-mappings"
WAIT = "--wait-for-completion"

Row = Dict[str, Any]


class Operator:
    """Runs the command against one server, from one folder.

    Every run is expected to end with ``code``; None expects nothing. It takes place in this process,
    unless it gets an input, is told whether to ``fork``, or meets one that was started before.
    """

    def __init__(self, server: SandboxServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self._started: List[Running] = []

    @property
    def world(self) -> World:
        """What the server knows."""
        return self.server.world

    # -- running -----------------------------------------------------------------------
    def admin(self, *words: str, code: Optional[int] = 0, **how: Any) -> Result:
        """Run with the admin's key, which comes from the environment."""
        return self._checked(code, self._run("ADMIN", self.server.admin_key, words, how))

    def user(self, name: str, *words: str, code: Optional[int] = 0, **how: Any) -> Result:
        """Run with the key of a user."""
        return self._checked(code, self._run("USER", self.world.key_of(name), words, how))

    def plain(self, *words: str, code: Optional[int] = 0, **how: Any) -> Result:
        """Run with nothing but these words."""
        return self._checked(code, self._ended(words, {}, how))

    def start_admin(self, *words: str, **how: Any) -> Running:
        """Start a run with the admin's key."""
        return self._start("ADMIN", self.server.admin_key, words, how)

    def start_user(self, name: str, *words: str, **how: Any) -> Running:
        """Start a run with the key of a user."""
        return self._start("USER", self.world.key_of(name), words, how)

    def _start(self, kind: str, key: str, words: Any, how: Dict[str, Any]) -> Running:
        env = {f"H2OGPTE_{kind}_KEY": key, **how.pop("env", {})}
        running = start_command(self._line(kind, words), cwd=self.folder, env=env, **how)
        self._started.append(running)
        return running

    def _run(self, kind: str, key: str, words: Any, how: Dict[str, Any]) -> Result:
        return self._ended(self._line(kind, words), {f"H2OGPTE_{kind}_KEY": key}, how)

    def _line(self, kind: str, words: Any) -> List[str]:
        return [*words, "--url", self.server.url, f"--{kind.lower()}-key"]

    def _ended(self, line: Any, env: Dict[str, str], how: Dict[str, Any]) -> Result:
        env = {**env, **how.pop("env", {})}
        if how or any(running.poll() is None for running in self._started):
            return run_command(line, cwd=self.folder, env=env, **how)
        with pytest.MonkeyPatch.context() as patch:
            waits.as_in_a_fork(patch.setattr)
            return run_here([str(word) for word in line], self.folder, env)

    @staticmethod
    def _checked(code: Optional[int], result: Result) -> Result:
        assert code in (None, result.code), f"exit {result.code}, not {code}:\n{result.text}"
        assert "Traceback" not in result.text, result.text
        return result

    # -- looking -----------------------------------------------------------------------
    @property
    def db(self) -> Path:
        """The tracking database."""
        return self.folder / "migration_tracking.db"

    def sql(self, query: str, *values: Any) -> List[Row]:
        """What a query brings, as people ask it with ``sqlite3``; changes are kept."""
        with closing(sqlite3.connect(self.db)) as connection, connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def row(self, source_id: str) -> Row:
        """The row of a source in the documented table."""
        rows = self.sql(
            "SELECT * FROM collection_migrations WHERE old_collection_id = ?", source_id
        )
        assert len(rows) == 1, f"{len(rows)} rows for {source_id}"
        return rows[0]

    def rows(self) -> List[Row]:
        """The documented table."""
        return self.sql("SELECT * FROM collection_migrations ORDER BY old_collection_name")

    @property
    def logs(self) -> List[Path]:
        """The log files, oldest first."""
        return sorted(self.folder.glob("migration_*.log"), key=lambda path: path.stat().st_mtime_ns)

    @property
    def log(self) -> str:
        """The text of the last log."""
        return self.logs[-1].read_text(encoding="utf-8")

    def target_of(self, source_id: str) -> Any:
        """The collection at the server that the row names as the target."""
        return self.world.collections[self.row(source_id)["new_collection_id"]]

    def changes(self) -> Dict[str, int]:
        """The requests that changed something at the server, but for temporary keys, by route."""
        counts = self.server.counts(mutating=True)
        return {route: n for route, n in counts.items() if "api_key" not in route}
