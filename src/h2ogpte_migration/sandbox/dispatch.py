"""From a request to the rule that answers it, and back; knows paths and JSON, no sockets.

``perform`` is the whole server as a function, for whoever needs no HTTP.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional, Tuple

from . import (
    calls_admin,
    calls_attributes,
    calls_chats,
    calls_collections,
    calls_jobs,
    calls_sharing,
)
from .calls import Call, Reply, Route, routes
from .model import Json, SandboxError
from .world import World

API_PREFIX = "/api/v1"

#: The modules that register rules; importing them is what fills the table.
RULES = (calls_collections, calls_attributes, calls_sharing, calls_jobs, calls_chats, calls_admin)
ROUTES = routes()


def find_route(method: str, path: str) -> Optional[Tuple[Route, Dict[str, str]]]:
    """Return the route of a raw (still quoted) path, with the path's parameters."""
    if path.startswith(API_PREFIX + "/"):
        path = path[len(API_PREFIX) :]
    elif not path.startswith("/rpc/"):
        return None
    segments = path.split("/")
    for known in ROUTES:
        if known.method == method:
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
    try:
        with world.lock:
            world.advance()
            user = world.authenticate(secret)
            if found is None:
                raise SandboxError(404, f"There is no {method} {path}")
            known, parameters = found
            return known.rule(Call(world, user, parameters, query or {}, body))
    except SandboxError as refusal:
        return error(path, refusal.status, refusal.message)
