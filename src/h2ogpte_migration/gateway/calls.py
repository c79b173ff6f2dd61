"""The kinds of requests that a gateway makes, with whoever's key it is: once, here.

A key that is refused is renewed; a 401 to a good key is a refusal of that one thing.
"""

from __future__ import annotations

import logging
import threading
from copy import copy
from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, TypeVar

from h2ogpte_migration import patience
from h2ogpte_migration.errors import (
    BadReply,
    Forbidden,
    OutcomeUnknown,
    ServerError,
    Unauthorized,
    Unavailable,
)
from h2ogpte_migration.gateway.chat import ChatServer
from h2ogpte_migration.gateway.paging import Listing, PageSizes
from h2ogpte_migration.gateway.transport import API, Transport
from h2ogpte_migration.model import (
    Identity,
    Json,
)
from h2ogpte_migration.redact import Secret

log = logging.getLogger(__name__)

META = "/rpc/meta"

C = TypeVar("C", bound="Calls")


class KeySource(Protocol):
    """A key that may have to be replaced in mid-run."""

    def current(self) -> Secret:
        """The key to use now; made when first asked for."""

    def renew(self, stale: Secret) -> Optional[Secret]:
        """Another key, as ``stale`` was refused; None where there is no other.

        A 401 did nothing, so the call is repeated with it.
        """

    @property
    def holder(self) -> Optional[Identity]:
        """Whose key it is, as the server said; None while that is not known."""


class FixedKey:
    """A key that was given: there is no other one."""

    def __init__(self, key: Secret, holder: Optional[Identity] = None) -> None:
        self._key = key
        self.holder = holder

    def current(self) -> Secret:
        return self._key

    def renew(self, stale: Secret) -> Optional[Secret]:  # noqa: ARG002 (the protocol's)
        return None


class GoodKeys:
    """Whether a key that was answered 401 is good all the same: then it was a refusal.

    A good one is remembered for some seconds, so that many refusals cost one question.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._until: Dict[Secret, float] = {}
        self._lock = threading.Lock()

    def holds(self, key: Secret) -> bool:
        """Ask the server who the key's holder is, which every good key may.

        Raises:
            Unavailable: it gave no answer to that, so nobody knows.
        """
        with self._lock:
            if self._until.get(key, 0.0) > self._transport.clock.now():
                return True
            try:
                self._transport.request("GET", META, key=key, repeatable=True, prefix="")
            except Unauthorized:
                return False
            except ServerError as error:
                raise Unavailable(
                    f"A request was refused, and whether the key is good could not be asked: "
                    f"{error.message}",
                    route=error.route,
                ) from error
            self._until[key] = self._transport.clock.now() + patience.KEY_KNOWN_GOOD_S
            return True


class Calls:
    """Requests with one key: reading, changing, making; in pieces and in pages."""

    def __init__(
        self,
        transport: Transport,
        keys: KeySource,
        sizes: PageSizes,
        chat: ChatServer,
        good_keys: Optional[GoodKeys] = None,
    ) -> None:
        self._transport = transport
        self._keys = keys
        self._sizes = sizes
        self._chat = chat
        self._good_keys = good_keys or GoodKeys(transport)
        self._may_write: Callable[[], None] = lambda: None

    def guarded(self: C, may_write: Callable[[], None]) -> C:
        """The same, asking right before each attempt to change something whether it may still be made.

        A request may wait for long, for its turn or for its repetition, and its computer sleep.

        Args:
            may_write: raises where it must not be made.
        """
        twin = copy(self)
        twin._may_write = may_write
        return twin

    def _get(self, template: str, expect: Optional[type], **options: Any) -> Any:
        return self._request("GET", template, repeatable=True, expect=expect, **options)

    def _object(
        self,
        template: str,
        *,
        prefix: str = API,
        headers: Optional[Mapping[str, str]] = None,
        **path: str,
    ) -> Json:
        reply: Json = self._get(template, dict, path=path, headers=headers, prefix=prefix)
        return reply

    def _object_or_null(self, template: str, collection_id: str) -> Json:
        """Settings of a collection: none at all (null) are empty ones."""
        path = {"collection_id": collection_id}
        value = self._get(template, None, path=path)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise other_shape(template)
        return value

    def _array(
        self,
        template: str,
        path: Mapping[str, str],
        query: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> List[Any]:
        reply: List[Any] = self._get(template, list, path=path, query=query, headers=headers)
        return reply

    def _array_within(self, template: str, items: str, query: Mapping[str, Any]) -> List[Any]:
        reply = self._get(template, dict, query=query)
        if not isinstance(reply.get(items), list):
            raise other_shape(template)
        rows: List[Any] = reply[items]
        return rows

    def _rows(
        self,
        template: str,
        query: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
        **path: str,
    ) -> List[Json]:
        """A listing that comes in one piece: its rows that have an id."""
        return named(self._array(template, path, query, headers), "id")

    def _listing(
        self,
        template: str,
        query: Optional[Mapping[str, Any]] = None,
        *,
        path: Optional[Mapping[str, str]] = None,
        expected: Optional[int] = None,
        items: str = "",
        another_order: Optional[Mapping[str, Any]] = None,
        backwards: Optional[Mapping[str, Any]] = None,
        total: Callable[[], Optional[int]] = lambda: None,
        incomplete: Optional[Callable[[str], None]] = None,
    ) -> Listing[Json]:
        """A listing that comes in pages: arrays, or objects with the array under ``items``.

        Args:
            another_order: a query that gives the same rows in another order.
            backwards: one that gives them in the reverse order.
            total: asks how many there are.
            incomplete: told why, where something may be missing.
        """

        def fetch(order: Optional[Mapping[str, Any]], offset: int, limit: int) -> List[Json]:
            asked = {**(order or {}), "offset": offset, "limit": limit}
            rows = (
                self._array_within(template, items, asked)
                if items
                else self._array(template, path or {}, asked)
            )
            # Each row keeps its position, whatever it is.
            return [row if isinstance(row, dict) else {} for row in rows]

        return Listing(
            fetch=partial(fetch, query),
            in_another_order=None if another_order is None else partial(fetch, another_order),
            backwards=None if backwards is None else partial(fetch, backwards),
            total=total,
            incomplete=incomplete,
            key=_row_id,
            route=f"GET {template}",
            sizes=self._sizes,
            expected=expected,
        )

    def _request(self, method: str, template: str, **options: Any) -> Any:
        """Send with the key of the moment; a refused one is renewed, and did nothing.

        How often is for the key's source to say, which raises when it is enough. With a key that
        is good it is a refusal, which is asked for twice: one 401 may be a passing trouble.
        """
        refused = False
        if method != "GET":
            options["still_allowed"] = self._may_write
        while True:
            key = self._keys.current()
            try:
                return self._transport.request(method, template, key=key, **options)
            except Unauthorized as error:
                if template == META:
                    raise
                if self._good_keys.holds(key):
                    if refused:
                        raise _forbidden(error) from error
                    refused = True
                    continue
                if self._keys.renew(key) is None:
                    raise

    def _change(
        self, method: str, template: str, body: Optional[Dict[str, Any]] = None, **path: str
    ) -> None:
        """A request that may be repeated, and whose answer says nothing more."""
        self._request(method, template, path=path, body=body, repeatable=True)

    def _post(
        self,
        template: str,
        *,
        query: Optional[Mapping[str, Any]] = None,
        body: Dict[str, Any],
        **path: str,
    ) -> Json:
        """A request that must not be repeated blindly."""
        reply: Json = self._request(
            "POST",
            template,
            path=path,
            query=query,
            body=body,
            repeatable=False,
            expect=dict,
        )
        return reply

    def _create(
        self,
        template: str,
        *,
        query: Optional[Mapping[str, Any]] = None,
        body: Dict[str, Any],
        **path: str,
    ) -> Json:
        """A ``_post`` whose answer names what was made; without a name nobody knows."""
        reply = self._post(template, query=query, body=body, **path)
        if not text(reply, "id"):
            raise nameless(template)
        return reply


def text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""


def _row_id(row: Json) -> str:
    return text(row, "id")


def named(rows: List[Any], key: str) -> List[Json]:
    """The rows that say what they are about."""
    named = [row for row in rows if isinstance(row, dict) and text(row, key)]
    if len(named) < len(rows):
        log.warning("rows without %s are left out: %d", key, len(rows) - len(named))
    return named


def _forbidden(error: Unauthorized) -> Forbidden:
    """The contract declares no other status than 401 for what is not allowed."""
    return Forbidden(
        f"{error.message.rstrip('.')} (the key is good: this is not allowed).",
        status=error.status,
        route=error.route,
    )


def other_shape(template: str) -> BadReply:
    """The error of a GET whose answer is nothing that the contract knows."""
    route = f"GET {template}"
    return BadReply(f"{route}: JSON of another shape than documented.", route=route)


def nameless(template: str) -> OutcomeUnknown:
    route = f"POST {template}"
    return OutcomeUnknown(f"{route}: the server did not say what it made.", route=route)
