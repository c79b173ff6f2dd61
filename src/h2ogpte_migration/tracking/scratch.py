"""The throw-away database of ``--check-server``: what a check makes is on record before it is made.

It lies beside the tracking database, which a check never opens, and goes when nothing on record is
left at the server. A check that was killed leaves it: the next one deletes what is on record there.
"""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional

from h2ogpte_migration.errors import TrackingError
from h2ogpte_migration.model import JobId
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.rows import insert

_MARK = ".check-server"
_SIDE_FILES = ("", "-wal", "-shm", "-journal")

# In this database alone. `token` is unique and stands in the description of the collection.
_TABLE = """
CREATE TABLE IF NOT EXISTS scratch (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    token TEXT NOT NULL,
    made_id TEXT,
    job_id TEXT,
    state TEXT NOT NULL
)
"""


class Kind:
    """What a check makes by itself; targets and keys are on record in the ordinary tables."""

    COLLECTION = "collection"
    DOCUMENT = "document"
    CHAT = "chat"


@dataclass(frozen=True)
class Thing:
    """Something that a check made, or was about to make: without an id nobody knows.

    Args:
        token: the same for all that belongs to one scratch collection.
    """

    number: int
    kind: str
    name: str
    owner: str
    token: str
    made_id: Optional[str]
    job_id: Optional[JobId]


class Scratch:
    """The things on record that may still exist."""

    def __init__(self, database: Database) -> None:
        self._db = database
        with self._db.transaction() as db:
            db.execute(_TABLE)

    def about_to_make(self, kind: str, name: str, owner: str, token: str) -> int:
        """Something is about to be asked for; returns its number here."""
        values = {"kind": kind, "name": name, "owner": owner, "token": token, "state": "making"}
        with self._db.transaction() as db:
            return insert(db, "scratch", values)

    def made(self, number: int, made_id: str) -> None:
        """It exists and has this id."""
        self._set(number, "state = 'made', made_id = :value", made_id)

    def job_started(self, number: int, job_id: JobId) -> None:
        """A job of the server makes it."""
        self._set(number, "job_id = :value", job_id)

    def gone(self, number: int) -> None:
        """It is deleted, or was never made."""
        self._set(number, "state = :value", "gone")

    def _set(self, number: int, change: str, value: str) -> None:
        with self._db.transaction() as db:
            db.execute(
                f"UPDATE scratch SET {change} WHERE id = :number",
                {"number": number, "value": value},
            )

    def left(self, kind: Optional[str] = None, token: Optional[str] = None) -> List[Thing]:
        """What may still exist, oldest first."""
        rows = self._db.rows(
            "SELECT * FROM scratch WHERE state != 'gone' AND :kind IN ('', kind) "
            "AND :token IN ('', token) ORDER BY id",
            {"kind": kind or "", "token": token or ""},
        )
        return [
            Thing(
                number=row["id"],
                kind=row["kind"],
                name=row["name"],
                owner=row["owner"],
                token=row["token"],
                made_id=row["made_id"],
                job_id=row["job_id"],
            )
            for row in rows
        ]

    def jobs(self) -> List[JobId]:
        """Every import and move job of the migrations in this database."""
        return [JobId(row["job_id"]) for row in self._db.rows("SELECT job_id FROM jobs")]

    @property
    def nothing_left(self) -> bool:
        """Whether nothing on record may still exist, temporary keys included."""
        keys = self._db.row("SELECT 1 FROM temp_keys WHERE state != 'gone'")
        return not self.left() and keys is None


def path_beside(db_path: Path) -> Path:
    """Where the throw-away database lies that goes with a tracking database."""
    return db_path.with_name(f"{db_path.stem}{_MARK}{db_path.suffix or '.db'}")


@contextmanager
def throw_away(db_path: Path) -> Iterator[Database]:
    """The database of a check; afterwards it is deleted, unless something on record is left.

    Raises:
        TrackingError: the file can't be used.
    """
    path, over = path_beside(db_path), False
    database = Database.to_write(path)
    try:
        yield database
    finally:
        with suppress(TrackingError), closing(database):
            over = Scratch(database).nothing_left
        for end in _SIDE_FILES if over else ():
            with suppress(OSError):
                path.with_name(path.name + end).unlink()
