"""A connection to one Redis server, shared by everything that asks it: no request waits for another's answer."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, cast

import hiredis

PROBE_SECONDS = 0.25
"""How often a server that did not answer is tried again; until it answers, requests fail at once."""

GRACE_SECONDS = 0.1
"""What an answer that is late gets on top, where it was this process that stood still."""


class RedisError(Exception):
    """Base of what goes wrong with a Redis server; ``str(error)`` begins with its address."""


class Unreachable(RedisError):
    """There is no connection, or Redis let nobody in: nothing was sent."""


class AnswerLost(RedisError):
    """Something was sent, and its answer did not come; whether Redis has done it is not known."""


class Refused(RedisError):
    """Redis said that it does not do this, in its own words."""


class RedisAddress(NamedTuple):
    """Where a Redis server is, and how to get in.

    Attributes:
        database: 0 in a cluster.
        username, password: None where there is none.
        timeout_seconds: how long a connection, and each answer, may take.
    """

    host: str
    port: int
    database: int = 0
    username: str | None = None
    password: str | None = None
    is_tls: bool = False
    timeout_seconds: float = 2.0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.is_tls else 'redis'}://{host}:{self.port}"


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

    Attributes:
        is_open: whether something can be sent.
        is_late: whether an answer took too long, for which it was ended.
    """

    def __init__(self, address: RedisAddress) -> None:
        self.is_open = False
        self.is_late = False
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._requests: deque[_Request] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

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
            self._look_after(self._address.timeout_seconds)
        return request.future

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                request = self._requests[0]
                request.answers.append(answer)
                request.num_missing -= 1
                if not request.num_missing:
                    self._requests.popleft()
                    if not request.future.done():
                        request.future.set_result(request.answers)
        except (hiredis.ProtocolError, IndexError):  # it is no Redis, or out of step
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        why = f"ended the connection{f' ({exc})' if exc else ''}"
        if self.is_late:
            why = f"did not answer for {self._address.timeout_seconds:g} s"
        while self._requests:
            future = self._requests.popleft().future
            if not future.done():
                future.set_exception(AnswerLost(f"{self._address} {why}"))

    def abort(self) -> None:
        """End the connection at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def _look_after(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._check, self._loop.time() + seconds)

    def _check(self, due_at: float) -> None:
        """End the connection if the oldest request has waited for too long."""
        self._timer = None
        if not self._requests:
            return
        now = self._loop.time()
        left_seconds = self._requests[0].sent_at + self._address.timeout_seconds - now
        if left_seconds <= 0 and now - due_at > GRACE_SECONDS:
            left_seconds = GRACE_SECONDS  # the answer may be here, and nobody has read it yet
        if left_seconds > 0:
            self._look_after(left_seconds)
        else:
            self.is_late = True
            self.abort()


class Link:
    """The connection to one server: made when it is first needed, and made again when it was lost.

    A server that does not answer in time is left alone until it does: meanwhile requests fail at once. Nothing else
    keeps a request from trying to connect.
    """

    def __init__(self, address: RedisAddress) -> None:
        self.address = address
        self._connection: RedisConnection | None = None
        self._connecting: asyncio.Task[RedisConnection] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        state = "silent" if self._probe else "connected" if self._is_connected() else "not connected"
        return f"<Link {self.address}, {state}>"

    def ask(
        self, packed: bytes, num_answers: int = 1, on_resend: Callable[[], object] | None = None
    ) -> Awaitable[list[Any]]:
        """Send commands, at once where there is a connection; what is awaited gives what Redis says to each.

        Where the connection was lost before the answers were there, all are sent again over a new one, once: they must
        be such that it does not matter whether Redis did them before, or ``on_resend`` tells who has to know.

        Raises:
            Unreachable, AnswerLost: by what is awaited.
        """
        sent = None
        if self._is_connected() and self._probe is None:
            assert self._connection is not None
            sent = self._connection, self._connection.send(packed, num_answers)
        return self._answer(sent, packed, num_answers, on_resend)

    async def close(self) -> None:
        """End the connection; what is asked from now on fails."""
        self._is_closed = True
        tasks = [task for task in (self._connecting, self._probe) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._connection is not None:
            self._connection.abort()
            await asyncio.sleep(0)  # its requests are told

    def _is_connected(self) -> bool:
        return self._connection is not None and self._connection.is_open

    async def _answer(
        self,
        sent: tuple[RedisConnection, asyncio.Future[list[Any]]] | None,
        packed: bytes,
        num_answers: int,
        on_resend: Callable[[], object] | None,
    ) -> list[Any]:
        if sent is None:
            connection = await self._connected()
            sent = connection, connection.send(packed, num_answers)
        connection, answer = sent
        try:
            return await answer
        except AnswerLost:
            if connection.is_late:
                self._fall_silent()
                raise
        try:
            connection = await self._connected()
        except Unreachable as error:
            raise AnswerLost(str(error)) from error
        if on_resend is not None:
            on_resend()
        try:
            return await connection.send(packed, num_answers)
        except AnswerLost:
            if connection.is_late:
                self._fall_silent()
            raise

    async def _connected(self) -> RedisConnection:
        if self._is_closed:
            raise Unreachable(f"{self.address}: the store is closed")
        if self._probe is not None:
            raise Unreachable(f"{self.address} does not answer")
        if self._is_connected():
            assert self._connection is not None
            return self._connection
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._forget_attempt)
        try:
            connection = await asyncio.shield(self._connecting)
        except AnswerLost as error:
            self._fall_silent()
            raise Unreachable(str(error)) from error
        if not connection.is_open:
            raise Unreachable(f"{self.address} ended the connection")
        return connection

    def _forget_attempt(self, attempt: asyncio.Task[RedisConnection]) -> None:
        self._connecting = None
        if not attempt.cancelled():
            attempt.exception()  # seen, though nobody may wait for it any more

    async def _connect(self) -> RedisConnection:
        """Connect and introduce this client.

        Raises:
            Unreachable: there is nobody, or Redis does not let it in.
            AnswerLost: somebody is there, and does not answer.
        """
        address = self.address
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if address.is_tls else None
        greeting = [pack("PING")]
        if address.database:
            greeting.insert(0, pack("SELECT", address.database))
        if address.password is not None:
            names = () if address.username is None else (address.username,)
            greeting.insert(0, pack("AUTH", *names, address.password))
        try:
            async with asyncio.timeout(address.timeout_seconds):
                _, connection = await loop.create_connection(
                    lambda: RedisConnection(address), address.host, address.port, ssl=context
                )
        except TimeoutError as error:
            raise AnswerLost(f"{address} did not answer for {address.timeout_seconds:g} s") from error
        except OSError as error:
            raise Unreachable(f"{address}: {error.strerror or error}") from error
        try:
            for answer in await connection.send(b"".join(greeting), len(greeting)):
                if isinstance(answer, hiredis.ReplyError):
                    raise Unreachable(f"{address}: {answer}")
        except AnswerLost as error:
            if connection.is_late:
                raise
            raise Unreachable(str(error)) from error
        except BaseException:
            connection.abort()
            raise
        self._connection = connection
        return connection

    def _fall_silent(self) -> None:
        if self._probe is None and not self._is_closed:
            self._probe = asyncio.create_task(self._try_for_ever())

    async def _try_for_ever(self) -> None:
        """Try to connect until somebody answers, or says that there is nobody."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._connect()
            except AnswerLost:
                continue
            except Unreachable:
                pass
            self._probe = None
            return
