"""The vendor's client, imported in half the time.

It builds a validator for each of its 2,300 operations when it is imported, of which tests need a
handful: here each is built when its operation is first called. Nothing else about it changes.
"""

from __future__ import annotations

import functools
import importlib
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
