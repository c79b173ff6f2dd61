"""Progress as an observer: what watches a run. Nothing depends on it, and it decides nothing."""

from __future__ import annotations

import threading
import time
from typing import Callable, Dict, Protocol

from h2ogpte_migration.model import Collection, Job
from h2ogpte_migration.results import Result
from h2ogpte_migration.ui.console import Console
from h2ogpte_migration.ui.text import plural, safe


class Progress(Protocol):
    """Told what happens to collections, by any thread. Names are the server's, taken as they come."""

    def started(self, total: int) -> None:
        """So many collections are to be worked on."""

    def working(self, source: Collection, verb: str) -> None:
        """A collection has come to a step of its work."""

    def job(self, source: Collection, job: Job) -> None:
        """Its import job was asked how far it is."""

    def finished(self, result: Result) -> None:
        """A collection is done with, for now; called once for each."""

    def waiting(self, n_jobs: int) -> None:
        """So many jobs on the server are being waited for; told as often as one likes."""

    def close(self) -> None:
        """Nothing more comes."""


class SilentProgress:
    """Nobody watches."""

    def started(self, total: int) -> None:
        pass

    def working(self, source: Collection, verb: str) -> None:
        pass

    def job(self, source: Collection, job: Job) -> None:
        pass

    def finished(self, result: Result) -> None:
        pass

    def waiting(self, n_jobs: int) -> None:
        pass

    def close(self) -> None:
        pass


class PlainProgress:
    """Lines, for a file or a terminal without a cursor: one per collection that is done with,
    and now and then a sign of life while waiting."""

    def __init__(
        self,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        quiet_s: float = 60.0,
    ) -> None:
        self._console = console
        self._clock = clock
        self._quiet_s = quiet_s
        self._lock = threading.Lock()
        self._total = 0
        self._done = 0
        self._spoke_at = clock()

    def started(self, total: int) -> None:
        with self._lock:
            self._total, self._done = total, 0

    def working(self, source: Collection, verb: str) -> None:
        pass

    def job(self, source: Collection, job: Job) -> None:
        pass

    def finished(self, result: Result) -> None:
        with self._lock:
            self._done += 1
            name = safe(result.source_name or result.source_id)
            self._say(f"{self._done} of {self._total}: {name}: {result.kind.value}")

    def waiting(self, n_jobs: int) -> None:
        with self._lock:
            if n_jobs and self._clock() - self._spoke_at >= self._quiet_s:
                left = f"{self._done} of {self._total} done"
                self._say(f"Waiting for {plural(n_jobs, 'job')} on the server, {left}.")

    def close(self) -> None:
        pass

    def _say(self, text: str) -> None:
        self._spoke_at = self._clock()
        self._console.info(text)


class LiveProgress:
    """A bar on the terminal, below the lines that the console prints meanwhile."""

    def __init__(self, console: Console) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._console = console
        self._lock = threading.Lock()
        self._phases: Dict[str, str] = {}
        self._last = ""
        self._jobs = 0
        self._screen = RichConsole(file=console.err, highlight=False)
        self._bar = RichProgress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            # Names are strangers' text: never read as markup.
            TextColumn("{task.description}", markup=False),
            console=self._screen,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=None)

    def started(self, total: int) -> None:
        self._bar.update(self._task, total=total, completed=0)
        self._console.divert(self._print_above)
        self._bar.start()

    def working(self, source: Collection, verb: str) -> None:
        with self._lock:
            self._phases.pop(source.id, None)
            self._phases[source.id] = f"{source.name or source.id}: {verb}"
        self._refresh()

    def job(self, source: Collection, job: Job) -> None:
        pass

    def finished(self, result: Result) -> None:
        with self._lock:
            self._phases.pop(result.source_id, None)
            self._last = f"{result.source_name or result.source_id}: {result.kind.value}"
        self._bar.advance(self._task)
        self._refresh()

    def waiting(self, n_jobs: int) -> None:
        with self._lock:
            self._jobs = n_jobs
        self._refresh()

    def close(self) -> None:
        self._console.divert(None)
        self._bar.stop()

    def _refresh(self) -> None:
        """Say how many jobs run, and what came to a new phase last, or ended if nothing is on."""
        with self._lock:
            parts = [f"{plural(self._jobs, 'job')} running"] if self._jobs else []
            last = next(reversed(list(self._phases.values())), self._last)
            parts += [safe(last, 80)] if last else []
        self._bar.update(self._task, description=", ".join(parts))

    def _print_above(self, text: str) -> None:
        self._screen.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def choose(console: Console, quiet: bool) -> Progress:
    """The progress that fits whoever watches."""
    if quiet:
        return SilentProgress()
    if not console.interactive:
        return PlainProgress(console)
    return LiveProgress(console)
