"""A sign of life of this run, for machines that can't see its process."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import TracebackType
from typing import Optional, Type

from h2ogpte_migration.errors import TrackingError
from h2ogpte_migration.tracking.runs import Runs

EVERY_S = 60.0


class Heartbeat:
    """While entered, renews the run's heartbeat once a minute."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._stop.set()
        self._thread.join(5)

    def _beat(self) -> None:
        while not self._stop.wait(EVERY_S):
            # A database that can't be written ends the run where it matters: at its next step.
            with suppress(TrackingError):
                self._runs.heartbeat()
