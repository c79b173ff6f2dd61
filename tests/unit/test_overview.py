"""What two listings tell of all collections of an owner."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import OutcomeUnknown, ServerError, Unauthorized, Unavailable
from h2ogpte_migration.model import Collection, Job, JobId
from h2ogpte_migration.overview import WORTH_A_LISTING, Overview


class Watch(Clock):
    """Time that stands still until it is told to move."""

    def __init__(self) -> None:
        super().__init__(threading.Event())
        self.time = 1000.0

    def now(self) -> float:
        return self.time


class Listings:
    """The two listings of a gateway, counted."""

    def __init__(self) -> None:
        self.states = {"j1": Job.COMPLETED, "j2": Job.RUNNING}
        self.asked: Dict[str, int] = {"jobs": 0, "collections": 0}
        self.trouble: Callable[[], None] = lambda: None

    def jobs(self) -> List[Job]:
        self.asked["jobs"] += 1
        self.trouble()
        return [Job(JobId(ident), "import", state) for ident, state in self.states.items()]

    def own_collections(self) -> List[Collection]:
        self.asked["collections"] += 1
        self.trouble()
        return [Collection("c1", "Papers", "anna", "old", document_count=3, sessions_count=2)]


@pytest.fixture
def listings() -> Listings:
    return Listings()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def overview(listings: Listings, watch: Watch) -> Overview:
    gateway: Any = listings
    return Overview(gateway, watch, WORTH_A_LISTING)


def state(job: Any) -> str:
    return job.state if job else "not told"


def test_one_listing_tells_of_many_jobs(overview: Overview, listings: Listings) -> None:
    assert [state(overview.job(one)) for one in ("j1", "j2", "j3")] == [
        Job.COMPLETED,
        Job.RUNNING,
        "not told",
    ]
    assert listings.asked == {"jobs": 1, "collections": 0}


def test_that_a_job_runs_is_believed_for_a_moment_and_that_it_ended_for_longer(
    overview: Overview, listings: Listings, watch: Watch
) -> None:
    overview.job("j2")
    watch.time += patience.LONGEST_POLL_S + 1
    assert state(overview.job("j1")) == Job.COMPLETED
    assert listings.asked["jobs"] == 1
    listings.states["j2"] = Job.FAILED
    assert state(overview.job("j2")) == Job.FAILED
    assert listings.asked["jobs"] == 2


def test_counts_are_those_of_the_last_minute(
    overview: Overview, listings: Listings, watch: Watch
) -> None:
    for moved_s, asked in ((0.0, 1), (patience.FRESH_FINDINGS_S - 1, 1), (2.0, 2)):
        watch.time += moved_s
        found = overview.collection("c1")
        assert found is not None
        assert (found.document_count, found.sessions_count) == (3, 2)
        assert listings.asked["collections"] == asked


def test_a_listing_that_is_not_to_be_had_is_asked_for_once_and_each_is_asked_singly(
    overview: Overview, listings: Listings
) -> None:
    def down() -> None:
        raise Unavailable("down", status=500)

    listings.trouble = down
    assert overview.job("j1") is None
    assert overview.job("j2") is None
    assert overview.collection("c1") is None
    assert listings.asked == {"jobs": 1, "collections": 1}


def test_for_a_single_collection_a_long_listing_is_not_read(
    listings: Listings, watch: Watch
) -> None:
    gateway: Any = listings
    overview = Overview(gateway, watch, WORTH_A_LISTING - 1)
    assert overview.collection("c1") is None
    assert state(overview.job("j1")) == Job.COMPLETED
    assert listings.asked == {"jobs": 1, "collections": 0}


@pytest.mark.parametrize("error", [Unauthorized("no"), OutcomeUnknown("what")])
def test_other_trouble_is_not_hidden(
    overview: Overview, listings: Listings, error: ServerError
) -> None:
    def trouble() -> None:
        raise error

    listings.trouble = trouble
    with pytest.raises(type(error)):
        overview.job("j1")
