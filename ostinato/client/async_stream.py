"""Steps of many sessions over one WebSocket, for clients that do not block."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar, Unpack

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from ostinato.client import wire
from ostinato.client.arrays import Outputs, Rows
from ostinato.client.exchange import FRAME, Exchanges, Plan, Send, carry_out_async
from ostinato.client.forks import cut_off, leave_alone, watch
from ostinato.client.frames import TOO_BIG, StreamHandle, frame_text, of_no_frame, read_answer, too_big
from ostinato.client.offsets import InSource
from ostinato.client.retry import Lost, Outcome, ServiceAnswer
from ostinato.client.times import Times
from ostinato.client.verbs import Verbs
from ostinato.errors import CommandError, UnexpectedAnswer

Result = TypeVar("Result")


class AsyncStream(StreamHandle):
    """Steps of a model's sessions over one WebSocket, which ``async with`` connects and closes.

    Any number of tasks may step at once; the chunks of one session take turns. When the connection is lost, or the
    service goes away (1001), it is made again, and frames that were not answered are retried: ``seq`` keeps them from
    being applied twice. So are those that the service refused for now.

    Attributes:
        steps: session id -> how many steps were applied, as far as this stream knows: the ``seq`` of its next chunk.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        verbs: Verbs,
        send: Callable[[Send], Awaitable[Outcome]],
        sleep: Callable[[float], Awaitable[object]],
        timeout_seconds: float,
        key: str | None,
        model: str,
        create_missing: bool,
    ) -> None:
        super().__init__(exchanges, verbs, model, create_missing)
        self._send_request = send
        self._sleep = sleep
        self._timeout_seconds = timeout_seconds
        self._key = key
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._line: _Line | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_closed = False
        watch(self)

    def begin_anew(self) -> None:
        """Forget the connection, in a process that was forked: it is the parent's, and another is made here."""
        line = self._line
        leave_alone(line, self._connecting, self._turns)
        self._turns, self._line, self._connecting = weakref.WeakValueDictionary(), None, None
        if line is not None:
            line.cut_off()

    async def __aenter__(self) -> AsyncStream:
        await self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._line is not None:
            await self._line.close()

    async def step(
        self,
        session_id: str,
        inputs: Rows,
        *,
        return_sequences: bool = True,
        at: Times | None = None,
        **place: Unpack[InSource],
    ) -> Outputs:
        """Apply a chunk ``[n, F]`` (None or NaN = missing) to a session; returns outputs float32 ``[n, O]``, or the
        last one ``[1, O]`` without ``return_sequences``; integers stay integers. Several are a dictionary by name.

        ``at``, ``place``: as of a session's ``step``.

        Raises:
            SeqConflict: the session has another number of steps, or readings of it; ``steps`` stays as it is.
            TimeConflict: the times do not follow the session's last step.
            ServiceError: the service refused it, or does not know the session.
            ServiceUnreachable: nobody answered within the client's patience. It may have been applied: repeat it with
                the same inputs, or ``sync``.
        """
        async with self._turn(session_id):
            plan = self._step_plan(session_id, inputs, return_sequences=return_sequences, at=at, place=place)
            return await self._run(plan)

    async def sync(self, session_id: str) -> int:
        """Take the server's step count for the next chunk's ``seq``; returns it."""
        async with self._turn(session_id):
            return await self._run(self._sync_plan(session_id))

    def _turn(self, session_id: str) -> asyncio.Lock:
        # It lives as long as somebody holds it or waits for it.
        return self._turns.setdefault(session_id, asyncio.Lock())

    async def _run(self, plan: Plan[Result]) -> Result:
        return await carry_out_async(plan, self._send, self._sleep)

    async def _send(self, send: Send) -> Outcome:
        if send.request.method != FRAME:
            return await self._send_request(send)
        line = await self._connected()
        return await line.ask(next(self._ids), send.request.body, self._timeout_seconds)

    async def _connected(self) -> _Line:
        """The connection; the first that finds none makes one, and all wait for it together."""
        while self._line is None or self._line.is_over:
            if self._is_closed:
                raise CommandError("the stream is closed")
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
                self._connecting.add_done_callback(self._forget_connecting)
            connecting = self._connecting
            # Other than awaiting it, this cancels nothing for the others when the one that waits is cancelled.
            await asyncio.wait({connecting})
            if not connecting.cancelled():
                connecting.result()
        return self._line

    def _forget_connecting(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled():
            # Nobody may be left who waits for it.
            task.exception()

    async def _connect(self) -> None:
        await carry_out_async(self._connect_plan(), self._shake_hands, self._sleep)

    async def _shake_hands(self, send: Send) -> Outcome:
        try:
            options = wire.stream_options(send.url, self._timeout_seconds, self._key)
            connection = await connect(wire.stream_address(send), **options)
        except wire.STREAM_ERRORS as error:
            return wire.refused_handshake(error, send.url)
        self._line = _Line(connection, send.url)
        return ServiceAnswer(200)


class _Line:
    """A connection, and who waits for what in it."""

    def __init__(self, connection: ClientConnection, where: str) -> None:
        self._connection = connection
        self._where = where
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._given_up: set[int] = set()
        self._num_heard = 0
        self._is_lost = False
        self._receiver = asyncio.create_task(self._receive())

    @property
    def is_over(self) -> bool:
        """Whether it answers nothing more."""
        return self._is_lost or self._receiver.done()

    async def ask(self, frame_id: int, body: bytes, timeout_seconds: float) -> Outcome:
        """Send a frame and wait for its answer."""
        answered: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[frame_id] = answered
        num_heard = self._num_heard
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._connection.send(frame_text(body, frame_id))
                return await answered
        except TimeoutError:
            if self._num_heard == num_heard:
                # It is dead, and would tell so only much later.
                self.hang_up()
            return Lost(f"no answer within {timeout_seconds:g} s", where=self._where)
        except ConnectionClosed as error:
            # The receiver may not have had its turn to see it.
            self._is_lost = True
            return wire.lost_stream(error, self._where)
        finally:
            if self._waiting.pop(frame_id, None) is not None:  # its answer was not heard, and may still come
                self._given_up.add(frame_id)

    def hang_up(self) -> None:
        """End the connection without a goodbye; the receiver sees its end."""
        self._connection.transport.abort()

    def cut_off(self) -> None:
        """Leave the connection to the process that this one was forked from."""
        cut_off(self._connection.transport.get_extra_info("socket"))

    async def close(self) -> None:
        """Say goodbye; frames that are not answered are lost."""
        await self._connection.close()
        await self._receiver

    async def _receive(self) -> None:
        """Hand answers to those who wait for them, until the connection ends; then the rest learn that it did."""
        end: Outcome | UnexpectedAnswer
        try:
            while True:
                frame_id, answer = read_answer(await self._connection.recv(), self._where, self.hang_up)
                self._num_heard += 1
                if frame_id in self._waiting:
                    self._settle(frame_id, answer)
                elif frame_id in self._given_up:
                    self._given_up.remove(frame_id)
                else:
                    raise of_no_frame(frame_id, answer)
        except ConnectionClosed as error:
            end = wire.lost_stream(error, self._where)
            if error.rcvd is not None and error.rcvd.code == TOO_BIG:
                end = too_big(self._where)
        except ValueError as error:
            self.hang_up()
            end = Lost(f"what it says is no answer of a stream: {error}", where=self._where)
        except UnexpectedAnswer as error:
            end = error
        for frame_id in list(self._waiting):
            self._settle(frame_id, end)

    def _settle(self, frame_id: int, outcome: Outcome | UnexpectedAnswer) -> None:
        waiting = self._waiting.pop(frame_id)
        if waiting.done():
            return
        if isinstance(outcome, UnexpectedAnswer):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)
