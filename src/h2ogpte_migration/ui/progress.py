"""Progress as an observer: what watches a run. Nothing depends on it, and it decides nothing."""

from __future__ import annotations

import os
from typing import Callable, Optional, Protocol, Sequence

from h2ogpte_migration.model import Collection, Job
from h2ogpte_migration.results import Result
from h2ogpte_migration.ui.console import Console

NARROWEST = 60
"""Columns that a live view needs."""
NO_CURSOR = ("", "dumb", "unknown")


class Progress(Protocol):
    """Told what happens, by any thread. Names are the server's, taken as they come."""

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


class SilentProgress:
    """Nobody watches."""

    def looking(self, what: str, count: int, total: Optional[int] = None) -> None:
        pass

    def started(self, sources: Sequence[Collection]) -> None:
        pass

    def working(self, source: Collection, verb: str) -> None:
        pass

    def waits_for_slot(self, source: Collection) -> None:
        pass

    def job(self, source: Collection, job: Job) -> None:
        pass

    def warning(self, source: Collection, text: str) -> None:
        pass

    def finished(self, result: Result) -> None:
        pass

    def tick(self) -> None:
        pass

    def server(self, what: str, attempt: int, of: int) -> None:
        pass

    def close(self) -> None:
        pass


def choose(console: Console, quiet: bool, stopping: Callable[[], bool] = lambda: False) -> Progress:
    """The progress that fits whoever watches; ``stopping`` says whether a stop was asked for."""
    if quiet:
        return SilentProgress()
    no_cursor = os.name != "nt" and os.environ.get("TERM", "") in NO_CURSOR
    columns = console.columns(console.err)
    if no_cursor or columns is None or columns < NARROWEST:
        from h2ogpte_migration.ui.plain import PlainProgress

        return PlainProgress(console)
    from h2ogpte_migration.ui.live import LiveProgress

    return LiveProgress(console, stopping)
