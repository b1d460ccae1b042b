"""uvicorn's HTTP connection, with a short way for the routes under ``/v1`` and ``/v2``.

ASGI gives each request a task, an event, a dictionary and two writes. A request to these whose body has arrived needs
none of them: it is handed on as it is, and its answer is one write. Whatever is not so plain (an upgrade, a request
behind another, a large body, any other path) takes uvicorn's own way, through ASGI, to the same handlers.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from uvicorn.config import HTTP_PROTOCOLS

from ostinato.service.edge.answers import head_of_parts
from ostinato.service.edge.asgi import STATE_KEY, Edge
from ostinato.service.edge.direct import DirectExchange
from ostinato.service.edge.guarded_connection import GuardedConnection
from ostinato.service.edge.message import EventStream

MAX_HELD_BYTES = 1024 * 1024
"""A larger body goes through ASGI, which reads no more of it than is asked for."""
LONG_BYTES = 4096
"""A body whose first part is as long is looked at before the rest: there may be no room for what it asks."""
MAX_PARTS = 4096
"""More of them are put together at once: of a million, each of a byte, that alone would take long."""


class HttpConnection(GuardedConnection):
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

    def on_headers_complete(self) -> None:
        """Hold a plain request back until its body is there."""
        self.judge_head()
        if (
            self._edge is not None
            and self.url.startswith((b"/v1/", b"/v2/"))
            and self._is_answered()
            and not self.flow.write_paused
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
            keep_alive = self.parser.should_keep_alive() and not self.is_old
            self._exchange = DirectExchange(self, self._edge.desk, self._edge.routes, keep_alive)
            self.cycle = self._exchange  # type: ignore[assignment]  # what uvicorn asks of a cycle, it has
        else:
            self.begin_asgi()

    def on_body(self, body: bytes) -> None:
        """Hold the body, too; one that is too large goes through ASGI from here on."""
        if self._parts is None or self._exchange is None or self._exchange.response_complete:
            super().on_body(body)
            return
        if (
            not self._num_held
            and len(body) >= LONG_BYTES
            and b"?" not in self.url  # which may name another version
            and self._exchange.is_refused(self.url.decode("ascii"), self.headers)
        ):
            return  # the rest is read, and nobody's
        self._parts.append(body)
        self._num_held += len(body)
        if len(self._parts) > MAX_PARTS:
            self._parts = [b"".join(self._parts)]
        if self._num_held > self._max_held_bytes:
            parts, self._parts = self._parts, None
            self._exchange.leave()
            self.begin_asgi()
            super().on_body(b"".join(parts))

    def on_message_complete(self) -> None:
        """Have a request that was held back answered."""
        parts, self._parts = self._parts, None
        exchange = self._exchange
        if parts is None or exchange is None or exchange.response_complete:
            super().on_message_complete()
            return
        self.end_message()
        path, _, query_string = self.url.partition(b"?")
        exchange.begin(
            path.decode("ascii"), query_string, self.headers, parts[0] if len(parts) == 1 else b"".join(parts)
        )

    async def respond_in_parts(self, response: EventStream, keep_alive: bool, request_id: bytes) -> None:
        """Write an answer as it is made, in chunks; a client that reads nothing for as long as a request may take is
        cut off.
        """
        self.transport.write(head_of_parts(response, self._default_head(), keep_alive, request_id))
        async with aclosing(response.events) as events:
            async for part in events:
                self.transport.write(b"%x\r\n%b\r\n" % (len(part), part))
                if self.flow.write_paused:
                    await self.flow.drain()  # the connection's end, too, wakes it; and then cancels this
        self.transport.write(b"0\r\n\r\n")
        if self._exchange is not None:
            self._exchange.response_complete = True
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``; a client that hung up takes back what has not begun."""
        if self._exchange is not None:
            self._exchange.leave()
        super().connection_lost(exc)

    def _drop_unfinished(self) -> bool:
        exchange = self._exchange
        if exchange is None or self._parts is None:
            return super()._drop_unfinished()
        self._parts = None
        if exchange.response_complete:
            return False
        exchange.leave()
        return True
