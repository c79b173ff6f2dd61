"""The order of requests and commits of an undisturbed run is the one that was looked at."""

from __future__ import annotations

import difflib

import pytest

from tests.crash.golden import path_of, record
from tests.crash.lab import Lab
from tests.crash.modes import MODES, Mode


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_requests_and_commits_come_in_the_order_that_is_kept(lab: Lab, mode: Mode) -> None:
    kept = path_of(mode).read_text(encoding="utf-8").splitlines()
    got = record(lab, mode).splitlines()
    difference = "\n".join(difflib.unified_diff(kept, got, "kept", "this run", lineterm="", n=5))
    assert got == kept, (
        f"{difference}\n\nIf this is on purpose: python -m tests.crash.golden {mode.name}"
    )
