"""Quick jobs, and somebody at a terminal, as in the end-to-end tests."""

from __future__ import annotations

from tests.e2e.conftest import operator, world

__all__ = ["operator", "world"]
