"""The common pace of all requests: how many at once, how fast, and when everybody has to wait.

One worker that is told "too many requests" slows all of them down: they share the server's
patience. Nothing here knows HTTP.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, Optional

from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import Interrupted

FIRST_PACE_S = 0.05
SLOWEST_PACE_S = 0.25
PACE_GROWTH = 1.5
"""By how much the interval between requests grows with each slow-down."""
PACE_RECOVERY = 0.9
"""What is left of it after each success. Four successes make up for a slow-down: where every fifth
request is refused, whatever our pace, slowing down further would help nobody."""
FIRST_PENALTY_S = 0.25
PENALTY_GROWTH = 3
LONGEST_PENALTY_S = 30.0
STOP_POLL_S = 0.1
CLOSE_ENOUGH_S = 0.0005


@dataclass(frozen=True)
class Ticket:
    """What was known when a request started: slow-downs and successes of all workers so far."""

    era: int
    successes: int


class Throttle:
    """Bounds the requests in flight, and slows all of them down together.

    A slow-down cuts the requests in flight to one, spaces them out, and closes a gate for a
    while. Each success opens up a little again: additive for the number, by a factor for the
    interval, so that a server which allows N requests per second settles a little below N.

    Args:
        max_in_flight: requests at once when nobody complains.
        clock: time; when its stop is set, whoever waits gets ``Interrupted``.
    """

    def __init__(self, max_in_flight: int, clock: Clock) -> None:
        self._max = max_in_flight
        self._clock = clock
        self._stop = clock.stop
        self._changed = threading.Condition()
        self._allowed = float(max_in_flight)
        self._in_flight = 0
        self._pace_s = 0.0
        self._penalty_s = 0.0
        self._gate = 0.0
        self._next_start = 0.0
        self._era = 0
        self._successes = 0
        self.started = 0
        self.peak = 0

    @contextmanager
    def slot(self, *, at_once: bool = False) -> Iterator[Ticket]:
        """Hold one of the places for a request; waits for it.

        ``at_once`` is for what must still be done after a stop (deleting keys): it waits for
        nothing, neither for a place nor for the gate.

        Raises:
            Interrupted: the stop came while waiting.
        """
        ticket = self._enter(at_once)
        try:
            yield ticket
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify()  # one place, one of those who wait

    def _enter(self, at_once: bool) -> Ticket:
        while True:
            with self._changed:
                wait_s = 0.0 if at_once else self._time_to_wait()
                if wait_s <= CLOSE_ENOUGH_S:
                    return self._take()
            self._clock.pause(wait_s)

    def _time_to_wait(self) -> float:
        """Wait for a free place (the lock is held), then say how long until one may start."""
        while not self._stop.is_set() and self._in_flight >= int(self._allowed):
            self._changed.wait(STOP_POLL_S)
        if self._stop.is_set():
            raise Interrupted("Stopped before the next request to the server.")
        return max(self._gate, self._next_start) - self._clock.now()

    def _take(self) -> Ticket:
        self._in_flight += 1
        self.started += 1
        self.peak = max(self.peak, self._in_flight)
        self._next_start = self._clock.now() + self._pace_s
        return Ticket(self._era, self._successes)

    def succeeded(self) -> None:
        """Note that the server worked on a request: speed up a little."""
        with self._changed:
            self._successes += 1
            self._penalty_s = 0.0
            pace_s = self._pace_s * PACE_RECOVERY
            self._pace_s = pace_s if pace_s > FIRST_PACE_S / 10 else 0.0
            if self._allowed < self._max:
                self._allowed = min(float(self._max), self._allowed + 1 / self._allowed)
                self._changed.notify()

    def slow_down(self, ticket: Ticket, retry_after_s: Optional[float]) -> None:
        """Note that the server has enough: close the gate for everybody.

        A burst of complaints about requests that ran side by side counts as one.
        """
        with self._changed:
            pause_s = retry_after_s or 0.0
            if ticket.era == self._era:
                self._era += 1
                self._allowed = 1.0
                self._pace_s = min(SLOWEST_PACE_S, max(FIRST_PACE_S, self._pace_s * PACE_GROWTH))
                if retry_after_s is None or self._penalty_s:
                    pause_s = max(pause_s, self._penalty_s or FIRST_PENALTY_S)
                grown_s = (self._penalty_s or FIRST_PENALTY_S) * PENALTY_GROWTH
                self._penalty_s = min(LONGEST_PENALTY_S, grown_s)
            self._gate = max(self._gate, self._clock.now() + pause_s)

    def progress_since(self, ticket: Ticket) -> bool:
        """Whether any request succeeded since the one with this ticket started."""
        with self._changed:
            return self._successes > ticket.successes
