"""Requests under way, each on one of two ways: through ASGI, or straight from uvicorn's connection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol

from ostinato.service.edge.message import EventStream, Request, Response, json_response
from ostinato.service.edge.v1.routes import STEP, Handler, step_content
from ostinato.service.edge.v1.schemas import StepBody
from ostinato.service.errors import DeadlineExceeded
from ostinato.service.sessions.chunk import StepAnswer

if TYPE_CHECKING:
    from ostinato.service.edge.asgi import Edge

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

logger = logging.getLogger(__name__)


class ClientGone(Exception):
    """The client hung up: nobody is left to answer. No error of the domain, and so in no table."""


class Exchange:
    """A request that came through ASGI.

    ``read_at`` is when its body had been read, 0 before; ``reason`` says why the sweep cancelled its task;
    ``is_streaming`` whether its answer is under way, which has no deadline.
    """

    __slots__ = ("arrived_at", "is_streaming", "read_at", "reason", "receive", "task", "watcher")

    def __init__(self, receive: Receive, task: asyncio.Task[Any] | None) -> None:
        self.receive = receive
        self.task = task
        self.arrived_at = time.perf_counter()
        self.read_at = 0.0
        self.is_streaming = False
        self.reason: type[DeadlineExceeded] | type[ClientGone] | None = None
        self.watcher: asyncio.Task[None] | None = None

    def expire(self) -> None:
        """End it, since its deadline has passed."""
        self.cancel(DeadlineExceeded)

    def look_after(self) -> None:
        """Watch for the client to hang up, once its body is there and nothing else can be received."""
        if self.watcher is None and self.read_at:
            self.watcher = asyncio.create_task(self.watch())

    def cancel(self, reason: type[DeadlineExceeded] | type[ClientGone]) -> None:
        """End the request's task, once."""
        if self.reason is None and self.task is not None:
            self.reason = reason
            self.task.cancel()

    async def watch(self) -> None:
        """Wait for the client to hang up; there is nothing else left to receive."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.cancel(ClientGone)


class Connection(Protocol):
    """What a direct exchange asks of its connection."""

    def respond(self, response: Response, keep_alive: bool) -> None:
        """Write the answer."""

    async def respond_in_parts(self, response: EventStream, keep_alive: bool) -> None:
        """Write an answer as it is made."""

    def cut_off(self) -> None:
        """End the connection at once."""


class DirectExchange:
    """A whole ``POST`` that came straight from uvicorn's connection.

    For the connection it stands where uvicorn has a cycle of ASGI. For a chunk it is the future: what the engine
    made is written as soon as it is committed, without a task or a turn of the event loop in between.

    Attributes:
        keep_alive, response_complete, disconnected, message_event: what uvicorn asks of a cycle.
    """

    __slots__ = (
        "_body",
        "_connection",
        "_edge",
        "_is_cancelled",
        "_is_late",
        "_path",
        "_pattern",
        "_task",
        "arrived_at",
        "disconnected",
        "is_streaming",
        "keep_alive",
        "read_at",
        "response_complete",
    )

    def __init__(self, connection: Connection, edge: Edge, keep_alive: bool) -> None:
        self._connection = connection
        self._edge = edge
        self.keep_alive = keep_alive
        self.response_complete = self.disconnected = self.is_streaming = False
        self.arrived_at = self.read_at = time.perf_counter()
        edge.exchanges[self] = None
        self._is_cancelled = self._is_late = False
        self._pattern = "none"
        self._path = ""
        self._body: StepBody | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def message_event(self) -> DirectExchange:
        """An event that nobody waits for."""
        return self

    def set(self) -> None:
        """What uvicorn calls on that event."""

    def begin(self, path: str, query_string: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Have it answered: a step to a session in memory at once, anything else in a task."""
        edge = self._edge
        self.read_at = time.perf_counter()
        self._path = path
        try:
            self._pattern, name, handler = edge.rest.route("POST", path)
            media_type = edge.check_headers(headers)
            edge.check_size(len(body))
            request = Request(name, query_string, media_type, body)
            if self._pattern == STEP and (found := edge.rest.read_step(request)) is not None:
                session, self._body = found
                edge.rest.begin_step(session, self._body, self)
                return
            self._task = edge.loop.create_task(self._run(handler, request))
        except Exception as error:
            self._finish(edge.refuse(error, "POST", path))

    def done(self) -> bool:
        """See ``asyncio.Future``, as all below of its names."""
        return self.response_complete

    def cancelled(self) -> bool:
        """Whether nobody waits any more."""
        return self._is_cancelled

    def set_result(self, answer: StepAnswer) -> None:
        """Write a chunk's answer."""
        assert self._body is not None
        try:
            response = json_response(step_content(answer, self._body))
        except Exception as error:  # whoever commits a batch must not fail for one connection
            response = self._edge.refuse(error, "POST", self._path)
        self._finish(response)

    def set_exception(self, error: Exception) -> None:
        """Write why a chunk was not applied."""
        self._finish(self._edge.refuse(error, "POST", self._path))

    def expire(self) -> None:
        """End it, since its deadline has passed."""
        if self._is_late:
            return
        self._is_late = True
        if self._task is not None:
            self._task.cancel()
        else:
            self._is_cancelled = True
            self._finish(self._edge.too_late())

    def look_after(self) -> None:
        """Its connection tells when the client hangs up."""

    def leave(self) -> None:
        """Nobody waits here any more: the client has gone, or the request goes through ASGI after all. What has not
        begun is dropped.
        """
        if self.response_complete:
            return
        self._is_cancelled = self.response_complete = True
        self._edge.exchanges.pop(self, None)
        if self._task is not None:
            self._task.cancel()

    async def _run(self, handler: Handler, request: Request) -> None:
        try:
            response = await handler(request)
        except asyncio.CancelledError:
            if not self._is_late:
                raise
            assert self._task is not None
            self._task.uncancel()
            response = self._edge.too_late()
        except Exception as error:
            response = self._edge.refuse(error, "POST", self._path)
        if isinstance(response, EventStream):
            await self._stream(response)
        else:
            self._finish(response)

    async def _stream(self, response: EventStream) -> None:
        edge = self._edge
        self.is_streaming = True
        try:
            await self._connection.respond_in_parts(response, self.keep_alive)
        except Exception:
            logger.exception("an answer could not be written")
            self._connection.cut_off()
        finally:
            edge.exchanges.pop(self, None)
        edge.observe(self._pattern, response.status, time.perf_counter() - self.read_at)

    def _finish(self, response: Response) -> None:
        if self.response_complete:
            return
        self.response_complete = True
        self._body = None
        edge = self._edge
        edge.exchanges.pop(self, None)
        edge.observe(self._pattern, response.status, time.perf_counter() - self.read_at)
        try:
            self._connection.respond(response, self.keep_alive)
        except Exception:
            logger.exception("an answer could not be written")
            self._connection.cut_off()
