"""A stream of steps over one WebSocket, from message to answer: order, limits and deadlines. Knows no socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any

from ostinato.service.config import Settings
from ostinato.service.edge.problems import Problem
from ostinato.service.edge.v1.large import FEW_BYTES, is_large
from ostinato.service.edge.v1.schemas import StreamFrame
from ostinato.service.edge.v1.steps import chunk_inputs
from ostinato.service.edge.websocket import frames
from ostinato.service.edge.websocket.channel import INVALID_DATA, SHUTTING_DOWN, Channel, Message, StepColumns
from ostinato.service.edge.websocket.pending import Pending, draining_error
from ostinato.service.edge.websocket.session_lines import SessionLines
from ostinato.service.edge.witness import Witness
from ostinato.service.errors import InvalidInput
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.refusals import REFUSALS
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.tracing import current_span

ROUTE = "/v1/models/{name}/stream"


class StepStream:
    """The frames of one connection.

    Frames of one session are applied in the order sent, and answered as they are done. While ``max_stream_frames`` of
    them, or more bytes than ``max_body_bytes``, are not answered, or the client does not read its answers, no further
    message is looked at, and the connection is told to read no more.

    Args:
        model: the model of every session in it.
        create_missing: whether a frame for an id that was never heard of opens a session.
        step_columns: what a binary frame is handed to.
    """

    def __init__(
        self,
        channel: Channel,
        model: str,
        sessions: Sessions,
        ledger: Ledger,
        witness: Witness,
        settings: Settings,
        step_columns: StepColumns,
        *,
        create_missing: bool = False,
    ) -> None:
        self._channel = channel
        self._model = model
        self._given = sessions.engine_of(model).given
        self._sessions = sessions
        self._ledger = ledger
        self._step_columns = step_columns
        self._desk, self._witness = witness.desk, witness
        self._create_missing = create_missing
        self._max_frames = settings.max_stream_frames
        self._loop = asyncio.get_running_loop()
        # Oldest first, since a dictionary keeps the order of insertion.
        self._pending: dict[Pending, None] = {}
        self._num_bytes = 0
        self._messages: deque[Message] = deque()
        self._lines = SessionLines(sessions, model, self, create_missing=create_missing)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._client_reads = True
        self._reading = True
        self._held = self._waking = self._draining = self._over = False

    def __repr__(self) -> str:
        state = " over" if self._over else " draining" if self._draining else ""
        return f"<StepStream {self._model}, {self.num_frames} frames, {len(self._messages)} messages waiting{state}>"

    @property
    def num_frames(self) -> int:
        """Frames accepted and not yet answered."""
        return len(self._pending)

    @property
    def is_idle(self) -> bool:
        """Whether nothing of the client's is under way, nor waits for anything but that it reads its answers."""
        return not self._pending and not (self._messages and self._client_reads)

    @property
    def is_full(self) -> bool:
        """Whether messages wait for the service, and not for the client to read its answers."""
        return self._client_reads and not self._reading

    def receive(self, messages: Iterable[Message]) -> None:
        """Take messages in the order sent; each is answered by one, unless the stream ends before."""
        if not self._over:
            self._messages.extend(messages)
            self.go_on()

    def set_client_reads(self, reads: bool) -> None:
        """Whether the client reads what is sent to it."""
        self._client_reads = reads
        self.go_on()

    def sweep(self, now: float) -> None:
        """Answer the frames that are past their deadline; ``now`` in seconds of ``perf_counter``."""
        deadline_seconds = self._desk.deadline_seconds
        while deadline_seconds and self._pending:
            oldest = next(iter(self._pending))
            if now - oldest.arrived_at <= deadline_seconds:
                return
            self.fail(oldest, self._desk.too_late())
            oldest.drop()

    def drain(self) -> None:
        """Refuse what comes from now on, and close as soon as all that was taken is answered."""
        self._draining = True
        self._close_if_drained()

    def end(self) -> None:
        """Nobody is left to answer: drop what has not begun. What has begun is applied."""
        self._over = True
        self._messages.clear()
        pending, self._pending = self._pending, {}
        for each in pending:
            each.drop()
        for task in self._tasks:
            task.cancel()

    def go_on(self) -> None:
        """Look at messages while there is room; at most ``max_stream_frames``, so that others have their turn."""
        self._waking = False
        if self._over:
            return
        left = self._max_frames
        while self._messages and left and not self._held and self._has_room():
            # Which sessions a columnar message names is not known here: it waits for all that came before it.
            if self._lines and not self._messages[0].is_text:
                break
            left -= 1
            message = self._messages[0]
            if message.is_text and len(message.data) > FEW_BYTES and is_large(message.data):
                self._held = True  # it stays where it is until it is read, and so do those behind it
                self.start(self._take_large(message))
                continue
            self._messages.popleft()
            if message.is_text:
                self._take_text(message)
            else:
                self._take_columns(message)
        reading = not self._messages and self._has_room()
        if reading != self._reading:
            self._reading = reading
            self._channel.read_more(reading)
        if not left:
            self._wake()
        if self._draining:
            self._close_if_drained()

    def _has_room(self) -> bool:
        return (
            self._client_reads
            and len(self._pending) < self._max_frames
            and self._num_bytes <= self._desk.max_body_bytes
        )

    def _wake(self) -> None:
        """Look at waiting messages soon: once, however many frames are answered by then."""
        if not self._waking:
            self._waking = True
            self._loop.call_soon(self.go_on)

    def _take_text(self, message: Message) -> None:
        try:
            frame = frames.read_frame(message.data, self._given)
        except InvalidInput as error:
            self._refuse_unread(message, error, frames.address_of(message.data))
        else:
            self._take_frame(frame, message)

    async def _take_large(self, message: Message) -> None:
        frame: StreamFrame | None = None
        error: Exception | None
        try:
            engine = self._sessions.engine_of(self._model)
            frame, error = await frames.read_large_frame(message.data, engine, self._sessions)
        except Exception as failure:  # its model may be unloaded by now; those behind it wait for what comes of it
            error = failure
        address = None if frame is not None else await frames.address_of_large(message.data)
        self._messages.popleft()
        if frame is None:
            assert error is not None
            self._refuse_unread(message, error, address)
        elif error is not None:
            self.fail(self._take(frame, message), error)
        else:
            self._take_frame(frame, message)
        self._let_go()

    def _take_frame(self, frame: StreamFrame, message: Message) -> None:
        pending = self._take(frame, message)
        session_id = frame.session_id
        if self._draining:
            self.fail(pending, draining_error())
        elif self._lines and session_id in self._lines:
            self._lines.append(pending)
        elif (session := self._sessions.use(session_id)) is not None:
            self.begin(pending, session)
        else:
            self._lines.append(pending)

    def _take_columns(self, message: Message) -> None:
        pending = self._take(None, message)
        if self._draining:
            self.fail(pending, draining_error())
            return
        # What came behind it is looked at when its rows have been put to their sessions.
        self._held, hold = True, self._loop.create_future()
        hold.add_done_callback(self._let_go)
        pending.work = self.start(self._step_columns(self._model, message.data, self._create_missing, hold.cancel))
        pending.work.add_done_callback(lambda _: hold.cancel())
        pending.work.add_done_callback(partial(self.answered, pending))

    def _let_go(self, *_: object) -> None:
        self._held = False
        self.go_on()

    def _take(self, frame: StreamFrame | None, message: Message) -> Pending:
        pending = Pending(self, frame, message, self._witness.begin(message.arrived_at))
        self._pending[pending] = None
        self._num_bytes += pending.num_bytes
        return pending

    def begin(self, pending: Pending, session: LiveSession) -> None:
        """Put a frame to its session; where that refuses it, to the newest, if this was an old copy of another."""
        pending.session, pending.refusal = session, None
        try:
            self.step(session, pending, pending)
        except Exception as error:
            self.refused(pending, error)

    def applied(self, pending: Pending, answer: StepAnswer) -> None:
        """See ``PendingOwner``."""
        assert pending.frame is not None
        try:
            message = frames.answer_message(answer, pending.frame)
        except Exception as error:  # the commit of a batch must not fail because of one frame
            self.fail(pending, error)
            return
        self._channel.send(message, is_text=True)
        self._settle(pending, 200)

    def refused(self, pending: Pending, error: Exception) -> None:
        """See ``PendingOwner``."""
        if isinstance(error, REFUSALS):
            self._lines.put_back(pending, error)
        else:
            self.fail(pending, error)

    def step(self, session: LiveSession, pending: Pending, future: Pending | None = None) -> asyncio.Future[StepAnswer]:
        """Check a frame and put it to its session; one that was to begin with it is not there if it is refused."""
        engine, frame = session.engine, pending.frame
        assert frame is not None
        current_span.set(pending.span)
        try:
            if engine.manifest.name != self._model:
                text = f"the session is of model {engine.manifest.name!r}, and this stream of {self._model!r}"
                raise InvalidInput(text, field="session_id")
            return self._ledger.step(session, chunk_inputs(engine, frame), frame.seq, future, frame.chunk_offset)
        except BaseException:
            self._sessions.abandon(session)
            raise

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have something done, which ends with the stream."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def answered(self, pending: Pending, work: asyncio.Future[Any]) -> None:
        """Take in what came of a frame that something else than its chunk was waited for."""
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if pending.is_over:
            return
        if error is not None:
            self.fail(pending, error)
        elif pending.frame is None:
            self._channel.send(work.result(), is_text=False)
            self._settle(pending, 200)
        else:
            self.applied(pending, work.result())

    def is_waited_for(self, pending: Pending) -> bool:
        """Whether a frame is not answered yet."""
        return not pending.is_over

    def fail(self, pending: Pending, error: BaseException) -> None:
        """Answer a frame with an error."""
        frame = pending.frame
        session_id, frame_id = (None, None) if frame is None else (frame.session_id, frame.id)
        problem = self._refuse(error, session_id, frame_id)
        self._settle(pending, problem.status, problem.code)

    def _settle(self, pending: Pending, status: int, code: str = "") -> None:
        if pending not in self._pending:  # the client has gone meanwhile
            return
        del self._pending[pending]
        pending.is_over = True
        self._num_bytes -= pending.num_bytes
        self._witness.end(status, pending.arrived_at, pending.span, code=code)
        if not self._reading:
            self._wake()
        if self._draining:
            self._close_if_drained()

    def _refuse_unread(self, message: Message, error: Exception, address: frames.Addressee | None) -> None:
        """Answer a message that is no frame; one that is not even text ends the stream, as RFC 6455 (8.1) wants it."""
        if address is None:
            self._channel.close(INVALID_DATA, "a text message was not UTF-8")
            return
        self._witness.end(self._refuse(error, *address).status, message.arrived_at)

    def _refuse(self, error: BaseException, session_id: str | None, frame_id: str | int | None) -> Problem:
        problem = self._witness.refuse(error, f"a frame of a stream of model {self._model}")
        self._channel.send(frames.error_message(problem, session_id, frame_id), is_text=True)
        return problem

    def _close_if_drained(self) -> None:
        if self.is_idle and not self._over:
            self._channel.close(*SHUTTING_DOWN)
