"""A small organisation, commands that are killed in it, and the comparison of end states.

A ``Lab`` has one server, whose world is replaced for every experiment, so that ids, names and
the address are the same each time; and one folder per experiment with its own database.
"""

from __future__ import annotations

import copy
import itertools
import json
import shutil
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from h2ogpte_migration.sandbox.model import JsonObject
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.support import command
from tests.support.command import Result, Running
from tests.support.launcher import PLAN
from tests.support.waits import BRIEF_LOOKS_S

MODEL = "mixedbread-ai/mxbai-embed-large-v1"
TRUE_LOOKS_S = (2.0, 15.0)


# -- processes ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Plan:
    """What a run does differently from a user's."""

    hurry: bool = True
    looks_s: Tuple[float, float] = BRIEF_LOOKS_S
    die_before_commit: int = 0
    die_after_commit: int = 0
    count_into: Optional[str] = None
    record_into: Optional[str] = None
    stop_patience_s: Optional[float] = None


HURRIED = Plan()


def start(args: Sequence[str], folder: Path, plan: Plan = HURRIED) -> Running:
    """Start the command in ``folder``, as a process that can be killed."""
    return command.start_command(args, cwd=folder, env={PLAN: json.dumps(asdict(plan))})


# -- worlds ------------------------------------------------------------------------------
def small_organisation(*, notes: bool = False) -> World:
    """Two owners and the admin, three sources with everything that moves; very short jobs.

    Args:
        notes: one source more, so that three imports of one owner are in flight.
    """
    world = World()
    world.times.import_s = 0.04
    world.times.move_s = 0.02
    world.times.ingest_s = 0.02
    world.times.delete_s = 0.01
    world.add_user("admin", admin=True)
    world.add_user("anna", groups=["staff"], workspaces=["research"])
    world.add_user("bertil", groups=["staff"])
    prompt = world.add_prompt("anna", "Answer briefly")
    world.add_collection(
        "anna",
        "Papers",
        documents=["a.pdf", "b.pdf", ("c.zip", "agent_only")],
        document_metadata={"topic": "models"},
        connectors=2,
        chats={"anna": 1, "bertil": 1},
        shares={"bertil": ["read", "chat"]},
        group_shares={"staff": ["read"]},
        settings={"ocr_model": "tesseract"},
        chat_settings={"llm": "auto"},
        metadata={"cost_centre": "4711"},
        rag_type="rag+",
        prompt_template_id=prompt.id,
        workspace="research",
        inactivity_interval=90,
        exempt_from_chat_expiry=True,
    )
    world.add_collection("anna", "Drafts", documents=2, chats=1, workspace="closed long ago")
    if notes:
        world.add_collection("anna", "Notes", documents=2, connectors=1)
    world.add_collection("bertil", "Contracts", documents=2, connectors=1, chats=2, public=["read"])
    return world


def clone(world: World) -> World:
    """Return a copy that shares nothing with the original."""
    with world.lock:
        kept = {name: value for name, value in vars(world).items() if name != "lock"}
        other = World.__new__(World)
        vars(other).update(copy.deepcopy(kept))
    other.lock = threading.RLock()
    return other


# -- experiments -------------------------------------------------------------------------
@dataclass
class Trial:
    """One experiment: a world of its own on the lab's server, and a database."""

    server: SandboxServer
    folder: Path
    results: List[Result] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.server.world

    @property
    def database(self) -> Path:
        return self.folder / "tracking.db"

    def args(self, *words: str, user: Optional[str] = None) -> List[str]:
        """A command line with server, key and database; ``user`` brings his own key."""
        key = (
            ["--user-key", self.world.key_of(user)]
            if user
            else ["--admin-key", self.server.admin_key]
        )
        return ["--url", self.server.url, *key, "--db-path", str(self.database), *words]

    def start(self, args: Sequence[str], plan: Plan = HURRIED) -> Running:
        return start(args, self.folder, plan)

    def run(self, args: Sequence[str], plan: Plan = HURRIED, timeout_s: float = 60) -> Result:
        result = self.start(args, plan).wait(timeout_s)
        self.results.append(result)
        return result

    # -- the end
    def rows(self, sql: str, **values: Any) -> List[Dict[str, Any]]:
        """What a query of the tracking database finds."""
        with closing(sqlite3.connect(str(self.database))) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]

    def story(self) -> str:
        """What was printed, what is on record and what was asked for: for a failure's message."""
        said = [f"[exit {result.code}]\n{result.text}" for result in self.results]
        kept = [
            f"{table}: {list(row.values())}"
            for table, columns in _STORY.items()
            for row in self.rows(f"SELECT {columns} FROM {table}")
        ]
        asked = [
            f"{request.number} {request.route} {request.username} {request.status}"
            for request in self.server.requests
            if request.mutating
        ]
        return "\n".join([*said, *kept, *asked])


_STORY = {
    "attempts": "id, source_name, target_id, adopted, origin, fate, reason",
    "intents": "id, attempt_id, step, state, sends, timed_out, job_id",
    "jobs": "*",
    "marks": "*",
    "temp_keys": "name, username, state",
}


class Lab:
    """Trials on one server, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self.server = SandboxServer(World())

    @contextmanager
    def open(self) -> Iterator[Lab]:
        with self.server:
            yield self

    def trial(self, world: World, database: Optional[Path] = None) -> Trial:
        """Begin an experiment with a copy of ``world``, and of ``database`` if there is one."""
        folder = self._folder / f"trial-{next(self._numbers)}"
        folder.mkdir()
        self.server.faults.clear()
        self.server.world = clone(world)
        self.server.forget_requests()
        trial = Trial(self.server, folder)
        if database is not None:
            shutil.copy(database, trial.database)
        return trial


# -- end states --------------------------------------------------------------------------
_ROW = (
    "old_collection_name, old_model, new_model, job_status, username, error, collection_created, "
    "permissions_copied, import_submitted, import_completed, connectors_migrated, chats_migrated"
)


def end_state(trial: Trial) -> JsonObject:
    """What two ends have in common that are the same: the world, the records, what was said.

    Targets that the history knows as abandoned are left out; they may hold nothing that moves.
    """
    trial.world.wait_until_idle()
    world = clone(trial.world)
    for row in trial.rows("SELECT target_id FROM attempts WHERE fate = 'abandoned'"):
        lost = world.collections.get(row["target_id"])
        if lost is not None:
            assert not lost.connectors, f"connectors on an abandoned target\n{trial.story()}"
            assert not world.sessions_of(lost.id), f"chats on an abandoned target\n{trial.story()}"
            world.drop_collection(lost.id)
    return {
        "world": world.snapshot(),
        "rows": trial.rows(f"SELECT {_ROW} FROM collection_migrations ORDER BY old_collection_id"),
        "warnings": trial.rows(
            "SELECT a.source_name, w.step, w.text FROM warnings w JOIN attempts a "
            "ON a.id = w.attempt_id WHERE a.fate = 'live' ORDER BY 1, 2, 3"
        ),
        "validations": trial.rows(
            "SELECT a.source_name, v.verdict, v.ignored, v.late_documents FROM validations v "
            "JOIN attempts a ON a.id = v.attempt_id WHERE a.fate = 'live' ORDER BY 1"
        ),
        "fates": sorted(
            Counter(
                row["fate"]
                for row in trial.rows(
                    "SELECT fate FROM attempts WHERE fate != 'abandoned' AND target_id IS NOT NULL"
                )
            ).items()
        ),
    }


def problems(trial: Trial) -> List[str]:
    """What must hold at every end, whatever the end state is."""
    found: List[str] = []
    world = trial.world
    live = trial.rows(
        "SELECT a.source_id, a.target_id, m.new_collection_id FROM attempts a "
        "JOIN collection_migrations m ON m.old_collection_id = a.source_id WHERE a.fate = 'live'"
    )
    for row in live:
        if row["target_id"] != row["new_collection_id"]:
            found.append(f"the row and its live attempt differ: {row}")
        if row["target_id"] and row["target_id"] not in world.collections:
            found.append(f"the target is not there: {row}")
    on_record = {row["target_id"] for row in trial.rows("SELECT target_id FROM attempts")}
    for collection in world.collections.values():
        if collection.name.startswith("(Migrated) ") and collection.id not in on_record:
            found.append(f"nobody knows the target {collection.name} ({collection.id})")
    for table, what in (
        ("temp_keys", "temporary keys on record"),
        ("test_chats", "test chats on record"),
    ):
        left = trial.rows(f"SELECT * FROM {table} WHERE state != 'gone'")
        if left:
            found.append(f"{what}: {left}")
    doubt = trial.rows("SELECT * FROM intents WHERE state = 'open'")
    if doubt:
        found.append(f"open intents: {doubt}")
    if trial.rows("SELECT * FROM marks WHERE kind NOT LIKE '%(ended)'"):
        found.append("marks of forced work are left")
    if any(not key.secret.startswith("sk-sandbox-") for key in world.alive_keys()):
        found.append("temporary keys are left")
    found += [f"left: {path.name}" for path in trial.folder.glob("*.check-server*")]
    for collection in world.collections.values():
        names = Counter(m.document.name for m in collection.documents)
        twice = [name for name, count in names.items() if count > 1]
        if twice and not trial.rows(
            "SELECT 1 FROM attempts WHERE target_id = :id AND fate = 'abandoned'", id=collection.id
        ):
            found.append(f"documents twice in {collection.name}: {twice}")
    return found


def difference(one: Any, other: Any, path: str = "") -> List[str]:
    """Where two end states differ, one line each."""
    if isinstance(one, dict) and isinstance(other, dict):
        lines = []
        for key in sorted({*one, *other}, key=str):
            lines += difference(one.get(key), other.get(key), f"{path}/{key}")
        return lines
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        lines = []
        for index, (left, right) in enumerate(zip(one, other)):
            lines += difference(left, right, f"{path}[{index}]")
        return lines
    if one == other:
        return []
    return [f"{path}: wanted {one!r}"[:500], f"{path}: got {other!r}"[:500]]


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for something that another process or the server does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
