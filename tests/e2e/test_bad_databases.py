"""Tracking databases that can't be used: exit 2, one clear message, nothing sent, nothing touched."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Callable, Dict

import pytest

from h2ogpte_migration.app import main
from h2ogpte_migration.sandbox.server import SandboxServer


def text(path: Path) -> None:
    path.write_text("old_collection_id;new_collection_id\n" * 50, encoding="utf-8")


def foreign(path: Path) -> None:
    with sqlite3.connect(str(path)) as db:
        db.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
    db.close()


def numbered(path: Path) -> None:
    foreign(path)
    with sqlite3.connect(str(path)) as db:
        db.execute("PRAGMA user_version = 61")  # as browsers count theirs
    db.close()


def newer(path: Path) -> None:
    with sqlite3.connect(str(path)) as db:
        db.execute("PRAGMA user_version = 4711")
        db.execute("CREATE TABLE something_new (id TEXT)")
        db.execute("CREATE TABLE collection_migrations (id TEXT)")
    db.close()


def empty(path: Path) -> None:
    path.touch()


def page(path: Path) -> None:
    """What a disk leaves that was full when the first table was made."""
    with sqlite3.connect(str(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    db.close()
    assert path.stat().st_size


def circle(path: Path) -> None:
    path.symlink_to(path)


def damaged(path: Path) -> None:
    foreign(path)
    content = bytearray(path.read_bytes())
    content[100:600] = b"\xff" * 500
    path.write_bytes(bytes(content))


BAD: Dict[str, Callable[[Path], None]] = {
    "a text file": text,
    "somebody else's database": foreign,
    "somebody else's database with a number": numbered,
    "a newer version's database": newer,
    "a damaged database": damaged,
    "a folder": Path.mkdir,
    "an empty file": empty,
    "a page without tables": page,
    "links in a circle": circle,
}
SAID = {
    "somebody else's database with a number": "no tracking database of this tool",
    "a newer version's database": "newer version",
    "an empty file": "is empty",
    "a page without tables": "is empty",
}
MIGRATION = "--all-users --use-model-mappings"
MODES = [MIGRATION, "--verify", "--status", "--rollback", "--cleanup --yes"]


@pytest.mark.parametrize(
    ("mode", "what"),
    # A migration fills what is empty, as it makes a file.
    [
        (mode, what)
        for mode in MODES
        for what in BAD
        if mode != MIGRATION or SAID.get(what) != "is empty"
    ],
)
def test_a_database_that_cannot_be_used_is_refused_before_anything_is_sent(
    server: SandboxServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    what: str,
    mode: str,
) -> None:
    path = tmp_path / "tracking.db"
    BAD[what](path)
    before = path.read_bytes() if path.is_file() else b""
    server_words = ["--url", server.url, "--admin-key", "sk-sandbox-admin"]
    words = mode.split() + ([] if mode == "--status" else server_words)
    assert main([*words, "--db-path", str(path)]) == 2
    said = capsys.readouterr()
    assert said.err.count("Error:") == 1
    assert "tracking.db" in said.err
    assert SAID.get(what, "") in said.err
    assert "Traceback" not in said.out + said.err
    assert not server.requests
    if path.is_file():
        assert path.read_bytes() == before
        assert sorted(item.name for item in tmp_path.glob("tracking.db*")) == ["tracking.db"]
