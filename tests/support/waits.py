"""Where the product waits, in one place: tests that are not about a wait shorten it.

All waits are constants of ``patience``, read there whenever they are needed.
"""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import suppress
from types import ModuleType
from typing import Any, Callable, Tuple

import h2ogpte_migration
from h2ogpte_migration import patience

Change = Callable[[ModuleType, str, Any], None]

BRIEF_LOOKS_S = (0.05, 0.1)
"""Second looks, after an error and after a time-out, where their length is not the subject."""


def load_everything() -> None:
    """Import all modules of the product; one that can't be is a matter for the runs that need it."""
    for found in pkgutil.walk_packages(h2ogpte_migration.__path__, "h2ogpte_migration."):
        if not found.name.endswith("__main__"):
            with suppress(ImportError, SyntaxError):
                importlib.import_module(found.name)


def second_looks(looks_s: Tuple[float, float], change: Change = setattr) -> None:
    """Look again so long after an error, and after a time-out; at what is empty much sooner."""
    change(patience, "SECOND_LOOK_S", looks_s[0])
    change(patience, "SECOND_LOOK_AFTER_TIMEOUT_S", looks_s[1])
    change(patience, "VISIBLE_WITHIN_S", looks_s[1])
    change(patience, "KEY_VISIBLE_WITHIN_S", looks_s[1])
    change(patience, "EMPTY_LOOK_S", min(patience.EMPTY_LOOK_S, looks_s[0] / 5))


def polls(shortest_s: float, change: Change = setattr) -> None:
    """Ask for jobs as often as a short job deserves it."""
    change(patience, "FIRST_POLL_S", shortest_s)
    change(patience, "BUSY_WAIT_S", shortest_s)


def as_in_a_fork(change: Change = setattr) -> None:
    """Wait as runs do whose waits are not the subject."""
    second_looks(BRIEF_LOOKS_S, change)
    polls(0.02, change)


def stop_patience(seconds: float, change: Change = setattr) -> None:
    """Leave calls that do not end so long after the user asked to stop."""
    change(patience, "STOP_PATIENCE_S", seconds)
