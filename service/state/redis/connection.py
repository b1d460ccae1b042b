"""A connection to one Redis server, shared by everything that asks it: no request waits for another's answer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

import hiredis

from ostinato.service.state.redis.address import ServerAddress
from ostinato.service.state.redis.replies import IN_DOUBT, TURNED_AWAY, error_word

GRACE_SECONDS = 0.1
"""What an answer that is late gets on top, where it was this process that stood still."""

TURNED_AWAY_SECONDS, DOUBT_SECONDS = 0.05, 1.0
"""How old a connection is at least that is given up since its server turns away, or is in doubt: what a new one would
say was asked when it was made.
"""


class RedisError(Exception):
    """Base of what goes wrong with a Redis server; ``str(error)`` begins with its address."""


class Unreachable(RedisError):
    """There is no connection: nothing was sent."""


class TurnedAway(Unreachable):
    """Somebody is there, and is not who is to be asked, or did not let this client in."""


class AnswerLost(RedisError):
    """Something was sent, and its answer did not come; whether Redis has done it is not known."""


class Refused(RedisError):
    """Redis said that it does not do this, in its own words."""


def pack(*parts: bytes | str | int) -> bytes:
    """A command as it goes over the wire."""
    return cast(bytes, hiredis.pack_command(parts))  # type: ignore[arg-type]  # it takes as many parts as there are


class _Request:
    """Commands that went out together; ``future`` gets the list of what Redis says to each."""

    __slots__ = ("answers", "future", "num_missing", "sent_at")

    def __init__(self, future: asyncio.Future[list[Any]], num_answers: int, sent_at: float) -> None:
        self.future = future
        self.num_missing = num_answers
        self.sent_at = sent_at
        self.answers: list[Any] = []


class RedisConnection(asyncio.Protocol):
    """Requests out, answers in, in the same order.

    Args:
        name: of the server, for errors.
        server: whom it was made to.

    Attributes:
        is_late: whether an answer took too long, for which it was ended.
    """

    def __init__(self, name: str, server: ServerAddress, timeout_seconds: float) -> None:
        self.server = server
        self._takes_more = False
        self.is_late = False
        self._name = name
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._made_at = self._loop.time()
        self._requests: deque[_Request] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether something can be sent. What was sent may still be answered when nothing more can."""
        # A connection that was reset is closing before its end is told.
        return self._takes_more and self._transport is not None and not self._transport.is_closing()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, with all that was sent."""
        return self._transport is None or self._transport.is_closing()

    @property
    def peer(self) -> str:
        """The address of the machine at its other end; "" = it is not known."""
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)
        self._takes_more = True

    def send(self, packed: bytes, num_answers: int) -> asyncio.Future[list[Any]]:
        """Send commands; the future gives what Redis says to each, errors among it as ``hiredis.ReplyError``.

        Raises:
            AnswerLost: by the future.
        """
        assert self._transport is not None
        assert num_answers > 0
        request = _Request(self._loop.create_future(), num_answers, self._loop.time())
        self._requests.append(request)
        self._transport.write(packed)
        if self._timer is None:
            self._look_after(self._timeout_seconds)
        return request.future

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                if isinstance(answer, hiredis.ReplyError):
                    self._heed(answer)
                request = self._requests[0]
                request.answers.append(answer)
                request.num_missing -= 1
                if not request.num_missing:
                    self._requests.popleft()
                    if not request.future.done():
                        request.future.set_result(request.answers)
        except (hiredis.ProtocolError, IndexError):  # it is no Redis, or out of step
            self.abort()
        if not self.is_open:
            self.retire()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._takes_more = False
        if self._timer is not None:
            self._timer.cancel()
        why = f"ended the connection{f' ({exc})' if exc else ''}"
        if self.is_late:
            why = f"did not answer for {self._timeout_seconds:g} s"
        while self._requests:
            future = self._requests.popleft().future
            if not future.done():
                future.set_exception(AnswerLost(f"{self._name} {why}"))

    def retire(self) -> None:
        """Send nothing any more, and end it when what was sent is answered."""
        self._takes_more = False
        if self._transport is not None and not self._requests:
            self._transport.close()

    def abort(self) -> None:
        """End the connection at once."""
        self._takes_more = False
        if self._transport is not None:
            self._transport.abort()

    def _heed(self, error: hiredis.ReplyError) -> None:
        """Whoever is told that another server is to be asked connects anew, to where the address leads by then."""
        word = error_word(error)
        age_seconds = self._loop.time() - self._made_at
        if (word in TURNED_AWAY and age_seconds >= TURNED_AWAY_SECONDS) or (
            word in IN_DOUBT and age_seconds >= DOUBT_SECONDS
        ):
            self._takes_more = False

    def _look_after(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._check, self._loop.time() + seconds)

    def _check(self, due_at: float) -> None:
        """End the connection if the oldest request has waited for too long."""
        self._timer = None
        if not self._requests:
            return
        now = self._loop.time()
        left_seconds = self._requests[0].sent_at + self._timeout_seconds - now
        if left_seconds <= 0 and now - due_at > GRACE_SECONDS:
            left_seconds = GRACE_SECONDS  # the answer may be here, and nobody has read it yet
        if left_seconds > 0:
            self._look_after(left_seconds)
        else:
            self.is_late = True
            self.abort()
