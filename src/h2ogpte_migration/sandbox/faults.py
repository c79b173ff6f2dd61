"""Trouble on purpose: rules that spoil the answers to chosen requests.

A rule says which requests it strikes and what happens to them. The functions at the end make the
actions, so that a test reads as a sentence::

    server.faults.add(reply(503, after=True), route="POST /collections")
    server.faults.add(close(after=True), mutating=True, skip=2)
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional

from .model import Json

_HTML = "<html><head><title>Gateway</title></head><body><h1>{}</h1></body></html>"


@dataclass
class Request:
    """What the server noted of one request."""

    number: int  # from 1, in the order of arrival
    method: str
    route: str  # "GET /collections/{collection_id}", or "GET ?" for a path that is none
    path: str
    username: Optional[str]
    client_port: int
    started: float  # monotonic seconds
    query: Dict[str, str] = field(default_factory=dict)
    body: Json = None
    ended: Optional[float] = None
    status: Optional[int] = None  # None as long as nothing was answered, and if nothing will be

    @property
    def mutating(self) -> bool:
        """Return whether the request is of a kind that changes something."""
        return self.method != "GET"


@dataclass(frozen=True)
class FixedReply:
    """An answer that has nothing to do with the question."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Action:
    """What happens to a request that a rule strikes.

    Args:
        after: the request's work is done first; otherwise the action comes first, and the work
            is only done if no answer is fixed and the connection is not closed.
        hang_s: wait that long.
        call: call this, in a thread, and wait until it returns.
        close: reset the connection without an answer.
        cut: send half of the answer, then close the connection.
        late_s: do the work so much later than the answer, or the reset connection.
        reply: answer this.
    """

    after: bool = False
    hang_s: float = 0.0
    call: Optional[Callable[[], Any]] = None
    close: bool = False
    cut: bool = False
    late_s: float = 0.0
    reply: Optional[FixedReply] = None


@dataclass
class Rule:
    """Which requests an action strikes, and how often it did."""

    action: Action
    route: Optional[str] = None
    mutating: Optional[bool] = None
    number: Optional[int] = None
    when: Optional[Callable[[Request], bool]] = None
    skip: int = 0
    times: Optional[int] = 1
    matches: int = 0
    hits: int = 0

    def fits(self, request: Request) -> bool:
        """Return whether the request is one of those that the rule is about."""
        return (
            self.route in (None, request.route)
            and self.mutating in (None, request.mutating)
            and self.number in (None, request.number)
            and (self.when is None or self.when(request))
        )

    def strike(self, request: Request) -> bool:
        """Count a request, and return whether the rule strikes it."""
        if not self.fits(request):
            return False
        self.matches += 1
        if self.matches <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


class RateLimit:
    """A bucket of tokens; a request that finds it empty is answered with 429."""

    def __init__(self, per_second: float, *, burst: int = 1, retry_after: bool = True) -> None:
        self.retry_after = retry_after
        self.refused = 0
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = time.monotonic()

    def refuse(self) -> Optional[FixedReply]:
        """Take a token and return None, or return the refusal."""
        now = time.monotonic()
        fresh = (now - self._filled_at) * self._per_second
        self._tokens = min(float(self._burst), self._tokens + fresh)
        self._filled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return None
        self.refused += 1
        wait_s = max(1, round((1 - self._tokens) / self._per_second))
        return _error(429, "Too many requests", wait_s if self.retry_after else None)


class Faults:
    """The rules of one server; the first that strikes a request decides."""

    def __init__(self) -> None:
        self.rules: List[Rule] = []
        self.rate_limit: Optional[RateLimit] = None
        self._lock = threading.Lock()

    def add(
        self,
        action: Action,
        *,
        route: Optional[str] = None,
        mutating: Optional[bool] = None,
        number: Optional[int] = None,
        when: Optional[Callable[[Request], bool]] = None,
        skip: int = 0,
        times: Optional[int] = 1,
    ) -> Rule:
        """Add a rule and return it; its ``hits`` tell whether it struck.

        Args:
            action: made by ``reply``, ``close``, ``cut``, ``late``, ``html_page``,
                ``invalid_json``, ``hang`` or ``call``.
            route: such as ``"POST /collections"``; paths are those of the contract.
            mutating: only requests that change something, or only those that do not.
            number: only the request with this number, counted from 1 over all.
            when: any other condition.
            skip: let so many of the matching requests pass first.
            times: how often to strike; None is for good.
        """
        rule = Rule(action, route, mutating, number, when, skip, times)
        with self._lock:
            self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Remove the rules and the rate limit."""
        with self._lock:
            self.rules.clear()
            self.rate_limit = None

    def choose(self, request: Request) -> Optional[Action]:
        """Return what happens to a request, or None if nothing does."""
        with self._lock:
            if self.rate_limit is not None:
                refusal = self.rate_limit.refuse()
                if refusal is not None:
                    return Action(reply=refusal)
            for rule in self.rules:
                if rule.strike(request):
                    return rule.action
        return None


def _error(status: int, message: str, retry_after: Optional[float] = None) -> FixedReply:
    body = json.dumps({"code": status, "message": message, "error": message}).encode()
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return FixedReply(status, body, headers=headers)


def reply(
    status: int,
    *,
    after: bool = False,
    retry_after: Optional[float] = None,
    html: bool = False,
    message: str = "Trouble on purpose",
) -> Action:
    """Answer with a status, before or after the work is done, as JSON or as a proxy's page."""
    fixed = _error(status, message, retry_after)
    if html:
        page = _HTML.format(message).encode()
        fixed = FixedReply(status, page, "text/html", fixed.headers)
    return Action(after=after, reply=fixed)


def close(*, after: bool = False) -> Action:
    """Reset the connection, before or after the work is done."""
    return Action(after=after, close=True)


def cut() -> Action:
    """Do the work, send half of the answer and close the connection."""
    return Action(after=True, cut=True)


def late(seconds: float, *, status: Optional[int] = None) -> Action:
    """Reset the connection, or answer with a status, and do the work some seconds after that."""
    fixed = None if status is None else _error(status, "Trouble on purpose")
    return Action(late_s=seconds, close=status is None, reply=fixed)


def html_page(*, after: bool = False) -> Action:
    """Answer 200 with a page of a proxy, before or after the work is done."""
    return reply(200, after=after, html=True, message="Please sign in")


def invalid_json(*, after: bool = True) -> Action:
    """Answer 200 with something that only begins like JSON."""
    return Action(after=after, reply=FixedReply(200, b'{"id": "broken'))


def hang(seconds: float, *, after: bool = False) -> Action:
    """Wait before or after the work is done; then go on as usual."""
    return Action(after=after, hang_s=seconds)


def call(function: Callable[[], Any], *, after: bool = False, drop: bool = False) -> Action:
    """Call a function, such as one that kills the client, before or after the work is done.

    With ``drop`` the connection is closed then; if that is before the work, it is never done.
    """
    return Action(after=after, call=function, close=drop)
