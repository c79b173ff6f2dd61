"""The vendor's client, of which only what is asked for is imported.

Its package imports everything, twice, and builds a validator for each of 2,300 operations, which
takes seconds in each process that runs tests. Here a package of the same name stands in for it: its
modules are the client's, each imported when it is first needed, and a validator is built when its
operation is first called. Nothing else about them changes. Tests in which the import itself is the
point start an interpreter of their own.
"""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.metadata
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, Callable, List

_WHERE = {name: name for name in ("rest_sync", "session", "types")}
_WHERE["H2OGPTE"] = "h2ogpte"
"""What tests take from the package itself, and the module that has it."""


def prepare_client() -> None:
    """Put the package in place, unless there is one already; its chat session is imported."""
    put_in_place()
    if "h2ogpte" in sys.modules:
        _validate_late()
        importlib.import_module("h2ogpte.session")


def put_in_place() -> None:
    """Put the package in place, unless there is one already; nothing of it is imported."""
    found = PathFinder.find_spec("h2ogpte")
    if "h2ogpte" in sys.modules or found is None:
        return
    package: Any = ModuleType("h2ogpte")
    package.__path__ = list(found.submodule_search_locations or ())
    package.__version__ = importlib.metadata.version("h2ogpte")
    package.__getattr__ = _asked_for
    sys.modules["h2ogpte"] = package


def _asked_for(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(name)
    _validate_late()
    gc.disable()  # there is no garbage in what is imported, and it takes long to see that
    try:
        module = importlib.import_module(f"h2ogpte.{_WHERE[name]}")
    finally:
        gc.enable()
    return getattr(module, name, module)


@functools.lru_cache(maxsize=None)
def _validate_late() -> None:
    import pydantic

    pydantic.validate_call = _when_called(pydantic.validate_call)


def _when_called(validate: Callable[..., Any]) -> Callable[..., Any]:
    def decorated(operation: Callable[..., Any]) -> Callable[..., Any]:
        built: List[Callable[..., Any]] = []

        @functools.wraps(operation)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not built:
                built.append(validate(operation))
            return built[0](*args, **kwargs)

        return call

    return decorated
