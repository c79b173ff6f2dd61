"""Files of older versions: what only looks at them answers, and leaves every byte as it is."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from h2ogpte_migration import app
from h2ogpte_migration.model import ImportOptions
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from h2ogpte_migration.tracking import schema

FILE = "tracking.db"
OLD, NEW = "BAAI/bge-m3", "h2oai/embeddinggemma-300m-qat-q8_0-unquantized"
ROW: Dict[str, Any] = {
    "old_collection_name": "Papers",
    "new_collection_id": "t1",
    "new_collection_name": "(Migrated) Papers - 20250101_000000",
    "old_model": OLD,
    "new_model": NEW,
    "job_id": "j1",
    "job_status": "failed",
    "username": "anna",
    "created_at": "2025-01-01 00:00:00",
    "error": "the disk was full",
    "collection_created": 1,
    "permissions_copied": 1,
    "import_submitted": 1,
}
DONE: Dict[str, Any] = {
    **ROW,
    "old_collection_name": "Letters",
    "new_collection_id": "t2",
    "job_id": "j2",
    "job_status": "completed",
    "error": None,
    "import_completed": 1,
    "connectors_migrated": 1,
}
# What all versions since 1 have of a target that is in use.
ATTEMPT = {
    "source_name": "Letters",
    "owner": "anna",
    "target_name": "(Migrated) Letters - 20250101_000000",
    "target_id": "t2",
    "model": NEW,
    "import_options": json.dumps(ImportOptions().to_json()),
    "origin": "run",
    "fate": "live",
    "created_at": "2025-01-01T00:00:00+00:00",
}


def put(connection: sqlite3.Connection, table: str, values: Dict[str, Any]) -> None:
    places = ", ".join(f":{name}" for name in values)
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", values)


@pytest.fixture(params=range(schema.VERSION), ids="version {}".format)
def older(request: pytest.FixtureRequest, tmp_path: Path, world: World) -> Path:
    """Return a database of an older version, with an import that failed and one that is done."""
    version: int = request.param
    path = tmp_path / FILE
    connection = sqlite3.connect(str(path))
    connection.execute(schema.DOCUMENTED_TABLE)
    for number in range(version):
        for statement in schema.UPGRADES[number]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {version}")
    for row in (ROW, DONE):
        source = world.add_collection("anna", row["old_collection_name"], OLD)
        put(connection, "collection_migrations", {**row, "old_collection_id": source.id})
    if version:
        put(connection, "attempts", {**ATTEMPT, "source_id": source.id})
    connection.commit()
    connection.close()
    return path


def files(folder: Path) -> Dict[str, Tuple[bytes, int]]:
    return {
        item.name: (item.read_bytes(), item.stat().st_mtime_ns)
        for item in sorted(folder.iterdir())
        if item.name.startswith(FILE)
    }


def test_the_status_of_an_older_file_is_told(
    older: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(older.parent)
    assert app.main(["--status", "--db-path", FILE]) == 0
    told = capsys.readouterr().out
    assert "Papers" in told
    assert "the disk was full" in told
    assert "1 of 2 migrated" in told
    assert app.main(["--status", "--db-path", FILE, "--json"]) == 0
    found: Any = json.loads(capsys.readouterr().out)
    assert "the disk was full" in json.dumps(found)
    assert files(older.parent) == before


def test_a_dry_run_knows_an_older_file_and_leaves_it(
    older: Path, world: World, server: SandboxServer, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(older.parent)
    words: List[str] = ["--url", server.url, "--admin-key", "sk-sandbox-admin", "--all-users"]
    code = app.main([*words, "--use-model-mappings", "--dry-run", "--db-path", FILE])
    told = capsys.readouterr().out
    assert code == 0
    failed, done = world.collections
    assert f"Papers ({failed}) of anna: leave: its import failed" in told
    assert f"Letters ({done}) of anna: leave: already migrated" in told
    assert files(older.parent) == before
