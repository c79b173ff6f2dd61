"""A sign of life of this run, for machines that can't see its process."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import Iterator

from h2ogpte_migration.errors import TrackingError
from h2ogpte_migration.tracking.runs import Runs

EVERY_S = 60.0


@contextmanager
def beating(runs: Runs) -> Iterator[None]:
    """While entered, the run's heartbeat is renewed once a minute."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(EVERY_S):
            # A database that can't be written ends the run where it matters: at its next step.
            with suppress(TrackingError):
                runs.heartbeat()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
