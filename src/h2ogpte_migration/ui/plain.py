"""Progress as lines, for a file, a mail or a terminal without a cursor."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional, Sequence

from h2ogpte_migration.model import Collection
from h2ogpte_migration.results import Result
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.progress import CountedProgress
from h2ogpte_migration.ui.tally import headline
from h2ogpte_migration.ui.text import plural, time_left

EVERY_S = 30.0


class PlainProgress(CountedProgress):
    """A line per collection that ends, and one every half minute with the time left.

    What was over before the run is counted, and has no line of its own.
    """

    LONGEST = 160

    def __init__(
        self,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(console, clock, wall)
        self._lock = threading.Lock()
        self._total = 0
        self._spoke_at = clock()

    def looking(self, what: str, count: int, total: Optional[int] = None) -> None:
        of = f" of {total:,}" if total else ""
        self._now_and_then(lambda: f"{count:,}{of} {what}")

    def started(self, sources: Sequence[Collection]) -> None:
        self._total = len(sources)
        super().started(sources)

    def warning(self, source: Collection, text: str) -> None:
        self._say(f"WARNING {source.name or source.id}: {text}", attention=True)

    def finished(self, result: Result) -> None:
        number = self._tally.finished(result)
        if not (result.earlier and result.well):
            line = f"{number}/{self._total} {headline(result)}"
            self._say(line, attention=result.needs_attention)

    def tick(self) -> None:
        self._now_and_then(self._standing)

    def server(self, what: str, attempt: int, of: int) -> None:
        if self._tally.server(what, attempt, of):
            self._say(str(self._tally.now().failure), attention=True)

    def _now_and_then(self, text: Callable[[], str]) -> None:
        with self._lock:
            due = self._clock() - self._spoke_at >= EVERY_S
            if due:
                self._spoke_at = self._clock()
        if due:
            self._say(text())

    def _standing(self) -> str:
        now = self._tally.now()
        parts = [f"{now.finished}/{now.total} so far"]
        parts += [plural(now.importing, "import") + " running"] if now.importing else []
        parts += [time_left(now.left_s)] if now.left_s is not None else []
        parts += [str(now.failure)] if now.failure else []
        return ", ".join(parts)
