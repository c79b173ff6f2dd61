"""The one place for time-outs, retries, the common slow-down, translation of errors, and logging.

It sends one request after the other over the client package's generated layer, with plain JSON
in both directions: fields and values that the client does not know must survive. It knows no
operation of the server; those are in ``rest``.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
import threading
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Dict, Mapping, Optional, Tuple
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from h2ogpte_migration.errors import (
    BadReply,
    OutcomeUnknown,
    Rejected,
    ServerError,
    TlsRefused,
    Unauthorized,
    Unavailable,
    UsageError,
)
from h2ogpte_migration.gateway.replies import Reply, Trouble, read_failure, read_value
from h2ogpte_migration.gateway.throttle import Clock, SystemClock, Throttle, Ticket
from h2ogpte_migration.redact import Secret, register
from h2ogpte_migration.ui.text import plural, safe

log = logging.getLogger(__name__)

API = "/api/v1"
FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 10.0
MOST_TRIES = 20
"""However often a busy server says "not now"."""
LONGEST_BODY = 5
"""How many read time-outs a whole body may take, however slowly it drips in."""
CHUNK = 65_536
NO_IDS = ("", ".", "..")


@dataclass(frozen=True)
class _Call:
    """A request as it is sent on each attempt."""

    method: str
    template: str
    prefix: str
    key: Secret
    path: Mapping[str, str]
    query: Mapping[str, Any]
    headers: Mapping[str, str]
    body: Any
    repeatable: bool
    expect: Optional[type]

    @property
    def route(self) -> str:
        """What logs and errors call it: free of ids."""
        return f"{self.method} {self.template}"


class Transport:
    """Sends requests for any number of keys and threads over one pool of connections.

    Args:
        base_url: the server; may have a base path.
        timeout_s: how long to wait for each part of an answer.
        connect_timeout_s: how long to wait for a connection.
        retries: attempts after the first one.
        max_in_flight: requests at once.
        ca_cert: file with the authorities to trust instead of the system's.
        insecure: trust any certificate.
        stop: when set, nothing is retried any more. Requests that begin later (deleting keys)
            are sent at once, one time.
        clock: time and chance.

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
        stop: threading.Event,
        clock: Optional[Clock] = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.timeout_s = timeout_s
        self.connect_timeout_s = connect_timeout_s
        self.ca_cert = ca_cert
        self.insecure = insecure
        self._retries = retries
        self._stop = stop
        self._clock = clock or SystemClock()
        self._throttle = Throttle(max_in_flight, self._clock, stop)
        self._host = safe(urlsplit(self.base_url).netloc)
        self._client = self._build_client(max_in_flight)

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
        self._client.rest_client.pool_manager.clear()

    def request(
        self,
        method: str,
        path_template: str,
        *,
        key: Secret,
        path: Optional[Mapping[str, str]] = None,
        query: Optional[Mapping[str, Any]] = None,
        headers: Optional[Mapping[str, str]] = None,
        body: Any = None,
        repeatable: bool,
        prefix: str = API,
        expect: Optional[type] = None,
    ) -> Any:
        """Send a request, again if need be, and return the JSON of its answer.

        Args:
            path: values for the placeholders of ``path_template``; quoted here.
            query: values of None are left out.
            body: sent as JSON unless it is None; an empty one is sent.
            repeatable: whether doing it twice does no harm.
            expect: the type that the answer must have. With None it may also be empty.

        Raises:
            Unauthorized, NotFound, Rejected, Conflict, TlsRefused: nothing was done.
            Unavailable, BadReply: all attempts failed; of a request that is not repeatable
                nothing was done.
            OutcomeUnknown: a request that is not repeatable brought no usable answer.
            Interrupted: the stop came before an attempt that was still needed.
        """
        call = _Call(
            method,
            path_template,
            prefix,
            key,
            dict(path or {}),
            {name: value for name, value in (query or {}).items() if value is not None},
            dict(headers or {}),
            body,
            repeatable,
            expect,
        )
        _refuse_malformed(call)
        return self._send_until_settled(call)

    # -- attempts ----------------------------------------------------------------------
    def _send_until_settled(self, call: _Call) -> Any:
        stopped_before = self._stop.is_set()
        retries = 0 if stopped_before else self._retries
        attempt = charged = 0
        while True:
            attempt += 1
            with self._throttle.slot(at_once=stopped_before) as ticket:
                try:
                    return self._attempt(call, attempt)
                except Trouble as error:
                    trouble = error
                    if trouble.slow_down:
                        self._throttle.slow_down(ticket, trouble.retry_after_s)
            if not self._is_free(trouble, ticket):
                charged += 1
            tired = charged > retries or attempt >= max(MOST_TRIES, retries + 1)
            if tired or not _may_retry(call, trouble):
                raise _final(call, trouble, attempt)
            self._back_off(trouble, charged)

    def _is_free(self, trouble: Trouble, ticket: Ticket) -> bool:
        """Whether a retry costs none of the attempts.

        A server that serves others meanwhile is well, and only wants us to be slower.
        """
        return trouble.limited and self._throttle.progress_since(ticket)

    def _back_off(self, trouble: Trouble, charged: int) -> None:
        """Wait before the next attempt; after a 429 the throttle's gate does that.

        Whether the stop came meanwhile is the throttle's to notice as well.
        """
        if trouble.limited:
            return
        longest_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (charged - 1))
        pause_s = longest_s * (0.5 + self._clock.chance() / 2)
        self._clock.pause(max(pause_s, trouble.retry_after_s or 0.0), self._stop)

    def _attempt(self, call: _Call, attempt: int) -> Any:
        """Send once; log one line about it."""
        started = self._clock.now()
        said = "no answer"
        try:
            reply = self._exchange(call)
            said = str(reply.status)
            value = read_value(reply, call.expect, call.route)
        except Trouble:
            raise
        except TlsRefused:
            said = "refused"
            raise
        except ServerError:
            self._throttle.succeeded()
            raise
        else:
            self._throttle.succeeded()
            return value
        finally:
            took_ms = (self._clock.now() - started) * 1000
            log.debug("%s: %s, %d ms, attempt %d", call.route, said, took_ms, attempt)

    def _exchange(self, call: _Call) -> Reply:
        """One request, one reply; whatever the HTTP library raises becomes ours."""
        from h2ogpte.rest_sync.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return self._receive(call)
        except (ApiException, HTTPError, HTTPException, OSError) as error:
            raise read_failure(error, self._host) from error

    def _receive(self, call: _Call) -> Reply:
        method, url, headers, body, _ = self._client.param_serialize(
            call.method,
            call.prefix + call.template,
            path_params=dict(call.path),
            query_params=dict(call.query),
            header_params=_headers(call),
            body=call.body,
        )
        answer = self._client.call_api(
            method,
            url,
            headers,
            body,
            _request_timeout=(self.connect_timeout_s, self.timeout_s),
        )
        raw = answer.response
        return Reply(raw.status, raw.headers, self._read_body(raw))

    def _read_body(self, raw: Any) -> bytes:
        """The whole body, so that the connection can be used again.

        Of an error's body nothing but a message is wanted: a cut one will do.
        """
        from urllib3.exceptions import HTTPError

        deadline = self._clock.now() + LONGEST_BODY * self.timeout_s
        read_some = getattr(raw, "read1", raw.read)
        data = bytearray()
        try:
            while self._clock.now() < deadline:
                chunk = read_some(CHUNK)
                if not chunk:
                    return bytes(data)
                data += chunk
            raise Trouble("the answer dripped in too slowly", timed_out=True)
        except (HTTPError, OSError, Trouble):
            raw.close()
            if 200 <= raw.status < 300:
                raise
            return bytes(data)

    # -- the client package ------------------------------------------------------------
    def _build_client(self, max_in_flight: int) -> Any:
        """One ``ApiClient`` for all keys; the package takes seconds to import."""
        import urllib3
        from h2ogpte import __version__ as client_version
        from h2ogpte.rest_sync import ApiClient, Configuration

        configuration = Configuration(host=self.base_url, ssl_ca_cert=_checked(self.ca_cert))
        configuration.connection_pool_maxsize = max_in_flight
        configuration.proxy, configuration.proxy_headers = proxy_for(self.base_url)
        if self.insecure:
            configuration.verify_ssl = False
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        client = _instance(ApiClient, configuration)
        client.rest_client.pool_manager = _OneShot(client.rest_client.pool_manager)
        client.set_default_header("X-Client-Version", client_version)
        return client


class _OneShot:
    """A pool manager that neither retries nor follows redirects.

    ``Configuration.retries`` reaches the pools only: some releases of urllib3 would still
    follow redirects, and repeat a POST doing so.
    """

    def __init__(self, pools: Any) -> None:
        self._pools = pools

    def request(self, method: str, url: str, **options: Any) -> Any:
        return self._pools.request(method, url, redirect=False, retries=False, **options)

    def clear(self) -> None:
        self._pools.clear()


def _instance(api_client: Any, configuration: Any) -> Any:
    try:
        return api_client(configuration)
    except (ImportError, ValueError) as error:
        raise UsageError([f"The proxy can't be used: {safe(str(error))}."]) from error


def _checked(ca_cert: Optional[str]) -> Optional[str]:
    """The certificate file, once it is known to hold certificates."""
    if ca_cert is None:
        return None
    try:
        ssl.create_default_context(cafile=ca_cert)
    except OSError as error:
        why = safe(error.strerror or str(error))
        raise UsageError([f"--cert {safe(ca_cert)} can't be used: {why}."]) from error
    return ca_cert


def _headers(call: _Call) -> Dict[str, str]:
    headers = {"Accept": "application/json", **call.headers}
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    headers["Authorization"] = f"Bearer {call.key.reveal()}"
    return headers


def _refuse_malformed(call: _Call) -> None:
    """Keep out what would end in another route, or in a traceback that shows the key."""
    key = call.key.reveal()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise Unauthorized("The key holds characters that no key has.", route=call.route)
    for name, value in call.path.items():
        if value in NO_IDS:
            raise Rejected(f"{call.route}: {value!r} is no {name}.", route=call.route)


# -- what becomes of a request in trouble ----------------------------------------------
def _may_retry(call: _Call, trouble: Trouble) -> bool:
    return trouble.transient and (call.repeatable or trouble.nothing_done)


def _final(call: _Call, trouble: Trouble, attempts: int) -> ServerError:
    """The error that ends a request."""
    times = "" if attempts == 1 else f" after {plural(attempts, 'attempt')}"
    message = f"{call.route} failed{times}: {trouble.what}."
    if not call.repeatable and not trouble.nothing_done:
        return OutcomeUnknown(
            message, status=trouble.status, route=call.route, timed_out=trouble.timed_out
        )
    family = BadReply if trouble.bad_reply else Unavailable
    return family(message, status=trouble.status, route=call.route, hint=trouble.hint)


# -- proxies ---------------------------------------------------------------------------
def proxy_for(base_url: str) -> Tuple[Optional[str], Optional[Dict[str, str]]]:
    """The proxy that the environment names for a server, and the headers that open it.

    This computer itself is never asked for through a proxy.

    Raises:
        UsageError: the setting is no url.
    """
    parts = urlsplit(base_url)
    if _is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None, None
    proxies = getproxies()
    setting = proxies.get(parts.scheme) or proxies.get("all")
    if not setting:
        return None, None
    return _without_credentials(setting if "://" in setting else f"http://{setting}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_credentials(proxy: str) -> Tuple[str, Optional[Dict[str, str]]]:
    """An HTTP proxy's url without user and password, which go into a header instead."""
    from urllib3 import make_headers

    try:
        parts = urlsplit(proxy)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise UsageError(["The proxy in the environment (HTTPS_PROXY) is no url."]) from None
    if parts.username is None or not parts.scheme.startswith("http"):
        return proxy, None
    password = unquote(parts.password or "")
    register(password)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    bare = urlunsplit((parts.scheme, f"{host}{port}", parts.path, "", ""))
    opener = make_headers(proxy_basic_auth=f"{unquote(parts.username)}:{password}")
    return bare, dict(opener)
