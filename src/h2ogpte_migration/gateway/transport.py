"""The one place for time-outs, retries, the common slow-down, translation of errors, and logging.

Plain JSON goes in both directions, as fields and values that no client knows must survive; urls,
headers and bodies are byte for byte those of the ``h2ogpte`` client's generated layer, which
takes seconds to import. It knows no operation of the server; those are in ``rest``.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from http.client import HTTPException
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union
from urllib.parse import quote, urlsplit

from h2ogpte_migration import __version__
from h2ogpte_migration.clock import Clock
from h2ogpte_migration.errors import (
    BadReply,
    OutcomeUnknown,
    Rejected,
    ServerError,
    TlsRefused,
    Unauthorized,
    Unavailable,
)
from h2ogpte_migration.gateway.pools import open_pools, sender, trust_for
from h2ogpte_migration.gateway.replies import (
    Reply,
    RequestFailure,
    read_date,
    read_failure,
    read_value,
)
from h2ogpte_migration.gateway.throttle import Throttle, Ticket
from h2ogpte_migration.redact import Secret
from h2ogpte_migration.ui.text import plural, safe

log = logging.getLogger(__name__)

API = "/api/v1"
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 10.0
MOST_TRIES = 20
"""However often a busy server says "not now"."""
RATE_WINDOW_S = 65.0
"""So long a busy server is waited for, whatever the number of tries: limits count by the minute."""
LONGEST_BODY = 5
"""How many read time-outs a whole body may take, however slowly it drips in."""
CHUNK = 65_536
NO_IDS = ("", ".", "..")
Query = Union[str, int, bool]


@dataclass(frozen=True)
class _Call:
    """A request as it is sent on each attempt."""

    method: str
    route: str
    """What logs and errors call it: free of ids."""
    path: str
    """With its query, as it stands in the request line."""
    headers: Mapping[str, str] = field(repr=False)
    body: Optional[bytes]
    repeatable: bool
    expect: Optional[type]
    still_allowed: Callable[[], None]


class Transport:
    """Sends requests for any number of keys and threads over one pool of connections.

    Args:
        base_url: the server; may have a base path.
        timeout_s: how long to wait for each part of an answer.
        connect_timeout_s: how long to wait for a connection.
        retries: attempts after the first one.
        max_in_flight: requests at once.
        ca_cert: file with the authorities to trust instead of the environment's or the system's.
        insecure: trust any certificate.
        clock: time and chance. When its stop is set, nothing is retried any more; requests that
            begin later (deleting keys) are sent at once, one time.

    Raises:
        UsageError: the certificate file or a proxy setting can't be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 10.0,
        retries: int = 5,
        max_in_flight: int = 8,
        ca_cert: Optional[str] = None,
        insecure: bool = False,
        clock: Clock,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout_s = timeout_s
        self.connect_timeout_s = connect_timeout_s
        self._retries = retries
        self._stop = clock.stop
        self.clock = clock
        self._throttle = Throttle(max_in_flight, clock)
        self._host = safe(urlsplit(self.base_url).netloc)
        self._base_path = urlsplit(self.base_url).path
        trust = trust_for(self.base_url, ca_cert, insecure)
        self.verify = trust.verify
        """What the websocket is to trust: a file, the system's store (True) or any (False)."""
        self._pools = open_pools(self.base_url, trust, max_in_flight)
        self._urlopen = sender(self._pools, self.base_url)
        self.observer: Callable[[str, int, int], None] = lambda _what, _attempt, _of: None
        """Told of each attempt that failed and may be repeated: what happened, which attempt it
        was, of how many; and with an empty text when the server works again. By any thread."""
        self._in_trouble = False
        self._dated: Optional[Tuple[datetime, float]] = None
        self._date_text = ""
        self._common_headers = {"Accept": "application/json", **_identification()}

    def server_time(self) -> Optional[datetime]:
        """The time by the server's clock, as its last reply dated itself; None if none did."""
        seen = self._dated
        if seen is None:
            return None
        date, at = seen
        return date + timedelta(seconds=self.clock.now() - at)

    @property
    def requests_sent(self) -> int:
        """Attempts so far, retries included."""
        return self._throttle.started

    @property
    def peak_in_flight(self) -> int:
        """The most requests that ever were under way at once."""
        return self._throttle.peak

    def close(self) -> None:
        """Drop the pooled connections."""
        self._pools.clear()

    def request(
        self,
        method: str,
        path_template: str,
        *,
        key: Secret,
        path: Optional[Mapping[str, str]] = None,
        query: Optional[Mapping[str, Optional[Query]]] = None,
        headers: Optional[Mapping[str, str]] = None,
        body: Any = None,
        text: Optional[str] = None,
        repeatable: bool,
        prefix: str = API,
        expect: Optional[type] = None,
        still_allowed: Callable[[], None] = lambda: None,
    ) -> Any:
        """Send a request, again if need be, and return the JSON of its answer.

        Args:
            path: values for the placeholders of ``path_template``; quoted here.
            query: values of None are left out.
            body: sent as JSON unless it is None; an empty one is sent.
            text: sent as plain text, in place of a body.
            repeatable: whether doing it twice does no harm.
            expect: the type that the answer must have. With None it may also be empty.
            still_allowed: called right before each attempt, which may come long after the one
                before; what it raises is raised, and the attempt is not made.

        Raises:
            Unauthorized, NotFound, Rejected, Conflict, TlsRefused: nothing was done.
            Unavailable, BadReply: all attempts failed; of a request that is not repeatable
                nothing was done.
            OutcomeUnknown: a request that is not repeatable brought no usable answer.
            Interrupted: the stop came before an attempt that was still needed.
        """
        route = f"{method} {path_template}"
        _refuse_malformed(route, key, path or {})
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        call = _Call(
            method,
            route,
            _url(self._base_path + prefix + path_template, path or {}, asked),
            self._headers(key, headers or {}, _content_type(body, text)),
            _encoded(body, text),
            repeatable,
            expect,
            still_allowed,
        )
        return self._send_until_settled(call)

    def _headers(self, key: Secret, own: Mapping[str, str], content_type: str) -> Dict[str, str]:
        headers = {**self._common_headers, **own, "Authorization": f"Bearer {key.reveal()}"}
        if content_type:
            headers["Content-Type"] = content_type
        return headers

    # -- attempts ----------------------------------------------------------------------
    def _send_until_settled(self, call: _Call) -> Any:
        stopped_before = self._stop.is_set()
        retries = 0 if stopped_before else self._retries
        patient_until = self.clock.now() + (RATE_WINDOW_S if retries else 0.0)
        attempt = charged = 0
        while True:
            attempt += 1
            with self._throttle.slot(at_once=stopped_before) as ticket:
                call.still_allowed()
                try:
                    return self._attempt(call, attempt)
                except RequestFailure as error:
                    trouble = error
                    if trouble.slow_down:
                        self._throttle.slow_down(ticket, trouble.retry_after_s)
            if not self._is_free(trouble, ticket):
                charged += 1
            patient = trouble.limited and self.clock.now() < patient_until
            tired = charged > retries and not patient
            tired = tired or attempt >= max(MOST_TRIES, retries + 1)
            self._in_trouble = True
            what = str(int(trouble.status)) if trouble.limited and trouble.status else trouble.what
            self.observer(what, attempt, retries + 1)
            if tired or not _may_retry(call, trouble):
                raise _final(call, trouble, attempt)
            self._back_off(trouble, charged)

    def _is_free(self, trouble: RequestFailure, ticket: Ticket) -> bool:
        """Whether a retry costs none of the attempts.

        A server that serves others meanwhile is well, and only wants us to be slower.
        """
        return trouble.limited and self._throttle.progress_since(ticket)

    def _back_off(self, trouble: RequestFailure, charged: int) -> None:
        """Wait before the next attempt; after a 429 the throttle's gate does that.

        Whether the stop came meanwhile is the throttle's to notice as well.
        """
        if trouble.limited:
            return
        longest_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (charged - 1))
        pause_s = longest_s * (0.5 + self.clock.chance() / 2)
        self.clock.pause(max(pause_s, trouble.retry_after_s or 0.0))

    def _attempt(self, call: _Call, attempt: int) -> Any:
        """Send once; log one line about it."""
        started = self.clock.now()
        said = "no answer"
        try:
            reply = self._exchange(call)
            said = str(reply.status)
            value = read_value(reply, call.expect, call.route)
        except RequestFailure:
            raise
        except TlsRefused:
            said = "refused"
            raise
        except ServerError:
            self._answered()
            raise
        else:
            self._answered()
            return value
        finally:
            took_ms = (self.clock.now() - started) * 1000
            log.debug("%s: %s, %d ms, attempt %d", call.route, said, took_ms, attempt)

    def _answered(self) -> None:
        """The server works: whoever was told of trouble learns that it is over."""
        self._throttle.succeeded()
        if self._in_trouble:
            self._in_trouble = False
            self.observer("", 0, 0)

    def _exchange(self, call: _Call) -> Reply:
        """One request, one reply; whatever the HTTP library raises becomes ours."""
        from urllib3.exceptions import HTTPError

        try:
            return self._receive(call)
        except (HTTPError, HTTPException, OSError) as error:
            raise read_failure(error, self._host) from error

    def _receive(self, call: _Call) -> Reply:
        from urllib3 import Timeout

        raw = self._urlopen(
            call.method,
            call.path,
            body=call.body,
            headers=call.headers,
            timeout=Timeout(connect=self.connect_timeout_s, read=self.timeout_s),
            # Some releases would repeat a POST to where it is redirected.
            retries=False,
            redirect=False,
            preload_content=False,
        )
        self._note_date(raw.headers.get("Date", ""))
        return Reply(raw.status, raw.headers, self._read_body(raw))

    def _note_date(self, text: str) -> None:
        """The replies of one second are dated alike: the first of them tells the time best."""
        if text == self._date_text:
            return
        self._date_text = text
        date = read_date(text)
        if date is not None:
            self._dated = (date, self.clock.now())

    def _read_body(self, raw: Any) -> bytes:
        """The whole body, so that the connection can be used again.

        Of an error's body nothing but a message is wanted: a cut one will do.
        """
        from urllib3.exceptions import HTTPError

        deadline = self.clock.now() + LONGEST_BODY * self.timeout_s
        read_some = getattr(raw, "read1", raw.read)
        data = bytearray()
        try:
            while self.clock.now() < deadline:
                chunk = read_some(CHUNK)
                if not chunk:
                    return bytes(data)
                data += chunk
            raise RequestFailure("the answer dripped in too slowly", timed_out=True)
        except (HTTPError, OSError, RequestFailure):
            raw.close()
            if 200 <= raw.status < 300:
                raise
            return bytes(data)


# -- what goes over the wire -----------------------------------------------------------
def _url(resource: str, path: Mapping[str, str], query: Mapping[str, Query]) -> str:
    """A url with its placeholders filled, quoted as the client does it."""
    for name, value in path.items():
        resource = resource.replace(f"{{{name}}}", quote(value, safe=""))
    if not query:
        return resource
    pairs = (f"{name}={quote(_query_text(value))}" for name, value in query.items())
    return f"{resource}?{'&'.join(pairs)}"


def _content_type(body: Any, text: Optional[str]) -> str:
    if text is not None:
        return "text/plain"
    return "" if body is None else "application/json"


def _encoded(body: Any, text: Optional[str]) -> Optional[bytes]:
    if text is not None:
        return text.encode()
    return None if body is None else json.dumps(body).encode()


def _query_text(value: Query) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@lru_cache(maxsize=None)
def _identification() -> Mapping[str, str]:
    """How the client makes itself known, which a server or a firewall may go by.

    Without the client installed there is no version that could be told.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        client = version("h2ogpte")
    except PackageNotFoundError:
        return {"User-Agent": f"h2ogpte-migrate/{__version__}"}
    return {"User-Agent": f"OpenAPI-Generator/{client}/python", "X-Client-Version": client}


def _refuse_malformed(route: str, key: Secret, path: Mapping[str, str]) -> None:
    """Keep out what would end in another route, or in a traceback that shows the key."""
    value = key.reveal()
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise Unauthorized("The key holds characters that no key has.", route=route)
    for name, part in path.items():
        if part in NO_IDS:
            raise Rejected(f"{route}: {part!r} is no {name}.", route=route)


# -- what becomes of a request in trouble ----------------------------------------------
def _may_retry(call: _Call, trouble: RequestFailure) -> bool:
    return trouble.transient and (call.repeatable or trouble.nothing_done)


def _final(call: _Call, trouble: RequestFailure, attempts: int) -> ServerError:
    """The error that ends a request."""
    times = "" if attempts == 1 else f" after {plural(attempts, 'attempt')}"
    message = f"{call.route} failed{times}: {trouble.what}."
    if not call.repeatable and not trouble.nothing_done:
        return OutcomeUnknown(
            message, status=trouble.status, route=call.route, timed_out=trouble.timed_out
        )
    family = BadReply if trouble.bad_reply else Unavailable
    return family(message, status=trouble.status, route=call.route, hint=trouble.hint)
