"""What a run has to tidy up at the server: temporary keys and test chats, recorded before they are made.

Only names and ids are stored, never a secret. What a dead run left is this run's to sweep.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import datetime
from typing import Dict, List, Optional, Sequence, Set

from h2ogpte_migration.model import SourceId, TargetId, parse_time
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.liveness import is_alive
from h2ogpte_migration.tracking.records import TempKey, TestChat
from h2ogpte_migration.tracking.rows import insert
from h2ogpte_migration.tracking.runs import Runs, identity_of, is_over


class Leftovers:
    """Keys and test chats on record, as one run sees them."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._db = database
        self._runs = runs

    # -- temporary keys ----------------------------------------------------------------
    def record_key(self, name: str, username: str) -> None:
        """A key of this name is about to be made."""
        with self._db.transaction() as db:
            values = {
                "name": name,
                "run_id": self._runs.run_id,
                "username": username,
                "state": "making",
            }
            insert(db, "temp_keys", values)

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
        """Keys of this run and of runs that are over, as far as they may still exist."""
        keys = self._keys()
        over = self._over({key.run_id for key in keys})
        return [replace(key, certain=over[key.run_id]) for key in keys if key.run_id in over]

    def keys_in_doubt(self) -> List[TempKey]:
        """Keys of other machines' runs of which nobody knows yet whether they live."""
        keys = self._keys()
        doubtful = self._doubtful({key.run_id for key in keys})
        return [key for key in keys if key.run_id in doubtful]

    def _keys(self) -> List[TempKey]:
        rows = self._db.rows("SELECT * FROM temp_keys WHERE state != 'gone' ORDER BY rowid")
        return [TempKey(row["name"], row["run_id"], row["username"], row["key_id"]) for row in rows]

    def forget(self) -> None:
        """Forget what is on record: in the throw-away copy of a dry run."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM temp_keys")
            db.execute("DELETE FROM test_chats")

    # -- test chats --------------------------------------------------------------------
    def record_test_chat(
        self,
        source_id: SourceId,
        target_id: TargetId,
        owner: str,
        known_sessions: Sequence[str],
        question: str,
        asked_at: Optional[datetime] = None,
    ) -> int:
        """A test chat is about to be opened beside these sessions; returns its number here.

        ``asked_at`` is the time by the server's clock.
        """
        values = {
            "run_id": self._runs.run_id,
            "source_id": source_id,
            "target_id": target_id,
            "owner": owner,
            "known_sessions": json.dumps(list(known_sessions)),
            "question": question,
            "asked_at": asked_at.isoformat() if asked_at else None,
            "state": "making",
        }
        with self._db.transaction() as db:
            return insert(db, "test_chats", values)

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

    def test_chats_left(self, source_id: SourceId, owner: Optional[str] = None) -> List[TestChat]:
        """Test chats of a source, perhaps of one owner alone, that this run or a dead one left behind."""
        rows = self._db.rows(
            "SELECT * FROM test_chats WHERE source_id = :source AND state != 'gone' ORDER BY id",
            {"source": source_id},
        )
        chats = [_test_chat(row) for row in rows]
        over = self._over({chat.run_id for chat in chats})
        return [chat for chat in chats if chat.run_id in over and owner in (None, chat.owner)]

    def sources_with_test_chats(self) -> List[SourceId]:
        """Sources that some run may have left a test chat of."""
        rows = self._db.rows("SELECT DISTINCT source_id FROM test_chats WHERE state != 'gone'")
        return [SourceId(row["source_id"]) for row in rows]

    def _over(self, run_ids: Set[int]) -> Dict[int, bool]:
        """Runs whose leftovers may be deleted, this one included, and whether that is certain.

        A run of another machine that gave no sign of life for long counts as over, too, as it
        does for leases; but a machine that only slept may come back.
        """
        over = {self._runs.run_id: True}
        for run_id in run_ids - {self._runs.run_id}:
            row = self._db.row("SELECT * FROM runs WHERE id = :run", {"run": run_id})
            if row is None or row["ended_at"] is not None or is_alive(identity_of(row)) is False:
                over[run_id] = True
            elif is_over(row):
                over[run_id] = False
        return over

    def _doubtful(self, run_ids: Set[int]) -> Set[int]:
        doubtful = set()
        for run_id in run_ids - self._over(run_ids).keys():
            row = self._db.row("SELECT * FROM runs WHERE id = :run", {"run": run_id})
            if row is not None and is_alive(identity_of(row)) is None:
                doubtful.add(run_id)
        return doubtful


def _test_chat(row: sqlite3.Row) -> TestChat:
    return TestChat(
        id=row["id"],
        run_id=row["run_id"],
        target_id=TargetId(row["target_id"]),
        owner=row["owner"],
        known_sessions=tuple(json.loads(row["known_sessions"])),
        session_id=row["session_id"],
        asked_at=parse_time(row["asked_at"]),
    )
