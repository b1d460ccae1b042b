"""Lines of a stream's frames that wait until their session is found."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol

from ostinato.service.edge.v1.schemas import StreamFrame
from ostinato.service.edge.websocket.pending import Pending
from ostinato.service.errors import InvalidInput, OstinatoError, UnknownSession
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.refusals import apply_anew
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions


class FrameOwner(Protocol):
    """What has the frames; ``StepStream`` does."""

    def is_waited_for(self, pending: Pending) -> bool:
        """Whether a frame is not answered yet."""

    def begin(self, pending: Pending, session: LiveSession) -> None:
        """Put a frame to its session."""

    def step(self, session: LiveSession, pending: Pending) -> asyncio.Future[StepAnswer]:
        """Put a frame to its session, of which the caller takes in what comes, too; raises where it is refused."""

    def answered(self, pending: Pending, work: asyncio.Future[Any]) -> None:
        """Take in what came of a frame."""

    def fail(self, pending: Pending, error: BaseException) -> None:
        """Answer a frame with an error."""

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Have something done, which ends with the stream."""

    def go_on(self) -> None:
        """Look at messages that wait."""


class SessionLines:
    """A line of frames for each session that is being looked for, in the order sent: whatever comes for a session that
    has one waits in it.

    Args:
        create_missing: whether a frame for an id that was never heard of opens a session.
    """

    def __init__(self, sessions: Sessions, model: str, frames: FrameOwner, *, create_missing: bool) -> None:
        self._sessions = sessions
        self._model = model
        self._frames = frames
        self._create_missing = create_missing
        self._lines: dict[str, list[Pending]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._lines

    def append(self, pending: Pending) -> None:
        """Put a frame behind those of its session; the first has it looked for."""
        assert pending.frame is not None
        self._line(pending.frame.session_id).append(pending)

    def put_back(self, pending: Pending, error: OstinatoError) -> None:
        """Have a frame that its session, perhaps an old copy, has refused ask the newest, in its place: before all of
        that session that have not begun.
        """
        assert pending.frame is not None
        pending.refusal = error
        line = self._line(pending.frame.session_id)
        line.insert(sum(each.refusal is not None for each in line), pending)

    def _line(self, session_id: str) -> list[Pending]:
        if session_id not in self._lines:
            self._lines[session_id] = []
            self._frames.start(self._go_through(session_id))
        return self._lines[session_id]

    async def _go_through(self, session_id: str) -> None:
        """Begin the frames of a session, in order: those that were refused one after another, for each may find another
        session there; then the others together, when it is found, or opened.
        """
        line = self._lines[session_id]
        while line and line[0].refusal is not None:
            await self._begin_anew(line.pop(0))
        if line:
            await self._look_up(session_id, line)
        else:
            del self._lines[session_id]
        self._frames.go_on()

    async def _begin_anew(self, pending: Pending) -> None:
        """Put a refused frame to the newest session, and wait for what comes of it."""
        session, error = pending.session, pending.refusal
        assert session is not None
        assert error is not None
        if not self._frames.is_waited_for(pending):  # its deadline has passed
            return
        pending.refusal = None
        pending.work = work = self._frames.start(self._ask_anew(pending, session, error))
        await asyncio.wait([work])
        self._frames.answered(pending, work)

    async def _ask_anew(self, pending: Pending, session: LiveSession, error: OstinatoError) -> StepAnswer:
        """What the newest session makes of a frame; raises as ``apply_anew``, or where the model is unloaded by now."""
        missing = self._sessions.engine_of(self._model) if self._may_begin(pending.frame) else None
        attempt = partial(self._frames.step, pending=pending)
        return await apply_anew(self._sessions, session, error, attempt, missing)

    async def _look_up(self, session_id: str, line: list[Pending]) -> None:
        try:
            outcome: LiveSession | Exception = await self._find_or_open(session_id, line[0].frame)
        except Exception as error:
            outcome = error
        finally:
            del self._lines[session_id]
            # The deadline of others has passed.
            waiting = [pending for pending in line if self._frames.is_waited_for(pending)]
        for place, pending in enumerate(waiting):
            is_other = self._may_begin(pending.frame) is not self._may_begin(waiting[0].frame)
            # The one before it was refused and asks again; or this one may open what the first may not, or vice versa.
            if session_id in self._lines or (is_other and isinstance(outcome, UnknownSession | InvalidInput)):
                self._line(session_id).extend(waiting[place:])
                break
            if isinstance(outcome, LiveSession):
                self._frames.begin(pending, outcome)
            else:
                self._frames.fail(pending, outcome)
        if isinstance(outcome, LiveSession):
            self._sessions.abandon(outcome)

    async def _find_or_open(self, session_id: str, first: StreamFrame | None) -> LiveSession:
        if self._may_begin(first):
            return await self._sessions.find_or_begin(session_id, self._sessions.engine_of(self._model))
        return await self._sessions.find(session_id)

    def _may_begin(self, frame: StreamFrame | None) -> bool:
        """Whether a frame may open its session: one whose client believes that it has steps, does not begin anew."""
        return self._create_missing and frame is not None and not frame.seq
