"""Guards for every test, and the sandbox as fixtures.

No test reaches beyond this host, writes outside its own folder, or sees the environment of
whoever runs it. Subprocesses inherit the folder and the environment.
"""

from __future__ import annotations

import gc
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Set

import pytest

from h2ogpte_migration.run import signals
from h2ogpte_migration.sandbox.sample import sample_world
from h2ogpte_migration.sandbox.server import SandboxServer
from h2ogpte_migration.sandbox.world import World

_IN_MEMORY = "/dev/shm"
_ROOM_BYTES = 2**30


def _has_room(folder: str) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _ROOM_BYTES


if _has_room(_IN_MEMORY):
    # Each commit of a tracking database waits for the disk; those of tests need to outlive nothing.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _IN_MEMORY)


# The command and each process that tests it are started many times: they are compiled once.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _keep_to_one_core() -> None:
    """The threads of a run and its server take turns: on two cores that costs a third more."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")[len("gw") :]
    if worker.isdigit() and ALL_CORES:
        os.sched_setaffinity(0, {sorted(ALL_CORES)[int(worker) % len(ALL_CORES)]})


_keep_to_one_core()

# What is imported for the tests stays, so that no search for garbage need look at it: neither while
# it is being imported (a third of that time), nor later.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on there is garbage, of which each run makes little: it is looked for seldom."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    gc.enable()


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    """Take a file of each folder in turn, the largest of each first.

    Some folders keep the processor busy, some wait for servers: so that one fills the pauses of the
    other. What is left in the end is short, so that no process waits long for another one.
    """
    rounds: Dict[Path, int] = {}
    largest_first = sorted({item.path for item in items}, key=lambda file: -file.stat().st_size)
    for folder in {file.parent for file in largest_first}:
        inside = [file for file in largest_first if file.parent == folder]
        rounds.update({file: number for number, file in enumerate(inside)})
    items.sort(key=lambda item: rounds[item.path])


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """In a fresh clone, compile the tests before several processes do so, each for itself."""
    if not config.getoption("numprocesses", None):
        return
    tag = f"{sys.implementation.cache_tag}-pytest-{pytest.__version__}.pyc"
    here = Path(__file__).parent
    if any(
        not list(file.parent.glob(f"__pycache__/{file.stem}.{tag}"))
        for file in here.glob("*/test_*.py")
    ):
        words = [
            sys.executable,
            "-m",
            "pytest",
            "--collect-only",
            "-qq",
            "-p",
            "no:xdist",
            str(here),
        ]
        subprocess.run(words, stdout=subprocess.DEVNULL, check=False)


# A run that was asked to stop ends its process after a while, whatever else runs in it.
signals.LAST_RESORT_S = 86_400.0


_TOGETHER = {
    "tests/contract/": "those that import the client",
    "tests/crash/test_golden.py": "those that begin with what was done before",
    "tests/crash/test_matrix.py": "those that begin with what was done before",
}
"""Files by their beginning, and in which company they are tested: what they share is made once."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file's tests in one process: what they compare with is found out once."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):  # type: ignore[misc]
        """A process takes a file, or several that go together."""

        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return next((name for begin, name in _TOGETHER.items() if file.startswith(begin)), file)

    if config.getoption("dist") != "load":  # what -n alone means
        return None
    if config.option.markexpr == "slow":
        return None  # a whole matrix in few files: each of its tests is long
    config.option.loadscopereorder = False
    return ByFile(config, log)


_LOOPBACK = ("127.", "::1", "localhost")


def _check(address: Any) -> None:
    """Let addresses of this host pass, and paths of Unix sockets."""
    if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
        raise RuntimeError(f"a test tried to reach {address[0]}")


def _stay_on_this_host() -> None:
    """Refuse connections to other hosts, and looking up their names."""
    look_up = socket.getaddrinfo

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: socket.socket, address: Any) -> Any:
            _check(address)
            return real(self, address)

        return call

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is not None:
            _check((host.decode() if isinstance(host, bytes) else host,))
        return look_up(host, *args, **kwargs)

    guards = {"connect": guarded(socket.socket.connect)}
    guards["connect_ex"] = guarded(socket.socket.connect_ex)
    for name, guard in guards.items():
        setattr(socket.socket, name, guard)
    socket.getaddrinfo = guarded_look_up


_stay_on_this_host()


_START = Path.cwd()
_places = itertools.count()
_failed: Set[str] = set()


def pytest_exception_interact(node: pytest.Item) -> None:
    """Note what failed: its folder stays, to be looked at."""
    _failed.add(node.nodeid)


@pytest.fixture(autouse=True)
def tmp_path(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Work in a folder of one's own, with a home of one's own, without settings from outside.

    In place of pytest's: that one looks at the folders of all tests before it makes another.
    """
    for name in [name for name in os.environ if _is_setting(name.upper())]:
        del os.environ[name]
    called = re.sub(r"\W", "_", request.node.name)[:30]
    folder = tmp_path_factory.getbasetemp() / f"{called}{next(_places)}"
    home = folder.with_name(f"{folder.name}.home")
    for made in (folder, home):
        made.mkdir(0o700)
    os.environ["HOME"] = os.environ["USERPROFILE"] = str(home)
    os.chdir(folder)
    yield folder
    os.chdir(_START)
    if request.node.nodeid not in _failed:
        _remove(folder)
        _remove(home)


def _is_setting(name: str) -> bool:
    return name.startswith("H2OGPTE_") or name.endswith("_PROXY")


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()  # by far most are empty
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--habit NAME=VALUE``: the end-to-end tests against a server that is otherwise."""
    parser.addoption(
        "--habit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="run tests/e2e with a habit of the sandbox changed; may be repeated",
    )


@pytest.fixture
def world() -> World:
    """Return a world with an admin, the users ``anna`` and ``bertil``, and nothing else.

    Keys are ``sk-sandbox-<username>``; jobs are quick.
    """
    world = World()
    world.add_user("admin", admin=True)
    world.add_user("anna", groups=["staff"], workspaces=["research"])
    world.add_user("bertil", groups=["staff"])
    return world


@pytest.fixture
def server(world: World) -> Iterator[SandboxServer]:
    """Return a server that runs on ``world``."""
    with SandboxServer(world) as running:
        yield running


@pytest.fixture
def sample_server() -> Iterator[SandboxServer]:
    """Return a server that runs on the sample organisation, with quick jobs."""
    world = sample_world()
    world.times.import_s = 0.2
    with SandboxServer(world) as running:
        yield running
