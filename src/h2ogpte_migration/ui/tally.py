"""Where a run stands, in numbers: what every way of showing progress counts by. Prints nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Optional, Sequence

from h2ogpte_migration.model import Collection, Job
from h2ogpte_migration.results import OutcomeKind, Result
from h2ogpte_migration.ui.text import gist

IMPORTING, CHECKING = "importing", "validating"
FAILURE_FADES_S = 5.0
"""So long a failure is still shown after the server worked again: slow-downs come in bursts."""
FIRST_ESTIMATE_S = 10.0
LEAST_DONE = 0.02
EFFORT_OF_ONE = 5
"""What a collection costs beside its documents, in documents: a rough weight, for an estimate."""


@dataclass(frozen=True)
class Row:
    """A collection that is being worked on."""

    source: Collection
    verb: str
    since: float
    share: Optional[float] = None


@dataclass(frozen=True)
class LastFailure:
    """What the server answered last, when it did not answer well."""

    what: str
    attempt: int
    of: int
    since: float
    last: float
    over: bool = False

    def __str__(self) -> str:
        if self.what == "429":
            when = time.strftime("%H:%M", time.localtime(self.since))
            return f"The server asks to slow down: 429 since {when}"
        return f"Server: {self.what}, attempt {min(self.attempt + 1, self.of)} of {self.of}"


@dataclass(frozen=True)
class Snapshot:
    """A moment of a run. ``documents`` are those that are known to have been imported."""

    total: int
    finished: int
    counts: Dict[OutcomeKind, int]
    rows: List[Row]
    waiting: int
    documents: int
    all_documents: Optional[int]
    elapsed_s: float
    left_s: Optional[float]
    failure: Optional[LastFailure]

    @property
    def importing(self) -> int:
        """Imports that run at the server, also those that this run does not wait for."""
        here = sum(row.verb == IMPORTING for row in self.rows)
        return here + self.counts.get(OutcomeKind.RUNNING, 0)

    @property
    def in_work(self) -> int:
        """Collections that are worked on and not importing."""
        return sum(row.verb != IMPORTING for row in self.rows)


class Tally:
    """Counts what it is told; may be used by several threads.

    Args:
        clock: seconds that only grow; ``wall`` is the time of day, for people.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._began = clock()
        self._sources: Dict[str, Collection] = {}
        self._counts: Counter[OutcomeKind] = Counter()
        self._rows: Dict[str, Row] = {}
        self._over = 0
        self._documents = 0
        self._all_documents: Optional[int] = None
        self._effort = self._spent = 0.0
        self._failure: Optional[LastFailure] = None

    def started(self, sources: Sequence[Collection]) -> None:
        with self._lock:
            self._sources = {source.id: source for source in sources}
            self._began = self._clock()
            sizes = [_size(source) for source in sources]
            known = [size for size in sizes if size is not None]
            self._all_documents = sum(known) if known and len(known) == len(sizes) else None
            self._effort = sum(map(_effort, sources))

    def working(self, source: Collection, verb: str) -> None:
        with self._lock:
            row = self._rows.get(source.id)
            booking = row is not None and row.verb == CHECKING and verb == IMPORTING
            if not booking and (row is None or row.verb != verb):
                self._rows[source.id] = Row(source, verb, self._clock())

    def waits_for_slot(self, source: Collection) -> None:
        with self._lock:
            self._rows.pop(source.id, None)

    def job(self, source: Collection, job: Job) -> None:
        with self._lock:
            row = self._rows.get(source.id)
            if row is not None and job.ended:
                # It is no import any more, though the step that waited for it goes on.
                self._rows[source.id] = Row(source, CHECKING, self._clock())
            elif row is not None:
                self._rows[source.id] = replace(row, share=job.progress_fraction)

    def finished(self, result: Result) -> int:
        """Count a collection as ended; returns how many have."""
        with self._lock:
            self._rows.pop(result.source_id, None)
            self._counts[result.kind] += 1
            self._over += 1
            source = self._sources.get(result.source_id)
            if source is not None and result.earlier:
                self._effort -= _effort(source)  # it was over before, and cost nothing
            elif source is not None:
                self._spent += _effort(source)
            if result.kind in (OutcomeKind.DONE, OutcomeKind.DOCUMENTS_PENDING):
                self._documents += _size(source) or 0
            return self._over

    def server(self, what: str, attempt: int, of: int) -> bool:
        """Note what the server does; returns whether that is news."""
        now = self._wall()
        with self._lock:
            old = self._failure
            goes_on = old is not None and now - old.last < 60
            if what:
                since = old.since if old and goes_on else now
                self._failure = LastFailure(what, attempt, of, since, now)
                return not goes_on
            if old is not None:
                self._failure = replace(old, over=True)
            return False

    def now(self) -> Snapshot:
        """Where the run stands at this moment."""
        with self._lock:
            rows = list(self._rows.values())
            total, finished = len(self._sources), self._over
            partly = sum((row.share or 0) * (_size(row.source) or 0) for row in rows)
            return Snapshot(
                total=total,
                finished=finished,
                counts=dict(self._counts),
                rows=rows,
                waiting=max(0, total - finished - len(rows)),
                documents=self._documents + int(partly),
                all_documents=self._all_documents,
                elapsed_s=self._clock() - self._began,
                left_s=self._left(rows),
                failure=self._present_failure(),
            )

    def _left(self, rows: List[Row]) -> Optional[float]:
        """An estimate from what this run itself has done, by documents; None while too early."""
        elapsed = self._clock() - self._began
        done = self._spent + sum((row.share or 0) * _effort(row.source) for row in rows)
        if elapsed < FIRST_ESTIMATE_S or not self._effort or done / self._effort < LEAST_DONE:
            return None
        return elapsed * max(0.0, self._effort - done) / done

    def _present_failure(self) -> Optional[LastFailure]:
        failure = self._failure
        if failure and failure.over and self._wall() - failure.last > FAILURE_FADES_S:
            return None
        return failure


def _size(source: Optional[Collection]) -> Optional[int]:
    return source.document_count if source else None


def _effort(source: Collection) -> int:
    return EFFORT_OF_ONE + (source.document_count or 0)


def scrolled(result: Result) -> str:
    """The same for a view that shows owners: what, which, whose, and why in the first place."""
    name = result.source_name or result.source_id
    return "  ".join(
        filter(None, (f"{result.kind.value.upper():<7} {name}", result.owner, gist(result.reason)))
    )


def headline(result: Result) -> str:
    """What became of a collection, for a line that scrolls by."""
    name = result.source_name or result.source_id
    reason = "" if result.well or not result.reason else f": {result.reason}"
    return f"{result.kind.value.upper()} {name}{reason}"
