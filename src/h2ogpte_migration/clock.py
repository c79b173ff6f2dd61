"""Time as a run knows it: what it measures by, names things by, and waits with.

One object for all of it, so that tests bring one that neither sleeps nor moves by itself. The
wall clock names things and decides nothing.
"""

from __future__ import annotations

import random
import threading
import time
from datetime import datetime, timezone

from h2ogpte_migration.errors import Interrupted


class Clock:
    """The system's clock, and the event that a signal sets: every wait ends at once then."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def now(self) -> float:
        """Seconds that only ever grow; no time of day."""
        return time.monotonic()

    def utc(self) -> datetime:
        """The time of day in UTC."""
        return datetime.now(timezone.utc)

    def chance(self) -> float:
        """A random number from 0 to 1."""
        return random.random()

    def pause(self, seconds: float) -> None:
        """Let time pass; return early when the user asks to stop."""
        self.stop.wait(seconds)

    def sleep(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            Interrupted: the user asked to stop.
        """
        self.pause(seconds)
        self.check()

    def check(self) -> None:
        """Raise ``Interrupted`` if the user asked to stop."""
        if self.stop.is_set():
            raise Interrupted("interrupted")
