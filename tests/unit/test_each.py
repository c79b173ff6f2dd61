"""What a test of many small cases tells."""

from __future__ import annotations

import pytest
from tests.support.each import each


def test_every_case_is_tried_and_all_that_fail_are_named() -> None:
    def is_small(number: int) -> None:
        if number == 7:
            pytest.fail("not seven")
        assert number < 3, "too large"

    with pytest.raises(AssertionError) as told:
        each([1, 5, 7, 2], is_small, name="number {}".format)
    first, *rest = str(told.value).splitlines()
    assert first == "2 of 4 cases:"
    assert "number 5: AssertionError: too large" in rest
    assert "number 7: Failed: not seven" in rest
    each([1, 2], is_small)


def test_no_case_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="no case"):
        each([], print)
