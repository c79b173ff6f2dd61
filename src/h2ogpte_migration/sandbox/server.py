"""The stand-in as an HTTP server: aiohttp on loopback, in a thread of its own.

It knows sockets, faults and what happened; what a request means is known to ``dispatch``.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any, Dict, List, Optional, Set

from aiohttp import ClientError, EofStream, web

from .chat import converse
from .dispatch import find_route, perform
from .faults import Action, Faults, Request
from .model import Json, SandboxError
from .world import World

_HOST = "127.0.0.1"
_CHAT_PATH = "/ws"
_LARGEST_BODY = 64 * 2**20


class SandboxServer:
    """A running stand-in.

    It may be stopped and started again: world, faults, records and port stay.

    Args:
        world: what it serves; an empty one by default.
        port: where it listens on loopback; 0 is any free port.
        ssl_context: to speak https.
        base_path: such as ``/h2ogpte``, in front of every path but the websocket's.
    """

    def __init__(
        self,
        world: Optional[World] = None,
        *,
        port: int = 0,
        ssl_context: Optional[ssl.SSLContext] = None,
        base_path: str = "",
    ) -> None:
        self.world = world if world is not None else World()
        self.faults = Faults()
        self.requests: List[Request] = []
        self.in_flight = 0
        self._under_way: Set[object] = set()
        self.peak_in_flight = 0
        self._base_path = base_path.rstrip("/")
        self._port = port
        self._ssl_context = ssl_context
        self._ports_seen: Set[int] = set()
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._thread: Optional[threading.Thread] = None
        self._runner: Optional[web.ServerRunner] = None

    # -- life

    @property
    def url(self) -> str:
        """Return the address, with the base path and without a slash at the end."""
        scheme = "https" if self._ssl_context else "http"
        return f"{scheme}://{_HOST}:{self._port}{self._base_path}"

    @property
    def admin_key(self) -> str:
        """Return the key of the first admin of the world."""
        for user in self.world.users.values():
            if user.is_admin:
                return self.world.key_of(user.username)
        raise SandboxError(404, "There is no admin")

    def start(self) -> str:
        """Start listening and return the url."""
        if self._thread is not None:
            raise RuntimeError("the sandbox runs already")
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, self._port))
        except OSError:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="h2ogpte-sandbox", daemon=True
        )
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(listener), self._loop).result(10)
        return self.url

    def stop(self) -> None:
        """Stop listening and drop all connections; stopping twice does no harm."""
        loop, thread, runner = self._loop, self._thread, self._runner
        if loop is None or thread is None or runner is None:
            return
        asyncio.run_coroutine_threadsafe(self._shut(runner), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        self._loop = self._thread = self._runner = None
        self._under_way.clear()

    def __enter__(self) -> SandboxServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _open(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        request = partial(web.BaseRequest, loop=loop, client_max_size=_LARGEST_BODY)
        # Without aiohttp's router: ``dispatch`` knows the routes.
        server = web.Server(self._handle, request_factory=request, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.SockSite(self._runner, listener, ssl_context=self._ssl_context).start()

    @staticmethod
    async def _shut(runner: web.ServerRunner) -> None:
        await runner.cleanup()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    # -- what happened

    @property
    def connections(self) -> int:
        """Return how many TCP connections sent requests."""
        return len(self._ports_seen)

    @property
    def at_work(self) -> bool:
        """Return whether a request is being worked on, or will be although its reply was lost.

        Those of before the last ``forget_requests`` are forgotten here as well.
        """
        return bool(self._under_way)

    def counts(self, *, mutating: Optional[bool] = None) -> Dict[str, int]:
        """Return the number of requests by route, all or only those that change something."""
        seen = [r for r in list(self.requests) if mutating in (None, r.mutating)]
        return dict(Counter(request.route for request in seen))

    def forget_requests(self) -> None:
        """Start counting afresh: requests, peaks and connections."""
        self.requests.clear()
        self._ports_seen.clear()
        self._under_way.clear()
        self.peak_in_flight = self.in_flight
        self.world.peak_running_imports = self.world.running_imports()

    # -- requests

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        raw_path = http.rel_url.raw_path
        if raw_path == _CHAT_PATH:
            return await self._chat(http)
        try:
            body = await self._body(http)
        except (OSError, ClientError, EofStream):
            _reset(http)  # the client died before its request was whole: it was never made
            return web.Response()
        record = self._record(http, raw_path, body)
        self.in_flight += 1
        token = object()
        self._under_way.add(token)
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            if self.world.habits.latency_s:
                await asyncio.sleep(self.world.habits.latency_s)
            return await self._respond(http, record, self.faults.choose(record) or Action())
        finally:
            self.in_flight -= 1
            self._under_way.discard(token)
            record.ended = time.monotonic()

    @staticmethod
    async def _body(http: web.BaseRequest) -> Json:
        """Return the body if it is JSON, text, or files (a list of names and texts).

        It is None for anything else, which the rules refuse.
        """
        if http.headers.get("Expect", "").lower() == "100-continue":
            await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            http.writer.output_size = 0  # of the answer itself nothing was sent
        if http.content_type.startswith("multipart/"):
            fields = (await http.post()).values()
            files = [field for field in fields if isinstance(field, web.FileField)]
            return [[file.filename, file.file.read().decode("utf-8", "replace")] for file in files]
        data = await http.read() if http.body_exists else b""
        if http.content_type == "text/plain":
            return data.decode("utf-8", "replace")
        if not data or http.content_type != "application/json":
            return None
        try:
            return json.loads(data)
        except ValueError:
            return None

    def _api_path(self, raw_path: str) -> str:
        """Return the path below the base path; a path that is not below it means nothing."""
        if not raw_path.startswith(self._base_path + "/"):
            return ""
        return raw_path[len(self._base_path) :]

    def _record(self, http: web.BaseRequest, raw_path: str, body: Json) -> Request:
        found = find_route(http.method, self._api_path(raw_path))
        route = found[0].name if found else http.method + " ?"
        if raw_path == _CHAT_PATH:
            route = "GET " + _CHAT_PATH
        key = self.world.keys.get(_secret(http) or "")
        peer = http.transport.get_extra_info("peername") if http.transport else None
        record = Request(
            number=len(self.requests) + 1,
            method=http.method,
            route=route,
            path=raw_path,
            username=key.username if key else None,
            client_port=peer[1] if peer else 0,
            started=time.monotonic(),
            query=dict(http.query) if http.query_string else {},
            body=body,
        )
        self.requests.append(record)
        self._ports_seen.add(record.client_port)
        return record

    async def _respond(
        self, http: web.BaseRequest, record: Request, action: Action
    ) -> web.StreamResponse:
        world = self.world  # also of what it does later: by then there may be another one
        early = self._work(http, record, world) if action.after else None
        await self._linger(action)
        if early is not None:
            response = early
        elif action.close or action.reply:
            response = web.Response()
            if action.late_s:
                self._work_later(action.late_s, http, record, world)
        else:
            response = self._work(http, record, world)
        if action.close:
            _reset(http)
            return response
        if action.reply:
            fixed = action.reply
            response = web.Response(
                status=fixed.status,
                body=fixed.body,
                content_type=fixed.content_type,
                headers=fixed.headers,
            )
        record.status = response.status
        return await _send_half(http, response) if action.cut else response

    @staticmethod
    async def _linger(action: Action) -> None:
        if action.call is not None:
            await asyncio.get_running_loop().run_in_executor(None, action.call)
        if action.hang_s:
            await asyncio.sleep(action.hang_s)

    def _work_later(
        self, late_s: float, http: web.BaseRequest, record: Request, world: World
    ) -> None:
        token = object()

        def work() -> None:
            self._work(http, record, world)
            self._under_way.discard(token)

        self._under_way.add(token)
        asyncio.get_running_loop().call_later(late_s, work)

    def _work(self, http: web.BaseRequest, record: Request, world: World) -> web.Response:
        answer = perform(
            world,
            http.method,
            self._api_path(record.path),
            secret=_secret(http),
            query=record.query,
            body=record.body,
        )
        if not answer.has_body:
            return web.Response(status=answer.status)
        is_json = answer.content_type == "application/json"
        data = _json(answer.body) if is_json else str(answer.body).encode()
        return web.Response(
            status=answer.status, body=data, headers={"Content-Type": answer.content_type}
        )

    # -- chat

    async def _chat(self, http: web.BaseRequest) -> web.StreamResponse:
        record = self._record(http, _CHAT_PATH, None)
        action = self.faults.choose(record) or Action()
        await self._linger(action)
        if action.close:
            _reset(http)
            return web.Response()
        if action.reply:
            return _refuse_chat(action.reply.status, "Trouble on purpose")
        try:
            with self.world.lock:
                user = self.world.authenticate(_secret(http))
        except SandboxError as refusal:
            record.status = refusal.status
            return _refuse_chat(refusal.status, refusal.message)
        record.status = 101
        channel = web.WebSocketResponse()
        with suppress(ConnectionError):
            await channel.prepare(http)
            await converse(self.world, user, http.query.get("currentSessionID", ""), channel)
        record.ended = time.monotonic()
        return channel


def _json(value: Json) -> bytes:
    """Return JSON in UTF-8; what has no form in it, such as half a surrogate pair, is escaped."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def _secret(http: web.BaseRequest) -> Optional[str]:
    scheme, _, secret = http.headers.get("Authorization", "").partition(" ")
    return secret if scheme == "Bearer" else None


def _refuse_chat(status: int, message: str) -> web.Response:
    """Return a refused handshake; clients wait for its connection to be closed."""
    response = web.json_response({"error": message}, status=status)
    response.force_close()
    return response


def _reset(http: web.BaseRequest) -> None:
    transport: Any = http.transport
    if transport is not None:
        transport.abort()


async def _send_half(http: web.BaseRequest, response: web.Response) -> web.StreamResponse:
    """Promise the whole answer, send half of it and close the connection."""
    body = response.body if isinstance(response.body, bytes) else b""
    if not body:
        _reset(http)
        return response
    headers = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    half = web.StreamResponse(status=response.status, headers=headers)
    with suppress(ConnectionError):
        await half.prepare(http)
        await half.write(body[: len(body) // 2])
    if http.transport is not None:
        http.transport.close()
    return half
