"""A request that goes past ASGI: straight from uvicorn's connection to the routes, and its answer straight back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Protocol

from ostinato.service.edge.access import Caller
from ostinato.service.edge.access_log import Answered
from ostinato.service.edge.codings import MIN_CODED_BYTES
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.direct_route import DirectRoute
from ostinato.service.edge.exchange import CLIENT_GONE
from ostinato.service.edge.message import EventStream, Request, Response
from ostinato.service.edge.routes import Handler, Routes
from ostinato.service.edge.tags import NO_TAG, Tag, printable
from ostinato.service.edge.terms import Terms
from ostinato.service.errors import OstinatoError, Overloaded
from ostinato.service.inputs.turns import SLICE_NUMBERS
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.refusals import REFUSALS
from ostinato.service.sessions.session import LiveSession
from ostinato.service.tracing import current_span


class AnswerWriter(Protocol):
    """What a direct exchange asks of its connection.

    ``path``: of the request whose head was read last. ``peer``: who sends, as ``127.0.0.1:53124``.
    """

    @property
    def path(self) -> str:
        """See above."""

    @property
    def peer(self) -> str:
        """See above."""

    def respond(self, response: Response, keep_alive: bool, request_id: bytes) -> None:
        """Write the answer to the request that is called so."""

    async def respond_in_parts(self, response: EventStream, keep_alive: bool, request_id: bytes) -> None:
        """Write it as it is made."""

    def cut_off(self) -> None:
        """End the connection at once."""


class DirectExchange:
    """A whole ``POST`` that came straight from uvicorn's connection.

    For the connection it is what uvicorn has as a cycle of ASGI. For a chunk it is the future: what the engine
    made is written as soon as it is committed, without a task or a turn of the event loop in between.

    Attributes:
        keep_alive, response_complete, disconnected, message_event: what uvicorn asks of a cycle.
        caller: who asks; None = anybody.
    """

    __slots__ = (
        "_code",
        "_desk",
        "_headers",
        "_is_cancelled",
        "_is_late",
        "_path",
        "_pattern",
        "_route",
        "_routes",
        "_session",
        "_span",
        "_step",
        "_tag",
        "_task",
        "_terms",
        "_writer",
        "arrived_at",
        "caller",
        "disconnected",
        "is_streaming",
        "keep_alive",
        "read_at",
        "response_complete",
    )

    def __init__(self, writer: AnswerWriter, desk: Desk, routes: Routes, keep_alive: bool) -> None:
        self._writer = writer
        self._desk = desk
        self._routes = routes
        self.keep_alive = keep_alive
        self.response_complete = self.disconnected = self.is_streaming = False
        self.arrived_at = self.read_at = time.perf_counter()
        desk.under_way[self] = None
        self._is_cancelled = self._is_late = False
        self._pattern = "none"
        self._path = ""
        self._route: DirectRoute | None = None
        self._step: Any = None
        self._session: LiveSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._terms: Terms | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._tag: Tag | None = None
        self._span: Any = None
        self._code = ""
        self.caller: Caller[Routes] | None = None

    @property
    def is_read(self) -> bool:
        """Whether its body is there."""
        return bool(self._path)

    @property
    def message_event(self) -> DirectExchange:
        """An event that nobody waits for."""
        return self

    def set(self) -> None:
        """What uvicorn calls on that event."""

    def is_refused(self, path: str, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether there is no room for what is asked, which is then answered before its body is read; what else is
        wrong with it is found when it is there, and so is it where the connection ends with the answer: a client that
        continues sending would not hear it.
        """
        if not self.keep_alive:
            return False
        desk, routes = self._desk, self._routes
        try:
            if desk.access is not None:
                caller = desk.access.caller(headers)
                routes = caller.served
                caller.check_route("POST", routes.route("POST", path)[0])
            pattern, name, _ = routes.route("POST", path)
            if (check := routes.room.get(pattern)) is None:
                return False
            desk.check_headers(headers, "POST", path)
            check(name)
        except Overloaded as error:
            self._pattern, self._path, self._headers = pattern, path, headers
            self._terms = desk.terms_of(headers)
            self.read_at = time.perf_counter()
            if desk.tracer is not None:
                self._span = desk.begin_span("POST", pattern, self._tagged(), self.arrived_at)
                current_span.set(None)
            self.set_exception(error)
            return True
        except OstinatoError:
            pass
        return False

    def begin(self, path: str, query_string: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Have it answered: a step to a session in memory at once, anything else in a task."""
        desk, routes = self._desk, self._routes
        self.read_at = time.perf_counter()
        self._path, self._headers = path, headers
        try:
            if desk.access is not None:
                self.caller = caller = desk.access.caller(headers)
                routes = caller.served
                if query_string:
                    routes, query_string = caller.serving(query_string)
                self._pattern, name, handler = routes.route("POST", path)
                caller.check_route("POST", self._pattern)
            else:
                self._pattern, name, handler = routes.route("POST", path)
            media_type, terms = desk.check_headers(headers, "POST", path)
            desk.check_size(len(body))
            request = Request(name, query_string, media_type, body, headers)
            if desk.tracer is not None:
                self._terms = terms
                self._span = desk.begin_span("POST", self._pattern, self._tagged(), self.arrived_at)
            if terms is not None:
                self._terms = terms
                if terms.codings:
                    self._task = desk.loop.create_task(self._run(self._unpack(request, terms, handler)))
                    return
            route = routes.direct.get(self._pattern)
            if route is not None and (found := route.read(request)) is not None:
                self._route = route
                self._session, self._step = session, step = found
                route.begin(session, step, self)
                return
            self._task = desk.loop.create_task(self._run(handler(request)))
        except Exception as error:
            if self._terms is None:
                self._terms = desk.terms_of(headers)
            self.set_exception(error)
        finally:
            if desk.tracer is not None:
                current_span.set(None)  # what the connection does next is another request's

    def done(self) -> bool:
        """See ``asyncio.Future``, as all below of its names."""
        return self.response_complete or self._task is not None

    def cancelled(self) -> bool:
        """Whether nobody waits any more."""
        return self._is_cancelled

    def set_result(self, answer: StepAnswer) -> None:
        """Write a chunk's answer."""
        assert self._route is not None
        if answer.outputs.size > SLICE_NUMBERS:
            self._task = self._desk.loop.create_task(self._run(self._route.answer_in_slices(answer, self._step)))
            return
        try:
            response = self._route.answer(answer, self._step)
        except Exception as error:  # the commit of a batch must not fail because of one connection
            response = self._refuse(error)
        self._finish(response)

    def set_exception(self, error: Exception) -> None:
        """Write why a chunk was not applied; or where an old copy may have led to it, have it judged anew."""
        if self._route is not None and self._session is not None and isinstance(error, REFUSALS):
            anew = self._route.step_anew(self._session, self._step, error)
            self._task = self._desk.loop.create_task(self._run(anew))
        else:
            if self._route is not None and self._session is not None:
                error = self._route.told(self._step, error)
            self._finish(self._refuse(error))

    def expire(self) -> None:
        """End it, since its deadline has passed."""
        if self._is_late:
            return
        self._is_late = True
        if self._task is not None:
            self._task.cancel()
        else:
            self._is_cancelled = True
            self._finish(self._refuse(self._desk.too_late() if self.is_read else self._desk.too_slow()))

    def look_after(self) -> None:
        """Its connection tells when the client hangs up."""

    def cut_off(self) -> None:
        """End it in the middle of its answer."""
        self._writer.cut_off()

    def leave(self) -> None:
        """Nobody waits here any more: the client has gone, or the request goes through ASGI after all. What has not
        begun is dropped.
        """
        if self.response_complete:
            return
        self._is_cancelled = self.response_complete = True
        self._desk.under_way.pop(self, None)
        if self.is_read:  # or it continues through ASGI
            self._tell(CLIENT_GONE, time.perf_counter() - self.read_at, None)
        if self._task is not None:
            self._task.cancel()

    async def _run(self, answering: Awaitable[Response | EventStream]) -> None:
        try:
            response = await answering
        except asyncio.CancelledError:
            if not self._is_late:
                raise
            assert self._task is not None
            self._task.uncancel()
            response = self._refuse(self._desk.too_late())
        except Exception as error:
            response = self._refuse(error)
        if isinstance(response, EventStream):
            await self._stream(response)
        else:
            self._finish(response)

    async def _unpack(self, request: Request, terms: Terms, handler: Handler) -> Response | EventStream:
        request.body = await terms.unpack(request.body, self._desk.max_body_bytes)
        return await handler(request)

    async def _apply(self, terms: Terms, response: Response) -> Response:
        applied = await terms.apply(response)
        self._terms = None
        return applied

    async def _stream(self, response: EventStream) -> None:
        self.is_streaming = True
        if self._terms is not None:
            self._terms.apply_to_events(response)
        try:
            await self._writer.respond_in_parts(response, self.keep_alive, self._tagged().request_id)
        except Exception as error:
            self._desk.note("the writing of an answer", error)
            self._writer.cut_off()
        finally:
            self._desk.under_way.pop(self, None)
        seconds = time.perf_counter() - self.read_at
        self._desk.observe(self._pattern, response.status, seconds)
        self._tell(response.status, seconds, None)

    def _refuse(self, error: Exception) -> Response:
        path = self._path or self._writer.path
        problem = self._desk.refuse(error, f"POST {printable(path)}", self._tagged())
        self._code = problem.code
        return problem.response_to(path)

    def _tagged(self) -> Tag:
        if self._tag is None:
            self._tag = self._desk.tag_of(self._terms)
        return self._tag

    def _tell(self, status: int, seconds: float, num_bytes: int | None) -> None:
        """Tell the access log and the trace of the answer."""
        desk = self._desk
        if self._span is not None:
            desk.end_span(self._span, status, self._code)
        if desk.access_log is not None:
            path = self._path or self._writer.path
            asked = "POST", path, self._pattern
            answered = Answered(*asked, status, seconds, num_bytes, self._tagged(), self._writer.peer)
            desk.tell_answered(answered, self._headers)

    def _finish(self, response: Response) -> None:
        if self.response_complete:
            return
        terms = self._terms
        if terms is not None and not (terms.spares_small and len(response.body) < MIN_CODED_BYTES):
            if terms.takes_long(response):
                self._task = self._desk.loop.create_task(self._run(self._apply(terms, response)))
                return
            response = terms.apply_at_once(response)
        self.response_complete = True
        self._step = self._session = self._route = None
        desk = self._desk
        desk.under_way.pop(self, None)
        seconds = time.perf_counter() - self.read_at
        desk.observe(self._pattern, response.status, seconds)
        if self._span is not None or desk.access_log is not None:
            self._tell(response.status, seconds, len(response.body))
        tag = self._tag or (NO_TAG if terms is None else terms.tag)
        try:
            self._writer.respond(response, self.keep_alive, tag.request_id or desk.ids.make())
        except Exception as error:
            self._desk.note("the writing of an answer", error)
            self._writer.cut_off()
