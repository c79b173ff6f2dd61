"""Many small cases of one behaviour in one test: each is tried, and all that fail are named."""

from __future__ import annotations

from typing import Any, Callable, Iterable, List, TypeVar

import pytest

Case = TypeVar("Case")


def each(
    cases: Iterable[Case], check: Callable[[Case], object], name: Callable[[Case], Any] = repr
) -> None:
    """Check every case, whatever became of those before it.

    Raises:
        AssertionError: with the name of each case that failed, and why; the first one is its cause.
    """
    __tracebackhide__ = True
    told: List[str] = []
    errors: List[BaseException] = []
    tried = 0
    for case in cases:
        tried += 1
        try:
            check(case)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - all are raised below
            told.append(f"{name(case)}: {type(error).__name__}: {error}")
            errors.append(error)
    assert tried, "no case"
    if errors:
        raise AssertionError(f"{len(told)} of {tried} cases:\n" + "\n".join(told)) from errors[0]
