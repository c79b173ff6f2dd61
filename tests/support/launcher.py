"""The process that ``command`` forks from: all imports done, no thread, no state.

Reads one JSON line per request from a socket and answers each with one line. Ends, with all
that it started, when the other side goes away.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import random
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, NoReturn, Optional

PLAN = "H2OGPTE_TESTS_PLAN"
"""What a run does differently from a user's, in its environment: see ``become_ready``."""


def preload() -> None:
    """Import the tool, and the client that it imports for a question."""
    gc.disable()
    # In place of this folder, which a run of the command would not have either.
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from tests.crash import arming  # noqa: F401
    from tests.support import waits
    from tests.support.client import prepare_client

    sys.path[0:1] = []
    waits.load_everything()
    for name in ("urllib3", "rich.progress", "rich.live"):
        importlib.import_module(name)
    prepare_client()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)  # what is looked at has to be copied for the fork
    gc.enable()


def become_ready() -> None:
    """Change the fork as its plan says; without one, it just looks again sooner than users' runs."""
    plan = os.environ.pop(PLAN, "")
    if plan:
        from tests.crash import arming

        arming.arm(json.loads(plan))
    else:
        from tests.support import waits

        waits.as_in_a_fork()


def end(code: object) -> NoReturn:
    """End as an interpreter does, but for taking all modules apart, which takes its time."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


class _Child(Exception):
    """Unwinds the server loop in the fork, so that it ends like any other interpreter."""


class Server:
    """Starts forks and remembers how they ended."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._codes: Dict[int, Optional[int]] = {}

    def serve(self) -> None:
        with self._channel.makefile("r", encoding="utf-8") as lines:
            self._answer("ready")
            for line in lines:
                request = json.loads(line)
                if "start" in request:
                    self._answer({"pid": self._start(request["start"])})
                else:
                    self._answer({"code": self._code_of(request["poll"])})
        self._end_all()

    def _answer(self, value: Any) -> None:
        self._channel.sendall(json.dumps(value).encode() + b"\n")

    def _start(self, request: Dict[str, Any]) -> int:
        alone = all(self._code_of(pid) is not None for pid in self._codes)
        pid = os.fork()
        if pid == 0:
            become(request)
            if not alone and hasattr(os, "sched_setaffinity"):
                # Those that meet shall do so on whatever cores there are, as users' runs would.
                os.sched_setaffinity(0, range(os.cpu_count() or 1))
            raise _Child
        self._codes[pid] = None
        return pid

    def _code_of(self, pid: int) -> Optional[int]:
        if self._codes[pid] is None:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                signaled = os.WIFSIGNALED(status)
                self._codes[pid] = -os.WTERMSIG(status) if signaled else os.WEXITSTATUS(status)
        return self._codes[pid]

    def _end_all(self) -> None:
        for pid in self._codes:
            if self._code_of(pid) is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def become(request: Dict[str, Any]) -> None:
    """Turn the fork into what a shell would have started, whatever the tests run under."""
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    for descriptor, name, flags in (
        (0, "in", os.O_RDONLY),
        (1, "out", os.O_WRONLY | os.O_APPEND),
        (2, "err", os.O_WRONLY | os.O_APPEND),
    ):
        opened = os.open(request[name], flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.argv = ["h2ogpte-migrate", *request["argv"]]
    random.seed()


def main() -> NoReturn:
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    preload()
    try:
        Server(channel).serve()
    except _Child:
        channel.close()
        become_ready()
        _run()
    sys.exit(0)


def _run() -> None:
    from h2ogpte_migration import app

    try:
        app.run()
    except SystemExit as ending:
        end(ending.code)


if __name__ == "__main__":
    main()
