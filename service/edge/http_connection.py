"""uvicorn's HTTP connection, with a short way for the routes under ``/v1``.

ASGI gives each request a task, an event, a dictionary and two writes. A request to ``/v1`` whose body has arrived needs
none of them: it is handed on as it is, and its answer is one write. Whatever is not so plain (an upgrade, a request
behind another, a large body, any other path) takes uvicorn's own way, through ASGI, to the same handlers.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ostinato.service.edge.asgi import STATE_KEY, Edge
from ostinato.service.edge.direct import DirectExchange
from ostinato.service.edge.message import JSON, EventStream, Response

MAX_HELD_BYTES = 1024 * 1024
"""A larger body goes through ASGI, which reads no more of it than is asked for."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CHUNKED_LINES = b"content-type: %b\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n"
_JSON_LINE = b"content-type: application/json\r\n"


class HttpConnection(HttpToolsProtocol):
    """One connection; the arguments are uvicorn's."""

    @classmethod
    def install(cls) -> None:
        """Have uvicorn open HTTP connections with this class, in servers that are configured from now on."""
        HTTP_PROTOCOLS["auto"] = f"{cls.__module__}:{cls.__name__}"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # An application under a root path is found by ASGI only.
        self._edge: Edge | None = None if self.root_path else self.app_state.get(STATE_KEY)
        self._max_held_bytes = min(MAX_HELD_BYTES, self._edge.desk.max_body_bytes) if self._edge else 0
        # Of the request that is being read or answered: its body so far, where it is held back.
        self._parts: list[bytes] | None = None
        self._num_held = 0
        self._exchange: DirectExchange | None = None
        self._idle_since = math.inf
        self._head_of: tuple[Any, bytes] = None, b""

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``; from a request's first byte to its answer the connection is not idle."""
        self._idle_since = math.inf
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Hold a plain request back until its body is there."""
        if (
            self._edge is not None
            and self.url.startswith(b"/v1/")
            and self._is_answered()
            and not self.flow.write_paused
            and not self.transport.is_closing()
            and not self.expect_100_continue
            and self.url.isascii()
            and b"%" not in self.url
            and b"#" not in self.url
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and self.limit_concurrency is None
        ):
            self._parts, self._num_held = [], 0
            # Under way from here on: it has its deadline, and a shutdown waits for it.
            keep_alive = self.parser.should_keep_alive()
            self._exchange = DirectExchange(self, self._edge.desk, self._edge.routes, keep_alive)
            self.cycle = self._exchange  # type: ignore[assignment]  # what uvicorn asks of a cycle, it has
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hold the body, too; one that is too large goes through ASGI from here on."""
        if self._parts is None or self._exchange is None or self._exchange.response_complete:
            super().on_body(body)
            return
        self._parts.append(body)
        self._num_held += len(body)
        if self._num_held > self._max_held_bytes:
            parts, self._parts = self._parts, None
            self._exchange.leave()
            super().on_headers_complete()
            for part in parts:
                super().on_body(part)

    def on_message_complete(self) -> None:
        """Have a request that was held back answered."""
        parts, self._parts = self._parts, None
        exchange = self._exchange
        if parts is None or exchange is None or exchange.response_complete:
            super().on_message_complete()
            return
        path, _, query_string = self.url.partition(b"?")
        exchange.begin(
            path.decode("ascii"), query_string, self.headers, parts[0] if len(parts) == 1 else b"".join(parts)
        )

    def respond(self, response: Response, keep_alive: bool) -> None:
        """Write an answer, and be ready for the next request."""
        body, media_type = response.body, response.media_type
        lines = [_STATUS_LINES[response.status], self._default_head()]
        if response.status != 204:
            lines.append(_JSON_LINE if media_type == JSON else b"content-type: %b\r\n" % media_type.encode())
            lines.append(b"content-length: %d\r\n" % len(body))
        for name, value in response.headers:
            keep_alive = keep_alive and (name, value) != (b"connection", b"close")
            lines.append(b"%b: %b\r\n" % (name, value))
        if not keep_alive and (b"connection", b"close") not in response.headers:
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        lines.append(body)
        self.transport.write(b"".join(lines))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    async def respond_in_parts(self, response: EventStream, keep_alive: bool) -> None:
        """Write an answer as it is made, in chunks; a client that reads nothing for as long as a request may take is
        cut off.
        """
        patience_seconds = self._edge.desk.deadline_seconds or None if self._edge else None
        head = [_STATUS_LINES[response.status], self._default_head(), _CHUNKED_LINES % response.media_type.encode()]
        head.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        self.transport.write(b"".join(head))
        async with aclosing(response.events) as events:
            async for part in events:
                self.transport.write(b"%x\r\n%b\r\n" % (len(part), part))
                if self.flow.write_paused:
                    try:
                        async with asyncio.timeout(patience_seconds):
                            await self.flow.drain()
                    except TimeoutError:
                        self.cut_off()
                        return
        self.transport.write(b"0\r\n\r\n")
        if self._exchange is not None:
            self._exchange.response_complete = True
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def cut_off(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def on_response_complete(self) -> None:
        """Go on with the request behind this one, or wait for another.

        One timer for each connection stays where it is and looks when it fires how long the connection was idle;
        uvicorn sets and cancels one for each request.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._arm(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for long; look again later at one that was not."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing() or self._idle_since == math.inf or not self._is_answered():
            return
        seconds_left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if seconds_left > 0:
            self._arm(seconds_left)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``; a client that hung up takes back what has not begun."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        if self._exchange is not None:
            self._exchange.leave()
        super().connection_lost(exc)

    def _unset_keepalive_if_required(self) -> None:
        """The timer stays: see ``on_response_complete``."""

    def _is_answered(self) -> bool:
        """Whether no request is under way."""
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _arm(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _default_head(self) -> bytes:
        """The headers that uvicorn gives every answer, the date above all; it makes a new list of them each second."""
        headers = self.server_state.default_headers
        if self._head_of[0] is not headers:
            self._head_of = headers, b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._head_of[1]
