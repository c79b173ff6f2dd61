"""What the server's reply, or its absence, means for the request that was sent.

Three answers are possible: a value; a refusal, which is a ``ServerError`` and says that nothing
was done; or ``RequestFailure``, of which the transport decides whether to try again. Nothing here
sends or waits.
"""

from __future__ import annotations

import html
import http.client
import json
import re
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Dict, Iterator, List, Mapping, NoReturn, Optional, Type, Union
from urllib.parse import urlsplit

from h2ogpte_migration.errors import (
    Conflict,
    NotFound,
    Rejected,
    ServerError,
    TlsRefused,
    Unauthorized,
)
from h2ogpte_migration.redact import scrub, scrub_words
from h2ogpte_migration.ui.text import safe

LONGEST_RETRY_AFTER_S = 60.0
LONGEST_QUOTE = 200
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
SLOW_DOWN = frozenset({429, 503})
TIME_OUTS = frozenset({408, 504})

_ERROR_FIELDS = frozenset(
    {
        "error",
        "errors",
        "code",
        "message",
        "detail",
        "details",
        "status",
        "success",
        "ok",
        "trace_id",
    }
)
"""What an error consists of, and nothing that was asked for."""

_FAMILIES: Dict[int, Type[ServerError]] = {401: Unauthorized, 404: NotFound, 409: Conflict}
_TLS_ALERT = "\x15\x03"
_PLAIN_HTTP_SERVER = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
)
_NO_COMMON_TLS = ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "HANDSHAKE_FAILURE", "CERTIFICATE")
_WHICH_PROXY = (
    "HTTPS_PROXY, HTTP_PROXY and NO_PROXY in the environment say what goes through which."
)
_PROXY_HINT = "The proxy wants a user name and a password: HTTPS_PROXY=http://user:password@host"
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})")


class RequestFailure(Exception):
    """A request that brought no usable answer.

    Args:
        what: for people, harmless text that goes into a sentence.
        status: the HTTP status, if there was one.
        nothing_done: the server surely did not work on the request.
        transient: another attempt may do better.
        timed_out: the answer was waited for in vain, and may yet take effect.
        bad_reply: there was a reply, but not what the contract says.
        retry_after_s: when the server wants to be asked again.
        hint: what people may do about it.
    """

    def __init__(
        self,
        what: str,
        *,
        status: Optional[int] = None,
        nothing_done: bool = False,
        transient: bool = True,
        timed_out: bool = False,
        bad_reply: bool = False,
        retry_after_s: Optional[float] = None,
        hint: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.status = status
        self.nothing_done = nothing_done
        self.transient = transient
        self.timed_out = timed_out
        self.bad_reply = bad_reply
        self.retry_after_s = retry_after_s
        self.hint = hint

    @property
    def limited(self) -> bool:
        """The server refused because it was asked too often."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS

    @property
    def slow_down(self) -> bool:
        """Everybody should leave the server alone for a while."""
        return self.status in SLOW_DOWN


@dataclass(frozen=True)
class Reply:
    """A reply that arrived; ``data`` may be incomplete where the status is no success."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def read_value(reply: Reply, expect: Optional[type], route: str) -> Any:
    """The JSON of a reply; None for an empty one where no type is expected.

    Raises:
        ServerError: the server refused, nothing was done.
        RequestFailure: anything else.
    """
    if not 200 <= reply.status < 300:
        raise_refusal(reply, route)
    if not reply.data.strip() and expect is None:
        return None
    try:
        value = json.loads(reply.data)
        if _may_hold_surrogates(reply.data):
            value = _encodable(value)
    except (ValueError, RecursionError):
        words = server_words(reply.data)
        raise _bad(reply, f"an answer that is no JSON: {words or 'empty'}") from None
    if _is_error_within_success(value):
        words = server_words(reply.data) or "no words"
        raise _bad(reply, f"a success that speaks of an error: {words}")
    if expect is not None and not isinstance(value, expect):
        raise _bad(reply, f"JSON of another shape than documented ({type(value).__name__})")
    return value


def _may_hold_surrogates(data: bytes) -> bool:
    return b"\\ud" in data or b"\\uD" in data or b"\xed" in data


def _encodable(value: Any) -> Any:
    """The value with each half of a character, which nothing can store or send, replaced."""
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value


def _is_error_within_success(value: Any) -> bool:
    """Whether a 2xx says in its body that nothing, or not all, was done.

    What speaks of a thing names it (``id``) or has fields of its own. Metadata with an "error" and
    nothing else are taken for one: better told as not copied than an error copied.
    """
    if not isinstance(value, dict) or not value.get("error"):
        return False
    return isinstance(value["error"], (str, dict)) and value.keys() <= _ERROR_FIELDS


def _bad(reply: Reply, what: str) -> RequestFailure:
    return RequestFailure(f"the server sent {what}", status=reply.status, bad_reply=True)


def raise_refusal(reply: Reply, route: str) -> NoReturn:
    """Raise what a status other than 2xx means."""
    status, words = reply.status, server_words(reply.data)
    what = f"the server answered {_status(status)}" + (f": {words}" if words else "")
    if status == HTTPStatus.NOT_FOUND and not _is_own_error(reply.data):
        # A proxy without its backend says so too. What does not exist is told by the server.
        raise RequestFailure(what, status=status, nothing_done=True, bad_reply=True)
    if status in TRANSIENT or status >= 500:
        raise RequestFailure(
            what,
            status=status,
            nothing_done=status == HTTPStatus.TOO_MANY_REQUESTS,
            transient=status in TRANSIENT,
            timed_out=status in TIME_OUTS,
            retry_after_s=retry_after_s(reply.headers),
        )
    raise refusal(status, route, what, hint=_hint(reply))


def refusal(status: int, route: str, what: str, hint: str = "") -> ServerError:
    """The error for a status with which a server refuses: nothing was done."""
    return _FAMILIES.get(status, Rejected)(
        f"{route}: {what}.", status=status, route=route, hint=hint
    )


def _status(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _hint(reply: Reply) -> str:
    """What to do about a refusal, where the reply makes it plain."""
    if 300 <= reply.status < 400:
        return _redirect_hint(reply.headers.get("Location", ""))
    if reply.status == HTTPStatus.UNAUTHORIZED:
        return "Is the key mistyped, expired or deleted?"
    if reply.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return _PROXY_HINT
    if reply.status == HTTPStatus.BAD_REQUEST and _is_https_port(reply.data):
        return "This port speaks https: write https:// in --url."
    return ""


def _redirect_hint(location: str) -> str:
    try:
        parts = urlsplit(location)
        port = f":{parts.port}" if parts.port else ""
        target = f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
    except ValueError:
        target = ""
    if not target:
        return "Redirects are not followed: is the address in --url complete?"
    return f"It redirects to {safe(scrub(target))}: is that the address for --url?"


def _is_https_port(data: bytes) -> bool:
    text = data[:2000].lower()
    return b"http request" in text and b"https" in text


def server_words(data: bytes) -> str:
    """What the server said about an error, on one harmless line; may be empty."""
    text = data[:20_000].decode("utf-8", "replace")
    try:
        said = _said(json.loads(text))
    except (ValueError, RecursionError):
        said = _plain(text)
    return safe(scrub_words(" ".join(said.split())), LONGEST_QUOTE)


def _is_own_error(data: bytes) -> bool:
    """Whether an error was written by h2oGPTe itself, not by something on the way to it."""
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(payload, dict) and any(key in payload for key in ("message", "error", "code"))


def _said(payload: Any) -> str:
    """The message in ``{"code", "message"}`` (REST) or ``{"error"}`` (the rest)."""
    if not isinstance(payload, dict):
        return payload if isinstance(payload, str) else ""
    for key in ("message", "error", "detail"):
        if isinstance(payload.get(key), str) and payload[key].strip():
            return str(payload[key])
    return ""


def _plain(text: str) -> str:
    """The words of an HTML page, its title first."""
    text = re.sub(r"(?is)<(script|style)\b.*?(</\1>|$)", " ", text)
    return html.unescape(re.sub(r"<[^>]*>", " ", text))


def retry_after_s(headers: Mapping[str, str]) -> Optional[float]:
    """Seconds to wait as ``Retry-After`` says, at most a minute; None where it says nothing.

    A date is taken relative to the reply's own date: our clock may be wrong.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return min(LONGEST_RETRY_AFTER_S, float(value))
    try:
        until = parsedate_to_datetime(value)
        since = parsedate_to_datetime(headers.get("Date", ""))
        seconds = (until - since).total_seconds()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return min(LONGEST_RETRY_AFTER_S, max(0.0, seconds))


def read_date(value: str) -> Optional[datetime]:
    """A ``Date`` header; None where it is none. It has whole seconds."""
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=timezone.utc)


def read_failure(error: BaseException, host: str) -> Union[TlsRefused, RequestFailure]:
    """What an exception of the HTTP library means: a ``TlsRefused``, or ``RequestFailure``.

    Args:
        error: as urllib3, http.client or the socket raised it.
        host: the server, for the message.
    """
    from urllib3 import exceptions as lib

    tls = next((cause for cause in _causes(error) if _is_tls(cause)), None)
    if tls is not None:
        return read_tls_failure(tls, host)
    tunnel = _TUNNEL_REFUSED.search(str(error))
    if tunnel:
        return _no_tunnel(int(tunnel.group(1)), host)
    if isinstance(error, lib.ProxyError) and isinstance(
        error.original_error, lib.ConnectTimeoutError
    ):
        what = f"the proxy can't be reached: {_reason(error)}"
        return RequestFailure(what, nothing_done=True, hint=_WHICH_PROXY)
    if isinstance(error, lib.NewConnectionError):
        what = f"{host} can't be reached: {_reason(error)}"
        return RequestFailure(what, nothing_done=True, hint="Check --url and the network.")
    if isinstance(error, lib.ConnectTimeoutError):
        return RequestFailure(f"{host} took too long to accept the connection", nothing_done=True)
    if isinstance(error, (lib.TimeoutError, TimeoutError, socket.timeout)):
        return RequestFailure("no answer came in time", timed_out=True)
    if isinstance(error, lib.DecodeError):
        return RequestFailure("the server sent an answer that can't be unpacked", bad_reply=True)
    return _broken(error, host)


def _no_tunnel(status: int, host: str) -> RequestFailure:
    """A proxy that answered, but did not lead to the server."""
    what = f"the proxy refused to connect to {host}: {_status(status)}"
    hint = _PROXY_HINT if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED else ""
    return RequestFailure(what, nothing_done=True, transient=status >= 500, hint=hint)


def _broken(error: BaseException, host: str) -> Union[TlsRefused, RequestFailure]:
    """A connection that was there and broke."""
    for cause in _causes(error):
        if isinstance(cause, http.client.BadStatusLine) and str(cause.args[0]).startswith(
            _TLS_ALERT
        ):
            return TlsRefused(
                f"{host} speaks https on this port, not http.",
                hint="Write https:// in --url.",
            )
    return RequestFailure(f"the connection broke before the answer was complete: {_reason(error)}")


def read_tls_failure(error: BaseException, host: str) -> Union[TlsRefused, RequestFailure]:
    """What a failure of TLS means: refused for good, or a connection that broke."""
    reason = str(getattr(error, "reason", None) or error)
    if isinstance(error, (ssl.SSLCertVerificationError, ssl.CertificateError)):
        why = safe(getattr(error, "verify_message", "") or reason)
        return TlsRefused(
            f"The certificate of {host} is not trusted: {why.rstrip('.')}.",
            hint="Give the certificate of your authority with --cert FILE; "
            "--insecure accepts any certificate.",
        )
    if any(word in reason for word in _PLAIN_HTTP_SERVER):
        return TlsRefused(
            f"{host} does not speak https on this port.", hint="Write http:// in --url."
        )
    if any(word in reason for word in _NO_COMMON_TLS):
        return TlsRefused(f"{host} and this computer can't agree on TLS: {safe(reason)}.")
    return RequestFailure(f"the encrypted connection broke: {safe(reason)}")


def _is_tls(error: BaseException) -> bool:
    return isinstance(error, ssl.SSLError) and not isinstance(error, TimeoutError)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and whatever is wrapped in it, outermost first."""
    todo: List[BaseException] = [error]
    seen: List[BaseException] = []
    while todo:
        current = todo.pop(0)
        if any(current is other for other in seen):
            continue
        seen.append(current)
        yield current
        inner = [current.__cause__, current.__context__, getattr(current, "reason", None)]
        todo += [item for item in (*inner, *current.args) if isinstance(item, BaseException)]


def _reason(error: BaseException) -> str:
    """The operating system's words for what went wrong, free of Python's own."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return safe(scrub(cause.strerror))
    *_, innermost = _causes(error)
    return safe(scrub(str(innermost) or type(innermost).__name__))
