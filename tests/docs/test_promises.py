"""Every promise has a test, and every test that speaks of a promise speaks of one of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Mapping, Sequence

import pytest

from tests.promises import PROMISES, marked_tests


@pytest.fixture(scope="module")
def shown() -> Mapping[str, Sequence[str]]:
    """Return the tests of each promise, read once."""
    return marked_tests()


def test_every_promise_has_a_test(shown: Mapping[str, Sequence[str]]) -> None:
    assert [row.id for row in PROMISES if not shown.get(row.id)] == []


def test_tests_name_known_promises(shown: Mapping[str, Sequence[str]]) -> None:
    known = {row.id for row in PROMISES}
    unknown = {name: tests for name, tests in shown.items() if name not in known}
    assert unknown == {}


def test_rows_are_unique_and_complete() -> None:
    assert [one for one, n in Counter(row.id for row in PROMISES).items() if n > 1] == []
    assert [one for one, n in Counter(row.text for row in PROMISES).items() if n > 1] == []
    assert all(row.section and row.text.endswith(".") for row in PROMISES)


def test_marks_are_read_from_the_source(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "@pytest.mark.promise('a', 'b')\n@pytest.mark.slow\ndef test_one(): ...\n"
        "def test_two(): ...\n@mark.promise('b')\ndef helper(): ...\n"
    )
    assert marked_tests(tmp_path) == {"a": ["test_it.py::test_one"], "b": ["test_it.py::test_one"]}
