"""The laboratory of the crash tests."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.crash.lab import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return a laboratory whose server runs; its trials share nothing but the address."""
    with Lab(tmp_path_factory.mktemp("lab")).open() as lab:
        yield lab
