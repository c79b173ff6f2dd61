"""Deleting what a run made, also after the user asked to stop: to its end, and in a time that people
wait for.

A run that was asked to stop is ended for good after ``signals.LAST_RESORT_S``; by then the calls
under way have had ``patience.STOP_PATIENCE_S``, and so has whatever is deleted here.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from typing import Callable, Iterable, Optional, TypeVar

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import Interrupted

LOOK_EVERY_S = 0.1

T = TypeVar("T")
Item = TypeVar("Item")


def to_its_end(work: Callable[[], T]) -> T:
    """Do it, also where the user asks to stop in the middle of it.

    What was interrupted is done once more: requests that begin after a stop are sent at once, each
    one time. So ``work`` has to be something that may be repeated.
    """
    try:
        return work()
    except Interrupted:
        return work()


class Teardown:
    """The time that there is for it: as long as it takes, until the user asks to stop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopped_at: Optional[float] = None

    def each(self, work: Callable[[Item], None], items: Iterable[Item], at_once: int) -> None:
        """Do it for each, several at once; after a stop, what does not end in time is left behind."""
        pool = ThreadPoolExecutor(at_once, thread_name_prefix="teardown")
        pending = {pool.submit(to_its_end, partial(work, item)) for item in items}
        pool.shutdown(wait=False)
        while pending and not self.out_of_time():
            ended, pending = wait(pending, LOOK_EVERY_S, FIRST_COMPLETED)
            for future in ended:
                future.result()
        for future in pending:
            future.cancel()

    def out_of_time(self) -> bool:
        """Whether the user asked to stop, and has waited as long as people do."""
        if not self._clock.stop.is_set():
            return False
        self._stopped_at = self._stopped_at or self._clock.now()
        return self._clock.now() - self._stopped_at > patience.STOP_PATIENCE_S
