"""A world with one collection, runs in this process, and what must be true whatever was bent.

A test bends one thing (an answer, a row, a database from a backup, what people do meanwhile) and
runs the command; ``wrong`` then says which promise was broken. A run may well end with exit 1 and a
reason: what it must not do is lose, double, share more widely, or call a wrong end a success.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
    TypeVar,
)

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.sandbox.habits import Fate
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from h2ogpte_migration.states import Position
from h2ogpte_migration.tracking.database import Database
from h2ogpte_migration.tracking.store import Store
from tests.e2e.prepared import bring_over, copied, once
from tests.faults.harness import LARGE, M3, TIMEOUT_S, JumpingClock, Result, clock, run, serving
from tests.support import waits

__all__ = ["clock"]

DATABASE = "migration_tracking.db"
DOCUMENTS = ["a.pdf", "b.pdf", "c.pdf"]
WAIT, CHATS, VERIFY = "--wait-for-completion", "--migrate-chats", "--verify"
RETRY, FORCE = "--retry-failed", "--force-remigrate"


@dataclass
class Lab:
    """One source, its server, and the folder that commands are run in."""

    server: SandboxServer
    source: Collection
    folder: Path
    snapshots: Dict[Position, bytes] = field(default_factory=dict)
    """The database as it stood when the source was first seen at a position."""

    @property
    def world(self) -> World:
        return self.server.world

    # -- commands ------------------------------------------------------------------------
    def migrate(self, *more: str, admin: bool = True) -> Result:
        """The whole way, in one command."""
        return self.command("--target-model", M3, WAIT, CHATS, *more, admin=admin)

    def submit(self, *more: str, admin: bool = True) -> Result:
        """Begin, and let the server work."""
        result = self.command("--target-model", M3, CHATS, *more, admin=admin)
        self.world.wait_until_idle()
        return result

    def verify(self, *more: str, admin: bool = True) -> Result:
        """What a job of cron does."""
        return self.command(VERIFY, CHATS, *more, admin=admin)

    def begin(self, prepare: Callable[..., object], *words: str) -> None:
        """Begin with what ``prepare`` leaves; what is done for the first test serves them all."""

        def commands() -> List[Collection]:
            prepare(self, *words)
            return [self.source]

        name = (prepare, words)
        (self.source,) = once(name, self.server, self.database, commands)
        self.snapshots = _snapshots.setdefault(name, self.snapshots)

    def migrated(self, *more: str) -> None:
        """Begin where the whole way was gone."""
        self.begin(_migrate, *more)

    def submitted(self, *more: str) -> None:
        """Begin where the server has imported what was submitted."""
        self.begin(_submit, *more)

    def replaced(self) -> None:
        """Begin where the whole way was gone twice: there is a former target."""
        self.begin(_migrate_twice)

    def command(self, *words: str, admin: bool = True) -> Result:
        """Any command, as the administrator or as the owner."""
        if admin:
            key = ["--admin-key", "sk-sandbox-admin"]
            no_scope = {VERIFY, "--collections", "--all-users", "--rollback"} & {*words}
            key += [] if no_scope else ["--users", "anna"]
        else:
            key = ["--user-key", "sk-sandbox-anna"]
        if words[0] == "--status":
            return run(self.folder, *words)
        common = ["--url", self.server.url, "--timeout", str(TIMEOUT_S), *key]
        return run(self.folder, *common, *words)

    @property
    def last_log(self) -> str:
        """The text of the newest log."""
        logs = sorted(self.folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
        return logs[-1].read_text(encoding="utf-8")

    # -- the database ----------------------------------------------------------------------
    @property
    def database(self) -> Path:
        return self.folder / DATABASE

    def sql(self, statement: str, *values: Any) -> List[Dict[str, Any]]:
        """What somebody does with ``sqlite3``."""
        with closing(sqlite3.connect(str(self.database))) as connection, connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement, values)]

    def rows(self) -> List[Dict[str, Any]]:
        """The documented table."""
        if not self.database.exists():
            return []
        return self.sql("SELECT * FROM collection_migrations")

    def row(self) -> Dict[str, Any]:
        """The row of the source."""
        (row,) = self.rows()
        return row

    def put_back(self, position: Position) -> None:
        """The database of a backup: as it stood at an earlier position."""
        self.forget()
        if position != Position.NEW:
            self.database.write_bytes(self.snapshots[position])
            bring_over(self.database, self.server)

    def forget(self) -> None:
        """Lose the database."""
        for file in self.folder.glob(f"{DATABASE}*"):
            file.unlink()

    # -- the server ------------------------------------------------------------------------
    @property
    def targets(self) -> List[Collection]:
        """What was made of the source, in the order of creation."""
        return [item for item in self.world.collections.values() if item is not self.source]

    @property
    def target(self) -> Collection:
        """The only one."""
        (target,) = self.targets
        return target

    def current(self) -> Optional[Collection]:
        """The target that is on record."""
        rows = self.rows()
        return self.world.collections.get(str(rows[0]["new_collection_id"])) if rows else None

    def forget_jobs(self) -> None:
        """A day goes by."""
        with self.world.lock:
            self.world.jobs.clear()

    def forget_jobs_that_ended(self) -> None:
        """The server keeps no record of them."""
        with self.world.lock:
            for job_id in [job.id for job in self.world.jobs.values() if not job.running]:
                del self.world.jobs[job_id]

    def chats_of(self, collection_id: str) -> int:
        return len(self.world.sessions_of(collection_id))

    def let_jobs_end(self) -> None:
        """Jobs that would never end succeed, now."""
        for job in self.world.jobs.values():
            if job.running:
                job.fate, job.duration_s = Fate.SUCCEED, 0.0
        self.world.wait_until_idle()

    # -- the promises ------------------------------------------------------------------------
    def wrong(
        self,
        result: Result,
        *,
        chats: Optional[int] = 2,
        connectors: Optional[int] = 2,
        targets: int = 1,
        widely: bool = False,
        ended: bool = True,
    ) -> str:
        """The promises that were broken; empty where all were kept.

        Args:
            chats, connectors: how many there are, wherever; None where some were deleted.
            targets: how many targets may hold documents.
            widely: whether a target may be shared more widely than its source by now.
            ended: whether a success is the end of it.
        """
        self.world.wait_until_idle()
        said = list(self._broken(result, targets, widely))
        said += self._lost(chats, connectors)
        if ended and result.code == 0 and self.rows():
            said += self._unfinished(chats, connectors)
        return "\n".join([*said, result.text]) if said else ""

    def _broken(self, result: Result, targets: int, widely: bool) -> Iterator[str]:
        if "bug" in result.text.lower() or "Traceback" in result.text:
            yield "it speaks of a bug"
        owner = {("user", self.source.username)}
        for place in self.targets:
            names = names_in(place)
            if len(set(names)) < len(names):
                yield f"{place.name} holds documents twice: {names}"
            if rights(place) - rights(self.source) - owner and not widely:
                yield f"{place.name} is shared more widely: {rights(place)}"
        filled = [place for place in self.targets if place.documents]
        if len(filled) > targets:
            yield f"{len(filled)} targets hold documents"
        if any(key.name.startswith("h2ogpte-migrate") for key in self.world.alive_keys()):
            yield "temporary keys are left"

    def _lost(self, chats: Optional[int], connectors: Optional[int]) -> Iterator[str]:
        places = [self.source, *self.targets]
        if connectors not in (None, sum(len(place.connectors) for place in places)):
            yield "connectors were lost"
        if chats not in (None, sum(self.chats_of(place.id) for place in places)):
            yield f"chats were lost or left: {[self.chats_of(p.id) for p in places]}"

    def _unfinished(self, chats: Optional[int], connectors: Optional[int]) -> Iterator[str]:
        """A success is the whole of it."""
        current = self.current()
        if current is None:
            yield "a success without a target"
            return
        missing = set(DOCUMENTS) - set(names_in(current))
        if missing and missing & set(names_in(self.source)):
            yield f"a success without {missing}"
        if connectors not in (None, len(current.connectors)):
            yield f"a success with {len(current.connectors)} connectors in the target"
        if chats not in (None, self.chats_of(current.id)):
            yield f"a success with {self.chats_of(current.id)} chats in the target"
        if rights(self.source) - rights(current):
            yield f"a success that is shared with {rights(current)} only"
        if made_of(current) != made_of(self.source):
            yield f"a success with other settings: {made_of(current)}"


_snapshots: Dict[Tuple[Callable[..., object], Tuple[str, ...]], Dict[Position, bytes]] = {}


def _migrate(lab: Lab, *more: str) -> None:
    result = lab.migrate(*more)
    assert result.code == 0, result.text


def _submit(lab: Lab, *more: str) -> None:
    result = lab.submit(*more)
    assert result.code == 0, result.text


def _migrate_twice(lab: Lab) -> None:
    _migrate(lab)
    _migrate(lab, FORCE)


def names_in(collection: Collection) -> List[str]:
    return sorted(line.document.name for line in collection.documents)


def rights(collection: Collection) -> Set[Tuple[str, str]]:
    """Who may see a collection."""
    found = {("user", name) for name in collection.shares}
    found |= {("group", name) for name in collection.group_shares}
    return found | ({("public", "")} if collection.is_public else set())


def made_of(collection: Collection) -> Tuple[object, ...]:
    """What a collection carries beside its documents."""
    settings = (collection.settings, collection.chat_settings)
    return (*settings, collection.metadata, collection.rag_type)


@contextmanager
def laboratory(folder: Path) -> Iterator[Lab]:
    """A lab whose server is gone afterwards."""
    world = World()
    world.times.import_s = world.times.move_s = 0.01
    world.add_user("admin", admin=True)
    world.add_user("anna", groups=["staff"])
    world.add_user("bertil")
    source = world.add_collection(
        "anna",
        "Papers",
        LARGE,
        documents=DOCUMENTS,
        connectors=2,
        chats=2,
        shares={"bertil": ["read"]},
        group_shares={"staff": ["read"]},
        public=["read"],
        settings={"max_tokens_per_chunk": 320, "ocr_model": "auto"},
        chat_settings={"llm": "auto"},
        metadata={"cost_centre": "4711"},
        rag_type="rag+",
    )
    with serving(world) as server:
        yield Lab(server, source, folder)


@contextmanager
def recorded(lab: Lab) -> Iterator[None]:
    """Keep the database as it stands when the source gets to each position."""
    real = Database.transaction

    @contextmanager
    def recording(self: Database, *args: Any, **more: Any) -> Iterator[sqlite3.Connection]:
        with real(self, *args, **more) as db:
            yield db
        tracked = Store(self).load(lab.source.id)
        if tracked is not None and tracked.position not in lab.snapshots:
            lab.snapshots[tracked.position] = copied(lab.database)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "transaction", recording)
        yield


Point = TypeVar("Point")
"""One combination of a matrix of what may be bent."""


def spread(points: Iterable[Point]) -> List[Point]:
    """The points in an order of no meaning, which is the same each time: for samples."""
    return sorted(points, key=lambda point: hashlib.md5(repr(point).encode()).digest())


def try_all(
    matrix: str, points: Sequence[Point], attempt: Callable[[Point, Path], str], folder: Path
) -> None:
    """Try each point in a folder of its own, and tell of all that went wrong at once.

    Args:
        matrix: its name, for the count that is printed.
        points: what is tried.
        attempt: returns what is wrong in the end; nothing where nothing is.
        folder: where the folders are made.
    """
    found = [(point, attempt(point, folder / str(n))) for n, point in enumerate(points)]
    wrong = [f"{point}: {text}" for point, text in found if text]
    print(f"{matrix}: {len(points)} tried, {len(points) - len(wrong)} ended right")
    assert not wrong, "\n".join(wrong)


POSITIONS: Tuple[Position, ...] = (
    Position.NEW,
    Position.CREATING,
    Position.CONFIGURING,
    Position.CREATED,
    Position.SHARED,
    Position.SUBMITTING,
    Position.IMPORTING,
    Position.IMPORTED,
    Position.VALIDATED,
    Position.CONNECTED,
    Position.FINISHED,
)
"""The way of a collection that nothing happens to."""


@pytest.fixture
def hurried(clock: JumpingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come as soon as a test can afford: nothing is late here, but what a test makes late."""
    waits.second_looks((0.02, 0.04), monkeypatch.setattr)
    monkeypatch.setattr(patience, "EMPTY_LOOK_S", 0.01)
    monkeypatch.setattr(patience, "VISIBLE_WITHIN_S", 0.1)
    monkeypatch.setattr(Clock, "sleep", _briefly)


def _briefly(self: Clock, seconds: float) -> None:
    self.stop.wait(min(seconds, 0.02))
    self.check()
