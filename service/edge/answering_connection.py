"""uvicorn's HTTP connection as far as it answers: an answer in one write, and an end with clients that read none."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ostinato.service.edge.desk import UNREAD, Desk
from ostinato.service.edge.tags import peer_of
from ostinato.service.edge.websocket.streams import STATE_KEY as STREAMS_KEY


class AnsweringConnection(HttpToolsProtocol):
    """One connection; the arguments are uvicorn's."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._desk: Desk = self.app_state[STREAMS_KEY].desk
        self.url = b""
        self._stalled: asyncio.TimerHandle | None = None
        self._old_at = self.loop.time() + (self._desk.connection_seconds or math.inf)
        self._head_of: tuple[Any, bytes] = None, b""

    @property
    def path(self) -> str:
        """That of the request whose head was read last, as far as it was."""
        return self.url.partition(b"?")[0].decode("latin-1")

    @property
    def peer(self) -> str:
        """Who sends, as ``127.0.0.1:53124``; empty = nobody knows."""
        return peer_of(self.client)

    @property
    def is_old(self) -> bool:
        """Whether it is to end with its next answer, so that its client comes to whoever has fewer connections."""
        return self.loop.time() >= self._old_at

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``: who reads nothing for as long as a request may take is cut off."""
        super().pause_writing()
        if self._stalled is None and self._desk.patience_seconds:
            self._stalled = self.loop.call_later(self._desk.patience_seconds, self._cut_off_unread)

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._forget_stall()
        super().resume_writing()

    def cut_off(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def _cut_off_unread(self) -> None:
        self._stalled = None
        self._desk.count_refusal(UNREAD)
        self.transport.abort()

    def _forget_stall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _default_head(self) -> bytes:
        """The headers that uvicorn gives every answer, the date above all; it makes a new list of them each second."""
        headers = self.server_state.default_headers
        if self._head_of[0] is not headers:
            self._head_of = headers, b"".join([b"%b: %b\r\n" % header for header in headers])
        return self._head_of[1]
