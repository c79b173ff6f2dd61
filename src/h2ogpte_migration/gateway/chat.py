"""One question over the chat websocket, by the client package's ``Session``.

The session is used as it is, but for its habits of retrying and of printing to the terminal. This
is the one use of the package, whose import takes seconds: it is imported when a question is asked.
"""

from __future__ import annotations

import logging
import re
import ssl
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Callable, Dict, Iterator, NoReturn, Type, Union
from urllib.parse import urlsplit

from h2ogpte_migration.errors import (
    BadReply,
    ClientUnusable,
    Rejected,
    ServerError,
    Unavailable,
)
from h2ogpte_migration.gateway.pools import proxy_for
from h2ogpte_migration.gateway.replies import (
    RequestFailure,
    read_tls_failure,
    refusal,
    retry_after_s,
)
from h2ogpte_migration.model import Answer
from h2ogpte_migration.redact import Secret, scrub
from h2ogpte_migration.ui.text import safe

log = logging.getLogger(__name__)

ROUTE = "WS /ws"
CLOSE_TIMEOUT_S = 5
CONNECT_AGAIN_S = (0.5, 2.0)
"""How long to wait before each further attempt to connect. Over TLS a connection may break in its
handshake for nothing: the websocket library reads and writes it from two threads."""
MISREAD = (ValueError, KeyError, TypeError, AttributeError, AssertionError, RuntimeError)
"""How the session fails on a reply that it does not understand."""
UNUSABLE = (ImportError, SyntaxError, NameError, *MISREAD)
"""How the import of a package fails that is missing, broken, or made for another Python."""
OLDEST_CLIENT = (1, 6, 57)


class ChatServer:
    """Questions to one server, and whether it lets anybody connect; shared by all threads of a run.

    Args:
        verify: which certificate to trust: a file's, the system's store's (True) or any (False).
        pause: lets seconds pass; raises ``Interrupted`` when the run is to stop.
    """

    def __init__(
        self,
        base_url: str,
        verify: Union[bool, str] = True,
        connect_timeout_s: float = 10.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url
        self.verify = verify
        self._connect_timeout_s = connect_timeout_s
        self._pause = pause
        self._out_of_reach = threading.Event()

    def ask(self, key: Secret, session_id: str, question: str, timeout_s: float) -> Answer:
        """Ask one question in a chat session, once, over a connection that is tried for.

        Raises:
            ClientUnusable: the client package is missing, too old or broken.
            ServerError: anything else that went wrong.
        """
        package = _import_client()
        client = _Client(key, self.verify, package.version)
        session = package.session(
            self._base_url,
            session_id,
            client=client,
            open_timeout=self._connect_timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            max_connect_retries=1,
        )
        try:
            self._connect(package, session, client)
            with self._our_errors(package, timeout_s):
                message = session.query(question, timeout=timeout_s, retries=1)
                return Answer(message_id=message.id, text=message.content or "")
        finally:
            session.disconnect()

    def _connect(self, package: _Package, session: Any, client: _Client) -> None:
        """Before a connection stands nothing is asked: what may pass by is tried again.

        Where a firewall swallows them all, each attempt lasts for long, for every collection: while
        none came through, a question makes but one.
        """
        pauses = () if self._out_of_reach.is_set() else CONNECT_AGAIN_S
        for pause_s in (*pauses, None):
            try:
                with self._our_errors(package, self._connect_timeout_s):
                    session.connect()
                    self._out_of_reach.clear()
                    return
            except Unavailable as error:
                if pause_s is None:
                    self._out_of_reach.set()
                    raise self._explained(error) from error.__cause__
                pause_s = max(pause_s, client.asked_to_wait_s)
                log.debug("%s tried again in %g s: %s", ROUTE, pause_s, error.message)
                self._pause(pause_s)

    def _explained(self, error: Unavailable) -> Unavailable:
        """Where no answer came, and all else goes through a proxy, that is the likely reason."""
        if error.status is not None or proxy_for(self._base_url)[0] is None:
            return error
        return Unavailable(
            f"{error.message} The question goes straight to the server: the h2ogpte client does not "
            "use the proxy that the environment names.",
            route=ROUTE,
        )

    @contextmanager
    def _our_errors(self, package: _Package, timeout_s: float) -> Iterator[None]:
        try:
            yield
        except package.session_error as error:
            what = f"{ROUTE}: the server answered: {_words(error)}."
            raise Rejected(what, route=ROUTE) from error
        except TimeoutError as error:
            raise _unavailable(f"no answer within {timeout_s:g} s") from error
        except package.websocket_error as error:
            raise _unavailable(f"the connection broke: {_words(error)}") from error
        except ssl.SSLError as error:
            raise self._tls_error(error) from error
        except OSError as error:
            raise _unavailable(f"no answer: {error.strerror or error}") from error
        except MISREAD as error:
            what = (
                f"the installed h2ogpte client {safe(package.version)} does not understand what the "
                f"server sent ({type(error).__name__}); a newer one may"
            )
            raise BadReply(f"{ROUTE} failed: {what}.", route=ROUTE) from error

    def _tls_error(self, error: ssl.SSLError) -> ServerError:
        meaning = read_tls_failure(error, safe(urlsplit(self._base_url).netloc))
        if isinstance(meaning, RequestFailure):
            return _unavailable(meaning.what)
        return meaning


class _Client:
    """As much of an ``H2OGPTE`` client as a session asks for."""

    def __init__(self, key: Secret, verify: Union[bool, str], version: str) -> None:
        self._key = key
        self._verify = verify
        self._version = version
        self.asked_to_wait_s = 0.0

    def _get_auth_header(self) -> Dict[str, str]:
        return {
            "Authorization": f"Bearer {self._key.reveal()}",
            "X-Client-Version": self._version,
        }

    def _http_code_to_error(self, status: int, _error: Any) -> NoReturn:
        """Called when the handshake was answered with a status instead of a websocket.

        That answer is the error that is being handled: the session hands on its words alone.
        """
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            answer = getattr(sys.exc_info()[1], "response", None)
            raw = answer.headers.raw_items() if answer else ()
            headers = {name.title(): value for name, value in raw}
            self.asked_to_wait_s = retry_after_s(headers) or 0.0
            raise _unavailable(f"the server answered {status}", status)
        raise refusal(status, ROUTE, f"the server answered {status} to the connection")


@dataclass(frozen=True)
class _Package:
    """What is needed of the client package and of the websocket library that it brings."""

    version: str
    session: Any
    session_error: Type[Exception]
    websocket_error: Type[Exception]


def _import_client() -> _Package:
    """The client package, its session's prints turned into log lines.

    They are caught by a name in its own module: to redirect the standard error stream would
    swallow what other threads write meanwhile.
    """
    try:
        from h2ogpte import __version__ as version
        from h2ogpte import session
        from h2ogpte.types import SessionError
        from websockets.exceptions import WebSocketException

        found = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    except UNUSABLE as error:
        raise _unusable(f"its import fails ({type(error).__name__}: {_words(error)})") from error
    if found < OLDEST_CLIENT:
        raise _unusable(f"it is too old ({safe(version)})")
    session.print = _log_print
    return _Package(version, session.Session, SessionError, WebSocketException)


def _unusable(why: str) -> ClientUnusable:
    oldest = ".".join(map(str, OLDEST_CLIENT))
    return ClientUnusable(
        f"The h2ogpte client, which asks the question, can't be used: {why}. It takes version "
        f"{oldest} or newer that suits this Python: pip install --upgrade h2ogpte.",
        route=ROUTE,
    )


def _log_print(*words: object, **_: object) -> None:
    log.debug("%s", safe(scrub(" ".join(map(str, words)))))


def _words(error: Exception) -> str:
    return safe(scrub(" ".join(str(error).split())))


def _unavailable(what: str, status: Union[int, None] = None) -> Unavailable:
    text = safe(scrub(" ".join(what.split())))
    return Unavailable(f"{ROUTE} failed: {text}.", status=status, route=ROUTE)
