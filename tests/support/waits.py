"""Where the product waits, in one place: tests that are not about a wait shorten it.

The constants are looked for by name in all modules of the product, as importing one by name makes
a second one of it; a name that nobody has is an error here.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any, Callable, List, Tuple

import h2ogpte_migration

Change = Callable[[ModuleType, str, Any], None]

SECOND_LOOK = "SECOND_LOOK_S"
SECOND_LOOK_AFTER_TIMEOUT = "SECOND_LOOK_AFTER_TIMEOUT_S"
STOP_PATIENCE = "STOP_PATIENCE_S"


def load_everything() -> None:
    """Import all modules of the product; one that can't be is a matter for the runs that need it."""
    for found in pkgutil.walk_packages(h2ogpte_migration.__path__, "h2ogpte_migration."):
        if not found.name.endswith("__main__"):
            with suppress(ImportError, SyntaxError):
                importlib.import_module(found.name)


def second_looks(looks_s: Tuple[float, float], change: Change = setattr) -> None:
    """Look again so long after an error, and after a time-out."""
    _set(SECOND_LOOK, looks_s[0], change)
    _set(SECOND_LOOK_AFTER_TIMEOUT, looks_s[1], change)


def polls(shortest_s: float, change: Change = setattr) -> None:
    """Ask for jobs as often as a short job deserves it."""
    _set("poll_delay", lambda elapsed_s: min(5.0, max(shortest_s, elapsed_s * 0.05)), change)
    _set("_BUSY_WAIT_S", shortest_s, change)


def stop_patience(seconds: float, change: Change = setattr) -> None:
    """Leave calls that do not end so long after the user asked to stop."""
    _set(STOP_PATIENCE, seconds, change)


def _set(name: str, value: Any, change: Change) -> None:
    modules = _having(name)
    if not modules:
        raise LookupError(f"no module of the product has {name}: see tests/support/waits.py")
    for module in modules:
        change(module, name, value)


def _having(name: str) -> List[ModuleType]:
    load_everything()
    return [
        module
        for path, module in list(sys.modules.items())
        if path.startswith("h2ogpte_migration.") and name in vars(module)
    ]
