"""The outermost ASGI application: it answers the service's own routes and hands every other on to BentoML.

It stands outside BentoML's middleware because that keeps a timer, and with it the whole request, for each request
until its time-out. Here one sweep a while looks after all requests: it ends those past their deadline, and watches
those that take long for a client that hangs up.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing
from typing import Any

import orjson

from ostinato.service.config import Settings
from ostinato.service.edge.exchange import ClientGone, DirectExchange, Exchange
from ostinato.service.edge.message import JSON, EventStream, Request, Response, json_response
from ostinato.service.edge.problems import problem_response, status_and_code
from ostinato.service.edge.v1.routes import Rest
from ostinato.service.edge.websocket.streams import STATE_KEY as STREAMS_KEY
from ostinato.service.edge.websocket.streams import Streams
from ostinato.service.errors import DeadlineExceeded, MethodNotAllowed, TooLarge, UnsupportedMediaType
from ostinato.service.metrics.series import Histogram, Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON_HEADER = (b"content-type", b"application/json")

logger = logging.getLogger(__name__)

STATE_KEY = "ostinato_edge"
"""Where the lifespan's state holds the worker's edge; uvicorn gives that state to each connection."""

SWEEP_SECONDS = 0.05
WATCH_AFTER_SECONDS = 0.1
"""Requests older than this are watched for a client that hangs up; most are answered long before."""


class Edge:
    """ASGI application over ``inner``, BentoML's.

    Args:
        rest: the routes under ``/v1``.
        streams: handed to the WebSocket connections in the lifespan's state.
        readiness: tells whether the service is ready, and what readiness answers.
        start, stop: awaited before the server listens, and when it has answered everything.
    """

    def __init__(
        self,
        inner: App,
        rest: Rest,
        streams: Streams,
        metrics: Metrics,
        settings: Settings,
        readiness: Callable[[], tuple[bool, dict[str, Any]]],
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        self._inner = inner
        self.rest = rest
        self._streams = streams
        self._metrics = metrics
        self._readiness = readiness
        self._start, self._stop = start, stop
        self.max_body_bytes = settings.max_body_bytes
        self.deadline_seconds = settings.deadline_seconds
        # Oldest first, since a dictionary keeps the order of insertion.
        self.exchanges: dict[Exchange | DirectExchange, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bound: dict[tuple[str, int], Histogram] = {}

    @property
    def num_exchanges(self) -> int:
        """Requests under way."""
        return len(self.exchanges)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the hot path is written out here, since each further coroutine costs every request."""
        if scope["type"] != "http" or not (scope["path"].startswith("/v1/") or scope["path"] == "/v1"):
            await self._elsewhere(scope, receive, send)
            return
        exchange = Exchange(receive, asyncio.current_task(self.loop))
        self.exchanges[exchange] = None
        pattern = "none"
        try:
            pattern, name, handler = self.rest.route(scope["method"], scope["path"])
            media_type = self.check_headers(scope["headers"])
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                body = message.get("body", b"")
                self.check_size(len(body))
            else:
                body = await self._read_parts(message, receive)
            exchange.read_at = time.perf_counter()
            response = await handler(Request(name, scope["query_string"], media_type, body))
            if isinstance(response, EventStream):
                exchange.is_streaming = True
                await _send_events(send, response, self.deadline_seconds or None)
        except asyncio.CancelledError:
            if exchange.reason is None:
                raise
            if exchange.reason is ClientGone:
                return
            assert exchange.task is not None
            exchange.task.uncancel()
            response = self.too_late()
        except ClientGone:
            return
        except Exception as error:
            response = self.refuse(error, scope["method"], scope["path"])
        finally:
            del self.exchanges[exchange]
            if exchange.watcher is not None:
                exchange.watcher.cancel()
        self.observe(pattern, response.status, time.perf_counter() - (exchange.read_at or exchange.arrived_at))
        if not isinstance(response, EventStream):
            await _send(send, response)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop; kept, since asking which one runs costs a system call."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    async def sweep(self) -> None:
        """Look after slow requests, for ever."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                self._sweep_once(time.perf_counter())
            except Exception:
                logger.exception("a sweep over the requests under way failed")

    def _sweep_once(self, now: float) -> None:
        for exchange in list(self.exchanges):
            age = now - exchange.arrived_at
            if age < WATCH_AFTER_SECONDS:
                break
            if self.deadline_seconds and age > self.deadline_seconds and not exchange.is_streaming:
                exchange.expire()
            else:
                exchange.look_after()

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {}).update({STATE_KEY: self, STREAMS_KEY: self._streams})

        async def receive_after_ours() -> Message:
            message = await receive()
            await {"lifespan.startup": self._start, "lifespan.shutdown": self._stop}[message["type"]]()
            return message

        await self._inner(scope, receive_after_ours, send)

    async def _elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] in ("/livez", "/healthz", "/readyz", "/metrics"):
            await _send(send, self._system(scope["method"], scope["path"]))
        elif scope["type"] == "http":
            await self._bentoml(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    async def _bentoml(self, scope: Scope, receive: Receive, send: Send) -> None:
        """BentoML's own routes, with our limit on the body: one without a length is cut off where it is too large."""
        try:
            self.check_headers(scope["headers"])
        except (TooLarge, UnsupportedMediaType) as error:
            await _send(send, self.refuse(error, scope["method"], scope["path"]))
            return
        size = 0

        async def receive_at_most() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message if size <= self.max_body_bytes else {"type": "http.disconnect"}

        await self._inner(scope, receive_at_most, send)

    def too_late(self) -> Response:
        """The answer to a request past its deadline."""
        self._metrics.rejected.labels(reason="deadline_exceeded").inc()
        return problem_response(
            DeadlineExceeded(f"not answered within {self.deadline_seconds:g} s; with seq it is safe to send again")
        )

    def refuse(self, error: Exception, method: str, path: str) -> Response:
        """The answer to a request that failed."""
        status, code = status_and_code(error)
        if status >= 500 and code in ("internal", "run_failed"):
            logger.error("%s %s failed", method, path, exc_info=error)
        self._metrics.rejected.labels(reason=code).inc()
        return problem_response(error)

    def check_headers(self, headers: list[tuple[bytes, bytes]]) -> str:
        """The media type of the body to come.

        Raises:
            TooLarge: it is over the limit by its own word.
            UnsupportedMediaType: it is compressed.
        """
        media_type = ""
        for name, value in headers:
            if name == b"content-type":
                if value == b"application/json":
                    media_type = JSON
                else:
                    media_type = value.decode("latin-1").partition(";")[0].strip().lower()
            elif name == b"content-length":
                self.check_size(int(value))
            elif name == b"content-encoding" and value.lower() != b"identity":
                raise UnsupportedMediaType(f"a body in {value.decode('latin-1')} is not read; send it as it is")
        return media_type

    async def _read_parts(self, message: Message, receive: Receive) -> bytes:
        """The rest of a body that comes in parts, ``message`` being the first.

        Raises:
            TooLarge: it is over the limit.
            ClientGone: the client hung up before its end.
        """
        parts: list[bytes] = []
        size = 0
        while message["type"] == "http.request":
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self.check_size(size)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await receive()
        raise ClientGone("the client hung up before the end of its body")

    def check_size(self, num_bytes: int) -> None:
        """Refuse a body that is too large.

        Raises:
            TooLarge: it is over the limit.
        """
        if num_bytes > self.max_body_bytes:
            raise TooLarge(f"the body is over {self.max_body_bytes} bytes; send fewer steps at a time")

    def observe(self, pattern: str, status: int, seconds: float) -> None:
        """Count an answer and its time."""
        key = (pattern, status)
        bound = self._bound.get(key)
        if bound is None:
            labels = {"route": pattern.replace("{}", "{name}"), "code_class": f"{status // 100}xx"}
            bound = self._bound[key] = self._metrics.request_seconds.labels(**labels)
        bound.observe(seconds)

    def _system(self, method: str, path: str) -> Response:
        if method not in ("GET", "HEAD"):
            return problem_response(MethodNotAllowed(f"{path} takes GET, not {method}", ("GET", "HEAD")))
        if path == "/metrics":
            return Response(200, self._metrics.render(), "text/plain; version=0.0.4; charset=utf-8")
        if path == "/readyz":
            ready, content = self._readiness()
            return Response(200 if ready else 503, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        return json_response({"status": "alive"})


async def _send(send: Send, response: Response) -> None:
    headers: tuple[tuple[bytes, bytes], ...] = response.headers
    if response.status != 204:
        headers = (
            _JSON_HEADER if response.media_type == JSON else (b"content-type", response.media_type.encode()),
            (b"content-length", b"%d" % len(response.body)),
            *headers,
        )
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _send_events(send: Send, response: EventStream, patience_seconds: float | None) -> None:
    """Send an answer as it is made; a client that reads nothing for so long is left."""
    headers = [(b"content-type", response.media_type.encode()), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async with aclosing(response.events) as events:
        async for part in events:
            try:
                async with asyncio.timeout(patience_seconds):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except TimeoutError as error:
                raise ClientGone("the client does not read") from error
    await send({"type": "http.response.body", "body": b""})
