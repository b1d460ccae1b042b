"""The link to a server: a connection that is made when it is needed, and made anew when it was lost, or misleads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from ostinato.service.state.redis.address import RedisAddress, ServerAddress
from ostinato.service.state.redis.connection import (
    AnswerLost,
    RedisConnection,
    RedisError,
    TurnedAway,
    Unreachable,
)
from ostinato.service.state.redis.dialing import dial, leads_to
from ostinato.service.state.redis.replies import error_word, is_elsewhere

PROBE_SECONDS = 0.25
"""How often a server that did not answer is tried again; until it answers, requests fail at once."""

PAUSE_SECONDS = 0.05
"""How long nobody asks again at a door where this client was turned away; requests fail at once."""

MAX_SENDS = 2
"""How often a request is sent: again where its answer was lost, or another server is to be asked."""


class Link:
    """The connection to the server of an address: made when it is first needed, and made again when it was lost, or
    when its server turned out not to be the one to be asked any more.

    A server that does not answer in time is left alone until it does: meanwhile requests fail at once. Nothing else
    keeps a request from trying to connect, except for a moment after this client was turned away.

    Attributes:
        num_connections: how many were made.
    """

    def __init__(self, address: RedisAddress) -> None:
        self.address = address
        self.num_connections = 0
        self._connection: RedisConnection | None = None
        self._former: list[RedisConnection] = []
        """Those on which something may still be answered."""
        self._connecting: asyncio.Task[RedisConnection] | None = None
        self._probe: asyncio.Task[None] | None = None
        self._refusal: tuple[str, float] | None = None
        """What was said when this client was turned away, and until when nobody asks again."""
        self._is_closed = False

    @property
    def server(self) -> ServerAddress | None:
        """Whom it is connected to; None = nobody."""
        return self._connection.server if self._connection is not None and self._is_connected() else None

    def __repr__(self) -> str:
        state = "silent" if self._probe else "connected" if self._is_connected() else "not connected"
        return f"<Link {self.address}, {state}>"

    def ask(
        self, packed: bytes, num_answers: int = 1, on_resend: Callable[[], object] | None = None
    ) -> Awaitable[list[Any]]:
        """Send commands, at once where there is a connection; what is awaited gives what Redis says to each.

        Where the connection was lost before the answers were there, or an answer says that another server is to be
        asked, all are retried over a new one, once: they must be such that it does not matter whether Redis did them
        before, or ``on_resend`` tells who has to know.

        Raises:
            Unreachable, AnswerLost: by what is awaited.
        """
        sent = None
        if self._is_connected() and self._probe is None:
            assert self._connection is not None
            sent = self._connection, self._connection.send(packed, num_answers)
        return self._answer(sent, packed, num_answers, on_resend)

    async def follow(self) -> None:
        """Connect anew if the address has come to lead to another server, which takes requests."""
        connection = self._connection
        if connection is None or not self._is_connected() or await leads_to(self.address, connection):
            return
        if connection is self._connection and self._connecting is None and self._probe is None:
            with contextlib.suppress(RedisError):
                await self._connect()

    async def close(self) -> None:
        """End the connection; what is asked from now on fails."""
        self._is_closed = True
        tasks = [task for task in (self._connecting, self._probe) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in (*self._former, self._connection):
            if connection is not None:
                connection.abort()
        await asyncio.sleep(0)  # their requests are told

    def _is_connected(self) -> bool:
        return self._connection is not None and self._connection.is_open

    async def _answer(
        self,
        sent: tuple[RedisConnection, asyncio.Future[list[Any]]] | None,
        packed: bytes,
        num_answers: int,
        on_resend: Callable[[], object] | None,
    ) -> list[Any]:
        answers: list[Any] | None = None
        may_be_done = False  # any of it, by whom it was sent to before
        for num_left in reversed(range(MAX_SENDS)):
            if sent is None:
                try:
                    connection = await self._connected()
                except Unreachable as error:
                    if may_be_done:
                        raise AnswerLost(str(error)) from error
                    if answers is None:
                        raise
                    return answers
                if may_be_done and on_resend is not None:
                    on_resend()
                sent = connection, connection.send(packed, num_answers)
            connection, answer = sent
            sent = None
            try:
                answers = await answer
            except AnswerLost:
                if connection.is_late and connection is self._connection:
                    self._fall_silent()
                if connection.is_late or not num_left:
                    raise
                may_be_done = True
                continue
            if connection.is_open or not is_elsewhere(answers):
                break
            may_be_done = may_be_done or not all(map(error_word, answers))
        assert answers is not None
        return answers

    async def _connected(self) -> RedisConnection:
        if self._is_closed:
            raise Unreachable(f"{self.address}: the store is closed")
        if self._probe is not None:
            raise Unreachable(f"{self.address} does not answer")
        if self._is_connected():
            assert self._connection is not None
            return self._connection
        if self._connecting is None:
            if self._refusal is not None and asyncio.get_running_loop().time() < self._refusal[1]:
                raise Unreachable(self._refusal[0])
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
        """Connect, and let go of the connection that there was.

        Raises:
            Unreachable: there is nobody, or Redis does not let it in.
            AnswerLost: somebody is there, and does not answer.
        """
        try:
            connection = await dial(self.address)
        except TurnedAway as error:
            self._refusal = str(error), asyncio.get_running_loop().time() + PAUSE_SECONDS
            raise
        if self._connection is not None:
            self._connection.retire()
            self._former = [former for former in (*self._former, self._connection) if not former.is_over]
        self._connection = connection
        self.num_connections += 1
        return connection

    def _fall_silent(self) -> None:
        if self._probe is None and not self._is_closed:
            self._probe = asyncio.create_task(self._try_for_ever())

    async def _try_for_ever(self) -> None:
        """Try to connect until somebody answers, or says that there is nobody."""
        while True:
            try:
                await self._connect()
            except AnswerLost:
                await asyncio.sleep(PROBE_SECONDS)
                continue
            except Unreachable:
                pass
            self._probe = None
            return
