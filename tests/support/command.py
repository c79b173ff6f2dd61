"""Run the command as a real process and look at what it says.

Importing the client costs seconds per process. So a process of its own (``launcher``) imports
everything once, and each run is a fork of it: it has its own working folder, environment, output
and exit code, takes signals and can be killed, without the cost of the imports. With
``fork=False`` the same call starts a fresh interpreter, as a user does.

    result = run_command(["--status"], cwd=folder)
    running = start_command([...])
    running.kill()
    result = running.wait()
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Mapping, Optional, Sequence, Union

LAUNCHER = Path(__file__).with_name("launcher.py")
PATIENCE_S = 60.0

Env = Mapping[str, Optional[str]]
Folder = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class Result:
    """How a run ended. ``code`` is negative for a signal, as with ``subprocess``."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything that was printed."""
        return self.out + self.err


class Running:
    """A run that may still go on."""

    def __init__(self, process: Union[_Forked, subprocess.Popen[bytes]], out: Path, err: Path):
        self._process = process
        self._out = out
        self._err = err

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def poll(self) -> Optional[int]:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """End it at once, as a power cut does (SIGKILL)."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal; one that has ended does not mind."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def so_far(self) -> str:
        """What was printed up to now."""
        return _text(self._out) + _text(self._err)

    def wait(self, timeout_s: float = PATIENCE_S) -> Result:
        """Wait for the end; one that does not come to it is killed and is an error."""
        deadline = time.monotonic() + timeout_s
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"the command did not end:\n{self.so_far()}")
            _sleep_until_it_ends(self.pid, deadline)
        code = self.poll()
        assert code is not None
        return Result(code, _text(self._out), _text(self._err))

    def wait_until(self, condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
        """Wait for something that it does while it runs; it must not end before."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            ended = self.poll() is not None and not condition()
            assert not ended, f"it ended before:\n{self.so_far()}"
            assert time.monotonic() < deadline, f"it never happened:\n{self.so_far()}"
            time.sleep(0.005)


def _sleep_until_it_ends(pid: int, deadline: float) -> None:
    """Sleep until a process has ended, or the deadline; where that can't be told, for a moment."""
    try:
        descriptor = os.pidfd_open(pid)
    except (AttributeError, OSError):  # before Python 3.9, or not on Linux, or it has just gone
        time.sleep(0.005)
        return
    try:
        select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
    finally:
        os.close(descriptor)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def start_command(
    args: Sequence[str],
    *,
    cwd: Optional[Folder] = None,
    env: Optional[Env] = None,
    stdin: Union[str, bytes, None] = None,
    fork: bool = True,
) -> Running:
    """Start ``h2ogpte-migrate`` with these words.

    Args:
        args: the words behind the program's name.
        cwd: the folder to run in; the present one by default.
        env: changes to the present environment; None removes a variable.
        stdin: what can be read from standard input; nothing by default.
        fork: whether to save the imports; False starts a fresh interpreter.
    """
    folder = _scratch()
    words = [str(word) for word in args]
    _count[0] += 1
    files = {name: folder / f"{_count[0]}.{name}" for name in ("in", "out", "err")}
    data = stdin.encode() if isinstance(stdin, str) else stdin or b""
    files["in"].write_bytes(data)
    for name in ("out", "err"):
        files[name].write_bytes(b"")
    where = os.fspath(cwd) if cwd is not None else str(Path.cwd())
    if fork and hasattr(os, "fork"):
        process: Union[_Forked, subprocess.Popen[bytes]] = _launcher().start(
            words, where, _environment(env), files
        )
    else:
        process = _fresh(words, where, _environment(env), files)
    return Running(process, files["out"], files["err"])


def run_command(
    args: Sequence[str],
    *,
    cwd: Optional[Folder] = None,
    env: Optional[Env] = None,
    stdin: Union[str, bytes, None] = None,
    fork: bool = True,
    timeout_s: float = PATIENCE_S,
) -> Result:
    """Run ``h2ogpte-migrate`` to its end; see ``start_command``."""
    return start_command(args, cwd=cwd, env=env, stdin=stdin, fork=fork).wait(timeout_s)


def _environment(changes: Optional[Env]) -> Dict[str, str]:
    merged: Dict[str, Optional[str]] = {**os.environ, **(changes or {})}
    return {name: value for name, value in merged.items() if value is not None}


def _fresh(
    words: Sequence[str], cwd: str, env: Dict[str, str], files: Mapping[str, Path]
) -> subprocess.Popen[bytes]:
    with ExitStack() as opened:
        return subprocess.Popen(
            [sys.executable, "-m", "h2ogpte_migration", *words],
            cwd=cwd,
            env=env,
            stdin=opened.enter_context(files["in"].open("rb")),
            stdout=opened.enter_context(files["out"].open("ab")),
            stderr=opened.enter_context(files["err"].open("ab")),
            start_new_session=True,
        )


# -- the launcher, once per test process --------------------------------------------------
class _Forked:
    """A fork of the launcher."""

    def __init__(self, launcher: _Launcher, pid: int) -> None:
        self._launcher = launcher
        self.pid = pid

    def poll(self) -> Optional[int]:
        return self._launcher.code_of(self.pid)


class _Launcher:
    """Talks to the process that has everything imported."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, str(LAUNCHER), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._socket = ours
        self._lines = ours.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()
        self._expect("ready")

    def start(
        self, words: Sequence[str], cwd: str, env: Dict[str, str], files: Mapping[str, Path]
    ) -> _Forked:
        request = {"argv": words, "cwd": cwd, "env": env}
        answer = self._ask({"start": {**request, **{key: str(p) for key, p in files.items()}}})
        return _Forked(self, answer["pid"])

    def code_of(self, pid: int) -> Optional[int]:
        code: Optional[int] = self._ask({"poll": pid})["code"]
        return code

    def stop(self) -> None:
        self._lines.close()
        self._socket.close()
        self._process.wait()

    def _ask(self, request: Dict[str, object]) -> Dict[str, int]:
        with self._lock:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(self._read())

    def _expect(self, word: str) -> None:
        if json.loads(self._read()) != word:
            raise RuntimeError("the launcher did not start")

    def _read(self) -> str:
        line = self._lines.readline()
        if not line:
            raise RuntimeError(f"the launcher has ended ({self._process.poll()})")
        return line


_count = [0]
_shared: Dict[str, _Launcher] = {}
_folders: Dict[str, Path] = {}


def _launcher() -> _Launcher:
    if "launcher" not in _shared:
        _shared["launcher"] = _Launcher()
    return _shared["launcher"]


def _scratch() -> Path:
    if "scratch" not in _folders:
        _folders["scratch"] = Path(
            tempfile.mkdtemp(
                prefix="h2ogpte-migrate-tests-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")
            )
        )
    return _folders["scratch"]


@atexit.register
def _tidy_up() -> None:
    for launcher in _shared.values():
        launcher.stop()
    for folder in _folders.values():
        shutil.rmtree(folder, ignore_errors=True)
