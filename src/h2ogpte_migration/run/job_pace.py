"""When a job will be over, by the progress that it tells: its end is looked for then."""

from __future__ import annotations

from typing import Optional, Tuple


class JobPace:
    """How fast a job has come forward since it was first seen.

    A number that stands still, or goes back, foretells nothing: then the usual delay counts.
    """

    def __init__(self) -> None:
        self._first: Optional[Tuple[float, float]] = None
        self._last: Optional[Tuple[float, float]] = None
        self._moves = False

    def seen(self, fraction: Optional[float], now: float) -> None:
        """Note how far the job is.

        Args:
            fraction: ``progress`` of the contract's ``JobDetails``, 0 to 1; None where it tells
                nothing usable.
            now: seconds of a clock that never goes back.
        """
        if fraction is None:
            self._moves = False
            return
        self._moves = self._last is not None and fraction > self._last[1]
        self._last = (now, fraction)
        self._first = self._first or self._last

    def left_s(self, now: float) -> Optional[float]:
        """In how many seconds it will be over at that pace; None where that can't be told."""
        if self._first is None or self._last is None or not self._moves:
            return None
        (began, at_first), (seen, fraction) = self._first, self._last
        if fraction <= at_first or seen <= began:
            return None
        return seen + (1 - fraction) * (seen - began) / (fraction - at_first) - now
