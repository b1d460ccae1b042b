"""Steps of many sessions over one WebSocket, for code that blocks."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar, Unpack

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from ostinato.client import wire
from ostinato.client.arrays import Outputs, Rows
from ostinato.client.exchange import FRAME, Exchanges, Plan, Send, carry_out
from ostinato.client.forks import cut_off, leave_alone, watch
from ostinato.client.frames import TOO_BIG, StreamHandle, frame_text, of_no_frame, read_answer, too_big
from ostinato.client.offsets import InSource
from ostinato.client.retry import Lost, Outcome, ServiceAnswer
from ostinato.client.times import Times
from ostinato.client.verbs import Verbs
from ostinato.errors import CommandError

Result = TypeVar("Result")


class Stream(StreamHandle):
    """Steps of a model's sessions over one WebSocket, which ``with`` connects and closes.

    One step is under way at a time; threads that share it take turns. When the connection is lost, or the service goes
    away (1001), it is made again, and the frame is retried: ``seq`` keeps it from being applied twice. So is one that
    the service refused for now.

    Attributes:
        steps: session id -> how many steps were applied, as far as this stream knows: the ``seq`` of its next chunk.
    """

    def __init__(
        self,
        exchanges: Exchanges,
        verbs: Verbs,
        send: Callable[[Send], Outcome],
        sleep: Callable[[float], object],
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
        self._turn = threading.Lock()
        self._connection: ClientConnection | None = None
        self._opened = contextlib.ExitStack()
        self._where = ""
        self._is_closed = False
        watch(self)

    def begin_anew(self) -> None:
        """Forget the connection, in a process that was forked: it is the parent's, and another is made here."""
        inherited = self._connection
        leave_alone(inherited, self._opened)
        self._turn, self._connection, self._opened = threading.Lock(), None, contextlib.ExitStack()
        if inherited is not None:
            cut_off(inherited.socket)

    def __enter__(self) -> Stream:
        with self._turn:
            self._connected()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        with self._turn:
            self._hang_up()

    def step(
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
        with self._turn:
            plan = self._step_plan(session_id, inputs, return_sequences=return_sequences, at=at, place=place)
            return self._run(plan)

    def sync(self, session_id: str) -> int:
        """Take the server's step count for the next chunk's ``seq``; returns it."""
        with self._turn:
            return self._run(self._sync_plan(session_id))

    def _run(self, plan: Plan[Result]) -> Result:
        return carry_out(plan, self._send, self._sleep)

    def _send(self, send: Send) -> Outcome:
        return self._ask(send.request.body) if send.request.method == FRAME else self._send_request(send)

    def _ask(self, body: bytes) -> Outcome:
        """Send a frame and wait for its answer."""
        connection, frame_id = self._connected(), next(self._ids)
        give_up_at = time.monotonic() + self._timeout_seconds
        try:
            connection.send(frame_text(body, frame_id))
            message = connection.recv(timeout=max(0.0, give_up_at - time.monotonic()))
            answered_id, answer = read_answer(message, self._where, self._hang_up)
            if answered_id == frame_id:
                return answer
            raise of_no_frame(answered_id, answer)
        except ConnectionClosed as error:
            self._hang_up()
            if error.rcvd is not None and error.rcvd.code == TOO_BIG:
                return too_big(self._where)
            return wire.lost_stream(error, self._where)
        except TimeoutError:
            # It may be dead, and would tell so only much later.
            self._hang_up()
            return Lost(f"no answer within {self._timeout_seconds:g} s", where=self._where)
        except ValueError as error:
            self._hang_up()
            return Lost(f"what it says is no answer of a stream: {error}", where=self._where)
        except BaseException:
            # Half of the frame may have been sent, and its answer may still come: another would get it.
            connection.close_socket()
            self._hang_up()
            raise

    def _connected(self) -> ClientConnection:
        if self._is_closed:
            raise CommandError("the stream is closed")
        if self._connection is None:
            carry_out(self._connect_plan(), self._shake_hands, self._sleep)
        assert self._connection is not None
        return self._connection

    def _shake_hands(self, send: Send) -> Outcome:
        try:
            options = wire.stream_options(send.url, self._timeout_seconds, self._key)
            self._connection = self._opened.enter_context(connect(wire.stream_address(send), **options))
        except wire.STREAM_ERRORS as error:
            return wire.refused_handshake(error, send.url)
        self._where = send.url
        return ServiceAnswer(200)

    def _hang_up(self) -> None:
        self._connection = None
        self._opened.close()
