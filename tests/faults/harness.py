"""Run the command in this process, over real HTTP, at a speed that a matrix can afford.

Only waiting is shortened: the clock of back-off and rate limits jumps over every pause, and the
second look at an unanswered request comes once the server has done what it will do of it, however
slow this machine is. Requests, threads, the tracking database and all that is printed are real.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
import warnings
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.sandbox.model import Collection
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World
from tests.crash.lab import clone
from tests.support import waits
from tests.support.inprocess import run_here

M3 = "BAAI/bge-m3"
LARGE = "BAAI/bge-large-en-v1.5"

TIMEOUT_S = 1.0
"""What the runs wait for an answer."""
BRIEF_TIMEOUT_S = 0.5
"""The same where the server is to hang."""
HANG_S = 0.7
"""How long a hanging server takes."""
LATE_S = 0.05
"""How long after an error the server may still do the work."""
SECOND_LOOK_S = 0.4
SECOND_LOOK_AFTER_TIMEOUT_S = 1.0
"""What the second looks are told by; no time of this length passes."""
A_MOMENT_S = 0.005


class JumpingClock:
    """Time that passes at once wherever the tool pauses between attempts."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._lock = threading.Lock()
        self.paused_s = 0.0
        self.on_pause: Optional[Callable[[], None]] = None

    def now(self) -> float:
        return time.monotonic() + self._ahead_s

    def pause(self, seconds: float, stop: threading.Event) -> None:
        with self._lock:
            self._ahead_s += max(0.0, seconds)
            self.paused_s += max(0.0, seconds)
            hook = self.on_pause
        if hook is not None:
            hook()
        stop.wait(0.001)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    """Shorten every wait of the runs in this test."""
    jumping = JumpingClock()
    monkeypatch.setattr(Clock, "now", lambda _: jumping.now())
    monkeypatch.setattr(Clock, "pause", lambda self, s: _quick_pause(jumping, self, s))
    monkeypatch.setattr(Clock, "chance", lambda _: 1.0)
    monkeypatch.setattr(Clock, "sleep", _quick_sleep)
    waits.second_looks((SECOND_LOOK_S, SECOND_LOOK_AFTER_TIMEOUT_S), monkeypatch.setattr)
    waits.polls(0.01, monkeypatch.setattr)
    return jumping


def _quick_pause(jumping: JumpingClock, self: Clock, seconds: float) -> None:
    """Another look for keys, which may show late, waits for all that is under way."""
    if seconds == patience.KEY_VISIBLE_WITHIN_S / 4:
        _wait_for_the_server(self.stop)
    jumping.pause(seconds, self.stop)


def _quick_sleep(self: Clock, seconds: float) -> None:
    """Waits for a lock or a job are short; a second look waits for all that is under way."""
    if seconds in (SECOND_LOOK_S, SECOND_LOOK_AFTER_TIMEOUT_S):
        _wait_for_the_server(self.stop)
    self.stop.wait(A_MOMENT_S)
    self.check()


def _wait_for_the_server(stop: threading.Event) -> None:
    deadline = time.monotonic() + 10
    while any(server.at_work for server in list(_serving)) and time.monotonic() < deadline:
        stop.wait(A_MOMENT_S)


@dataclass(frozen=True)
class Result:
    """How a run ended, and everything that it left."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def text(self) -> str:
        """Everything that was printed."""
        return self.out + self.err

    @property
    def log(self) -> str:
        """All logs of the folder, oldest first."""
        return "".join(p.read_text(encoding="utf-8") for p in sorted(self.folder.glob("*.log")))


def run(folder: Path, *words: str) -> Result:
    """Run one command line in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    ended = run_here(words, folder)
    return Result(ended.code, ended.out, ended.err, folder)


# -- worlds ------------------------------------------------------------------------------
def small_world() -> World:
    """Three owners and four collections, with everything that makes requests."""
    world = World()
    world.times.import_s = world.times.move_s = world.times.ingest_s = 0.02
    world.add_user("admin", admin=True, groups=["staff"])
    world.add_user("anna", groups=["staff", "research"], workspaces=["research"])
    world.add_user("bertil", groups=["staff"])
    prompt = world.add_prompt("anna", "Answer like a librarian")
    world.add_collection(
        "anna",
        "Papers",
        M3,
        documents=["a.pdf", ("b.zip", "agent_only"), ("c.pdf", "failed")],
        document_metadata={"topic": "models"},
        connectors=2,
        chats={"anna": 2, "bertil": 1},
        shares={"bertil": ["read", "chat"]},
        group_shares={"research": ["read"]},
        settings={"max_tokens_per_chunk": 320, "ocr_model": "auto", "newer_setting": {"deep": 1}},
        chat_settings={"llm": "auto", "rag_config": {"rag_type": "agentic_rag"}},
        metadata={"cost_centre": "4711"},
        rag_type="rag+",
        prompt_template_id=prompt.id,
        workspace="research",
        vex_encryption="enabled",
        inactivity_interval=90,
        size_limit=10**9,
        exempt_from_chat_expiry=True,
    )
    world.add_collection("anna", "Drafts", LARGE, documents=2, connectors=1)
    world.add_collection("bertil", "Board", LARGE, documents=2, public=["read"], chats=1)
    world.add_collection("admin", "Empty folder", M3, documents=0)
    return world


def add_twin(world: World, owner: str, name: str) -> Collection:
    """A collection with everything that makes requests; twins differ in their names only."""
    if owner not in world.users:
        world.add_user(owner, groups=["staff"], workspaces=["research"])
    prompt = next((one for one in world.prompts.values() if one.username == owner), None)
    return world.add_collection(
        owner,
        name,
        M3,
        documents=["a.pdf", ("b.zip", "agent_only")],
        document_metadata={"topic": "models"},
        connectors=1,
        chats={"admin": 1},
        shares={"admin": ["read", "chat"]},
        group_shares={"staff": ["read"]},
        settings={"max_tokens_per_chunk": 320},
        chat_settings={"llm": "auto"},
        metadata={"cost_centre": "4711"},
        rag_type="rag+",
        prompt_template_id=(prompt or world.add_prompt(owner, "Answer like a librarian")).id,
        workspace="research",
        inactivity_interval=90,
        size_limit=10**9,
        exempt_from_chat_expiry=True,
    )


def twins(owners: Mapping[str, str]) -> World:
    """A twin for each of these names, with its owner."""
    world = World()
    world.times.import_s = world.times.move_s = world.times.ingest_s = 0.02
    world.add_user("admin", admin=True, groups=["staff"])
    for name, owner in owners.items():
        add_twin(world, owner, name)
    return world


def unlike(snapshot: Dict[str, Any], healthy: str) -> List[str]:
    """What is wrong where all twins should have been migrated once, as the healthy one was."""
    wrong = [
        f"{what}: {snapshot[what]}" for what in ("loose_chats", "running_jobs") if snapshot[what]
    ]
    wrong += [f"left: {key}" for key in snapshot["keys"] if not key.endswith("/default")]
    ends: Dict[str, Any] = snapshot["collections"]
    (pattern,) = (key for key in ends if key.endswith("/" + healthy))
    for key in (key for key in ends if "/(Migrated) " not in key):
        for place in ("/", "/(Migrated) "):
            wanted, got = (_nameless(ends, one.replace("/", place, 1)) for one in (pattern, key))
            wrong += difference({"": wanted}, {"": got}, key.replace("/", place, 1))
    return wrong


def _nameless(ends: Dict[str, Any], key: str) -> Any:
    """The collections of a key in a snapshot; what is called after them is told without the name."""
    name = key.split("/")[-1].replace("(Migrated) ", "")
    return json.loads(json.dumps(ends.get(key, [])).replace(name, "NAME"))


DATABASE = "migration_tracking.db"


# -- ways to run it ------------------------------------------------------------------------
Mode = Callable[[SandboxServer, Path], Result]


def _common(server: SandboxServer, *words: str) -> List[str]:
    return ["--url", server.url, "--timeout", str(TIMEOUT_S), *words]


def admin_waits(server: SandboxServer, folder: Path, *more: str) -> Result:
    """One command that does it all."""
    words = _common(server, "--admin-key", "sk-sandbox-admin", "--all-users")
    words += ["--use-model-mappings", "--wait-for-completion", "--max-concurrent-jobs", "2"]
    return run(folder, *words, "--migrate-chats", *more)


def submit_then_verify(server: SandboxServer, folder: Path) -> Result:
    """A command that submits, and one that verifies once the jobs have ended."""
    words = _common(server, "--admin-key", "sk-sandbox-admin", "--all-users")
    first = run(folder, *words, "--use-model-mappings")
    server.world.wait_until_idle()
    words = _common(server, "--admin-key", "sk-sandbox-admin", "--verify", "--migrate-chats")
    second = run(folder, *words, "--verify-query", "What is it about?")
    worst = max(first.code, second.code)
    return Result(worst, first.out + second.out, first.err + second.err, folder)


def self_service(server: SandboxServer, folder: Path) -> Result:
    """An owner with a key of her own."""
    words = _common(server, "--user-key", "sk-sandbox-anna", "--use-model-mappings")
    return run(folder, *words, "--wait-for-completion", "--migrate-chats")


def check_server(server: SandboxServer, folder: Path, *more: str, who: str = "admin") -> Result:
    """A check of the server, which leaves it as it was."""
    key = "--admin-key" if who == "admin" else "--user-key"
    words = _common(server, key, f"sk-sandbox-{who}", "--check-server")
    return run(folder, *words, "--target-model", "mixedbread-ai/mxbai-embed-large-v1", *more)


def roll_back(server: SandboxServer, folder: Path) -> Result:
    """The way back, from a world that was migrated before."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DATABASE).write_bytes(_migrated[-1].database)
    words = _common(server, "--admin-key", "sk-sandbox-admin", "--rollback", "--rebind-server")
    return run(folder, *words)


MODES: Dict[str, Mode] = {
    "admin": admin_waits,
    "verify": submit_then_verify,
    "user": self_service,
    "check": check_server,
    "rollback": roll_back,
}


@dataclass(frozen=True)
class Migrated:
    """The small world after its migration, with the tracking database of it."""

    world: World
    database: bytes


_migrated: List[Migrated] = []


def world_for(mode: str, folder: Path) -> World:
    """The world in which a mode begins."""
    if mode != "rollback":
        return small_world()
    if not _migrated:
        with serving(small_world()) as server:
            before = folder / "migrated before"
            assert admin_waits(server, before).code == 0
            server.world.wait_until_idle()
            _migrated.append(Migrated(clone(server.world), (before / DATABASE).read_bytes()))
    return clone(_migrated[-1].world)


# -- helpers -------------------------------------------------------------------------------
_serving: List[SandboxServer] = []


@contextmanager
def serving(world: World, **options: Any) -> Iterator[SandboxServer]:
    """A server on ``world`` that is gone afterwards, whatever happened to it."""
    server = SandboxServer(world, **options)
    server.start()
    _serving.append(server)
    try:
        if options.get("ssl_context"):
            with leaving_connections_open():
                yield server
        else:
            yield server
    finally:
        _serving.remove(server)
        server.stop()
        if options.get("ssl_context"):
            with leaving_connections_open():
                pass


@contextmanager
def leaving_connections_open() -> Iterator[None]:
    """asyncio's server leaves connections open that never came to speak TLS, or were cut off."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


@dataclass(frozen=True)
class Undisturbed:
    """What a run without any fault did, and left."""

    counts: Dict[str, int]
    snapshot: Dict[str, Any]


_undisturbed: Dict[str, Undisturbed] = {}


def undisturbed(mode: str, folder: Path) -> Undisturbed:
    """The undisturbed run of the small world; run once per process."""
    if mode not in _undisturbed:
        with serving(world_for(mode, folder)) as server:
            result = MODES[mode](server, folder / f"undisturbed {mode}")
            snapshot = settled(server.world)
            counts = dict(Counter(request.route for request in server.requests))
        assert result.code == 0, result.text
        _undisturbed[mode] = Undisturbed(counts, snapshot)
    return _undisturbed[mode]


def settled(world: World) -> Dict[str, Any]:
    """The state of the world once everything on its way has arrived."""
    world.wait_until_idle()
    return world.snapshot()


def difference(wanted: Dict[str, Any], got: Dict[str, Any], at: str = "") -> List[str]:
    """Where two snapshots differ, for a message."""
    found: List[str] = []
    for key in sorted(set(wanted) | set(got), key=str):
        left, right = wanted.get(key), got.get(key)
        if left == right:
            continue
        if isinstance(left, dict) and isinstance(right, dict):
            found += difference(left, right, f"{at}/{key}")
        elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right) == 1:
            found += difference({0: left[0]}, {0: right[0]}, f"{at}/{key}")
        else:
            found.append(f"{at}/{key}: {str(left)[:300]} became {str(right)[:300]}")
    return found


def say(words: Sequence[str]) -> None:
    """Print a count for whoever reads the test's output."""
    print(*words, file=sys.stdout)
