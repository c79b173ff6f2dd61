"""What the commits of a run wrote, as seen from outside: tables, rows and changed columns.

Runs in the fork of the launcher, around ``Database.transaction``. Both looks are taken inside the
transaction, so that another thread's commit is never mistaken for this one's.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Set, Tuple

Row = Dict[str, Any]
Tables = Dict[str, Dict[str, Row]]

_TOLD = ("kind", "state", "fate", "job_status", "verdict", "exit_code")
"""Columns whose values are words of their own: told with the value."""
_SOURCE = ("source_id", "old_collection_id")


class Recorder:
    """Writes one JSON line for each commit: when it was done, whom it was about, what it wrote."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()

    def done(self, before: Tables, after: Tables) -> None:
        """Note a commit that has just reached the database."""
        now = time.monotonic()
        about, wrote = _difference(before, after)
        line = json.dumps({"when": now, "about": sorted(about), "wrote": wrote})
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def tables(connection: sqlite3.Connection) -> Tables:
    """All rows of the database, by table and primary key."""
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    return {name: _rows(connection, name) for (name,) in names}


def _rows(connection: sqlite3.Connection, table: str) -> Dict[str, Row]:
    """Not by rowid, which replacing a row changes or not, depending on the rows behind it."""
    info = connection.execute(f"PRAGMA table_info({table})").fetchall()
    keys = [column[1] for column in info if column[5]] or ["its_rowid"]
    cursor = connection.execute(f"SELECT rowid AS its_rowid, * FROM {table}")
    columns = [column[0] for column in cursor.description]
    rows = [dict(zip(columns, row)) for row in cursor.fetchall()]
    return {"/".join(str(row[key]) for key in keys): _told(row) for row in rows}


def _told(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "its_rowid"}


def _difference(before: Tables, after: Tables) -> Tuple[Set[str], List[str]]:
    """Whom a commit was about, and what it wrote; times are no difference."""
    about: Set[str] = set()
    wrote: Set[str] = set()
    for table in sorted({*before, *after}):
        if table not in before:
            wrote.add(f"CREATE {table}")
        old, new = before.get(table, {}), after.get(table, {})
        for key in {*old, *new}:
            words = _row(old.get(key), new.get(key))
            if words is not None:
                row = new.get(key) or old[key]
                of_step = f" of {row['step']}" if row.get("step") else ""
                wrote.add(table + of_step + words)
                about.add(_about(row, {**before, **after}))
    return about, sorted(wrote)


def _row(old: Optional[Row], new: Optional[Row]) -> Optional[str]:
    if new is None:
        return " deleted"
    if old is None:
        told = [f"{name}={new[name]}" for name in _TOLD if new.get(name) is not None]
        return " new(" + ", ".join(told) + ")" if told else " new"
    changed = [c for c in new if new[c] != old.get(c) and not c.endswith("_at")]
    if not changed:
        return None
    return "(" + ", ".join(f"{c}={new[c]}" if c in _TOLD else c for c in changed) + ")"


def _about(row: Row, all_tables: Tables) -> str:
    """The source's id, or else the key's owner, or else the run."""
    attempt = all_tables.get("attempts", {}).get(str(row.get("attempt_id")), {})
    for candidate in (row, attempt):
        for name in _SOURCE:
            if candidate.get(name):
                return str(candidate[name])
    return f"keys of {row['username']}" if row.get("username") else "run"
