"""The laboratory of the crash tests."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from tests.crash.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Return a laboratory whose server runs."""
    with Lab(tmp_path).open() as lab:
        yield lab
