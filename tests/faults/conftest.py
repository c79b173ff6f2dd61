"""The fixtures of the fault tests."""

from __future__ import annotations

from .harness import clock

__all__ = ["clock"]
