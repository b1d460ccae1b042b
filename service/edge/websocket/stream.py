"""A stream of steps over one WebSocket, from message to answer: order, limits and deadlines. Knows no socket."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any

from ostinato.service.config import Settings
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.v1.large import FEW_BYTES, is_large
from ostinato.service.edge.v1.schemas import StreamFrame
from ostinato.service.edge.v1.steps import chunk_inputs
from ostinato.service.edge.websocket import frames
from ostinato.service.edge.websocket.channel import INVALID_DATA, SHUTTING_DOWN, Channel, Message, StepColumns
from ostinato.service.edge.websocket.pending import Pending, draining_error
from ostinato.service.errors import InvalidInput, OstinatoError, UnknownSession
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.refusals import REFUSALS, apply_anew
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions

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
        desk: Desk,
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
        self._desk = desk
        self._create_missing = create_missing
        self._max_frames = settings.max_stream_frames
        self._loop = asyncio.get_running_loop()
        # Oldest first, since a dictionary keeps the order of insertion.
        self._pending: dict[Pending, None] = {}
        self._num_bytes = 0
        self._messages: deque[Message] = deque()
        self._lookups: dict[str, list[Pending]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._client_reads = True
        self._reading = True
        self._held = False
        self._waking = False
        self._draining = False
        self._over = False

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
            self._go_on()

    def set_client_reads(self, reads: bool) -> None:
        """Whether the client reads what is sent to it."""
        self._client_reads = reads
        self._go_on()

    def sweep(self, now: float) -> None:
        """Answer the frames that are past their deadline; ``now`` in seconds of ``perf_counter``."""
        deadline_seconds = self._desk.deadline_seconds
        while deadline_seconds and self._pending:
            oldest = next(iter(self._pending))
            if now - oldest.arrived_at <= deadline_seconds:
                return
            self._fail(oldest, self._desk.too_late())
            if oldest.work is not None:
                oldest.work.cancel()

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
            if each.work is not None:
                each.work.cancel()
        for task in self._tasks:
            task.cancel()

    def _go_on(self) -> None:
        """Look at messages while there is room; at most ``max_stream_frames``, so that others have their turn."""
        self._waking = False
        if self._over:
            return
        left = self._max_frames
        while self._messages and left and not self._held and self._has_room():
            # Which sessions a columnar message names is not known here: it waits for all that came before it.
            if self._lookups and not self._messages[0].is_text:
                break
            left -= 1
            message = self._messages[0]
            if message.is_text and len(message.data) > FEW_BYTES and is_large(message.data):
                self._held = True  # it stays where it is until it is read, and so do those behind it
                self._start(self._take_large(message))
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
            self._loop.call_soon(self._go_on)

    def _take_text(self, message: Message) -> None:
        try:
            frame = frames.read_frame(message.data, self._given)
        except InvalidInput as error:
            self._refuse_unread(message, error, frames.address_of(message.data))
        else:
            self._take_frame(frame, message)

    async def _take_large(self, message: Message) -> None:
        engine = self._sessions.engine_of(self._model)
        frame, error = await frames.read_large_frame(message.data, engine, self._sessions)
        address = None if frame is not None else await frames.address_of_large(message.data)
        self._messages.popleft()
        if frame is None:
            assert error is not None
            self._refuse_unread(message, error, address)
        elif error is not None:
            self._fail(self._take(frame, message), error)
        else:
            self._take_frame(frame, message)
        self._let_go()

    def _take_frame(self, frame: StreamFrame, message: Message) -> None:
        pending = self._take(frame, message)
        session_id = frame.session_id
        if self._draining:
            self._fail(pending, draining_error())
        elif self._lookups and session_id in self._lookups:
            self._lookups[session_id].append(pending)
        elif (session := self._sessions.use(session_id)) is not None:
            self._begin(pending, session)
        else:
            self._lookups[session_id] = [pending]
            self._start(self._look_up(session_id))

    def _take_columns(self, message: Message) -> None:
        pending = self._take(None, message)
        if self._draining:
            self._fail(pending, draining_error())
            return
        # What came behind it is looked at when its rows have been put to their sessions.
        self._held, hold = True, self._loop.create_future()
        hold.add_done_callback(self._let_go)
        pending.work = self._start(self._step_columns(self._model, message.data, self._create_missing, hold.cancel))
        pending.work.add_done_callback(lambda _: hold.cancel())
        pending.work.add_done_callback(partial(self._answered, pending, None))

    def _let_go(self, *_: object) -> None:
        self._held = False
        self._go_on()

    def _take(self, frame: StreamFrame | None, message: Message) -> Pending:
        pending = Pending(frame, message)
        self._pending[pending] = None
        self._num_bytes += pending.num_bytes
        return pending

    def _begin(self, pending: Pending, session: LiveSession) -> None:
        """Put a frame to its session; where that refuses it, to the newest, if this was an old copy of another."""
        assert pending.frame is not None
        try:
            pending.work = self._step(session, pending.frame)
        except REFUSALS as error:
            self._begin_anew(pending, session, error)
        except Exception as error:
            self._fail(pending, error)
        else:
            pending.work.add_done_callback(partial(self._answered, pending, session))

    def _begin_anew(self, pending: Pending, session: LiveSession, error: OstinatoError) -> None:
        assert pending.frame is not None
        missing = self._sessions.engine_of(self._model) if self._may_begin(pending.frame) else None
        attempt = partial(self._step, frame=pending.frame)
        pending.work = self._start(apply_anew(self._sessions, session, error, attempt, missing))
        pending.work.add_done_callback(partial(self._answered, pending, None))

    def _step(self, session: LiveSession, frame: StreamFrame) -> asyncio.Future[StepAnswer]:
        """Check a frame and put it to its session; one that was to begin with it is not there if it is refused."""
        engine = session.engine
        try:
            if engine.manifest.name != self._model:
                text = f"the session is of model {engine.manifest.name!r}, and this stream of {self._model!r}"
                raise InvalidInput(text, field="session_id")
            return self._ledger.step(session, chunk_inputs(engine, frame), frame.seq)
        except BaseException:
            self._sessions.abandon(session)
            raise

    async def _look_up(self, session_id: str) -> None:
        """Find a session that is not in memory, or open it; then begin the frames that waited for it, in order."""
        try:
            outcome: LiveSession | Exception = await self._find_or_open(session_id)
        except Exception as error:
            outcome = error
        finally:
            # The deadline of others has passed.
            waiting = [pending for pending in self._lookups.pop(session_id) if pending in self._pending]
        for place, pending in enumerate(waiting):
            is_other = self._may_begin(pending.frame) is not self._may_begin(waiting[0].frame)
            if is_other and isinstance(outcome, UnknownSession | InvalidInput):
                self._lookups[session_id] = waiting[place:]  # it may open what the first may not, or the other way
                self._start(self._look_up(session_id))
                break
            if isinstance(outcome, LiveSession):
                self._begin(pending, outcome)
            else:
                self._fail(pending, outcome)
        if isinstance(outcome, LiveSession):
            self._sessions.abandon(outcome)
        self._go_on()

    async def _find_or_open(self, session_id: str) -> LiveSession:
        if self._may_begin(self._lookups[session_id][0].frame):
            return await self._sessions.find_or_begin(session_id, self._sessions.engine_of(self._model))
        return await self._sessions.find(session_id)

    def _may_begin(self, frame: StreamFrame | None) -> bool:
        """Whether a frame may open its session: one whose client believes that it has steps, does not begin anew."""
        return self._create_missing and frame is not None and not frame.seq

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _answered(self, pending: Pending, session: LiveSession | None, work: asyncio.Future[Any]) -> None:
        """Take in what came of a frame; ``session``: what it was put to; None where that was the newest, or many."""
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if pending not in self._pending:
            return  # nobody waits for it any more
        if error is not None:
            if session is not None and isinstance(error, REFUSALS):
                self._begin_anew(pending, session, error)
            else:
                self._fail(pending, error)
            return
        if pending.frame is None:
            self._channel.send(work.result(), is_text=False)
        else:
            self._channel.send(frames.answer_message(work.result(), pending.frame), is_text=True)
        self._settle(pending, 200)

    def _fail(self, pending: Pending, error: BaseException) -> None:
        frame = pending.frame
        session_id, frame_id = (None, None) if frame is None else (frame.session_id, frame.id)
        self._settle(pending, self._refuse(error, session_id, frame_id))

    def _settle(self, pending: Pending, status: int) -> None:
        del self._pending[pending]
        self._num_bytes -= pending.num_bytes
        self._desk.observe(ROUTE, status, time.perf_counter() - pending.arrived_at)
        if not self._reading:
            self._wake()
        if self._draining:
            self._close_if_drained()

    def _refuse_unread(self, message: Message, error: OstinatoError, address: frames.Addressee | None) -> None:
        """Answer a message that is no frame; one that is not even text ends the stream, as RFC 6455 (8.1) wants it."""
        if address is None:
            self._channel.close(INVALID_DATA, "a text message was not UTF-8")
            return
        status = self._refuse(error, *address)
        self._desk.observe(ROUTE, status, time.perf_counter() - message.arrived_at)

    def _refuse(self, error: BaseException, session_id: str | None, frame_id: str | int | None) -> int:
        problem = self._desk.refuse(error, f"a frame of a stream of model {self._model}")
        self._channel.send(frames.error_message(problem, session_id, frame_id), is_text=True)
        return problem.status

    def _close_if_drained(self) -> None:
        if self.is_idle and not self._over:
            self._channel.close(*SHUTTING_DOWN)
