"""When a job will be over, by what it tells of its progress; and when it is looked at then."""

from __future__ import annotations

from typing import List, Optional, Tuple

import pytest

from h2ogpte_migration import patience
from h2ogpte_migration.run.job_pace import JobPace


def left_after(looks: List[Tuple[float, Optional[float]]], now: Optional[float] = None) -> object:
    pace = JobPace()
    for at, fraction in looks:
        pace.seen(fraction, at)
    return pace.left_s(looks[-1][0] if now is None else now)


def test_the_end_is_foreseen_by_the_pace_since_the_first_look() -> None:
    assert left_after([(10, 0.0), (11, 0.5)]) == pytest.approx(1)
    assert left_after([(10, 0.2), (11, 0.3), (14, 0.6)]) == pytest.approx(4)


def test_time_that_went_by_since_the_look_counts() -> None:
    assert left_after([(10, 0.0), (11, 0.5)], now=11.75) == pytest.approx(0.25)
    late = left_after([(10, 0.0), (11, 0.5)], now=13)
    assert isinstance(late, float)
    assert late < 0


def test_a_job_that_began_before_this_run_is_judged_by_what_was_seen_of_it() -> None:
    assert left_after([(0, 0.9), (10, 0.95)]) == pytest.approx(10)


@pytest.mark.parametrize(
    "looks",
    [
        [(10, 0.5)],
        [(10, None)],
        [(10, None), (11, 0.5)],
        [(10, 0.2), (11, 0.6), (12, 0.6)],
        [(10, 0.2), (11, 0.6), (12, 0.4)],
        [(10, 0.2), (11, 0.6), (12, None)],
        [(10, 0.5), (10, 0.6)],
        [(10, 0.5), (11, 0.2), (12, 0.3)],
    ],
)
def test_what_stands_still_goes_back_or_tells_nothing_foretells_nothing(
    looks: List[Tuple[float, Optional[float]]],
) -> None:
    assert left_after(looks) is None


def test_a_job_that_moves_again_is_foreseen_again() -> None:
    assert left_after([(0, 0.0), (1, 0.5), (2, 0.5), (3, 0.75)]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("elapsed_s", "left_s", "delay_s"),
    [
        (0.0, None, 0.1),
        (60.0, None, 3.0),
        (3600.0, None, 5.0),
        (2.0, 0.0, 0.02),
        (60.0, 1.5, 1.5),
        (60.0, 20.0, 3.0),
        (60.0, 0.0, 0.3),
        (60.0, -3.0, 0.3),
    ],
)
def test_a_foreseen_end_is_looked_for_sooner_than_usual_and_never_later(
    elapsed_s: float, left_s: Optional[float], delay_s: float
) -> None:
    assert patience.poll_delay(elapsed_s, left_s) == pytest.approx(delay_s)
