"""Pending frames of a stream: what waits for an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ostinato.service.edge.v1.schemas import StreamFrame
from ostinato.service.edge.websocket.channel import Message
from ostinato.service.errors import Draining, OstinatoError
from ostinato.service.sessions.refusals import REFUSALS
from ostinato.service.sessions.session import LiveSession


class Pending:
    """A frame that is not answered yet.

    ``frame`` is None for a columnar one. ``work`` is what to cancel when nobody waits for it any more; None until the
    frame's session is found. ``span``: of its trace; None = it has none. ``refusal``: what a session in memory, which
    may be an old copy, refused it with, and which that was; None = none has.
    """

    __slots__ = ("arrived_at", "frame", "num_bytes", "refusal", "span", "work")

    def __init__(self, frame: StreamFrame | None, message: Message, span: Any = None) -> None:
        self.span = span
        self.frame = frame
        self.num_bytes = len(message.data)
        self.arrived_at = message.arrived_at
        self.work: asyncio.Future[Any] | None = None
        self.refusal: tuple[LiveSession, OstinatoError] | None = None


class FrameFuture(asyncio.Future[Any]):
    """What a frame's answer is waited for by. ``refused`` is called at once with a refusal that the newest session may
    not make: callbacks come later, and a frame behind it could overtake it meanwhile.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, refused: Callable[[OstinatoError], object]) -> None:
        super().__init__(loop=loop)
        self._refused = refused

    def set_exception(self, error: type | BaseException, /) -> None:
        """See ``asyncio.Future``."""
        if isinstance(error, REFUSALS):
            self._refused(error)
        super().set_exception(error)


def draining_error() -> Draining:
    """The error of whatever comes while the server drains."""
    return Draining("the server is shutting down; connect again and send it there")
