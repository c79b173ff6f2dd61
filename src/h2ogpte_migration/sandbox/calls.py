"""What rules are written with: the call that they get, the reply that they give, their routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple
from urllib.parse import unquote

from .model import Json, JsonObject, SandboxError, User
from .world import World


@dataclass
class Reply:
    """An HTTP status and a JSON body; no body at all if ``has_body`` is false.

    With another content type the body is text.
    """

    status: int
    body: Json = None
    has_body: bool = True
    content_type: str = "application/json"


NO_CONTENT = Reply(204, has_body=False)


@dataclass
class Call:
    """A request by a known user."""

    world: World
    user: User
    path: Dict[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json = None
    listing: str = ""  # what is being listed: the path

    @property
    def id(self) -> str:
        """Return the collection id of the path."""
        return self.path["collection_id"]

    def object(self) -> JsonObject:
        """Return the body, which must be a JSON object."""
        if not isinstance(self.body, dict):
            raise SandboxError(400, "The body must be a JSON object")
        return self.body

    def required(self, name: str, kind: type = str) -> Any:
        """Return a member of the body that must be there and of that type."""
        value = self.object().get(name)
        if not isinstance(value, kind):
            raise SandboxError(400, f"{name!r} is missing or not valid")
        return value

    def strings(self, name: str) -> List[str]:
        """Return a list of texts of the body that must be there."""
        values = self.required(name, list)
        if not all(isinstance(value, str) for value in values):
            raise SandboxError(400, f"{name!r} must be a list of texts")
        return list(values)

    def whole(self, name: str, default: int) -> int:
        """Return a whole number of the query that is not negative."""
        text = self.query.get(name, str(default))
        if not text.isdigit():
            raise SandboxError(400, f"{name!r} must be a number")
        return int(text)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a truth value of the query."""
        text = self.query.get(name, str(default)).lower()
        if text not in ("true", "false"):
            raise SandboxError(400, f"{name!r} must be true or false")
        return text == "true"

    def page(self, rows: List[Any]) -> List[Any]:
        """Return the page of the rows that the query asks for, as long as the server likes."""
        habits = self.world.habits
        offset = self.whole("offset", 0)
        limit = self.whole("limit", 100)
        if habits.refused_limit_above is not None and limit > habits.refused_limit_above:
            raise SandboxError(400, f"'limit' must not be above {habits.refused_limit_above}")
        start = 0 if habits.offset_ignored else self._restless(offset)
        if habits.limit_ignored:
            return rows[start:]
        return rows[start : start + min(limit, habits.page_cap)]

    def _restless(self, offset: int) -> int:
        """Return where a page begins after others added or deleted a row during the first pass."""
        way = self.world.habits.restless
        passes = ("restless", self.listing, self.user.username)
        if offset == 0:
            self.world.strikes[passes] += 1
        if offset == 0 or not way or self.world.strikes[passes] > 1:
            return offset
        return offset + (1 if way == "skip" else -1)


Rule = Callable[[Call], Reply]


@dataclass(frozen=True)
class Route:
    """A method and a path template with the rule behind them."""

    method: str
    template: str
    rule: Rule

    @cached_property
    def name(self) -> str:
        """Return the route as logs and fault rules name it: ``GET /collections/{collection_id}``."""
        return self.method + " " + self.template

    @cached_property
    def _parts(self) -> List[Tuple[str, str]]:
        """Return each segment of the template: its text, or else the name of its parameter."""
        return [
            ("", part[1:-1]) if part.startswith("{") else (part, "")
            for part in self.template.split("/")
        ]

    def match(self, segments: List[str]) -> Optional[Dict[str, str]]:
        """Return the path's parameters, or None if the path is not of this route."""
        if len(self._parts) != len(segments):
            return None
        found: Dict[str, str] = {}
        for (text, parameter), segment in zip(self._parts, segments):
            if parameter:
                found[parameter] = unquote(segment)
            elif text != segment:
                return None
        return found


_ROUTES: List[Route] = []


def route(method: str, template: str) -> Callable[[Rule], Rule]:
    """Register the rule that answers this method on this path."""

    def register(rule: Rule) -> Rule:
        _ROUTES.append(Route(method, template, rule))
        _ROUTES.sort(key=lambda known: known.template.count("{"))
        return rule

    return register


def routes() -> Tuple[Route, ...]:
    """Return the routes registered so far, those without parameters first."""
    return tuple(_ROUTES)
