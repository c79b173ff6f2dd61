"""Progress as an observer: what watches a run. Nothing depends on it, and it decides nothing."""

from __future__ import annotations

import os
import time
from typing import Callable, Optional, Sequence

from h2ogpte_migration.model import Collection, Job
from h2ogpte_migration.results import Result
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.logs import tagged
from h2ogpte_migration.ui.tally import Tally
from h2ogpte_migration.ui.text import safe

NARROWEST = 60
"""Columns that a live view needs."""
NO_CURSOR = ("", "dumb", "unknown")


class Progress:
    """Told what happens, by any thread; shows nothing, if nobody watches.

    Names are the server's, taken as they come.
    """

    def looking(self, what: str, count: int, total: Optional[int] = None) -> None:
        """So many things (``what`` says which) were seen so far, before the work itself."""

    def started(self, sources: Sequence[Collection]) -> None:
        """These collections are to be worked on."""

    def working(self, source: Collection, verb: str) -> None:
        """A collection has come to a step of its work."""

    def waits_for_slot(self, source: Collection) -> None:
        """A collection waits until an import may be submitted."""

    def job(self, source: Collection, job: Job) -> None:
        """Its import job was asked how far it is."""

    def warning(self, source: Collection, text: str) -> None:
        """Something of a collection can't be carried over."""

    def finished(self, result: Result) -> None:
        """A collection is done with, for now; called once for each."""

    def tick(self) -> None:
        """Time passes, and work goes on; told as often as one likes."""

    def server(self, what: str, attempt: int, of: int) -> None:
        """A request was not answered well, and is sent again; empty: the server works again."""

    def close(self) -> None:
        """Nothing more comes; may be said more than once."""


class CountedProgress(Progress):
    """Counts what happens, and says things with the time of day; how it looks is for others.

    Args:
        clock, wall: seconds that only grow, and the time of day.
    """

    LONGEST = 300

    def __init__(
        self, console: Console, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._console = console
        self._clock = clock
        self._wall = wall
        self._tally = Tally(clock, wall)

    def started(self, sources: Sequence[Collection]) -> None:
        self._tally.started(sources)

    def working(self, source: Collection, verb: str) -> None:
        self._tally.working(source, verb)

    def waits_for_slot(self, source: Collection) -> None:
        self._tally.waits_for_slot(source)

    def job(self, source: Collection, job: Job) -> None:
        self._tally.job(source, job)

    def _say(self, text: str, *, attention: bool = False) -> None:
        when = time.strftime("%H:%M:%S", time.localtime(self._wall()))
        say = self._console.attention if attention else self._console.info
        with tagged(""):  # the line names its collection itself
            say(f"{when} {safe(text, self.LONGEST)}")


def choose(console: Console, quiet: bool, stopping: Callable[[], bool] = lambda: False) -> Progress:
    """The progress that fits whoever watches; ``stopping`` says whether a stop was asked for."""
    if quiet:
        return Progress()
    no_cursor = os.name != "nt" and os.environ.get("TERM", "") in NO_CURSOR
    columns = console.columns(console.err)
    if no_cursor or columns is None or columns < NARROWEST:
        from h2ogpte_migration.ui.plain import PlainProgress

        return PlainProgress(console)
    from h2ogpte_migration.ui.live import LiveProgress

    return LiveProgress(console, stopping)
