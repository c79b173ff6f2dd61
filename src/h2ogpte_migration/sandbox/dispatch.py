"""From a request to the rule that answers it, and back; knows paths and JSON, no sockets.

``perform`` is the whole server as a function, for whoever needs no HTTP.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Dict, List, Mapping, Optional, Tuple

from . import (
    calls_admin,
    calls_assistants,
    calls_attributes,
    calls_chats,
    calls_chunks,
    calls_collections,
    calls_documents,
    calls_ingest,
    calls_jobs,
    calls_sharing,
    quirks,
)
from .calls import Call, Reply, Route, routes
from .model import Json, SandboxError
from .world import World

API_PREFIX = "/api/v1"

#: The modules that register rules; importing them is what fills the table.
RULES = (
    calls_collections,
    calls_attributes,
    calls_sharing,
    calls_documents,
    calls_ingest,
    calls_chunks,
    calls_jobs,
    calls_chats,
    calls_admin,
    calls_assistants,
)
ROUTES = routes()


def _beginning(method: str, segments: List[str]) -> Tuple[str, int, str]:
    """What tells most routes apart at a glance: none begins with a parameter."""
    return method, len(segments), segments[1]


_BY_BEGINNING: Dict[Tuple[str, int, str], List[Route]] = {}
for _route in ROUTES:
    _key = _beginning(_route.method, _route.template.split("/"))
    _BY_BEGINNING.setdefault(_key, []).append(_route)


@lru_cache(maxsize=1024)  # whoever answers a request looks twice, and clients ask the same again
def find_route(method: str, path: str) -> Optional[Tuple[Route, Dict[str, str]]]:
    """Return the route of a raw (still quoted) path, with the path's parameters."""
    if path.startswith(API_PREFIX + "/"):
        path = path[len(API_PREFIX) :]
    elif not path.startswith("/rpc/"):
        return None
    segments = path.split("/")
    for known in _BY_BEGINNING.get(_beginning(method, segments), ()):
        found = known.match(segments)
        if found is not None:
            return known, found
    return None


def error(path: str, status: int, message: str) -> Reply:
    """Return an error in the form that this part of the server uses."""
    if path.startswith("/rpc/"):
        return Reply(status, {"error": message})
    return Reply(status, {"code": status, "message": message})


def perform(
    world: World,
    method: str,
    path: str,
    *,
    secret: Optional[str],
    query: Optional[Mapping[str, str]] = None,
    body: Json = None,
) -> Reply:
    """Answer a request: ``path`` begins with ``/api/v1`` or ``/rpc`` and is quoted.

    Nothing happens to the world between a request's first look and its last change.
    """
    found = find_route(method, path)
    with world.lock:
        world.secret = secret
        try:
            return _answer(world, method, path, found, query or {}, body)
        except SandboxError as refusal:
            worded = quirks.reworded(world, path, refusal)
            return error(path, worded.status, worded.message)


def _answer(
    world: World,
    method: str,
    path: str,
    found: Optional[Tuple[Route, Dict[str, str]]],
    query: Mapping[str, str],
    body: Json,
) -> Reply:
    operation = found[0].rule.__name__ if found else ""
    stray = quirks.gateway(world, operation, path)
    if stray is not None:
        return stray
    world.advance()
    user = world.authenticate(world.secret)
    if found is None:
        raise SandboxError(404, f"There is no {method} {path}")
    odd = quirks.in_place(world, operation, path)
    if odd is not None:
        return odd
    known, parameters = found
    reply = known.rule(Call(world, user, parameters, query, body, listing=path))
    return quirks.spoiled(world, operation, path, reply)
