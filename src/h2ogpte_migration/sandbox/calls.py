"""What rules are written with: the call that they get, the reply that they give, their routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple
from urllib.parse import unquote

from .model import Json, JsonObject, SandboxError, User
from .world import World


@dataclass
class Reply:
    """An HTTP status and a JSON body; no body at all if ``has_body`` is false."""

    status: int
    body: Json = None
    has_body: bool = True


NO_CONTENT = Reply(204, has_body=False)


@dataclass
class Call:
    """A request by a known user."""

    world: World
    user: User
    path: Dict[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json = None

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
        offset = self.whole("offset", 0)
        limit = min(self.whole("limit", 100), self.world.habits.page_cap)
        return rows[offset : offset + limit]


Rule = Callable[[Call], Reply]


@dataclass(frozen=True)
class Route:
    """A method and a path template with the rule behind them."""

    method: str
    template: str
    rule: Rule

    @property
    def name(self) -> str:
        """Return the route as logs and fault rules name it: ``GET /collections/{collection_id}``."""
        return self.method + " " + self.template

    def match(self, segments: List[str]) -> Optional[Dict[str, str]]:
        """Return the path's parameters, or None if the path is not of this route."""
        parts = self.template.split("/")
        if len(parts) != len(segments):
            return None
        found: Dict[str, str] = {}
        for part, segment in zip(parts, segments):
            if part.startswith("{"):
                found[part[1:-1]] = unquote(segment)
            elif part != segment:
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
