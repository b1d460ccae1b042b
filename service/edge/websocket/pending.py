"""Pending frames of a stream: what waits for an answer."""

from __future__ import annotations

import asyncio
from typing import Any

from ostinato.service.edge.v1.schemas import StreamFrame
from ostinato.service.edge.websocket.channel import Message
from ostinato.service.errors import Draining


class Pending:
    """A frame that is not answered yet.

    ``frame`` is None for a columnar one. ``work`` is what to cancel when nobody waits for it any more; None until
    the frame's session is found.
    """

    __slots__ = ("arrived_at", "frame", "num_bytes", "work")

    def __init__(self, frame: StreamFrame | None, message: Message) -> None:
        self.frame = frame
        self.num_bytes = len(message.data)
        self.arrived_at = message.arrived_at
        self.work: asyncio.Future[Any] | None = None


def draining_error() -> Draining:
    """The error of whatever comes while the server drains."""
    return Draining("the server is shutting down; connect again and send it there")
