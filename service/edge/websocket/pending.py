"""Pending frames of a stream: what waits for an answer."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from ostinato.service.edge.v1.schemas import StreamFrame
from ostinato.service.edge.websocket.channel import Message
from ostinato.service.errors import Draining, OstinatoError
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.session import LiveSession


class PendingOwner(Protocol):
    """What has pending frames; ``StepStream`` does. Neither method may raise."""

    def applied(self, pending: Pending, answer: StepAnswer) -> None:
        """Take in the answer to a frame's chunk."""

    def refused(self, pending: Pending, error: Exception) -> None:
        """Take in why a frame's chunk was not applied."""


class Pending:
    """A frame that is not answered yet, and what its chunk has for a ``Waiter``: its owner is told at once, in place of
    a turn of the event loop later, when a frame behind it could have overtaken one that was refused.

    Attributes:
        frame: None for a columnar one.
        work: what is to be cancelled, too, when nobody waits for it any more; None = there is no such thing.
        span: of its trace; None = it has none.
        session: where its chunk was put; None before.
        refusal: what ``session``, which may be an old copy, refused it with; None = it has not.
        is_over: whether it is answered, or nobody waits for it any more.
    """

    __slots__ = (
        "_is_dropped",
        "_owner",
        "arrived_at",
        "frame",
        "is_over",
        "num_bytes",
        "refusal",
        "session",
        "span",
        "work",
    )

    def __init__(self, owner: PendingOwner, frame: StreamFrame | None, message: Message, span: Any = None) -> None:
        self._owner = owner
        self.span = span
        self.frame = frame
        self.num_bytes = len(message.data)
        self.arrived_at = message.arrived_at
        self.work: asyncio.Future[Any] | None = None
        self.session: LiveSession | None = None
        self.refusal: OstinatoError | None = None
        self.is_over = self._is_dropped = False

    def done(self) -> bool:
        """See ``Waiter``, as all below; what was refused asks anew, and its chunk is over all the same."""
        return self.is_over or self.refusal is not None or self.work is not None

    def cancelled(self) -> bool:
        """Whether nobody waits for it any more; one that was answered is not."""
        return self._is_dropped

    def set_result(self, answer: StepAnswer, /) -> None:
        """Hand the answer on."""
        self._owner.applied(self, answer)

    def set_exception(self, error: Exception, /) -> None:
        """Hand the error on."""
        self._owner.refused(self, error)

    def drop(self) -> None:
        """Nobody waits for it any more: what of it has not begun is dropped."""
        self.is_over = self._is_dropped = True
        if self.work is not None:
            self.work.cancel()


def draining_error() -> Draining:
    """The error of whatever comes while the server drains."""
    return Draining("the server is shutting down; connect again and send it there")
