"""Nothing is lost or doubled, whatever happens in whatever order.

Hypothesis takes a while to import, which processes that run other tests are spared.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def test_whatever_happens_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    from tests.machine.sequences import try_sequences

    try_sequences(tmp_path, examples=4, steps=6)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_whatever_happens_for_longer_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    from tests.machine.sequences import try_sequences

    try_sequences(tmp_path, examples=100, steps=12)
