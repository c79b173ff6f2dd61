"""The log of runs, their forced starts, and the server that the database is bound to.

Liveness of a run is judged by its process (``liveness``); a clock is
consulted only for runs of other machines, which can't be judged otherwise.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import time
from datetime import datetime, timedelta, timezone
from typing import Dict, Iterable, List, Optional, Set

from h2ogpte_migration.errors import ExitCode, ToolError
from h2ogpte_migration.model import SourceId, parse_time
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.liveness import ProcessIdentity, current_process, is_alive
from h2ogpte_migration.tracking.records import Attempt, RunInfo, utc_now
from h2ogpte_migration.tracking.rows import insert

OTHER_HOST_EXPIRY = timedelta(minutes=15)
"""How long a run of another machine counts as living after its last heartbeat."""

SAME_CLOCK = timedelta(seconds=30)
"""How far another machine's clock may be ahead and still be called the same."""


LONGEST_SILENCE_S = 120.0
"""After so long without a sign of life a run gives one before it goes on: its computer may have
slept, and other machines are about to take it for dead."""

REMINDER = timedelta(days=1)
"""How long a quiet run may stay silent about what is open."""

_SERVER = "server_url"
_SCOPE = "rows_wanted"
_QUIET_OPEN, _QUIET_TOLD = "quiet_report_open", "quiet_report_told"

_ENDED = " (ended)"
"""Behind the kind of a forced start: its run has ended, and only runs beside it still care."""


MOVE_CHATS = "--migrate-chats"

_BEYOND = frozenset(
    {MOVE_CHATS, "--verify-query", "--verify-retrieval", "--verify-queries", "--min-recall"}
)
"""What a run may be asked for beyond going on with its collections."""


def is_migration(command: str) -> bool:
    """Whether a command line is one that migrates: each of those says to which model."""
    words = {word.partition("=")[0] for word in command.split()}
    models = {"--use-model-mappings", "--model-mappings-file", "--target-model"}
    return bool(words & models) and "--dry-run" not in words


def only_submits(command: str) -> bool:
    """Whether a command line is a migration that leaves what follows the import to others."""
    return is_migration(command) and "--wait-for-completion" not in command.split()


class Runs:
    """The log of runs of one database, and this run in it."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.run_id = 0
        self._beat_at = 0.0
        self._command = ""
        self._beside: Set[int] = set()
        self._over: Set[str] = set()

    # -- this run ----------------------------------------------------------------------
    def begin(self, version: str, command: str, *, beside_others: bool = False) -> int:
        """Enter this run into the log.

        Args:
            beside_others: whether runs of other machines are none of its business.

        Raises:
            ToolError: a run of another machine may still be working on this database.
        """
        me = current_process()
        if not beside_others:
            # In a transaction of its own: what was noted on a run stays, also if we give way.
            with self._db.transaction() as db:
                refusal = self._other_machine(db)
            if refusal is not None:
                raise refusal
        with self._db.transaction() as db:
            self._beside = _living_runs(db)
            if not self._beside:
                db.execute("DELETE FROM marks WHERE kind LIKE :ended", {"ended": f"%{_ENDED}"})
            now = utc_now()
            values = {
                "started_at": now,
                "heartbeat_at": now,
                "host": me.host,
                "machine": me.machine,
                "pid": me.pid,
                "process_start": me.start,
                "folder": os.getcwd(),  # noqa: PTH109 - a string is what is stored
                "version": version,
                "command": command,
            }
            self.run_id = insert(db, "runs", values)
            self._beat_at = time.time()
        self._command = command
        return self.run_id

    def _other_machine(self, db: sqlite3.Connection) -> Optional[ToolError]:
        """The refusal to work beside a run of another machine that may live."""
        for row in db.execute("SELECT * FROM runs WHERE ended_at IS NULL").fetchall():
            if is_alive(identity_of(row)) is not None:
                continue
            expires = _expiry(_seen_now(db, row))
            if expires is not None:
                return ToolError(
                    f"A run on another machine may still be working with this tracking database: "
                    f"process {row['pid']} on {row['host']}, started {row['started_at']}, last "
                    f"sign of life {row['heartbeat_at']}.",
                    f"Let it end. If that machine is gone, try again after "
                    f"{expires.isoformat(timespec='seconds')}.",
                )
        return None

    def asks_the_same(self, other: RunInfo) -> bool:
        """Whether another run was started with the same words as this one."""
        return other.command == self._command

    def asks_beyond(self, other: RunInfo) -> Set[str]:
        """The flags by which this run asks for what another one does not do for its collections.

        With another value it is another demand.
        """
        theirs = _beyond(other.command)
        return {name for name, value in _beyond(self._command).items() if theirs.get(name) != value}

    def show_life(self) -> None:
        """Tell other machines that this run lives, unless they were told a moment ago."""
        silent_s = abs(time.time() - self._beat_at)
        if silent_s > LONGEST_SILENCE_S:
            self.heartbeat()

    def heartbeat(self) -> None:
        """Tell other machines that this run lives."""
        self._beat_at = time.time()
        with self._db.transaction(durable=False) as db:
            db.execute(
                "UPDATE runs SET heartbeat_at = :now WHERE id = :run",
                {"now": utc_now(), "run": self.run_id},
            )

    def end(self, exit_code: int) -> None:
        """This run is over: its leases go, its exit code stays."""
        with self._db.transaction() as db:
            values = {"now": utc_now(), "code": exit_code, "run": self.run_id}
            self._end_starts(db)
            db.execute("DELETE FROM leases WHERE run_id = :run", values)
            db.execute("UPDATE runs SET ended_at = :now, exit_code = :code WHERE id = :run", values)

    def last(self, count: int = 5) -> List[RunInfo]:
        """The newest runs, newest first."""
        rows = self._db.rows("SELECT * FROM runs ORDER BY id DESC LIMIT :n", {"n": count})
        return [RunInfo.from_row(row) for row in rows]

    def living(self) -> Set[int]:
        """The runs that have not ended and whose processes live, as far as can be told."""
        rows = self._db.rows("SELECT * FROM runs WHERE ended_at IS NULL")
        return {row["id"] for row in rows if not is_over(row)}

    # -- the server --------------------------------------------------------------------
    def bound_server(self) -> Optional[str]:
        """The url of the server that this database speaks of, if it is bound yet."""
        return self._meta(_SERVER)

    def bind_server(self, url: str, *, rebind: bool) -> None:
        """Bind the database to a server on first use.

        Raises:
            ToolError: it is bound to another one (exit 2), unless ``rebind``.
        """
        with self._db.transaction() as db:
            bound = self.bound_server()
            if bound is not None and bound != url and not rebind:
                raise other_server(str(self._db.path), bound, url)
            _keep(db, _SERVER, url)

    # -- quiet reports -----------------------------------------------------------------
    def quiet_report_is_due(self, open_now: str, any_open: bool, now: datetime) -> bool:
        """Whether what is open differs from the last quiet report, or a day went by with it.

        Args:
            open_now: what is open, in a form that only equals itself; ``any_open`` whether it
                is anything.
        """
        last = self._meta(_QUIET_OPEN)
        if last is None:
            return any_open
        if last != open_now:
            return True
        told = parse_time(self._meta(_QUIET_TOLD))
        return any_open and (told is None or now - told >= REMINDER)

    def record_quiet_report(self, open_now: str, now: datetime) -> None:
        """Remember what was told, and when."""
        with self._db.transaction(durable=False) as db:
            _keep(db, _QUIET_OPEN, open_now)
            _keep(db, _QUIET_TOLD, now.isoformat())

    # -- what a migration is about -------------------------------------------------------
    def record_scope(self, rows: int) -> None:
        """Note how many collections will be on record once this migration has begun them all."""
        if rows == self.scope():
            return
        with self._db.transaction(durable=False) as db:
            _keep(db, _SCOPE, str(rows))

    def scope(self) -> int:
        """How many collections the last migration wanted on record, those of others included."""
        return int(self._meta(_SCOPE) or 0)

    def _meta(self, key: str) -> Optional[str]:
        row = self._db.row("SELECT value FROM meta WHERE key = :key", {"key": key})
        return row["value"] if row else None

    def migrations(self) -> List[str]:
        """The newest commands that were migrations, from this very folder: paths in them hold.

        Each of them once, the newest first.
        """
        rows = self._db.rows("SELECT command, folder FROM runs ORDER BY id DESC LIMIT 500", {})
        here = os.getcwd()  # noqa: PTH109 - a string is what is stored
        commands = [str(row["command"]) for row in rows if row["folder"] == here]
        return list(dict.fromkeys(filter(is_migration, commands)))

    # -- starts that were forced or retried ---------------------------------------------
    def has_started(self, source_id: SourceId, kind: str, model: str) -> bool:
        """Whether a source was begun afresh already, for the demand that this run fulfils.

        By a run of this kind that did not end; or by one that ran beside this one, as the same
        command in several terminals is one demand. To another model was another demand.

        Args:
            model: the embedding model that is wanted; empty where that is not known.
        """
        row = self._db.row(
            "SELECT kind, run_id, (SELECT model FROM attempts WHERE source_id = :source "
            "AND origin != :twin ORDER BY id DESC LIMIT 1) AS model "
            "FROM marks WHERE source_id = :source",
            {"source": source_id, "twin": Attempt.LATE_DUPLICATE},
        )
        if row is None or model not in ("", row["model"]):
            return False
        if row["kind"] == kind:
            return True
        beside = row["run_id"] in self._beside or 0 < self.run_id < row["run_id"]
        return bool(row["kind"] == kind + _ENDED and beside)

    def is_beginning_afresh(self, command: str) -> bool:
        """Whether a forced or retried run of this command did not come to its end, and goes on by it.

        What another command left open tells nothing: this one may have ended, and would force what
        it has made once more.
        """
        sql = (
            "SELECT 1 FROM marks JOIN runs ON runs.id = run_id "
            "WHERE kind NOT LIKE '%' || :ended AND command = :command"
        )
        return self._db.row(sql, {"ended": _ENDED, "command": command}) is not None

    def end_starts(self, source_ids: Iterable[str]) -> None:
        """The forced run came to its end for these sources: the next one forces again.

        Takes effect in the transaction that ends this run: one that dies before it continues.
        """
        self._over.update(source_ids)

    def _end_starts(self, db: sqlite3.Connection) -> None:
        """What a living run beside this one has begun stays its own."""
        if not self._over:
            return
        others = _living_runs(db) - {self.run_id}
        for row in db.execute("SELECT * FROM marks").fetchall():
            mine = row["source_id"] in self._over and row["run_id"] not in others
            if not mine or row["kind"].endswith(_ENDED):
                continue
            db.execute(
                "UPDATE marks SET kind = :kind, run_id = :run WHERE source_id = :source"
                if others
                else "DELETE FROM marks WHERE source_id = :source",
                {
                    "kind": row["kind"] + _ENDED,
                    "run": self.run_id,
                    "source": row["source_id"],
                },
            )


def other_server(path: str, bound: str, asked: str) -> ToolError:
    """The refusal to mix two servers in one database."""
    return ToolError(
        f"The tracking database {path} belongs to the server {bound}, not to {asked}.",
        "Use --db-path for another file, or --rebind-server if it is the same server under "
        "a new name.",
        ExitCode.USAGE,
    )


def _beyond(command: str) -> Dict[str, str]:
    """What a command line asks for beyond going on with collections: flags and their values."""
    try:
        words = shlex.split(command)
    except ValueError:  # a word that only a shell could read
        words = command.split()
    found = {}
    for word, following in zip(words, [*words[1:], ""]):
        name, _, value = word.partition("=")
        if name in _BEYOND:
            found[name] = value or ("" if following.startswith("-") else following)
    return found


def _keep(db: sqlite3.Connection, key: str, value: str) -> None:
    insert(db, "meta", {"key": key, "value": value}, replace=True)


def identity_of(row: sqlite3.Row) -> ProcessIdentity:
    return ProcessIdentity(row["host"], row["machine"], row["pid"], row["process_start"])


def is_over(row: sqlite3.Row) -> bool:
    if row["ended_at"] is not None:
        return True
    alive = is_alive(identity_of(row))
    if alive is None:
        return _expiry(row) is None
    return not alive


def _seen_now(db: sqlite3.Connection, row: sqlite3.Row) -> sqlite3.Row:
    """A run whose clock is ahead of ours counts from when it was first seen so.

    If it lives, its next sign of life says so, in its own time; if not, it is silent from now on,
    by our clock, whatever month its own believed in.
    """
    heartbeat = parse_time(row["heartbeat_at"])
    if heartbeat is None or heartbeat <= datetime.now(timezone.utc) + SAME_CLOCK:
        return row
    db.execute(
        "UPDATE runs SET heartbeat_at = :now WHERE id = :run", {"now": utc_now(), "run": row["id"]}
    )
    seen: sqlite3.Row = db.execute(
        "SELECT * FROM runs WHERE id = :run", {"run": row["id"]}
    ).fetchone()
    return seen


def _living_runs(db: sqlite3.Connection) -> Set[int]:
    """The runs of this database that have not ended and whose processes live."""
    rows = db.execute("SELECT * FROM runs WHERE ended_at IS NULL").fetchall()
    return {row["id"] for row in rows if not is_over(row)}


def _expiry(row: sqlite3.Row) -> Optional[datetime]:
    """When a silent run of another machine stops counting; None if it already has."""
    heartbeat = parse_time(row["heartbeat_at"])
    if heartbeat is None:
        return None
    expires = heartbeat + OTHER_HOST_EXPIRY
    return expires if expires > datetime.now(timezone.utc) else None
