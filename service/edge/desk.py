"""The desk: what every way in asks of a request, and the one way in which an error becomes an answer.

uvicorn's connection, ASGI, WebSocket streams, the rows of a columnar message and the typed BentoML routes all ask it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from ostinato.service.config import Settings
from ostinato.service.edge.access import Access, Caller
from ostinato.service.edge.access_log import AccessLog, Answered
from ostinato.service.edge.codings import coding_of
from ostinato.service.edge.cross_origin import Origins
from ostinato.service.edge.local_guard import LocalGuard, is_guarded
from ostinato.service.edge.message import JSON, OCTETS, UNASKED
from ostinato.service.edge.problems import CODES, Problem
from ostinato.service.edge.repeats import Repeats, kind_of
from ostinato.service.edge.tags import NO_TAG, RequestIds, Tag
from ostinato.service.edge.terms import HEEDED, Terms, values_of
from ostinato.service.errors import (
    DeadlineExceeded,
    RequestTimeout,
    TooLarge,
    TooManyConnections,
    Unauthenticated,
)
from ostinato.service.metrics.families import Histogram
from ostinato.service.metrics.series import Metrics
from ostinato.service.public_words import PublicWords
from ostinato.service.tracing import Tracer, current_span

SWEEP_SECONDS = 0.05
WATCH_AFTER_SECONDS = 0.1
"""Requests older than this are watched for a client that hangs up; most are answered long before."""

OUTAGE = "state_store_unavailable"
LOGGED_EVERY_SECONDS = {
    "internal": 1.0,
    "run_failed": 1.0,
    OUTAGE: 60.0,
    "record_unreadable": 60.0,
    "too_many_connections": 60.0,
}
"""Codes of errors that are for the operator, and how often the log is told: the last three meet every
request, of all sessions or of one that the store has named, or every connection.
"""
PATIENCE = 60
"""A body may take so many times as long as a head, and an answer stay unread, where requests have no deadline."""
UNREAD = "answer_unread"
"""How a client is counted that is cut off, since it does not read what it is answered."""
_PLAIN_TYPES = {kind.encode(): kind for kind in (JSON, OCTETS)}
OUT_OF_DESCRIPTORS = "out_of_descriptors"
"""How it is counted that no file could be opened."""


class RequestUnderWay(Protocol):
    """What the sweep asks of a request that is not answered yet.

    ``is_read``: its body is there. ``is_streaming``: its answer is under way, which has no deadline. ``caller``: who
    asks; None = anybody.
    """

    arrived_at: float
    is_streaming: bool
    caller: Caller[Any] | None

    @property
    def is_read(self) -> bool:
        """See above."""

    def expire(self) -> None:
        """End it, since its deadline has passed."""

    def look_after(self) -> None:
        """See that a client that hangs up is noticed."""

    def cut_off(self) -> None:
        """End it in the middle of its answer."""


class Desk:
    """Limits, deadlines, refusals and counts of a worker's requests.

    Attributes:
        origins: whose pages may use this server.
        max_body_bytes: inclusive, also of what a compressed body holds.
        deadline_seconds: of a request, from its arrival; 0 = none.
        patience_seconds: with the client: how long a body may take, and an answer may stay unread; 0 = for ever.
        head_seconds: of the head of a request; 0 = none.
        connection_seconds: after which a connection ends with its next answer; 0 = never.
        max_connections: inclusive.
        metrics: the worker's.
        under_way: the requests that are not answered yet, oldest first.
        words: what may be told of a failure.
        guard: of a server that is for this machine alone; None = it is not.
        access: who may ask; None = anyone who reaches the server. Anyone who makes the routes puts it there.
        ids: of requests that come without one.
        access_log: what is told of requests that were answered; None = nothing.
        tracer: None = there are no traces.
    """

    def __init__(
        self,
        metrics: Metrics,
        settings: Settings,
        *,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.metrics = metrics
        self._clock = clock
        self._repeats = Repeats()
        self.origins = Origins(settings.allow_origin)
        self.max_body_bytes = settings.max_body_bytes
        self.deadline_seconds = settings.deadline_seconds
        self.head_seconds = settings.head_seconds
        self.connection_seconds = settings.connection_seconds
        self.patience_seconds = settings.deadline_seconds or PATIENCE * settings.head_seconds
        self.max_connections = settings.max_connections
        self.words = PublicWords(settings)
        self.guard = LocalGuard(settings.allow_host) if is_guarded(settings) else None
        self.access: Access[Any] | None = None
        self.ids = RequestIds()
        self.access_log = AccessLog(settings.access_log) if settings.access_log else None
        self.tracer = tracer
        # A dictionary keeps the order of insertion.
        self.under_way: dict[RequestUnderWay, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bound: dict[tuple[str, int], Histogram] = {}
        for code in (*CODES, UNREAD, OUT_OF_DESCRIPTORS):
            metrics.rejected.labels(reason=code)  # each is there before it counts, so that its rate is known

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop; kept, since asking which one runs costs a system call."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def check_headers(
        self, headers: list[tuple[bytes, bytes]], method: str = "POST", path: str = ""
    ) -> tuple[str, Terms | None]:
        """The media type of the body to come, and the terms of the request where it has any.

        Raises:
            TooLarge: the body is over the limit by its own word.
            UnsupportedCoding: it is in a coding that is not read.
            OriginRefused: a page of another site posts, in a way in which a browser does not ask beforehand.
            HostRefused, UnsupportedMediaType: see ``LocalGuard``.
        """
        media_type = ""
        noted: list[tuple[bytes, bytes]] | None = None
        guard, has_body = self.guard, False
        for name, value in headers:
            if name not in HEEDED:
                if guard is not None:
                    if name == b"host":
                        if value not in guard.passed:
                            guard.check_host(value)
                    elif name == b"transfer-encoding":
                        has_body = True
                continue
            if name == b"content-type":
                media_type = _PLAIN_TYPES.get(value) or value.decode("latin-1").partition(";")[0].strip().lower()
            elif name == b"content-length":
                self.check_size(int(value))
                has_body = value != b"0"
            else:
                noted = [] if noted is None else noted
                noted.append((name, value))
        # NVIDIA's client says no media type; a page that says none is refused by its origin, below.
        if guard is not None and method == "POST" and not path.startswith("/v2/"):
            guard.check_body(media_type, has_body)
        if noted is None:
            return media_type, None
        terms = Terms.of(noted, self.origins)
        if terms.codings:
            coding_of(terms.codings)
        if terms.has_origin and method == "POST" and (guard is not None or media_type in UNASKED):
            self.origins.check(values_of(b"origin", headers), values_of(b"host", headers))
        return media_type, terms

    def check_host(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Refuse a request to another name than the server's; see ``LocalGuard``.

        Raises:
            HostRefused.
        """
        if self.guard is not None:
            for name, value in headers:
                if name == b"host":
                    self.guard.check_host(value)

    def terms_of(self, headers: Iterable[tuple[bytes, bytes]]) -> Terms:
        """The terms of a request that is refused before anything else was looked at."""
        return Terms([header for header in headers if header[0] in HEEDED], self.origins)

    def tag_of(self, terms: Terms | None) -> Tag:
        """What a request is called; one that comes without an id gets one."""
        tag = NO_TAG if terms is None else terms.tag
        return tag if tag.request_id else tag._replace(request_id=self.ids.make())

    def begin_span(self, method: str, route: str, tag: Tag, arrived_at: float) -> Any:
        """The span of a request, which is the current one from now on; None = it is not traced."""
        if self.tracer is None:
            return None
        route = route.replace("{}", "{name}")
        attributes = {"http.request.method": method, "http.route": route, "request.id": tag.request_id.decode()}
        span = self.tracer.begin_request(f"{method} {route}", tag.trace, arrived_at, attributes)
        current_span.set(span)
        return span

    def end_span(self, span: Any, status: int, code: str = "") -> None:
        """End a span that ``begin_span`` began."""
        if self.tracer is not None and span is not None:
            self.tracer.end_request(span, status, code, time.perf_counter())

    def tell_answered(
        self, answered: Answered, headers: Iterable[tuple[bytes, bytes]] = (), caller: Caller[Any] | None = None
    ) -> None:
        """Have the access log tell of a request, or not, as its share has it.

        Args:
            headers: of the request, by which its key is found.
            caller: whose it is, where that is known.
        """
        if self.access_log is None or not self.access_log.is_due(answered.status):
            return
        if self.access is not None:
            with contextlib.suppress(Unauthenticated):
                key = (caller or self.access.caller(headers)).key
                answered = answered._replace(key=key.name, tenant=key.tenant)
        self.access_log.tell(answered)

    def check_size(self, num_bytes: int) -> None:
        """Refuse a body that is too large.

        Raises:
            TooLarge: it is over the limit.
        """
        if num_bytes > self.max_body_bytes:
            raise TooLarge(f"the body is over {self.max_body_bytes} bytes; send fewer steps at a time")

    def too_late(self) -> DeadlineExceeded:
        """The error of a request past its deadline."""
        return DeadlineExceeded(f"not answered within {self.deadline_seconds:g} s; with seq it is safe to retry")

    def too_slow(self) -> RequestTimeout:
        """The error of a request whose body does not come."""
        return RequestTimeout(f"the request's body was not there within {self.patience_seconds:g} s")

    def too_many(self) -> TooManyConnections:
        """The error of one connection more than may be open."""
        return TooManyConnections(
            f"{self.max_connections} connections are open, and that is the most allowed (--max-connections, ulimit -n)"
        )

    def refuse(self, error: BaseException, what: str, tag: Tag = NO_TAG) -> Problem:
        """Log an error where it is ours, count it, and word it.

        Args:
            what: failed; for the log, as ``POST /v1/sessions/a/step``.
            tag: what the request is called.
        """
        problem = Problem(error, self.words, tag.request_id)
        if problem.code == OUTAGE:
            self.metrics.store_errors.labels().inc()
        every_seconds = LOGGED_EVERY_SECONDS.get(problem.code)
        if every_seconds is not None:
            kind = problem.code if problem.code == OUTAGE else kind_of(error)
            self._repeats.tell(what, error, kind, every_seconds, self._clock(), tag)
        self.count_refusal(problem.code)
        return problem

    def note(self, what: str, error: BaseException) -> None:
        """Log an error that nobody is answered with."""
        self._repeats.tell(what, error, kind_of(error), 1.0, self._clock())

    def expect(self, routes: Iterable[str]) -> None:
        """Have the series of these patterns at 0 before they are asked for: of one that begins with its first event, no
        rate tells that event.
        """
        for route in routes:
            for status in (200, 400, 500):
                self._histogram(route, status)

    def count_refusal(self, code: str) -> None:
        """Count what was refused, by the code of its error."""
        self.metrics.rejected.labels(reason=code).inc()

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count an answer and its time; ``route`` is a pattern, never a path."""
        key = (route, status)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = self._histogram(route, status)
        bound.observe(seconds)

    def _histogram(self, route: str, status: int) -> Histogram:
        labels = {"route": route.replace("{}", "{name}"), "code_class": f"{status // 100}xx"}
        return self.metrics.request_seconds.labels(**labels)

    async def sweep(self) -> None:
        """Look after slow requests, for ever."""
        try:
            while True:
                await asyncio.sleep(SWEEP_SECONDS)
                self._repeats.sum_up(self._clock())
                self.sweep_once(time.perf_counter())
        finally:
            self._repeats.sum_up()

    def sweep_once(self, now: float) -> None:
        """End the requests past their deadline, and watch those that take long; ``now`` of ``perf_counter``.

        One that cannot be looked after is told to the log and let alone: those behind it have their deadlines.
        """
        for request in list(self.under_way):
            age = now - request.arrived_at
            if age < WATCH_AFTER_SECONDS:
                break
            try:
                if request.is_streaming and self._is_revoked(request.caller):
                    request.cut_off()
                elif self._is_late(request, age) and not request.is_streaming:
                    request.expire()
                else:
                    request.look_after()
            except Exception as error:
                self.note("the look after a request under way", error)
                self.under_way.pop(request, None)

    def _is_revoked(self, caller: Caller[Any] | None) -> bool:
        return self.access is not None and caller is not None and not self.access.is_valid(caller)

    def _is_late(self, request: RequestUnderWay, age: float) -> bool:
        if self.deadline_seconds:
            return age > self.deadline_seconds
        return 0 < self.patience_seconds < age and not request.is_read
