"""A launcher as in ``tests.support``, whose forks can be told to die at a commit.

What a fork is to do differently stands in its environment, as JSON: see ``Plan`` in ``lab``.
Nothing in the product knows of this.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, NoReturn

PLAN = "CRASH_PLAN"


def arm(plan: Dict[str, Any]) -> None:
    """Change this process as the plan says, before the command runs."""
    _hurry(plan)
    commits = Commits(plan)
    from h2ogpte_migration.tracking.database import Database
    from tests.crash.recorder import Recorder, Tables, tables

    real = Database.transaction

    recorder = Recorder(plan["record_into"]) if plan.get("record_into") else None

    @contextmanager
    def transaction(self: Database, **how: bool) -> Iterator[Any]:
        before: Tables = {}
        after: Tables = {}
        with real(self, **how) as connection:
            if recorder:
                before = tables(connection)
            yield connection
            commits.about_to()
            if recorder:
                after = tables(connection)
        commits.done()
        if recorder:
            recorder.done(before, after)

    Database.transaction = transaction  # type: ignore[method-assign]


def _hurry(plan: Dict[str, Any]) -> None:
    """Shorten the waits that an experiment is not about.

    Commits need not reach the disk: a process that is killed loses nothing that it wrote.
    """
    if not plan.get("hurry"):
        return
    from h2ogpte_migration import patience
    from h2ogpte_migration.tracking import database

    patience.SECOND_LOOK_S, patience.SECOND_LOOK_AFTER_TIMEOUT_S = plan["looks_s"]
    patience.VISIBLE_WITHIN_S = patience.KEY_VISIBLE_WITHIN_S = plan["looks_s"][1]
    patience.FIRST_POLL_S = patience.BUSY_WAIT_S = patience.EMPTY_LOOK_S = 0.01
    database.SYNCHRONOUS = {True: "OFF", False: "OFF"}


class Commits:
    """Counts the commits of this process and ends it at the chosen one."""

    def __init__(self, plan: Dict[str, Any]) -> None:
        self._before = plan.get("die_before_commit", 0)
        self._after = plan.get("die_after_commit", 0)
        self._count_into = plan.get("count_into")
        self._begun = self._done = 0
        self._lock = threading.Lock()

    def about_to(self) -> None:
        with self._lock:
            self._begun += 1
            self._die_at(self._before, self._begun)

    def done(self) -> None:
        with self._lock:
            self._done += 1
            if self._count_into:
                Path(self._count_into).write_text(str(self._done), encoding="ascii")
            self._die_at(self._after, self._done)

    @staticmethod
    def _die_at(chosen: int, number: int) -> None:
        if number == chosen:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()


def main() -> NoReturn:
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from tests.support import launcher as plain

    plain.preload()  # takes the folder out of the path again
    try:
        plain.Server(channel).serve()
    except plain._Child:
        channel.close()
        arm(json.loads(os.environ.pop(PLAN, "{}")))
        from h2ogpte_migration import app

        app.run()
    sys.exit(0)


if __name__ == "__main__":
    main()
