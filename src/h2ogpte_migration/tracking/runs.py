"""What is on record about runs: who works where, and what a run has to tidy up.

Runs, leases, temporary keys, test chats, marks of forced work, and the server that the
database is bound to. Liveness of a run is judged by its process (``liveness``); a clock is
consulted only for runs of other machines, which can't be judged otherwise.
"""

from __future__ import annotations

import json
import os
import sqlite3
from datetime import datetime, timedelta, timezone
from typing import Iterable, List, Optional, Sequence, Set, Union

from h2ogpte_migration.errors import ExitCode, ToolError
from h2ogpte_migration.model import SourceId, TargetId, parse_time
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.liveness import ProcessIdentity, current_process, is_alive
from h2ogpte_migration.tracking.records import Holder, RunInfo, TempKey, TestChat
from h2ogpte_migration.tracking.store import Lease, utc_now

OTHER_HOST_EXPIRY = timedelta(minutes=15)
"""How long a run of another machine counts as living after its last heartbeat."""


_ENDED = " (ended)"
"""Behind the kind of a mark: its run has ended, and only runs beside that one still care."""


class Runs:
    """The log of runs of one database, and this run in it."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.run_id = 0
        self._beside: Set[int] = set()
        self._over: Set[str] = set()

    # -- this run ----------------------------------------------------------------------
    def begin(self, version: str, command: str) -> int:
        """Enter this run into the log.

        Raises:
            ToolError: a run of another machine may still be working on this database.
        """
        me = current_process()
        with self._db.transaction() as db:
            self._refuse_other_machines(db)
            self._beside = _living_runs(db)
            if not self._beside:
                db.execute("DELETE FROM marks WHERE kind LIKE :ended", {"ended": f"%{_ENDED}"})
            cursor = db.execute(
                "INSERT INTO runs (started_at, heartbeat_at, host, machine, pid, process_start, "
                "folder, version, command) VALUES (:now, :now, :host, :machine, :pid, :start, "
                ":folder, :version, :command)",
                {
                    "now": utc_now(),
                    "host": me.host,
                    "machine": me.machine,
                    "pid": me.pid,
                    "start": me.start,
                    "folder": os.getcwd(),  # noqa: PTH109 - a string is what is stored
                    "version": version,
                    "command": command,
                },
            )
            self.run_id = int(cursor.lastrowid or 0)
        return self.run_id

    def _refuse_other_machines(self, db: sqlite3.Connection) -> None:
        for row in db.execute("SELECT * FROM runs WHERE ended_at IS NULL"):
            if is_alive(_identity(row)) is not None:
                continue
            expires = _expiry(row)
            if expires is not None:
                raise ToolError(
                    f"A run on another machine may still be working with this tracking database: "
                    f"process {row['pid']} on {row['host']}, started {row['started_at']}, last "
                    f"sign of life {row['heartbeat_at']}.",
                    f"Let it end. If that machine is gone, try again after "
                    f"{expires.isoformat(timespec='seconds')}.",
                )

    def heartbeat(self) -> None:
        """Tell other machines that this run lives."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE runs SET heartbeat_at = :now WHERE id = :run",
                {"now": utc_now(), "run": self.run_id},
            )

    def end(self, exit_code: int) -> None:
        """This run is over: its leases go, its exit code stays."""
        with self._db.transaction() as db:
            values = {"now": utc_now(), "code": exit_code, "run": self.run_id}
            self._clear_marks(db)
            db.execute("DELETE FROM leases WHERE run_id = :run", values)
            db.execute("UPDATE runs SET ended_at = :now, exit_code = :code WHERE id = :run", values)

    def last(self, count: int = 5) -> List[RunInfo]:
        """The newest runs, newest first."""
        rows = self._db.rows("SELECT * FROM runs ORDER BY id DESC LIMIT :n", {"n": count})
        return [
            RunInfo(
                row["id"],
                row["started_at"],
                row["ended_at"],
                row["host"],
                row["pid"],
                row["version"],
                row["command"],
                row["exit_code"],
            )
            for row in rows
        ]

    def is_dead(self, run_id: int) -> bool:
        """Whether a run is over: ended, or its process is gone, or its machine silent."""
        row = self._db.row("SELECT * FROM runs WHERE id = :run", {"run": run_id})
        return row is None or _dead(row)

    # -- the server --------------------------------------------------------------------
    def bound_server(self) -> Optional[str]:
        """The url of the server that this database speaks of, if it is bound yet."""
        row = self._db.row("SELECT value FROM meta WHERE key = 'server_url'")
        return row["value"] if row else None

    def bind_server(self, url: str, *, rebind: bool) -> None:
        """Bind the database to a server on first use.

        Raises:
            ToolError: it is bound to another one (exit 2), unless ``rebind``.
        """
        with self._db.transaction() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'server_url'").fetchone()
            if row is not None and row["value"] != url and not rebind:
                raise other_server(str(self._db.path), row["value"], url)
            db.execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES ('server_url', :url)", {"url": url}
            )

    # -- leases ------------------------------------------------------------------------
    def claim(self, source_id: SourceId) -> Union[Lease, Holder]:
        """Take a source for this run, or learn who holds it.

        A holder whose process is gone is replaced at once; a living one never is.
        """
        with self._db.transaction() as db:
            holder = db.execute(
                "SELECT runs.* FROM leases JOIN runs ON runs.id = leases.run_id "
                "WHERE leases.source_id = :source",
                {"source": source_id},
            ).fetchone()
            if holder is not None and holder["id"] != self.run_id and not _dead(holder):
                return Holder(holder["id"], holder["host"], holder["pid"], holder["started_at"])
            db.execute(
                "INSERT OR REPLACE INTO leases (source_id, run_id, renewed_at) "
                "VALUES (:source, :run, :now)",
                {"source": source_id, "run": self.run_id, "now": utc_now()},
            )
        return Lease(source_id, self.run_id)

    def still_holds(self, lease: Lease) -> bool:
        """Whether a lease is still this run's; asked right before every mutating call."""
        row = self._db.row(
            "SELECT 1 FROM leases WHERE source_id = :source AND run_id = :run",
            {"source": lease.source_id, "run": lease.run_id},
        )
        return row is not None

    def release(self, lease: Lease) -> None:
        """Give a source back."""
        with self._db.transaction() as db:
            db.execute(
                "DELETE FROM leases WHERE source_id = :source AND run_id = :run",
                {"source": lease.source_id, "run": lease.run_id},
            )

    def holder(self, source_id: SourceId) -> Optional[Holder]:
        """Who works on a source right now, this run included."""
        row = self._db.row(
            "SELECT runs.* FROM leases JOIN runs ON runs.id = leases.run_id "
            "WHERE leases.source_id = :source",
            {"source": source_id},
        )
        if row is None or _dead(row):
            return None
        return Holder(row["id"], row["host"], row["pid"], row["started_at"])

    # -- marks of forced and retried work ----------------------------------------------
    def is_marked(self, source_id: SourceId, kind: str) -> bool:
        """Whether a source was begun afresh already, for the demand that this run fulfils.

        By a run of this kind that did not end; or by one that ran beside this one, as the same
        command in several terminals is one demand.
        """
        row = self._db.row("SELECT * FROM marks WHERE source_id = :source", {"source": source_id})
        if row is None or row["kind"] == kind:
            return row is not None
        beside = row["run_id"] in self._beside or 0 < self.run_id < row["run_id"]
        return bool(row["kind"] == kind + _ENDED and beside)

    def clear_marks(self, source_ids: Iterable[str]) -> None:
        """The forced run came to its end for these sources: the next one forces again.

        Takes effect in the transaction that ends this run: one that dies before it continues.
        """
        self._over.update(source_ids)

    def _clear_marks(self, db: sqlite3.Connection) -> None:
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

    # -- temporary keys ----------------------------------------------------------------
    def record_key(self, name: str, username: str) -> None:
        """A key of this name is about to be made."""
        with self._db.transaction() as db:
            db.execute(
                "INSERT INTO temp_keys (name, run_id, username, state) "
                "VALUES (:name, :run, :username, 'making')",
                {"name": name, "run": self.run_id, "username": username},
            )

    def record_key_id(self, name: str, key_id: str) -> None:
        """The key exists and has this id."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE temp_keys SET key_id = :key, state = 'made' WHERE name = :name",
                {"key": key_id, "name": name},
            )

    def record_key_gone(self, name: str) -> None:
        """The key is deleted, or was never made."""
        with self._db.transaction() as db:
            db.execute("UPDATE temp_keys SET state = 'gone' WHERE name = :name", {"name": name})

    def keys_left(self) -> List[TempKey]:
        """Keys of this run and of dead runs that may still exist."""
        rows = self._db.rows("SELECT * FROM temp_keys WHERE state != 'gone' ORDER BY rowid")
        keys = [TempKey(row["name"], row["run_id"], row["username"], row["key_id"]) for row in rows]
        dead = self._dead_runs({key.run_id for key in keys})
        return [key for key in keys if key.run_id == self.run_id or key.run_id in dead]

    # -- test chats --------------------------------------------------------------------
    def record_test_chat(
        self,
        source_id: SourceId,
        target_id: TargetId,
        owner: str,
        known_sessions: Sequence[str],
        question: str,
    ) -> int:
        """A test chat is about to be opened beside these sessions; returns its number here."""
        with self._db.transaction() as db:
            cursor = db.execute(
                "INSERT INTO test_chats (run_id, source_id, target_id, owner, known_sessions, "
                "question, state) VALUES (:run, :source, :target, :owner, :known, :question, "
                "'making')",
                {
                    "run": self.run_id,
                    "source": source_id,
                    "target": target_id,
                    "owner": owner,
                    "known": json.dumps(list(known_sessions)),
                    "question": question,
                },
            )
            return int(cursor.lastrowid or 0)

    def record_test_chat_id(self, number: int, session_id: str) -> None:
        """The test chat exists and has this id."""
        with self._db.transaction() as db:
            db.execute(
                "UPDATE test_chats SET session_id = :session, state = 'made' WHERE id = :number",
                {"session": session_id, "number": number},
            )

    def record_test_chat_gone(self, number: int) -> None:
        """The test chat is deleted, or was never made."""
        with self._db.transaction() as db:
            db.execute("UPDATE test_chats SET state = 'gone' WHERE id = :n", {"n": number})

    def test_chats_left(self, source_id: SourceId) -> List[TestChat]:
        """Test chats of a source that this run or a dead one left behind."""
        rows = self._db.rows(
            "SELECT * FROM test_chats WHERE source_id = :source AND state != 'gone' ORDER BY id",
            {"source": source_id},
        )
        chats = [_test_chat(row) for row in rows]
        dead = self._dead_runs({chat.run_id for chat in chats})
        return [chat for chat in chats if chat.run_id == self.run_id or chat.run_id in dead]

    def sources_with_test_chats(self) -> List[SourceId]:
        """Sources that some run may have left a test chat of."""
        rows = self._db.rows("SELECT DISTINCT source_id FROM test_chats WHERE state != 'gone'")
        return [SourceId(row["source_id"]) for row in rows]

    def _dead_runs(self, run_ids: Set[int]) -> Set[int]:
        """Runs whose leftovers may be deleted: surely over, whatever a clock says.

        A silent run of another machine is not: it sweeps its own when it runs there again.
        """
        dead = set()
        for run_id in run_ids - {self.run_id}:
            row = self._db.row("SELECT * FROM runs WHERE id = :run", {"run": run_id})
            if row is None or row["ended_at"] is not None or is_alive(_identity(row)) is False:
                dead.add(run_id)
        return dead


def other_server(path: str, bound: str, asked: str) -> ToolError:
    """The refusal to mix two servers in one database."""
    return ToolError(
        f"The tracking database {path} belongs to the server {bound}, not to {asked}.",
        "Use --db-path for another file, or --rebind-server if it is the same server under "
        "a new name.",
        ExitCode.USAGE,
    )


def _identity(row: sqlite3.Row) -> ProcessIdentity:
    return ProcessIdentity(row["host"], row["machine"], row["pid"], row["process_start"])


def _dead(row: sqlite3.Row) -> bool:
    if row["ended_at"] is not None:
        return True
    alive = is_alive(_identity(row))
    if alive is None:
        return _expiry(row) is None
    return not alive


def _living_runs(db: sqlite3.Connection) -> Set[int]:
    """The runs of this database that have not ended and whose processes live."""
    rows = db.execute("SELECT * FROM runs WHERE ended_at IS NULL").fetchall()
    return {row["id"] for row in rows if not _dead(row)}


def _expiry(row: sqlite3.Row) -> Optional[datetime]:
    """When a silent run of another machine stops counting; None if it already has."""
    heartbeat = parse_time(row["heartbeat_at"])
    if heartbeat is None:
        return None
    expires = heartbeat + OTHER_HOST_EXPIRY
    return expires if expires > datetime.now(timezone.utc) else None


def _test_chat(row: sqlite3.Row) -> TestChat:
    return TestChat(
        id=row["id"],
        run_id=row["run_id"],
        source_id=SourceId(row["source_id"]),
        target_id=TargetId(row["target_id"]),
        owner=row["owner"],
        known_sessions=tuple(json.loads(row["known_sessions"])),
        question=row["question"],
        session_id=row["session_id"],
    )
