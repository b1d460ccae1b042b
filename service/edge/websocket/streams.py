"""WebSocket streams of a worker: which handshake opens one, their deadlines and pings, and their drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Protocol
from urllib.parse import unquote

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.config import Settings
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.message import Response
from ostinato.service.edge.terms import Terms
from ostinato.service.edge.v1.codec import decode_query
from ostinato.service.edge.v1.schemas import ColumnsQuery
from ostinato.service.edge.websocket.channel import Channel, StepColumns
from ostinato.service.edge.websocket.pending import draining_error
from ostinato.service.edge.websocket.stream import ROUTE, StepStream
from ostinato.service.errors import UnknownRoute
from ostinato.service.metrics.series import Metrics
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.sessions import Sessions

STATE_KEY = "ostinato_streams"
"""Where the lifespan's state holds the worker's ``Streams``; uvicorn gives that state to each connection."""

SWEEP_SECONDS = 0.2


class StreamConnection(Protocol):
    """What the registry asks of an open connection."""

    @property
    def num_frames(self) -> int:
        """Frames accepted and not yet answered."""

    def sweep(self, now: float) -> None:
        """Do what is due at ``now``, seconds of ``perf_counter``."""

    def drain(self) -> None:
        """Refuse new frames, answer the others, close."""

    def shutdown(self) -> None:
        """Close, whatever is under way."""


class Streams:
    """The open streams.

    Args:
        step_columns: what binary frames are handed to.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        sessions: Sessions,
        ledger: Ledger,
        desk: Desk,
        metrics: Metrics,
        settings: Settings,
        step_columns: StepColumns,
    ) -> None:
        self.settings = settings
        self._catalogue = catalogue
        self._sessions = sessions
        self._ledger = ledger
        self.desk = desk
        self._step_columns = step_columns
        self._connections: set[StreamConnection] = set()
        self._draining = False
        metrics.streams_live.labels().follow(lambda: len(self._connections))

    def __repr__(self) -> str:
        state = ", draining" if self._draining else ""
        return f"<Streams {len(self._connections)} open, {self.num_frames} frames{state}>"

    @property
    def num_frames(self) -> int:
        """Frames accepted and not yet answered, of all streams."""
        return sum(connection.num_frames for connection in self._connections)

    def open(self, target: str, channel: Channel) -> StepStream:
        """The stream that a handshake asks for, ``target`` being its path and query. ``add`` its connection next.

        Raises:
            UnknownRoute, UnknownModel, Starting, Draining.
            InvalidInput: a parameter of the query has no such value.
        """
        path, _, query = target.partition("?")
        parts = path.split("/")
        if parts[:3] != ["", "v1", "models"] or parts[4:] != ["stream"]:
            raise UnknownRoute(f"there is no stream at {path}; there is {ROUTE}")
        if self._draining:
            raise draining_error()
        model = unquote(parts[3])
        self._catalogue.resolve(model)
        create_missing = decode_query(query.encode(), ColumnsQuery).create_missing
        return StepStream(
            channel,
            model,
            self._sessions,
            self._ledger,
            self.desk,
            self.settings,
            self._step_columns,
            create_missing=create_missing,
        )

    def check_origin(self, origins: Sequence[str], hosts: Sequence[str]) -> None:
        """Refuse a page of another site: a browser lets any page open WebSockets to any server, with what the person
        in front of it may reach, and read what comes.

        Raises:
            OriginRefused.
        """
        self.desk.origins.check(origins, hosts)

    def terms_of(self, headers: Iterable[tuple[str, str]]) -> Terms:
        """The terms of a handshake."""
        return self.desk.terms_of([(name.lower().encode(), value.encode()) for name, value in headers])

    def refuse(self, error: Exception, label: str = "") -> Response:
        """The answer to a handshake that opens no stream; ``label``: of its terms."""
        return self.desk.refuse(error, f"a handshake{label}").response()

    def add(self, connection: StreamConnection) -> None:
        """Look after a connection from now on."""
        self._connections.add(connection)

    def remove(self, connection: StreamConnection) -> None:
        """Look after it no more; nothing happens where nobody did."""
        self._connections.discard(connection)

    def drain(self) -> None:
        """Open no more streams, and have those that are open answer what they took and close."""
        self._draining = True
        for connection in list(self._connections):
            connection.drain()

    def close(self) -> None:
        """Close all streams, whatever is under way."""
        self._draining = True
        for connection in list(self._connections):
            connection.shutdown()

    async def sweep(self) -> None:
        """Look after the open connections, for ever."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep_once(time.perf_counter())

    def sweep_once(self, now: float) -> None:
        """See that deadlines, pings and idle limits are kept; ``now`` in seconds of ``perf_counter``."""
        for connection in list(self._connections):
            try:
                connection.sweep(now)
            except Exception as error:
                self.desk.note("a sweep over a stream", error)
