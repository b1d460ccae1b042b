"""uvicorn's HTTP connection within limits: of a head, of waiting, and of the order in which anything is answered.

uvicorn reads heads of any size for as long as a client likes, forgets requests that it has not answered when junk or a
WebSocket's handshake comes behind them, and waits for ever for a client that does not read.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import httptools

from ostinato.service.edge.access_log import Answered
from ostinato.service.edge.answers import whole_answer
from ostinato.service.edge.head import MAX_HEAD_BYTES, MAX_HEADERS, WHOLE_SERVER, fault_of, other_version, too_large
from ostinato.service.edge.message import Response
from ostinato.service.edge.reading_connection import SLICE_BYTES, Reading, ReadingConnection
from ostinato.service.errors import MalformedRequest, OstinatoError, RequestTimeout

LINGER_SECONDS = 2.0
"""How long a client may take to read why its connection ends, and to end its side."""
MAX_REFUSED = 16
"""So many connections beyond the limit are told so; those beyond that are cut, since to tell takes a descriptor."""


_NONE, _HEAD, _BODY = Reading


class GuardedConnection(ReadingConnection):
    """One connection; the arguments are uvicorn's.

    One timer for each connection stays where it is and looks when it fires what its client owes; uvicorn sets and
    cancels one for each request.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._reading = _NONE
        # Of the head that is being read: what came of it in earlier reads, and since when it is read.
        self._num_head_bytes = self._num_new_bytes = 0
        self._head_since = math.inf
        # Since when there is nothing to answer, and whether there ever was.
        self._idle_since = math.inf
        self._is_new = True
        self._fault: OstinatoError | None = None
        # Nothing more is read as requests; what is left to do when all before it is answered.
        self._is_over = False
        self._last_words: tuple[Response, bytes] | None = None
        self._first_frames: bytes | None = None
        self._closing_since = math.inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.Protocol``; one beyond the limit is told so and closed."""
        super().connection_made(transport)
        desk = self._desk
        self._idle_since = self.loop.time()
        self._arm(min(desk.head_seconds or math.inf, self.timeout_keep_alive))
        num_beyond = len(self.connections) - desk.max_connections
        if num_beyond > MAX_REFUSED:
            desk.count_refusal("too_many_connections")
            self._is_over = True
            transport.abort()
        elif num_beyond > 0:
            self._refuse(desk.too_many())

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self._is_over:
            return
        if (self._unread or len(data) > SLICE_BYTES) and not self._is_slicing:
            self.read_in_slices(data)
            return
        self._num_new_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade_when_answered(data[upgrade.args[0] :] + self.take_rest())
        except httptools.HttpParserError as error:
            if not self._is_ending():
                self._refuse(self._fault or fault_of(error))
        else:
            if self._reading is _HEAD:
                self._look_at_part_of_head()

    def on_message_begin(self) -> None:
        """A request begins; what ASGI wants to know of it is put together for those that go there."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._reading = _HEAD
        self._num_head_bytes = 0
        self._idle_since = math.inf

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes behind a body in chunks (a trailer) is read by nobody."""
        if self._reading is not _HEAD:
            return
        name = name.lower()
        if name in (b"expect", b"transfer-encoding"):
            self._note(name, value.strip().lower())
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Judge the head, and have ASGI answer."""
        self.judge_head()
        self.begin_asgi()

    def judge_head(self) -> None:
        """Refuse a head that is over a limit, or says what cannot be done; it is read. What comes behind the last
        answer of a connection is not begun, for nobody would hear of it.
        """
        if self._is_ending():
            raise ConnectionAbortedError
        if (
            len(self.headers) > MAX_HEADERS
            or self._num_new_bytes > MAX_HEAD_BYTES
            or self._head_since < math.inf  # it came in several reads, and began somewhere in the first
            or self._fault is not None
        ):
            self._check_head()
        self._reading = _BODY
        self._head_since = math.inf
        self._is_new = False

    def begin_asgi(self) -> None:
        """Have ASGI answer the request whose head was read."""
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._fail(other_version())
        if version == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            self._fail(MalformedRequest("HTTP/1.0 has no Transfer-Encoding"))
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.scope["headers"] = self.headers = headers
        if url == b"*" and self.parser.get_method() == b"OPTIONS":
            self.url = WHOLE_SERVER.encode()
        try:
            super().on_headers_complete()
        except (UnicodeDecodeError, AttributeError, httptools.HttpParserError) as error:
            self._fail(MalformedRequest("the request's target is no path"), error)
        if self.is_old and not self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The request is there."""
        self.end_message()
        super().on_message_complete()

    def end_message(self) -> None:
        """A request was read to its end."""
        self._reading = _NONE

    def respond(self, response: Response, keep_alive: bool, request_id: bytes) -> None:
        """Write an answer, and be ready for the next request."""
        words, goes_on = whole_answer(response, self._default_head(), keep_alive, request_id)
        self.transport.write(words)
        if not goes_on:
            if self._reading is _BODY:
                self._hang_up()
            else:
                self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Go on with what came behind this request, or wait for another."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self._is_over:
            # Not now: anyone who has answered is in the middle of a commit.
            self.loop.call_soon(self._go_on_behind)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection whose client owes something for too long; look again later at any other."""
        self.timeout_keep_alive_task = None
        now = self.loop.time()
        patience_seconds = self._desk.patience_seconds or math.inf
        if self.transport.is_closing():
            # It goes when its client has read the last answer.
            self._closing_since = min(self._closing_since, now)
            seconds_left = self._closing_since + patience_seconds - now
            if seconds_left <= 0:
                self._cut_off_unread()
                return
        elif self._reading is _HEAD:
            seconds_left = self._head_since + (self._desk.head_seconds or math.inf) - now
            if seconds_left <= 0:
                self._refuse(RequestTimeout(f"the request's head was not there within {self._desk.head_seconds:g} s"))
                return
        else:
            # While a request is under way nothing is idle: the desk looks after it.
            limit = (self._desk.head_seconds or math.inf) if self._is_new else self.timeout_keep_alive
            seconds_left = self._idle_since + limit - now
            if seconds_left <= 0:
                self.transport.close()
                self._closing_since, seconds_left = now, self.timeout_keep_alive
        self._arm(min(seconds_left, self.timeout_keep_alive))

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._disarm()
        self._is_over = True
        self._last_words = self._first_frames = None
        super().connection_lost(exc)

    def _unset_keepalive_if_required(self) -> None:
        """The timer stays."""

    def _note(self, name: bytes, value: bytes) -> None:
        """Heed a header that says how the body comes."""
        if name == b"expect":
            self.expect_100_continue = self.expect_100_continue or value == b"100-continue"
        elif value != b"chunked":
            self._fault = MalformedRequest(
                "a body may come in chunks (Transfer-Encoding: chunked), not otherwise coded"
            )

    def _look_at_part_of_head(self) -> None:
        """A head goes on with the next read: see that it ends."""
        if self._head_since == math.inf:
            # It began somewhere in what was just read.
            self._head_since = self.loop.time()
            self._num_head_bytes = self._size_of_head()
        else:
            self._num_head_bytes += self._num_new_bytes
        if self._num_head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(too_large())

    def _check_head(self) -> None:
        if self._fault is not None:
            self._fail(self._fault)
        if len(self.headers) > MAX_HEADERS or self._size_of_head() > MAX_HEAD_BYTES:
            self._fail(too_large())

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _fail(self, fault: OstinatoError, cause: Exception | None = None) -> None:
        """End the reading, from within the parser."""
        self._reading, self._fault = _HEAD, fault
        raise fault from cause

    def _refuse(self, error: OstinatoError) -> None:
        """Read no more, and answer why: behind the answers to what came before."""
        self._is_over = True
        terms = self._desk.terms_of(self.headers) if self._reading is not _NONE else None
        tag = self._desk.tag_of(terms)
        words = self._desk.refuse(error, "the reading of a request", tag).response_to(self.path)
        self._desk.tell_answered(Answered("-", self.path, "none", words.status, 0.0, len(words.body), tag, self.peer))
        if terms is not None:
            words = terms.apply_at_once(words)
        is_answered = self._is_answered()
        if self._reading is _BODY:
            # The request that was being read will never be whole.
            if self.pipeline and self.pipeline[0][0] is self.cycle:
                self.pipeline.popleft()
                is_answered = False
            elif self._drop_unfinished():
                is_answered = True
            else:
                self._hang_up()
                return
        self._reading = _NONE
        self._last_words = words, tag.request_id
        if is_answered:
            self._go_on_behind()

    def _drop_unfinished(self) -> bool:
        """Let the request go whose body is broken; whether nothing was answered to it yet."""
        cycle: Any = self.cycle
        if cycle.response_started:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return True

    def _go_on_behind(self) -> None:
        """All is answered: do what came behind."""
        if self.transport.is_closing():
            return
        if self._first_frames is not None:
            frames, self._first_frames = self._first_frames, None
            self._become_websocket(frames)
        elif self._last_words is not None:
            (words, request_id), self._last_words = self._last_words, None
            self.transport.write(whole_answer(words, self._default_head(), False, request_id)[0])
            self._hang_up()

    def _upgrade_when_answered(self, first_frames: bytes) -> None:
        self._is_over = True
        if not self._should_upgrade():
            # It was answered as any request is, or will be; what comes behind it cannot be told.
            if self._is_answered():
                self._hang_up()
            else:
                self.cycle.keep_alive = False
            return
        self._first_frames = first_frames
        if self._is_answered():
            self._go_on_behind()
        else:
            self.flow.pause_reading()

    def _become_websocket(self, first_frames: bytes) -> None:
        self._disarm()
        self.handle_websocket_upgrade()
        if first_frames and not self.transport.is_closing():
            protocol: Any = self.transport.get_protocol()
            protocol.data_received(first_frames)

    def _hang_up(self) -> None:
        """Say nothing more, and close when the client has heard it: what it still sends must be read until then, or its
        system would throw our last words away with the connection.
        """
        self._is_over = True
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        self.transport.write_eof()
        self._disarm()
        self.timeout_keep_alive_task = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _is_ending(self) -> bool:
        """Whether no request will be answered any more."""
        return self._is_over or self.transport.is_closing()

    def _is_answered(self) -> bool:
        """Whether no request is under way."""
        cycle: Any = self.cycle
        return cycle is None or bool(cycle.response_complete)

    def _arm(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _disarm(self) -> None:
        self._forget_stall()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
