"""Quick jobs, somebody at a terminal, and a clock that does not wait."""

from __future__ import annotations

from tests.e2e.conftest import operator, world
from tests.faults.harness import clock

__all__ = ["clock", "operator", "world"]
