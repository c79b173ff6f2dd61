"""A fork of the launcher that is to die at a commit, or to tell what it commits.

What it is to do differently is a ``Plan`` of ``lab``, as JSON. Nothing in the product knows of this.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator

from tests.crash.recorder import Recorder, Tables, tables
from tests.support import waits


def arm(plan: Dict[str, Any]) -> None:
    """Change this process as the plan says, before the command runs."""
    _hurry(plan)
    commits = Commits(plan)
    from h2ogpte_migration.tracking.database import Database

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
    waits.second_looks(plan["looks_s"])
    waits.polls(0.01)
    if plan["stop_patience_s"] is not None:
        waits.stop_patience(plan["stop_patience_s"])
    from h2ogpte_migration.tracking import database

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
