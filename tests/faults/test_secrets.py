"""No key is ever written anywhere: not to a log, a database, or a terminal, and not in a traceback."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from typing import Any, Dict, List, Sequence
from urllib.parse import quote

import pytest

from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.sandbox.faults import call, close, html_page, reply
from h2ogpte_migration.sandbox.habits import ChatFate
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

from .harness import Result, run, say, serving, small_world

ADMIN_KEY = "sk-Adm1n+key/with=signs%and&more"
USER_KEY = "sk-4nna's-\\-key"


def _world() -> World:
    world = small_world()
    world.add_key("admin", secret=ADMIN_KEY)
    world.add_key("anna", secret=USER_KEY)
    return world


def _secrets(world: World) -> List[bytes]:
    """Every key that the server ever gave out, in each way that it might be spelt."""
    words = [*world.keys, ADMIN_KEY, USER_KEY]
    assert any(word.startswith("sk-") for word in words)
    spelt = [
        form
        for word in words
        for form in (word, quote(word), quote(word, safe=""), repr(word)[1:-1])
    ]
    return [word.encode() for word in dict.fromkeys(spelt)]


class Watch:
    """Looks through everything that a run left, also while it runs."""

    def __init__(self, server: SandboxServer, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._copies = 0
        self.texts: Dict[str, bytes] = {}

    def keep_files(self) -> None:
        """Copy what is on disk now: the database's WAL is gone after the run."""
        self._copies += 1
        for path in self._files():
            self.texts[f"{path.name} (copy {self._copies})"] = path.read_bytes()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    def keep(self, result: Result) -> None:
        self.texts[f"stdout {len(self.texts)}"] = result.out.encode("utf-8", "surrogatepass")
        self.texts[f"stderr {len(self.texts)}"] = result.err.encode("utf-8", "surrogatepass")
        self.keep_files()

    def _files(self) -> List[Path]:
        return [path for path in self._folder.rglob("*") if path.is_file()]

    def found(self) -> List[str]:
        secrets = _secrets(self._server.world)
        return [
            f"{secret!r} in {where}"
            for where, text in self.texts.items()
            for secret in secrets
            if secret in text
        ]


def _admin(server: SandboxServer, folder: Path, *more: str) -> Result:
    words = ["--url", server.url, "--admin-key", ADMIN_KEY, "--all-users", "--use-model-mappings"]
    return run(folder, *words, "--timeout", "2", "--retries", "1", *more)


WAITING = ("--wait-for-completion", "--migrate-chats", "--verify-query", "What is it?")


def _bug(*_: Any, **__: Any) -> None:
    raise RuntimeError("an injected bug")


def _leaky_bug(gateway: Gateway, *_: Any, **__: Any) -> None:
    """A traceback whose message and values show what they should not."""
    key = gateway._keys.current().reveal()
    raise RuntimeError(f"Authorization: Bearer {key}", {"key": key})


def _break(server: SandboxServer, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """One way in which a run goes wrong."""
    faults = server.faults
    if how == "bug in a worker":
        monkeypatch.setattr("h2ogpte_migration.pipeline.due", _bug)
    elif how == "bug that shows the key":
        monkeypatch.setattr(Gateway, "settings", _leaky_bug)
    elif how == "bug in the run":
        monkeypatch.setattr("h2ogpte_migration.commands.migrate._announce", _bug)
    elif how == "bug that shows the key in the run":
        monkeypatch.setattr(Gateway, "embedding_models", _leaky_bug)
    elif how == "server that repeats the key":
        words = f"Key {ADMIN_KEY} is wrong"
        faults.add(reply(400, message=words), route="POST /collections", times=None)
        faults.add(reply(500, message=words, html=True), route="GET /jobs/{job_id}", times=None)
    elif how == "no temporary keys":
        faults.add(reply(403), route="POST /admin/api_keys", times=None)
    elif how == "lost keys, html, no chat":
        faults.add(close(after=True), route="POST /admin/api_keys", times=2)
        faults.add(html_page(), route="GET /embedding_models", times=None)
        server.world.set_chat_fate(ChatFate.ERROR)
    elif how == "wrong key":
        faults.add(reply(401, message=f"Unknown key {ADMIN_KEY}"), times=None)


BREAKS = (
    "nothing",
    "bug in a worker",
    "bug that shows the key",
    "bug in the run",
    "bug that shows the key in the run",
    "server that repeats the key",
    "no temporary keys",
    "lost keys, html, no chat",
    "wrong key",
)


@pytest.mark.parametrize("how", BREAKS)
def test_no_key_is_written_anywhere(
    how: str, clock: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(_world()) as server:
        watch = Watch(server, tmp_path / "run")
        for route in ("POST /collections", "GET /jobs/{job_id}", "DELETE /admin/api_keys/{key_id}"):
            server.faults.add(call(watch.keep_files), route=route)
        _break(server, monkeypatch, how)
        result = _admin(server, tmp_path / "run", *WAITING)
        watch.keep(result)
        watch.keep(run(tmp_path / "run", "--status"))
        watch.keep(run(tmp_path / "run", "--status", "--json"))
        words = ["--url", server.url, "--admin-key", ADMIN_KEY, "--verify", "--retries", "0"]
        watch.keep(run(tmp_path / "run", *words))
        watch.keep(_admin(server, tmp_path / "run", "--dry-run"))
        server.faults.clear()  # some of them speak of a key that this run does not know
        words = ["--url", server.url, "--user-key", USER_KEY, "--use-model-mappings"]
        watch.keep(run(tmp_path / "run", *words, "--force-remigrate", "--retries", "0"))
        found = watch.found()
        made = len(server.world.keys)
    if "bug" in how:
        assert result.code == 1
        assert "This is a bug" in result.err or "bug: " in result.out
        assert "Traceback" in result.log
    assert (result.code == 0) == (how in ("nothing", "lost keys, html, no chat")), result.text
    if how != "wrong key" and not how.endswith("in the run"):
        assert any("-wal" in where for where in watch.texts)
    assert any(".db" in where for where in watch.texts)
    assert any(".log" in where for where in watch.texts)
    say([f"secrets found: {len(found)} (of {made} keys, in {len(watch.texts)} texts)"])
    assert not found, found


def test_keys_of_mistaken_command_lines_are_not_printed(clock: Any, tmp_path: Path) -> None:
    lines: Sequence[Sequence[str]] = [
        ["--admin-key", ADMIN_KEY],
        [f"--admin-key={ADMIN_KEY}", "--nonsense"],
        ["--admin-key", ADMIN_KEY, "--user-key", USER_KEY, "--all-users"],
        ["--url", "http://127.0.0.1:1", "--user-key", USER_KEY, "--all-users", "--timeout", "x"],
        ["--url", f"http://me:{ADMIN_KEY}@127.0.0.1:1", "--admin-key", ADMIN_KEY],
        ["--status", "--admin-key", ADMIN_KEY],
    ]
    with serving(_world()) as server:
        watch = Watch(server, tmp_path / "run")
        for words in lines:
            result = run(tmp_path / "run", *words)
            assert result.code == 2, result.text
            watch.keep(result)
        found = watch.found()
    say([f"secrets found: {len(found)}"])
    assert not found, found


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_log_and_database_are_readable_by_their_owner_only(
    umask: int, clock: Any, tmp_path: Path
) -> None:
    import os

    before = os.umask(umask)
    try:
        with serving(_world()) as server:
            watch = Watch(server, tmp_path / "run")
            server.faults.add(call(watch.keep_files), route="POST /collections")
            assert _admin(server, tmp_path / "run").code == 0
            watch.keep_files()  # asserts the modes
    finally:
        os.umask(before)
    assert any(name.startswith("migration_tracking.db-wal") for name in watch.texts)
    shutil.rmtree(tmp_path / "run")
