"""The vendor's client, imported in half the time, or its chat session in a tenth.

The client builds a validator for each of its 2,300 operations when it is imported, of which tests
need a handful: here each is built when its operation is first called. Nothing else about it changes.

A chat session needs nothing of all that, but for the package around it, which imports everything.
Tests in which the import is the point start an interpreter of their own.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any, Callable, List


def import_client(*modules: str) -> None:
    """Import modules of the client; one that can't be imported raises what it raises."""
    import pydantic

    at_once = pydantic.validate_call
    pydantic.validate_call = _when_called(at_once)
    try:
        for name in modules:
            importlib.import_module(name)
    finally:
        pydantic.validate_call = at_once


def import_session() -> None:
    """Import the chat session, if need be in a package that holds its version and nothing else."""
    found = PathFinder.find_spec("h2ogpte")
    if "h2ogpte" in sys.modules or found is None:
        return
    bare = ModuleType("h2ogpte")
    bare.__path__ = list(found.submodule_search_locations or ())
    bare.__version__ = importlib.metadata.version("h2ogpte")  # type: ignore[attr-defined]
    sys.modules["h2ogpte"] = bare
    try:
        importlib.import_module("h2ogpte.session")
    except (ImportError, AttributeError):  # a version whose session needs the package
        for name in [name for name in sys.modules if name.split(".")[0] == "h2ogpte"]:
            del sys.modules[name]
        import_client("h2ogpte.session")


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
