"""The outermost ASGI application: it answers the service's own routes and hands every other on to BentoML.

It is outside BentoML's middleware because that keeps a timer, and with it the whole request, for each request
until its time-out. Here the desk's sweep looks after all requests: it ends those past their deadline, and watches
those that take long for a client that hangs up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import aclosing
from typing import Any

from ostinato.service.edge.access import ANY, METRICS, PUBLIC
from ostinato.service.edge.access_log import Answered
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.exchange import CLIENT_GONE, AsgiEvent, ClientGone, Exchange, Receive
from ostinato.service.edge.head import WHOLE_SERVER
from ostinato.service.edge.message import JSON, EventStream, Request, Response
from ostinato.service.edge.methods import ALL, READING, options
from ostinato.service.edge.problems import Problem
from ostinato.service.edge.routes import Handler, Routes
from ostinato.service.edge.system import SystemRoutes
from ostinato.service.edge.tags import Tag, peer_of, printable
from ostinato.service.edge.terms import Terms
from ostinato.service.edge.websocket.streams import STATE_KEY as STREAMS_KEY
from ostinato.service.edge.websocket.streams import Streams
from ostinato.service.errors import (
    OstinatoError,
    StateStoreUnavailable,
    Unauthenticated,
    UnsupportedMediaType,
)

Scope = MutableMapping[str, Any]
Send = Callable[[AsgiEvent], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_JSON_HEADER = (b"content-type", b"application/json")


STATE_KEY = "ostinato_edge"
"""Where the lifespan's state holds the worker's edge; uvicorn gives that state to each connection."""


class Edge:
    """ASGI application over ``inner``, BentoML's.

    Args:
        routes: what is answered here.
        streams: handed to the WebSocket connections in the lifespan's state.
        start, stop: awaited before the server listens, and when it has answered everything.
    """

    def __init__(
        self,
        inner: App,
        desk: Desk,
        routes: Routes,
        system: SystemRoutes,
        streams: Streams,
        start: Callable[[], Awaitable[None]],
        stop: Callable[[], Awaitable[None]],
    ) -> None:
        self._inner = inner
        self.desk = desk
        self.routes = routes
        self._system = system
        self._streams = streams
        self._start, self._stop = start, stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the hot path is written out here, since each further coroutine costs every request."""
        if scope["type"] != "http" or not self.routes.serve(scope["path"]):
            await self._elsewhere(scope, receive, send)
            return
        desk = self.desk
        exchange = Exchange(receive, asyncio.current_task(desk.loop))
        desk.under_way[exchange] = None
        pattern, terms = "none", None
        try:
            pattern, name, handler, query = self._route(scope, exchange)
            media_type, terms = desk.check_headers(scope["headers"], scope["method"], scope["path"])
            exchange.tag = desk.tag_of(terms)
            if desk.tracer is not None:
                exchange.span = desk.begin_span(scope["method"], pattern, exchange.tag, exchange.arrived_at)
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                body = message.get("body", b"")
                desk.check_size(len(body))
            else:
                body = await self._read_parts(message, receive)
            exchange.read_at = time.perf_counter()
            if terms is not None and terms.codings:
                body = await terms.unpack(body, desk.max_body_bytes)
            response = await handler(Request(name, query, media_type, body, scope["headers"]))
            if isinstance(response, EventStream):
                if terms is not None:
                    terms.apply_to_events(response)
                exchange.is_streaming = True
                await _send_events(send, response, desk.patience_seconds or None, exchange.tag.request_id)
        except asyncio.CancelledError:
            if exchange.reason is None:
                raise
            if exchange.reason is ClientGone:
                self._leave(scope, pattern, exchange)
                return
            assert exchange.task is not None
            exchange.task.uncancel()
            response = self._refuse(desk.too_late() if exchange.is_read else desk.too_slow(), scope, exchange)
        except ClientGone:
            self._leave(scope, pattern, exchange)
            return
        except Exception as error:
            response = self._refuse(error, scope, exchange)
        finally:
            desk.under_way.pop(exchange, None)
            if exchange.watcher is not None:
                exchange.watcher.cancel()
        if isinstance(response, Response):
            response = await self._apply(terms, scope, response)
        seconds = time.perf_counter() - (exchange.read_at or exchange.arrived_at)
        desk.observe(pattern, response.status, seconds)
        if isinstance(response, Response):
            await _send(send, response, exchange.tag.request_id)
        desk.end_span(exchange.span, response.status, exchange.code)
        if desk.access_log is not None:
            self._tell(scope, pattern, response, seconds, exchange.tag)

    def _leave(self, scope: Scope, pattern: str, exchange: Exchange) -> None:
        """The client has gone before its answer."""
        self.desk.end_span(exchange.span, CLIENT_GONE)
        seconds = time.perf_counter() - (exchange.read_at or exchange.arrived_at)
        self._tell(scope, pattern, Response(CLIENT_GONE, b""), seconds, exchange.tag)

    def _route(self, scope: Scope, exchange: Exchange) -> tuple[str, str, Handler, bytes]:
        """The route that a request takes, for who may take it, and the query that is for it; see ``Routes.route``.

        Raises:
            Unauthenticated, Forbidden.
        """
        method, path = scope["method"], scope["path"]
        access = self.desk.access
        if access is None or method == "OPTIONS":  # which a browser asks beforehand, without a key
            return *self.routes.route(method, path), scope["query_string"]
        exchange.caller = caller = access.caller(scope["headers"])
        is_list = path == "/v1/sessions" and method in ("GET", "HEAD")
        routes, query = caller.serving(scope["query_string"], may_be_all=is_list)
        pattern, name, handler = routes.route(method, path)
        caller.check_route(method, pattern)
        return pattern, name, handler, query

    def _check_elsewhere(self, scope: Scope) -> bool:
        """Refuse who has no right to a path that is not the routes'; whether somebody known asks, or anybody may.

        Raises:
            Unauthenticated, Forbidden, HostRefused.
        """
        self.desk.check_host(scope["headers"])
        access, method, path = self.desk.access, scope["method"], scope["path"]
        if access is None:
            return True
        if method == "OPTIONS":
            return False
        if self._system.is_public(path):
            return False
        try:
            caller = access.caller(scope["headers"])
        except Unauthenticated:
            if path in PUBLIC:
                return False
            raise
        if path not in PUBLIC:
            caller.check(METRICS if path == "/metrics" else ANY, path)
        return True

    async def _elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http" and self._system.serve(scope["path"]):
            tag = self._tag(scope)
            try:
                is_known = self._check_elsewhere(scope)
                headers = scope["headers"]
                accept, has = _joined(b"accept", headers), _joined(b"if-none-match", headers)
                response = self._system.answer(scope["method"], scope["path"], accept, tells_models=is_known, has=has)
            except OstinatoError as error:
                response = self._problem(error, scope, tag).response_to(scope["path"])
            await self._answer(response, scope, send, tag)
        elif scope["type"] == "http" and scope["method"] == "OPTIONS":
            answer = options(ALL if scope["path"] == WHOLE_SERVER else READING)
            await self._answer(answer, scope, send, self._tag(scope))
        elif scope["type"] == "http":
            await self._bentoml(scope, receive, send)
        else:
            await self._inner(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {}).update({STATE_KEY: self, STREAMS_KEY: self._streams})

        failure: Exception | None = None

        async def receive_after_ours() -> AsgiEvent:
            nonlocal failure
            message = await receive()
            try:
                await {"lifespan.startup": self._start, "lifespan.shutdown": self._stop}[message["type"]]()
            except (StateStoreUnavailable, OSError) as error:
                failure = error
                raise
            return message

        async def send_sentence(message: AsgiEvent) -> None:
            # In the place of a traceback.
            await send({**message, "message": f"this worker cannot start: {failure}"} if failure else message)

        await self._inner(scope, receive_after_ours, send_sentence)

    async def _bentoml(self, scope: Scope, receive: Receive, send: Send) -> None:
        """BentoML's own routes, with our limit on the body: one without a length is cut off where it is too large."""
        own = self.desk.terms_of(scope["headers"])
        tag, began_at = self.desk.tag_of(own), time.perf_counter()
        try:
            self._check_elsewhere(scope)
            _, terms = self.desk.check_headers(scope["headers"], scope["method"])
            if terms is not None and terms.codings:
                raise UnsupportedMediaType("a body in a coding is not read here; send it as it is")
        except OstinatoError as error:
            await self._answer(self._problem(error, scope, tag).response_to(scope["path"]), scope, send, tag)
            return
        size = 0
        is_line = False

        async def send_with_terms(event: AsgiEvent) -> None:
            nonlocal is_line
            if event["type"] == "http.response.start":
                self._tell(scope, "none", Response(event["status"], b""), time.perf_counter() - began_at, tag)
                named = b"x-request-id", tag.request_id
                event["headers"] = [*event["headers"], named, *own.headers(event["headers"])]
                is_line = _make_line(event["headers"])
            elif is_line and not event.get("more_body"):
                event = {**event, "body": event.get("body", b"") + b"\n"}
            await send(event)

        async def receive_at_most() -> AsgiEvent:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message if size <= self.desk.max_body_bytes else {"type": "http.disconnect"}

        await self._inner(scope, receive_at_most, send_with_terms)

    async def _read_parts(self, message: AsgiEvent, receive: Receive) -> bytes:
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
            self.desk.check_size(size)
            if not message.get("more_body"):
                return b"".join(parts)
            message = await receive()
        raise ClientGone("the client hung up before the end of its body")

    def _refuse(self, error: Exception, scope: Scope, exchange: Exchange) -> Response:
        if not exchange.tag.request_id:
            exchange.tag = self._tag(scope)
        problem = self._problem(error, scope, exchange.tag)
        exchange.code = problem.code
        return problem.response_to(scope["path"])

    def _problem(self, error: Exception, scope: Scope, tag: Tag) -> Problem:
        return self.desk.refuse(error, f"{scope['method']} {printable(scope['path'])}", tag)

    def _tag(self, scope: Scope) -> Tag:
        return self.desk.tag_of(self.desk.terms_of(scope["headers"]))

    def _tell(self, scope: Scope, pattern: str, response: Response | EventStream, seconds: float, tag: Tag) -> None:
        """Have the access log tell of an answer, where there is one."""
        if self.desk.access_log is None:
            return
        num_bytes = len(response.body) if isinstance(response, Response) else None
        asked = scope["method"], scope["path"], pattern
        answered = Answered(*asked, response.status, seconds, num_bytes, tag, peer_of(scope.get("client")))
        self.desk.tell_answered(answered, scope["headers"])

    async def _answer(self, response: Response, scope: Scope, send: Send, tag: Tag) -> None:
        began_at = time.perf_counter()
        answer = await self._apply(None, scope, response)
        await _send(send, answer, tag.request_id)
        self._tell(scope, "none", answer, time.perf_counter() - began_at, tag)

    async def _apply(self, terms: Terms | None, scope: Scope, response: Response) -> Response:
        """Make an answer as the head of its request asks for it."""
        if terms is None and (response.status >= 400 or scope["method"] != "POST"):
            terms = self.desk.terms_of(scope["headers"])
        return response if terms is None else await terms.apply(response)


def _make_line(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether a body of BentoML's is given a line feed at its end, as ours have; its length then counts that."""
    given = dict(headers)
    if not given.get(b"content-type", b"").startswith((b"application/json", b"text/plain")):
        return False
    if (length := given.get(b"content-length", b"")).isdigit():
        headers[headers.index((b"content-length", length))] = b"content-length", b"%d" % (int(length) + 1)
    return True


def _joined(name: bytes, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The values of all headers of a name."""
    return ",".join(value.decode("latin-1") for each, value in headers if each == name)


async def _send(send: Send, response: Response, request_id: bytes) -> None:
    headers = [(b"x-request-id", request_id)]
    if response.status not in (204, 304):
        of_type = _JSON_HEADER if response.media_type == JSON else (b"content-type", response.media_type.encode())
        headers += [of_type, (b"content-length", b"%d" % len(response.body))]
    headers += response.headers
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def _send_events(send: Send, response: EventStream, patience_seconds: float | None, request_id: bytes) -> None:
    """Send an answer as it is made; a client that reads nothing for so long is left."""
    headers = [
        (b"x-request-id", request_id),
        (b"content-type", response.media_type.encode()),
        (b"cache-control", b"no-cache"),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async with aclosing(response.events) as events:
        async for part in events:
            try:
                async with asyncio.timeout(patience_seconds):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except TimeoutError as error:
                raise ClientGone("the client does not read") from error
    await send({"type": "http.response.body", "body": b""})
