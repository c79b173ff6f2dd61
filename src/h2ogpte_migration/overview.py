"""What two listings tell of all collections of an owner, in place of a question for each.

They only save requests: what they do not hold, or told too long ago, is for the caller to ask.
"""

from __future__ import annotations

import logging
import threading
from typing import Callable, Dict, Generic, Optional, TypeVar

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import BadReply, NotFound, Rejected, Unavailable
from h2ogpte_migration.gateway.rest import Gateway
from h2ogpte_migration.model import Collection, Job

T = TypeVar("T")

WORTH_A_LISTING = 2
"""From so many on, counts are taken from the listing of all of an owner's collections."""

log = logging.getLogger(__name__)


class Overview:
    """The jobs and the collections of one owner, each listed when first asked for.

    Args:
        gateway: the server with the owner's key.
        looked_after: how many of the owner's collections this run looks after. For a single one
            the listing of all, which may be long, is not read.
    """

    def __init__(self, gateway: Gateway, clock: Clock, looked_after: int) -> None:
        self._looked_after = looked_after
        self._jobs: _Listing[Job] = _Listing(lambda: {j.id: j for j in gateway.jobs()}, clock)
        self._collections: _Listing[Collection] = _Listing(
            lambda: {item.id: item for item in gateway.own_collections()}, clock
        )

    def job(self, job_id: str) -> Optional[Job]:
        """A job that is known to have ended, or to have run a moment ago; else None."""
        job = self._jobs.get(job_id, patience.FRESH_FINDINGS_S)
        if job is not None and not job.ended:
            job = self._jobs.get(job_id, patience.LONGEST_POLL_S)
        return job

    def collection(self, collection_id: str) -> Optional[Collection]:
        """A collection with its counts as they were at most a minute ago, where they are listed."""
        if self._looked_after < WORTH_A_LISTING:
            return None
        return self._collections.get(collection_id, patience.FRESH_FINDINGS_S)


class _Listing(Generic[T]):
    """Rows by id, read by whoever is first, and anew by whoever finds them too old."""

    def __init__(self, read: Callable[[], Dict[str, T]], clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: Dict[str, T] = {}
        self._read_at = float("-inf")

    def get(self, name: str, within_s: float) -> Optional[T]:
        """A row as it was not longer ago; None where it is not listed, or no listing to be had."""
        with self._lock:
            began = self._clock.now()
            if began - self._read_at > within_s:
                try:
                    self._rows = self._read()
                except (Rejected, NotFound, Unavailable, BadReply) as error:
                    log.warning("no overview, each collection is asked for: %s", error.message)
                    self._rows = {}
                self._read_at = began
            return self._rows.get(name)
