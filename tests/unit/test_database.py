"""The SQLite file: opened safely, written by several processes, left alone where it is not ours."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from h2ogpte_migration.errors import ExitCode, TrackingError
from h2ogpte_migration.tracking import database as database_module
from h2ogpte_migration.tracking import schema
from h2ogpte_migration.tracking.database import Database


def _may_write_everywhere() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0o400)
        return os.access(file.name, os.W_OK)


needs_permissions = pytest.mark.skipif(
    _may_write_everywhere(), reason="permissions do not bind whoever runs this, such as root"
)

# As version 1.2.0 wrote it, comment and all.
LEGACY_TABLE = """CREATE TABLE collection_migrations (
    old_collection_id TEXT PRIMARY KEY,
    old_collection_name TEXT,
    new_collection_id TEXT,
    new_collection_name TEXT,
    old_model TEXT,
    new_model TEXT,
    job_id TEXT,
    job_status TEXT,
    user_id TEXT,
    username TEXT,
    created_at TIMESTAMP,
    completed_at TIMESTAMP,
    error TEXT,
    -- Step tracking
    collection_created BOOLEAN DEFAULT 0,
    permissions_copied BOOLEAN DEFAULT 0,
    import_submitted BOOLEAN DEFAULT 0,
    import_completed BOOLEAN DEFAULT 0,
    connectors_migrated BOOLEAN DEFAULT 0,
    chats_migrated BOOLEAN DEFAULT 0
)"""
TABLE_SQL = "SELECT sql FROM sqlite_master WHERE name = 'collection_migrations'"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database lies; nothing is there yet."""
    return tmp_path / "tracking.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Database]:
    """Return a new database."""
    database = Database.to_write(path)
    yield database
    database.close()


def make_legacy(path: Path, *, wal: bool = False) -> List[Tuple[Any, ...]]:
    connection = sqlite3.connect(str(path))
    connection.execute(LEGACY_TABLE)
    if wal:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.executemany(
        "INSERT INTO collection_migrations (old_collection_id, old_collection_name, job_status, "
        "created_at, error) VALUES (?, ?, ?, ?, ?)",
        [
            ("c1", "Böses; -- Müll", "failed", "2026-01-01 00:00:00", "x"),
            ("c2", "b", None, None, None),
        ],
    )
    connection.commit()
    rows = connection.execute("SELECT * FROM collection_migrations").fetchall()
    connection.close()
    return rows


def state_of(folder: Path) -> Dict[str, Any]:
    """Every file of a folder: its bytes, mode and time of change."""
    return {
        item.name: (
            item.read_bytes() if item.is_file() else None,
            item.stat().st_mode,
            item.stat().st_mtime_ns,
        )
        for item in sorted(folder.rglob("*"))
    }


def opener(read_only: bool) -> Callable[[Path], Database]:
    return Database.to_read if read_only else Database.to_write


def version_of(database: Database) -> int:
    return int(database.rows("PRAGMA user_version")[0][0])


def put(database: Database, key: str, value: str = "v") -> None:
    with database.transaction() as db:
        db.execute("INSERT INTO meta VALUES (:k, :v)", {"k": key, "v": value})


def keys(database: Database) -> List[str]:
    return [row["key"] for row in database.rows("SELECT key FROM meta ORDER BY key")]


# -- a new file ----------------------------------------------------------------------------
def test_a_new_database_has_the_documented_table_and_can_be_opened_again(path: Path) -> None:
    for _ in range(2):
        database = Database.to_write(path)
        columns = [row["name"] for row in database.rows("PRAGMA table_info(collection_migrations)")]
        assert tuple(columns) == schema.DOCUMENTED_COLUMNS
        assert version_of(database) == schema.VERSION
        database.close()


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_the_files_can_be_read_by_their_owner_only_from_the_first_moment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "chmod", lambda *_: None)  # not only afterwards
    old = os.umask(0)
    try:
        database = Database.to_write(path)
        put(database, "k")
        modes = {item.name: stat.S_IMODE(item.stat().st_mode) for item in path.parent.iterdir()}
        database.close()
    finally:
        os.umask(old)
    assert path.name in modes
    assert set(modes.values()) == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_database_that_others_could_read_is_closed_to_them(path: Path) -> None:
    make_legacy(path)
    path.chmod(0o644)
    Database.to_write(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    database = Database.to_write(path)
    assert version_of(database) == schema.VERSION
    database.close()


@pytest.mark.parametrize("name", ["with blank.db", "100%.db", "a?b#c.db", "ümlaut.db"])
def test_the_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    database = Database.to_write(tmp_path / name)
    put(database, "k")
    database.close()
    assert (tmp_path / name).stat().st_size > 0
    assert [item.name for item in tmp_path.iterdir()] == [name]


# -- what is no database of ours -----------------------------------------------------------
def text_file(path: Path) -> None:
    path.write_text("This is a letter, not a database. " * 50)


def cut_database(path: Path) -> None:
    make_legacy(path)
    path.write_bytes(path.read_bytes()[:700])


def foreign_database(path: Path) -> None:
    connection = sqlite3.connect(str(path))
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()


def other_columns(path: Path) -> None:
    connection = sqlite3.connect(str(path))
    connection.execute(LEGACY_TABLE.replace("error TEXT", "mistake TEXT"))
    connection.commit()
    connection.close()


def newer_schema(path: Path) -> None:
    Database.to_write(path).close()
    connection = sqlite3.connect(str(path))
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()


UNUSABLE = [
    pytest.param(text_file, "not an SQLite database", id="text"),
    pytest.param(cut_database, "not an SQLite database", id="cut"),
    pytest.param(foreign_database, "no tracking database of this tool", id="foreign"),
    pytest.param(other_columns, "no tracking database of this tool", id="other columns"),
    pytest.param(newer_schema, "newer version", id="newer"),
    pytest.param(Path.mkdir, "can't be used", id="folder"),
]


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(("make", "words"), UNUSABLE)
def test_what_is_no_database_of_ours_is_refused_in_words_and_left_alone(
    path: Path, make: Callable[[Path], None], words: str, read_only: bool
) -> None:
    make(path)
    path.chmod(0o755 if path.is_dir() else 0o644)
    before = state_of(path.parent)
    with pytest.raises(TrackingError, match=words) as refused:
        opener(read_only)(path)
    assert state_of(path.parent) == before
    assert str(path) in refused.value.message
    assert refused.value.hint
    assert ("backup" in refused.value.hint) == (words == "not an SQLite database")
    assert refused.value.exit_code == ExitCode.USAGE


def test_who_waited_in_vain_for_a_locked_database_waits_for_a_moment_until_it_is_free(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(database_module, "BUSY_AGAIN_S", 0.01)

    def waits_ms() -> int:
        return int(database._connection.execute("PRAGMA busy_timeout").fetchone()[0])

    database = Database.to_write(path)
    with closing(database), closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert waits_ms() == 50
        for _ in range(2):
            with pytest.raises(TrackingError, match="locked"), database.transaction():
                pass
            assert waits_ms() == 10
        other.execute("ROLLBACK")
        with database.transaction():
            pass
        assert waits_ms() == 50


def test_a_link_may_lead_to_a_file_that_is_not_there_yet(path: Path, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    path.symlink_to(tmp_path / "share" / "real.db")
    Database.to_write(path).close()
    assert (tmp_path / "share" / "real.db").stat().st_size
    assert path.is_symlink()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_folder_that_does_not_exist_is_told_and_not_made(tmp_path: Path, read_only: bool) -> None:
    with pytest.raises(TrackingError) as refused:
        opener(read_only)(tmp_path / "none" / "tracking.db")
    assert refused.value.exit_code == ExitCode.USAGE
    assert list(tmp_path.iterdir()) == []


def test_reading_a_file_that_does_not_exist_makes_none(path: Path) -> None:
    with pytest.raises(TrackingError, match="no such file"):
        Database.to_read(path)
    assert list(path.parent.iterdir()) == []


@needs_permissions
def test_a_file_that_may_not_be_written_is_refused_and_left_alone(path: Path) -> None:
    make_legacy(path)
    path.chmod(0o400)
    before = state_of(path.parent)
    with pytest.raises(TrackingError, match="permission") as refused:
        Database.to_write(path)
    assert refused.value.exit_code == ExitCode.USAGE
    assert state_of(path.parent) == before


@needs_permissions
@pytest.mark.parametrize("there_already", [False, True])
def test_a_folder_that_may_not_be_written_is_refused(path: Path, there_already: bool) -> None:
    if there_already:
        make_legacy(path)
    path.parent.chmod(0o500)
    before = state_of(path.parent)
    try:
        with pytest.raises(TrackingError, match=r"[Pp]ermission") as refused:
            Database.to_write(path)
        assert state_of(path.parent) == before
    finally:
        path.parent.chmod(0o700)
    assert refused.value.exit_code == ExitCode.USAGE


@needs_permissions
@pytest.mark.parametrize("wal", [False, True])
def test_a_database_in_a_folder_that_may_not_be_written_can_be_read(path: Path, wal: bool) -> None:
    rows = make_legacy(path, wal=wal)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    before = state_of(path.parent)
    try:
        database = Database.to_read(path)
        assert [tuple(row) for row in database.rows("SELECT * FROM collection_migrations")] == rows
        database.close()
        assert state_of(path.parent) == before
    finally:
        path.parent.chmod(0o700)


# -- reading without writing ---------------------------------------------------------------
def make_current(path: Path) -> None:
    database = Database.to_write(path)
    put(database, "k")
    database.close()


def make_legacy_wal(path: Path) -> None:
    make_legacy(path, wal=True)


@pytest.mark.parametrize("make", [make_legacy, make_legacy_wal, make_current])
def test_reading_changes_no_byte_and_leaves_no_file_behind(
    path: Path, make: Callable[[Path], Any]
) -> None:
    make(path)
    before = state_of(path.parent)
    database = Database.to_read(path)
    database.rows("SELECT * FROM collection_migrations")
    database.close()
    assert state_of(path.parent) == before


@pytest.mark.parametrize("make", [make_legacy, make_current])
def test_a_database_that_is_only_read_refuses_to_be_written(
    path: Path, make: Callable[[Path], Any]
) -> None:
    make(path)
    database = Database.to_read(path)
    with pytest.raises(TrackingError), database.transaction() as db:
        db.execute("UPDATE collection_migrations SET error = 'x'")
    database.close()


def make_older(version: int, path: Path) -> List[Tuple[Any, ...]]:
    """A database as a release of an older schema left it; version 0 is that of 1.2.0."""
    rows = make_legacy(path)
    connection = sqlite3.connect(str(path))
    for statement in chain.from_iterable(schema.UPGRADES[:version]):
        connection.execute(statement)
    if version:
        connection.execute("INSERT INTO meta VALUES ('k', 'v')")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.commit()
    connection.close()
    return rows


OLDER = [
    pytest.param(partial(make_older, version), ["k"] if version else [], id=f"version {version}")
    for version in range(schema.VERSION)
]


@pytest.mark.parametrize("opened_by", [Database.to_read, Database.in_memory])
@pytest.mark.parametrize(("make", "known"), OLDER)
def test_an_older_file_is_read_as_a_new_one_and_is_not_upgraded(
    path: Path,
    make: Callable[[Path], List[Tuple[Any, ...]]],
    known: List[str],
    opened_by: Callable[[Path], Database],
) -> None:
    rows = make(path)
    before = state_of(path.parent)
    database = opened_by(path)
    assert version_of(database) == schema.VERSION
    assert [tuple(row) for row in database.rows("SELECT * FROM collection_migrations")] == rows
    assert keys(database) == known
    assert database.rows("SELECT * FROM checkpoints") == []
    assert state_of(path.parent) == before, "nor is it locked: a run may go on with it"
    with sqlite3.connect(str(path)) as other:
        other.execute("UPDATE collection_migrations SET error = 'later'")
    other.close()
    database.close()


@pytest.mark.parametrize("make", [make_legacy, partial(make_older, 1), make_current])
def test_what_is_written_to_a_throw_away_copy_stays_there(
    path: Path, make: Callable[[Path], Any]
) -> None:
    make(path)
    before = state_of(path.parent)
    database = Database.in_memory(path)
    put(database, "only here")
    assert "only here" in keys(database)
    database.close()
    assert state_of(path.parent) == before


def test_a_throw_away_copy_of_nothing_is_empty_and_makes_no_file(path: Path) -> None:
    database = Database.in_memory(path)
    put(database, "k")
    assert keys(database) == ["k"]
    assert version_of(database) == schema.VERSION
    database.close()
    assert list(path.parent.iterdir()) == []


def test_reading_sees_what_a_killed_run_had_committed_and_folds_nothing_in(path: Path) -> None:
    crash = (
        "import os, sys\nfrom pathlib import Path\n"
        "from h2ogpte_migration.tracking.database import Database\n"
        "database = Database.to_write(Path(sys.argv[1]))\n"
        "with database.transaction() as db:\n"
        "    db.execute(\"INSERT INTO meta VALUES ('k', 'v')\")\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", crash, str(path)], check=False).returncode == 9
    main = path.read_bytes()
    database = Database.to_read(path)
    assert keys(database) == ["k"]
    database.close()
    assert path.read_bytes() == main
    again = Database.to_write(path)
    assert keys(again) == ["k"]
    again.close()


def test_reading_goes_on_while_another_writes(path: Path, opened: Database) -> None:
    reader = Database.to_read(path)
    with opened.transaction() as db:
        db.execute("INSERT INTO meta VALUES ('k', 'v')")
        assert keys(reader) == []
    assert keys(reader) == ["k"]
    reader.close()
    put(opened, "later")


# -- upgrade -------------------------------------------------------------------------------
@pytest.mark.parametrize("wal", [False, True])
def test_a_database_of_version_1_2_0_is_upgraded_in_place_and_its_table_stays(
    path: Path, wal: bool
) -> None:
    rows = make_legacy(path, wal=wal)
    database = Database.to_write(path)
    row = database.row(TABLE_SQL)
    assert row is not None
    assert row["sql"] == LEGACY_TABLE
    assert [tuple(row) for row in database.rows("SELECT * FROM collection_migrations")] == rows
    assert version_of(database) == schema.VERSION
    put(database, "k")
    database.close()


def test_a_new_table_is_the_one_that_version_1_2_0_makes(opened: Database) -> None:
    row = opened.row(TABLE_SQL)
    assert row is not None
    assert " ".join(row["sql"].split()) == " ".join(LEGACY_TABLE.split())


def test_an_upgrade_that_breaks_off_leaves_the_old_database(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_legacy(path)
    broken = (*schema.UPGRADES[-1], "CREATE NONSENSE")
    with monkeypatch.context() as patched:
        patched.setattr(schema, "UPGRADES", (*schema.UPGRADES[:-1], broken))
        with pytest.raises(TrackingError):
            Database.to_write(path)
    connection = sqlite3.connect(str(path))
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert "meta" not in names, "also what the steps before the broken one made"
    connection.close()
    Database.to_write(path).close()


def test_an_upgraded_database_is_not_upgraded_again(path: Path) -> None:
    make_current(path)
    for _ in range(2):
        database = Database.to_write(path)
        assert keys(database) == ["k"]
        database.close()


# -- the journal ---------------------------------------------------------------------------
@pytest.mark.parametrize(("network", "mode"), [(False, "wal"), (True, "delete")])
def test_a_log_is_used_on_local_file_systems_only(
    path: Path, monkeypatch: pytest.MonkeyPatch, network: bool, mode: str
) -> None:
    monkeypatch.setattr(database_module, "_on_network", lambda _: network)
    database = Database.to_write(path)
    row = database.row("PRAGMA journal_mode")
    assert row is not None
    assert row[0] == mode
    put(database, "k")
    database.close()
    assert [item.name for item in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("mounts", "network"),
    [
        ("dev / ext4 rw 0 0\n", False),
        ("dev / ext4 rw 0 0\nserver:/x {parent} nfs4 rw 0 0\n", True),
        ("dev / nfs rw 0 0\ndev {parent} ext4 rw 0 0\n", False),
        ("dev / ext4 rw 0 0\nserver:/x {parent}/deeper nfs rw 0 0\n", False),
        ("dev / ext4 rw 0 0\nserver:/x {sibling} nfs rw 0 0\n", False),
        ("dev / ext4 rw 0 0\nsshfs {parent} fuse.sshfs rw 0 0\n", True),
        ("", False),
        ("rubbish\n\n", False),
    ],
)
def test_the_file_system_is_that_of_the_closest_mount(
    path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, network: bool
) -> None:
    folder = str(path.parent)
    text = mounts.format(parent=folder, sibling=folder[:-1]).replace("\\", "\\\\")
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert database_module._on_network(path) is network


# -- transactions --------------------------------------------------------------------------
def test_a_transaction_is_all_or_nothing(opened: Database) -> None:
    with suppress(RuntimeError), opened.transaction() as db:
        db.execute("INSERT INTO meta VALUES ('k', 'v')")
        raise RuntimeError
    assert keys(opened) == []
    put(opened, "k")
    assert keys(opened) == ["k"]


def test_a_broken_rule_of_a_table_stays_what_it_is_for_whoever_asks(opened: Database) -> None:
    put(opened, "k")
    with pytest.raises(sqlite3.IntegrityError):
        put(opened, "k")
    put(opened, "other")


def test_a_full_disk_is_told_and_what_was_recorded_stays(opened: Database) -> None:
    put(opened, "before")
    pages = opened.rows("PRAGMA page_count")[0][0]
    opened.rows(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(TrackingError, match="The disk is full") as refused:
        fill(opened, 5000)
    assert refused.value.exit_code == ExitCode.ATTENTION
    assert keys(opened) == ["before"]


def test_a_file_that_stays_locked_is_told(
    path: Path, opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.1)
    other = Database.to_write(path)
    with opened.transaction() as db:
        db.execute("INSERT INTO meta VALUES ('k', 'v')")
        with pytest.raises(TrackingError, match="locked"):
            put(other, "x")
    put(other, "x")
    other.close()


# -- long queries --------------------------------------------------------------------------
def fill(database: Database, number: int) -> None:
    with database.transaction() as db:
        db.executemany("INSERT INTO meta VALUES (?, 'v')", [(f"{n:05}",) for n in range(number)])


BATCHES = "SELECT key, rowid AS place FROM meta WHERE rowid > :place ORDER BY rowid"


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 25])
def test_a_long_query_gives_every_row_once_and_in_order(opened: Database, number: int) -> None:
    fill(opened, number)
    batches = list(opened.batches(BATCHES, {}, size=10))
    assert [row["key"] for rows in batches for row in rows] == [f"{n:05}" for n in range(number)]
    assert all(len(rows) <= 10 for rows in batches)


def test_a_long_query_that_is_not_read_to_its_end_hinders_no_writing(
    path: Path, opened: Database
) -> None:
    """Another process writes while this one is in the middle of a query, then this one writes."""
    fill(opened, 25)
    query = opened.batches(BATCHES, {}, size=10)
    next(query)
    other = Database.to_write(path)
    put(other, "other")
    put(opened, "own")
    other.close()
    assert sum(len(rows) for rows in query) == 17


# -- several at once -----------------------------------------------------------------------
WRITER = """
import sys
from pathlib import Path
from h2ogpte_migration.tracking.database import Database
sys.stdin.readline()
database = Database.to_write(Path(sys.argv[1]))
for number in range(60):
    with database.transaction() as db:
        row = db.execute("SELECT value FROM meta WHERE key = 'n'").fetchone()
        db.execute("INSERT OR REPLACE INTO meta VALUES ('n', :v)", {"v": int(row[0]) + 1 if row else 1})
database.close()
"""


@pytest.mark.parametrize("legacy", [False, True])
def test_processes_that_open_upgrade_and_write_at_once_get_in_each_others_way_never(
    path: Path, legacy: bool
) -> None:
    if legacy:
        make_legacy(path)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        assert writer.communicate(timeout=90)[1] == ""
        assert writer.returncode == 0
    database = Database.to_write(path)
    assert database.rows("SELECT value FROM meta")[0]["value"] == "180"
    database.close()


def test_threads_share_one_database(opened: Database) -> None:
    def work(name: int) -> None:
        for number in range(20):
            put(opened, f"{name}-{number}")
            opened.rows("SELECT * FROM meta")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys(opened)) == 80


# -- several threads, one commit -----------------------------------------------------------
class Group:
    """Threads that write in a known order: each waits for the lock while another one writes.

    The first part is held open until all the others have arrived, so that who shares a commit
    with whom does not hang on the scheduling of threads.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.errors: Dict[str, BaseException] = {}
        self.went_on: List[str] = []
        self.statements: List[str] = []
        self._threads: List[threading.Thread] = []
        database._connection.set_trace_callback(self.statements.append)

    def commits(self) -> int:
        return self.statements.count("COMMIT")

    def write(
        self, key: str, *, durable: bool = True, then: Callable[[Any], None] = lambda _: None
    ) -> None:
        """One thread's part: a row, and what else it does."""
        try:
            with self.database.transaction(durable=durable) as db:
                db.execute("INSERT INTO meta VALUES (:k, 'v')", {"k": key})
                then(db)
            self.went_on.append(key)
        except (RuntimeError, TrackingError, sqlite3.Error) as error:
            self.errors[key] = error

    def arrive(self, key: str, **how: Any) -> None:
        """Start a thread, and go on once it waits for its turn."""
        waiting = self.database._arriving
        self._threads.append(threading.Thread(target=self.write, args=(key,), kwargs=how))
        self._threads[-1].start()
        tick = threading.Event()
        while self.database._arriving == waiting:
            tick.wait(0.001)

    def run(self, *parts: Tuple[str, Dict[str, Any]], first: Dict[str, Any]) -> None:
        """The first part, and behind it the others in any order."""

        def others(db: Any) -> None:
            for key, how in parts:
                self.arrive(key, **how)
            first.get("then", lambda _: None)(db)

        self.write("first", durable=first.get("durable", True), then=others)
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "nobody waits for ever"


@pytest.fixture
def group(opened: Database) -> Group:
    """Return threads that write to a new database."""
    return Group(opened)


def fails(_: Any) -> None:
    raise RuntimeError("changed its mind")


def breaks_a_rule(db: Any) -> None:
    db.execute("INSERT INTO meta VALUES ('first', 'again')")


def on_disk(path: Path) -> List[str]:
    """What another process sees."""
    other = Database.to_read(path)
    try:
        return keys(other)
    finally:
        other.close()


class SlowCommit:
    """A connection whose commits wait, or fail, by a test's will."""

    def __init__(self, real: sqlite3.Connection, before: Callable[[], None]) -> None:
        self._real = real
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, sql: str, *values: Any) -> Any:
        if sql == "COMMIT":
            self._before()
        return self._real.execute(sql, *values)


def wrap_commits(database: Database, before: Callable[[], None]) -> None:
    wrapped: Any = SlowCommit(database._connection, before)
    database._connection = wrapped


@pytest.mark.parametrize("others", [1, 5, 20])
def test_threads_that_write_at_the_same_moment_share_a_commit(
    path: Path, group: Group, others: int
) -> None:
    group.run(*[(f"{n}", {}) for n in range(others)], first={})
    assert group.commits() == 1
    assert len(on_disk(path)) == others + 1
    assert len(group.went_on) == others + 1


def test_a_commit_is_made_before_too_many_wait_for_it(path: Path, group: Group) -> None:
    others = 2 * database_module.MOST_IN_A_GROUP
    group.run(*[(f"{n}", {}) for n in range(others)], first={})
    assert group.commits() == 3
    assert len(on_disk(path)) == others + 1


def test_one_thread_alone_commits_at_once(path: Path, group: Group) -> None:
    for number in range(3):
        group.write(f"{number}")
        assert len(on_disk(path)) == group.commits() == number + 1


@pytest.mark.parametrize(("how", "error"), [(fails, RuntimeError), (breaks_a_rule, sqlite3.Error)])
@pytest.mark.parametrize("who", ["first", "another"])
def test_a_part_that_fails_undoes_its_own_writes_only(
    path: Path, group: Group, how: Callable[[Any], None], error: Any, who: str
) -> None:
    if who == "first":
        group.run(("a", {}), ("b", {}), first={"then": how})
        failed = {"first"}
    else:
        group.run(("a", {}), ("bad", {"then": how}), ("b", {}), first={})
        failed = {"bad"}
    if who == "first" and how is breaks_a_rule:
        assert isinstance(group.errors["first"], sqlite3.IntegrityError)
    assert set(group.errors) == failed
    assert isinstance(group.errors[failed.pop()], error)
    kept = ["a", "b"] if who == "first" else ["a", "b", "first"]
    assert on_disk(path) == kept == sorted(group.went_on)


def test_nobody_goes_on_before_the_commit(path: Path, opened: Database, group: Group) -> None:
    seen: List[Tuple[List[str], List[str]]] = []
    wrap_commits(opened, lambda: seen.append((list(group.went_on), on_disk(path))))
    group.run(("a", {}), ("b", {}), first={})
    assert seen == [([], [])], "neither done for whoever wrote it, nor seen by others"
    assert sorted(group.went_on) == on_disk(path) == ["a", "b", "first"]


def no_room() -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_a_commit_that_fails_fails_every_part_of_it(
    path: Path, opened: Database, group: Group
) -> None:
    real = opened._connection
    wrap_commits(opened, no_room)
    group.run(("a", {}), ("b", {}), first={})
    assert set(group.errors) == {"a", "b", "first"}
    for error in group.errors.values():
        assert isinstance(error, TrackingError)
        assert "The disk is full" in error.message
    assert (group.went_on, on_disk(path)) == ([], [])
    opened._connection = real
    put(opened, "later")
    assert on_disk(path) == ["later"], "with room again, work goes on"


def test_a_transaction_that_sqlite_itself_undoes_fails_every_part_of_it(
    path: Path, group: Group
) -> None:
    """As on a full disk: not only the part that met it is gone."""

    def undone(db: Any) -> None:
        db.execute("ROLLBACK")
        raise sqlite3.OperationalError("database or disk is full")

    group.run(("a", {"then": undone}), first={})
    assert set(group.errors) == {"a", "first"}
    for error in group.errors.values():
        assert isinstance(error, TrackingError)
        assert "The disk is full" in error.message
    assert (group.went_on, on_disk(path)) == ([], [])


def test_a_part_that_cannot_be_undone_alone_takes_the_others_with_it(
    path: Path, opened: Database, group: Group
) -> None:
    """Else what its writer was told has failed would be on disk all the same."""

    class NoWayBack(SlowCommit):
        def execute(self, sql: str, *values: Any) -> Any:
            if sql.startswith("ROLLBACK TO"):
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(sql, *values)

    broken: Any = NoWayBack(opened._connection, lambda: None)
    opened._connection = broken
    group.run(("bad", {"then": fails}), first={})
    assert set(group.errors) == {"bad", "first"}
    assert (group.went_on, on_disk(path)) == ([], [])


def levels(statements: List[str]) -> List[str]:
    """How safe each commit was, in their order; a file is opened for safe ones."""
    found, level = [], "FULL"
    for statement in statements:
        if statement.startswith("PRAGMA synchronous"):
            level = statement.rpartition(" ")[2]
        if statement == "COMMIT":
            found.append(level)
    return found


def test_what_has_to_be_durable_never_rides_on_a_commit_that_is_not(
    path: Path, group: Group
) -> None:
    group.run(("a", {"durable": True}), first={"durable": False})
    assert levels(group.statements) == ["NORMAL", "FULL"]
    assert on_disk(path) == ["a", "first"]


def test_without_a_log_every_commit_waits_for_the_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_on_network", lambda _: True)
    database = Database.to_write(path)
    group = Group(database)
    group.write("a", durable=False)
    assert levels(group.statements) == ["FULL"]
    assert database.row("PRAGMA synchronous")[0] == 2  # type: ignore[index]
    database.close()


def test_what_need_not_be_durable_rides_along_and_alone_it_costs_no_wait(
    path: Path, group: Group
) -> None:
    group.run(("a", {"durable": False}), first={"durable": True})
    group.write("b", durable=False)
    group.write("c")
    assert levels(group.statements) == ["FULL", "NORMAL", "FULL"]
    assert on_disk(path) == ["a", "b", "c", "first"]
