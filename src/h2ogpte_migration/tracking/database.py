"""The SQLite file: opening it safely, and the one way to write to it.

Nothing here knows what is stored. A commit is on disk when ``transaction`` ends, so that
whatever was recorded is recorded before the next server call starts.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

from h2ogpte_migration.errors import ExitCode, ToolError, TrackingError
from h2ogpte_migration.redact import scrub_record
from h2ogpte_migration.tracking import schema
from h2ogpte_migration.ui.text import safe

BUSY_TIMEOUT_S = 60.0
BUSY_AGAIN_S = 1.0
# WAL with NORMAL may lose the last commits in a power cut, and with them the intents that
# exactly-once rests on; for leases, which die with their process anyway, and for what may be done
# again, it is enough.
SYNCHRONOUS = {True: "FULL", False: "NORMAL"}
MOST_IN_A_GROUP = 32
"""How many threads' writes may share one commit, before it has to be made."""

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smbfs", "smb3", "9p", "afs", "fuse.sshfs", "fuse.s3fs", "ncpfs"}
)


@dataclass
class _Group:
    """Parts of several threads that share one commit."""

    durable: bool
    parts: int = 0
    error: Optional[TrackingError] = None
    ended: threading.Event = field(default_factory=threading.Event)


class Database:
    """One open tracking database, shared by all threads of this process.

    Made by ``to_write``, ``to_read`` or ``in_memory``; always of the newest schema for whoever uses
    it: an older file is upgraded where it may be written, else read as an upgraded copy.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._connection.row_factory = sqlite3.Row
        self._lock = threading.RLock()
        self._group: Optional[_Group] = None
        self._identity: Optional[Tuple[int, int]] = None
        self._arriving = 0
        self._counting = threading.Lock()
        self._has_log = True
        self._waits_for_the_disk: Optional[bool] = None
        self._waits_s = -1.0

    # -- opening -----------------------------------------------------------------------
    @classmethod
    def to_write(cls, path: Path) -> Database:
        """Open, make or upgrade the file; made readable by its owner only.

        Raises:
            TrackingError: the file can't be used; it is left untouched.
        """
        with _translated(path):
            database = cls(path, _open(path))
        return database._checked(database._prepare_to_write)

    @classmethod
    def to_read(cls, path: Path) -> Database:
        """Open the file as it is, and never write to it; the file must exist.

        Raises:
            TrackingError: the file can't be read.
        """
        with _translated(path):
            database = cls(path, _open_to_read(path))
        database._checked(database._prepare_to_read)
        if database._version() == schema.VERSION:
            return database
        try:
            copy = cls._copy_of(database)
        finally:
            database.close()
        copy._connection.execute("PRAGMA query_only = ON")  # what is written there would be lost
        return copy

    @classmethod
    def in_memory(cls, path: Path) -> Database:
        """A throw-away copy of the file, or an empty database where there is none."""
        if path.exists():
            database = cls.to_read(path)
            try:
                return cls._copy_of(database)
            finally:
                database.close()
        database = cls(path, _connect(":memory:", uri=False))
        database._upgrade()
        return database

    @classmethod
    def _copy_of(cls, other: Database) -> Database:
        copy = cls(other.path, _connect(":memory:", uri=False))
        try:
            with _translated(other.path):
                other._connection.backup(copy._connection)
                copy._upgrade()
        except BaseException:
            copy.close()
            raise
        return copy

    def _checked(self, prepare: Callable[[], None]) -> Database:
        try:
            with _translated(self.path):
                self._wait_for_others(BUSY_TIMEOUT_S)
                prepare()
        except BaseException:
            self._connection.close()
            raise
        return self

    # -- writing -----------------------------------------------------------------------
    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Write: all of it or nothing, on disk when the block ends.

        Threads that write at the same moment share one commit, and each goes on only when its own
        part is on disk. Never hold a transaction during a server call.

        Args:
            durable: False for what a power cut may take back: what only has to be seen by other
                processes (leases, signs of life), and checkpoints of what may be done again.
                The next durable commit, of whatever, brings it on disk as well.

        Raises:
            TrackingError: the disk is full, or the file may not be written.
        """
        with self._counting:
            self._arriving += 1
        with self._lock:
            with self._counting:
                self._arriving -= 1
            group = self._joined(durable)
            alone = group.parts == 1
            try:
                with _translated(self.path):
                    if not alone:
                        self._connection.execute("SAVEPOINT part")
                    yield self._connection
                    if not alone:
                        self._connection.execute("RELEASE part")
            except BaseException as error:
                self._undo_part(group, alone, error)
                raise
            finally:
                if self._group is group and (not self._arriving or group.parts >= MOST_IN_A_GROUP):
                    self._commit(group)
        group.ended.wait()
        if group.error is not None:
            raise group.error

    def _joined(self, durable: bool) -> _Group:
        """The group that is open, or a new one; the lock is held."""
        if self._group is not None and durable and not self._group.durable:
            self._commit(self._group)  # how safe a commit is has to be said before it begins
        if self._group is None:
            self._must_be_in_place()
            with _translated(self.path):
                self._wait_for_the_disk(durable or not self._has_log)
                self._begin(durable)
            self._group = _Group(durable)
        self._group.parts += 1
        return self._group

    def _begin(self, durable: bool) -> None:
        """Wait for whoever writes; not for as long again, once that was in vain for what has to last:
        all that has to be tidied up before that error is seen asks in turn."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            if durable:  # a sign of life that can't be given ends nothing
                self._wait_for_others(BUSY_AGAIN_S)
            raise
        self._wait_for_others(BUSY_TIMEOUT_S)

    def _wait_for_others(self, seconds: float) -> None:
        if seconds != self._waits_s:
            self._connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
            self._waits_s = seconds

    def _wait_for_the_disk(self, durable: bool) -> None:
        """Say how safe the next commit has to be, unless that is said already."""
        if durable != self._waits_for_the_disk:
            self._connection.execute(f"PRAGMA synchronous = {SYNCHRONOUS[durable]}")
            self._waits_for_the_disk = durable

    def _must_be_in_place(self) -> None:
        """What is written into a file that was deleted or replaced meanwhile is written for nobody.

        Raises:
            TrackingError: another file, or none, is where this one was opened.
        """
        if self._identity is not None and self._identity != _identity_of(self.path):
            raise TrackingError(
                f"The tracking database {self.path} was deleted or replaced during this run.",
                "Nothing more was started. Bring the file back and run the same command again.",
            )

    def _undo_part(self, group: _Group, alone: bool, error: BaseException) -> None:
        """Undo one thread's writes, and those of nobody else; the lock is held."""
        try:
            if not alone:
                self._connection.execute("ROLLBACK TO part")
                self._connection.execute("RELEASE part")
        except sqlite3.Error:
            # Not to be undone alone: nothing of the group may stay, or it would be committed.
            alone = True
        if alone:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        if not self._connection.in_transaction:
            # Nobody's part is on disk: the first one failed, or SQLite undid all (a full disk).
            self._end(group, _as_tracking_error(self.path, str(error)))

    def _commit(self, group: _Group) -> None:
        """Put the group on disk; the lock is held."""
        error = None
        try:
            with _translated(self.path):
                self._connection.execute("COMMIT")
        except TrackingError as failure:
            error = failure
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        self._end(group, error)

    def _end(self, group: _Group, error: Optional[TrackingError]) -> None:
        """Let everybody in the group go on, or fail."""
        self._group = None
        group.error = error
        group.ended.set()

    def rows(self, sql: str, values: Optional[Mapping[str, Any]] = None) -> List[sqlite3.Row]:
        """All rows of a query."""
        with self._lock, _translated(self.path):
            return self._connection.execute(sql, values or {}).fetchall()

    def row(self, sql: str, values: Optional[Mapping[str, Any]] = None) -> Optional[sqlite3.Row]:
        """The first row of a query, or None."""
        with self._lock, _translated(self.path):
            row: Optional[sqlite3.Row] = self._connection.execute(sql, values or {}).fetchone()
            return row

    def changes_elsewhere(self) -> int:
        """A number that is another one after other processes, or people, wrote into the file.

        What this process writes does not change it.
        """
        with self._lock, _translated(self.path):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def batches(
        self, sql: str, values: Mapping[str, Any], size: int = 1000
    ) -> Iterator[List[sqlite3.Row]]:
        """The rows of a long query, some at a time; others may write in between.

        ``sql`` selects ``rowid AS place``, asks for ``rowid > :place`` and orders by it: a
        cursor kept open would not survive another thread's rollback.
        """
        place = 0
        while True:
            rows = self.rows(f"{sql} LIMIT {size}", {**values, "place": place})
            if not rows:
                return
            yield rows
            place = rows[-1]["place"]

    def close(self) -> None:
        """Close the file. With the last one closed, SQLite folds its log into it."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()

    # -- inside ------------------------------------------------------------------------
    def _prepare_to_read(self) -> None:
        self._check_it_is_ours()

    def _prepare_to_write(self) -> None:
        self._check_it_is_ours()
        with suppress(OSError):
            os.chmod(self.path, 0o600)  # noqa: PTH101 - as os.open below
        mode = "DELETE" if _on_network(self.path) else "WAL"
        with suppress(sqlite3.OperationalError):
            # Another process may be using the file in the other mode; both modes are safe.
            self._connection.execute(f"PRAGMA journal_mode = {mode}")
        # Without a log, a commit that does not wait may damage the file in a power cut.
        mode = self._connection.execute("PRAGMA journal_mode").fetchone()[0]
        self._has_log = mode.upper() == "WAL"
        if self._version() < schema.VERSION:
            self._upgrade()
        self._identity = _identity_of(self.path)

    def _check_it_is_ours(self) -> None:
        version = self._version()
        tables = {
            row[0]
            for row in self._connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            )
        }
        columns = tuple(
            row[1] for row in self._connection.execute("PRAGMA table_info(collection_migrations)")
        )
        if version > schema.VERSION and columns:
            raise TrackingError(
                f"The tracking database {self.path} was made by a newer version of this tool "
                f"(schema {version}, known here: {schema.VERSION}).",
                "Upgrade h2ogpte-migration, or name another file with --db-path.",
                ExitCode.USAGE,
            )
        if columns and columns != schema.DOCUMENTED_COLUMNS:
            raise TrackingError(
                f"{self.path} is another tracking database than this tool and version 1.2.0 make: "
                f"its table collection_migrations {_difference(columns)}.",
                "Bring the table back to what it was, or name another file with --db-path.",
                ExitCode.USAGE,
            )
        if version > schema.VERSION or (tables and not columns):
            raise TrackingError(
                f"{self.path} is an SQLite database, but no tracking database of this tool.",
                "Name another file with --db-path.",
                ExitCode.USAGE,
            )

    def _upgrade(self) -> None:
        with self.transaction() as connection:
            # Looked at inside the transaction: another process may have been faster.
            for number in range(self._version(), schema.VERSION):
                if number == 0:
                    connection.execute(schema.DOCUMENTED_TABLE)
                for statement in schema.UPGRADES[number]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])


def refuse_an_empty_file(path: Path) -> None:
    """What a full disk, or a failed copy, has left is no database with nothing open in it.

    Raises:
        ToolError: there is a file, and it has no table (exit 2).
    """
    if not path.exists():
        return
    with suppress(OSError, sqlite3.Error), closing(_open_to_read(path)) as connection:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return
        raise _empty(path)


def _empty(path: Path) -> ToolError:
    return ToolError(
        f"The tracking database {path.absolute()} is empty: nothing is on record there.",
        "Put a backup of it in its place, or name another file with --db-path.",
        ExitCode.USAGE,
    )


def _difference(columns: Sequence[str]) -> str:
    lacks = [name for name in schema.DOCUMENTED_COLUMNS if name not in columns]
    more = [safe(name) for name in columns if name not in schema.DOCUMENTED_COLUMNS]
    words = [f"lacks {', '.join(lacks)}"] if lacks else []
    words += [f"has also {', '.join(more)}"] if more else []
    return " and ".join(words) or "has its columns in another order"


def _open(path: Path) -> sqlite3.Connection:
    real = _real(path)
    if not real.exists():
        # Made here, not by SQLite, so that nobody else can read it for a single moment.
        with suppress(FileExistsError):
            os.close(os.open(real, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    elif not real.is_file():
        raise IsADirectoryError(21, "it is not a file", str(path))
    elif not _writable(real):
        raise PermissionError(13, "no permission to write", str(path))
    return _connect(f"{real.as_uri()}?mode=rw")


def _real(path: Path) -> Path:
    """Where links lead: to a file that may not be there yet."""
    real = Path(os.path.realpath(path))
    if real.is_symlink():
        raise OSError(errno.ELOOP, "its links lead in a circle", str(path))
    return real


def _identity_of(path: Path) -> Optional[Tuple[int, int]]:
    """What tells a file from another one at the same place; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _open_to_read(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise FileNotFoundError(2, "there is no such file", str(path))
    real = _real(path)
    # A connection that may not write leaves the files of a log behind that it had to make;
    # where nobody uses the log, one that only does not write takes them away again.
    in_use = Path(f"{real}-wal").exists()
    connection = _connect(f"{real.as_uri()}?mode={'ro' if in_use else 'rw'}")
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA user_version").fetchone()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        # A database in WAL mode on a read-only file system can only be read as it lies.
        connection.close()
        connection = _connect(f"{real.as_uri()}?mode=ro&immutable=1")
    except BaseException:
        connection.close()
        raise
    return connection


class _Guarded(sqlite3.Connection):
    """A connection that no key gets through, in whatever text somebody wrote it."""

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        return super().execute(sql, _free_of_keys(values) if values else values)

    def executemany(self, sql: str, rows: Any) -> sqlite3.Cursor:
        return super().executemany(sql, map(_free_of_keys, rows))


def _free_of_keys(values: Any) -> Any:
    if isinstance(values, (dict, Mapping)):  # by far most are dicts: the quick check first
        return {name: _free(value) for name, value in values.items()}
    return tuple(map(_free, values))


def _free(value: Any) -> Any:
    return scrub_record(value) if isinstance(value, str) else value


def _connect(place: str, *, uri: bool = True) -> sqlite3.Connection:
    return sqlite3.connect(
        place,
        uri=uri,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        factory=_Guarded,
    )


def _on_network(path: Path) -> bool:
    """Whether the file lies on a file system that WAL must not be used on (Linux only)."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    best: Tuple[int, str] = (-1, "")
    place = str(_real(path))
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2:
            point = fields[1].replace("\\040", " ").rstrip("/") + "/"
            if place.startswith(point) and len(point) >= best[0]:
                best = (len(point), fields[2])
    return best[1] in _NETWORK_FILE_SYSTEMS


class _translated:  # noqa: N801 (used like a function; one made with contextlib costs a SELECT)
    """SQLite's and the system's words as an error for people."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if isinstance(error, sqlite3.IntegrityError):
            return
        if isinstance(error, sqlite3.DatabaseError):
            raise _as_tracking_error(self._path, str(error)) from error
        if isinstance(error, OSError):
            raise TrackingError(
                f"The tracking database {self._path} can't be used: {error.strerror or error}.",
                "Check the folder and its permissions, or name another file with --db-path.",
                ExitCode.USAGE,
            ) from error


def _as_tracking_error(path: Path, words: str) -> TrackingError:
    if "not a database" in words or "malformed" in words or "encrypted" in words:
        return TrackingError(
            f"{path} is not an SQLite database, or a damaged one ({words}).",
            "Bring it back from a backup, or name another file with --db-path.",
            ExitCode.USAGE,
        )
    if "full" in words:
        return TrackingError(
            f"The disk is full: {path} can't be written ({words}). Nothing more was started.",
            "Make room and run the same command again; it continues.",
        )
    if "locked" in words or "busy" in words:
        return TrackingError(
            f"Another process kept the tracking database {path} locked for {BUSY_TIMEOUT_S:.0f} s.",
            "Run the same command again; it continues.",
        )
    if "readonly" in words or "unable to open" in words:
        return TrackingError(
            f"The tracking database {path} can't be opened for writing ({words}).",
            "Check the permissions of the file and its folder, or use --db-path.",
            ExitCode.USAGE,
        )
    return TrackingError(
        f"The tracking database {path} can't be used ({words}).",
        "Run the same command again; if it happens again, name another file with --db-path.",
    )
