"""The fixtures of the safety tests."""

from __future__ import annotations

from ..faults.harness import clock

__all__ = ["clock"]
