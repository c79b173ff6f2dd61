"""Time as the run knows it: waits end at once when the user asks to stop."""

from __future__ import annotations

import threading
import time

from h2ogpte_migration.errors import Interrupted


class StoppableWaiter:
    """A ``Waiter`` over the system's clock and the event that a signal sets."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted("interrupted")

    def check(self) -> None:
        if self._stop.is_set():
            raise Interrupted("interrupted")
