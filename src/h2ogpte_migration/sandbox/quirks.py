"""Habits that do not depend on what a request means: answers in place of, or instead of, the rule's.

Operations are those of the contract; the rule of an operation has its name.
"""

from __future__ import annotations

from typing import Dict, Optional

from .calls import Reply
from .model import SandboxError
from .world import World

_FOREIGN_PAGE = "<html><head><title>404 Not Found</title></head><body>nginx</body></html>"


def _operations(text: str) -> Dict[str, Optional[int]]:
    """Return the operations that a habit names, with how often it strikes them; None is always."""
    named: Dict[str, Optional[int]] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, colon, times = item.partition(":")
        named[name] = int(times) if colon else None
    return named


def _struck(world: World, habit: str, operation: str, path: str) -> bool:
    """Return whether a habit strikes a request, and count it: per path and key."""
    text = getattr(world.habits, habit)
    named = _operations(text) if text else {}
    if operation not in named:
        return False
    count = (habit, operation, path, world.secret or "")
    world.strikes[count] += 1
    times = named[operation]
    return times is None or world.strikes[count] <= times


def gateway(world: World, operation: str, path: str) -> Optional[Reply]:
    """Return what something in front of the server answers in its place, if it does."""
    if not _struck(world, "foreign_404", operation, path):
        return None
    if world.habits.foreign_404_shape == "html":
        return Reply(404, _FOREIGN_PAGE, content_type="text/html")
    return Reply(404, {"detail": "Not Found"})


def in_place(world: World, operation: str, path: str) -> Optional[Reply]:
    """Return the answer to a known caller that no rule was asked for, or refuse; None: go on."""
    if _struck(world, "missing_operations", operation, path):
        raise SandboxError(404, f"There is no {path}")
    if _struck(world, "broken_operations", operation, path):
        raise SandboxError(500, "Internal server error")
    if _struck(world, "error_in_body", operation, path):
        return Reply(200, {"error": "The operation could not be done"})
    return None


def spoiled(world: World, operation: str, path: str, reply: Reply) -> Reply:
    """Return the rule's answer as it arrives: a listing may be empty."""
    body = reply.body
    rows = body.get("items") if isinstance(body, dict) else body
    if not (isinstance(rows, list) and rows):
        return reply
    if not _struck(world, "empty_listings", operation, path):
        return reply
    return Reply(reply.status, {**body, "items": []} if isinstance(body, dict) else [])


def reworded(world: World, path: str, refusal: SandboxError) -> SandboxError:
    """Return a refusal as this server puts it."""
    status, message = refusal.status, refusal.message
    if world.habits.forbidden_is_401 and status == 403 and not path.startswith("/rpc/"):
        status, message = 401, "Unauthorized"
    if world.habits.errors_echo_key:
        message += f" (headers: Authorization: Bearer {world.secret})"
    return SandboxError(status, message)
