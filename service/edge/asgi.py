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

from ostinato.service.edge.desk import Desk
from ostinato.service.edge.exchange import AsgiEvent, ClientGone, Exchange, Receive
from ostinato.service.edge.head import WHOLE_SERVER
from ostinato.service.edge.message import JSON, EventStream, Request, Response
from ostinato.service.edge.methods import ALL, READING, options
from ostinato.service.edge.routes import Routes
from ostinato.service.edge.system import SystemRoutes
from ostinato.service.edge.terms import Terms
from ostinato.service.edge.websocket.streams import STATE_KEY as STREAMS_KEY
from ostinato.service.edge.websocket.streams import Streams
from ostinato.service.errors import (
    MethodNotAllowed,
    OriginRefused,
    StateStoreUnavailable,
    TooLarge,
    UnknownRoute,
    UnsupportedCoding,
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
            pattern, name, handler = self.routes.route(scope["method"], scope["path"])
            media_type, terms = desk.check_headers(scope["headers"], scope["method"])
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                body = message.get("body", b"")
                desk.check_size(len(body))
            else:
                body = await self._read_parts(message, receive)
            exchange.read_at = time.perf_counter()
            if terms is not None and terms.codings:
                body = await terms.unpack(body, desk.max_body_bytes)
            response = await handler(Request(name, scope["query_string"], media_type, body, scope["headers"]))
            if isinstance(response, EventStream):
                if terms is not None:
                    terms.apply_to_events(response)
                exchange.is_streaming = True
                await _send_events(send, response, desk.patience_seconds or None)
        except asyncio.CancelledError:
            if exchange.reason is None:
                raise
            if exchange.reason is ClientGone:
                return
            assert exchange.task is not None
            exchange.task.uncancel()
            response = self._refuse(desk.too_late() if exchange.is_read else desk.too_slow(), scope)
        except ClientGone:
            return
        except Exception as error:
            response = self._refuse(error, scope)
        finally:
            desk.under_way.pop(exchange, None)
            if exchange.watcher is not None:
                exchange.watcher.cancel()
        if isinstance(response, Response):
            response = await self._apply(terms, scope, response)
        desk.observe(pattern, response.status, time.perf_counter() - (exchange.read_at or exchange.arrived_at))
        if isinstance(response, Response):
            await _send(send, response)

    async def _elsewhere(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "http" and self._system.serve(scope["path"]):
            try:
                response = self._system.answer(scope["method"], scope["path"], _accept(scope["headers"]))
            except (UnknownRoute, MethodNotAllowed) as error:
                response = self._refuse(error, scope)
            await self._answer(response, scope, send)
        elif scope["type"] == "http" and scope["method"] == "OPTIONS":
            await self._answer(options(ALL if scope["path"] == WHOLE_SERVER else READING), scope, send)
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
        try:
            _, terms = self.desk.check_headers(scope["headers"], scope["method"])
            if terms is not None and terms.codings:
                raise UnsupportedMediaType("a body in a coding is not read here; send it as it is")
        except (TooLarge, UnsupportedMediaType, UnsupportedCoding, OriginRefused) as error:
            await self._answer(self._refuse(error, scope), scope, send)
            return
        size = 0

        own = self.desk.terms_of(scope["headers"])

        async def send_with_terms(event: AsgiEvent) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*event["headers"], *own.headers(event["headers"])]
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

    def _refuse(self, error: Exception, scope: Scope) -> Response:
        label = self.desk.terms_of(scope["headers"]).label
        return self.desk.refuse(error, f"{scope['method']} {scope['path']}{label}").response_to(scope["path"])

    async def _answer(self, response: Response, scope: Scope, send: Send) -> None:
        await _send(send, await self._apply(None, scope, response))

    async def _apply(self, terms: Terms | None, scope: Scope, response: Response) -> Response:
        """Make an answer as the head of its request asks for it."""
        if terms is None and (response.status >= 400 or scope["method"] != "POST"):
            terms = self.desk.terms_of(scope["headers"])
        return response if terms is None else await terms.apply(response)


def _accept(headers: Iterable[tuple[bytes, bytes]]) -> str:
    return ",".join(value.decode("latin-1") for name, value in headers if name == b"accept")


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
    headers = [(b"content-type", response.media_type.encode()), (b"cache-control", b"no-cache"), *response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    async with aclosing(response.events) as events:
        async for part in events:
            try:
                async with asyncio.timeout(patience_seconds):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except TimeoutError as error:
                raise ClientGone("the client does not read") from error
    await send({"type": "http.response.body", "body": b""})
