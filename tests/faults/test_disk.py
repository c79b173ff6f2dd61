"""A disk that is full, or read-only, in mid-run: stop before anything that could not be recorded."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Dict, List

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.sandbox.faults import call
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.tracking import database

from .harness import (
    MODES,
    JumpingClock,
    Result,
    admin_waits,
    difference,
    say,
    serving,
    settled,
    small_world,
    undisturbed,
    world_for,
)

MUTATING = (
    "POST /admin/api_keys",
    "POST /collections",
    "PUT /collections/{collection_id}/metadata",
    "POST /collections/{collection_id}/import_collection_job",
    "POST /collections/{collection_id}/migrate_scheduled_connectors",
    "POST /collections/{collection_id}/migrate_chat_sessions_job",
    "DELETE /admin/api_keys/{key_id}",
)


class Disk:
    """Stands between the tool and SQLite, and is full or read-only when told to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refuses = ""
        self.commits_left: Any = None
        real, disk = database._connect, self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                disk.check(sql)
                return super().execute(sql, *values)

        def connect(uri: str) -> sqlite3.Connection:
            monkeypatch.setattr(sqlite3, "connect", _with_factory(Connection))
            try:
                return real(uri)
            finally:
                monkeypatch.setattr(sqlite3, "connect", plain)

        plain = sqlite3.connect
        monkeypatch.setattr(database, "_connect", connect)

    def check(self, sql: str) -> None:
        """Fail like SQLite would, at the moment that something is to be written."""
        if sql == "COMMIT" and self.commits_left is not None:
            if self.commits_left == 0:
                self.refuses = self.refuses or "database or disk is full"
            else:
                self.commits_left -= 1
        writes = sql == "COMMIT" or sql.startswith(("BEGIN", "UPDATE", "INSERT", "DELETE"))
        if self.refuses and writes and not (sql.startswith("BEGIN") and "full" in self.refuses):
            raise sqlite3.OperationalError(self.refuses)


def _with_factory(factory: Any) -> Any:
    plain = sqlite3.connect
    return lambda *args, **options: plain(*args, **{**options, "factory": factory})


def _unrecorded(server: SandboxServer, result: Result) -> Dict[str, List[str]]:
    """Targets and jobs on the server that the database knows nothing of."""
    file = sqlite3.connect(f"file:{result.folder / 'migration_tracking.db'}?mode=ro", uri=True)
    with file:
        targets = {row[0] for row in file.execute("SELECT target_id FROM attempts")}
        jobs = {row[0] for row in file.execute("SELECT job_id FROM jobs")}
        names = {row[0] for row in file.execute("SELECT target_name FROM attempts")}
        doubts = file.execute("SELECT count(*) FROM intents WHERE state = 'open'").fetchone()[0]
    file.close()
    world = server.world
    made = [c for c in world.collections.values() if c.name.startswith("(Migrated)")]
    return {
        "targets": [c.id for c in made if c.id not in targets],
        "nameless": [c.id for c in made if c.name not in names],
        "jobs": [job.id for job in world.import_jobs() if job.id not in jobs],
        "doubts": ["?"] * doubts,
    }


def _stopped_well(server: SandboxServer, result: Result, words: str) -> None:
    assert result.code in (1, 2), result.text
    assert words in result.err, result.text
    assert "bug" not in result.text
    assert "Traceback" not in result.text
    unrecorded = _unrecorded(server, result)
    # What could not be recorded was announced: its name, or an open intent, is on record.
    assert not unrecorded["nameless"]
    assert len(unrecorded["targets"]) + len(unrecorded["jobs"]) <= len(unrecorded["doubts"])
    left = [key.name for key in server.world.alive_keys() if key.name != "default"]
    assert not left, left


FULL = ("database or disk is full", "The disk is full")
READ_ONLY = ("attempt to write a readonly database", "can't be opened for writing")
slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def _keys_show_at_once(clock: JumpingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys whose end can't be recorded are looked for again at the end of a run, but not for long."""
    monkeypatch.setattr(patience, "KEY_VISIBLE_WITHIN_S", 0.01)


def _cases() -> List[Any]:
    """What gives out, when, where and in which way to run it; by default, in the least dear one."""
    return [
        pytest.param(
            *(*disk, route, when, mode),
            id=f"{name}-{when}-{route}-{mode}",
            marks=[] if (name, when) == ("full", "after") and mode == _least(route) else [slow],
        )
        for name, disk in (("full", FULL), ("read-only", READ_ONLY))
        for when in ("after", "before")
        for route in MUTATING
        for mode in sorted({"admin", _least(route)})
    ]


def _least(route: str) -> str:
    """An owner migrates alone what she has; only an administrator has temporary keys."""
    return "admin" if "/admin/" in route else "user"


@pytest.mark.parametrize(("words", "told", "route", "when", "mode"), _cases())
def test_a_disk_that_gives_out_stops_the_run_and_a_re_run_ends_right(
    words: str,
    told: str,
    route: str,
    when: str,
    mode: str,
    clock: JumpingClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = undisturbed(mode, tmp_path).snapshot
    disk = Disk(monkeypatch)
    with serving(small_world()) as server:

        def give_out() -> None:
            disk.refuses = words

        server.faults.add(call(give_out, after=when == "after"), route=route)
        first = MODES[mode](server, tmp_path / "run")
        sent = len([r for r in server.requests if r.mutating and r.method != "DELETE"])
        _stopped_well(server, first, told)
        disk.refuses = ""
        again = MODES[mode](server, tmp_path / "run")
        wrong = difference(wanted, settled(server.world))
    assert again.code == 0, again.text
    assert not wrong, wrong
    say([f"disk: {sent} changes sent before the run stopped"])


_counted: List[int] = []


def _commits(folder: Path) -> int:
    """How many an undisturbed run has; counted once per process."""
    if not _counted:
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch)
            disk.commits_left = 100_000
            with serving(small_world()) as server:
                assert admin_waits(server, folder).code == 0
        _counted.append(100_000 - int(disk.commits_left))
    return _counted[-1]


def _at_commit(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the disk full from one commit on; what was wrong then, or after the re-run."""
    disk = Disk(monkeypatch)
    disk.commits_left = number
    with serving(small_world()) as server:
        first = admin_waits(server, folder)
        if not disk.refuses and first.code == 0:
            return ""  # fewer commits than were counted: it was never full
        disk.commits_left, disk.refuses = None, ""
        if first.code not in (1, 2) or "The disk is full" not in first.err:
            return f"exit {first.code}: {first.text}"
        left = [key.name for key in server.world.alive_keys() if key.name != "default"]
        again = admin_waits(server, folder)
        wrong = difference(undisturbed("admin", folder).snapshot, settled(server.world))
    if left or again.code != 0 or wrong:
        return f"keys {left}, then exit {again.code}, {wrong}: {again.text}"
    return ""


def _try_commits(numbers: List[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed("admin", tmp_path)
    wrong = []
    for number in numbers:
        with monkeypatch.context() as patch:
            said = _at_commit(number, tmp_path / str(number), patch)
        if said:
            wrong.append(f"commit {number}: {said}")
    say([f"full disks: {len(numbers)} tried, {len(numbers) - len(wrong)} ended right"])
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("part", range(4))
def test_a_disk_that_is_full_at_some_commit_stops_the_run(
    part: int, clock: JumpingClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = _commits(tmp_path / "count")
    _try_commits(list(range(10 * part, count, 80)), tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_disk_that_is_full_at_any_commit_stops_the_run(
    clock: JumpingClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = _commits(tmp_path / "count")
    _try_commits(list(range(count)), tmp_path, monkeypatch)


def test_sqlites_own_limit_is_told_as_a_full_disk(
    clock: JumpingClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No stand-in here: SQLite itself refuses to let the file grow."""
    real = database.Database._prepare_to_write

    def prepare(self: database.Database) -> None:
        real(self)
        pages = self._connection.execute("PRAGMA page_count").fetchone()[0]
        self._connection.execute(f"PRAGMA max_page_count = {pages}")

    with serving(small_world()) as server:
        server.world.add_collection("anna", "Many", "intfloat/e5-large-v2", documents=1)
        papers = server.world.find("Papers")
        for number in range(400):
            server.world.add_document(papers.id, f"{number} {'long ' * 40}")
        with monkeypatch.context() as patch:
            patch.setattr(database.Database, "_prepare_to_write", prepare)
            result = admin_waits(server, tmp_path / "run")
            _stopped_well(server, result, "The disk is full")
        again = admin_waits(server, tmp_path / "run")
    assert result.code == 1
    assert again.code == 0, again.text


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "check"])
def test_every_mode_stops_when_the_disk_is_full(
    mode: str, clock: JumpingClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_for(mode, tmp_path)
    disk = Disk(monkeypatch)
    disk.commits_left = 10
    with serving(world) as server:
        result = MODES[mode](server, tmp_path / "run")
        _stopped_well(server, result, "The disk is full")


def test_what_a_check_of_the_server_made_on_a_full_disk_is_gone_once_there_is_room(
    clock: JumpingClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with serving(small_world()) as server:
        before = set(server.world.collections)
        disk.commits_left = 20
        result = MODES["check"](server, tmp_path / "run")
        assert result.code in (1, 2), result.text
        assert "The disk is full" in result.err
        disk.refuses, disk.commits_left = "", None
        again = MODES["check"](server, tmp_path / "run")
        assert again.code == 0, again.text
        assert set(server.world.collections) == before
