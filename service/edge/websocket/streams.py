"""WebSocket streams of a worker: which handshake opens one, their deadlines and pings, and their drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from urllib.parse import unquote

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.config import Settings
from ostinato.service.edge.access import STEP, Caller, shown_in
from ostinato.service.edge.access_log import Answered
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.message import Response
from ostinato.service.edge.routes import Routes
from ostinato.service.edge.tags import NO_TAG, Tag
from ostinato.service.edge.v1.codec import decode_query
from ostinato.service.edge.v1.schemas import ColumnsQuery
from ostinato.service.edge.websocket.channel import KEY_REVOKED, Channel
from ostinato.service.edge.websocket.pending import draining_error
from ostinato.service.edge.websocket.stream import ROUTE, StepStream
from ostinato.service.edge.witness import Witness
from ostinato.service.errors import UnknownRoute
from ostinato.service.metrics.series import Metrics

STATE_KEY = "ostinato_streams"
"""Where the lifespan's state holds the worker's ``Streams``; uvicorn gives that state to each connection."""

SWEEP_SECONDS = 0.2


class StreamConnection(Protocol):
    """What the registry asks of an open connection."""

    @property
    def num_frames(self) -> int:
        """Frames accepted and not yet answered."""

    @property
    def caller(self) -> Caller[Any] | None:
        """Whose it is; None = anybody's."""

    def close(self, code: int, reason: str) -> None:
        """End it: see ``Channel.close``."""

    def sweep(self, now: float) -> None:
        """Do what is due at ``now``, seconds of ``perf_counter``."""

    def drain(self) -> None:
        """Refuse new frames, answer the others, close."""

    def shutdown(self) -> None:
        """Close, whatever is under way."""


class Streams:
    """The open streams.

    Args:
        routes: whose sessions streams step where there are no keys.
    """

    def __init__(self, catalogue: Catalogue, routes: Routes, desk: Desk, metrics: Metrics, settings: Settings) -> None:
        self.settings = settings
        self._catalogue = catalogue
        self._routes = routes
        self.desk = desk
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

    def caller(self, headers: Iterable[tuple[str, str]], protocols: Iterable[str]) -> Caller[Routes] | None:
        """Who sends a handshake: by its headers, or by the subprotocols it offers, since a browser sets no headers.

        Raises:
            Unauthenticated.
        """
        access = self.desk.access
        if access is None:
            return None
        if (shown := shown_in(protocols)) is not None:
            return access.caller_by(shown)
        return access.caller([(name.lower().encode(), value.encode()) for name, value in headers])

    def open(
        self, target: str, channel: Channel, caller: Caller[Routes] | None = None, tag: Tag = NO_TAG, peer: str = ""
    ) -> StepStream:
        """The stream that a handshake asks for, ``target`` being its path and query. ``add`` its connection next.

        Raises:
            UnknownRoute, UnknownModel, Starting, Draining, Forbidden.
            InvalidInput: a parameter of the query has no such value.
        """
        path, _, query = target.partition("?")
        parts = path.split("/")
        if parts[:3] != ["", "v1", "models"] or parts[4:] != ["stream"]:
            raise UnknownRoute(f"there is no stream at {path}; there is {ROUTE}")
        if self._draining:
            raise draining_error()
        routes = self._routes
        if caller is not None:
            caller.check(STEP, "a stream")
            routes, rest = caller.serving(query.encode())
            query = rest.decode()
        model = unquote(parts[3])
        self._catalogue.resolve(model)
        create_missing = decode_query(query.encode(), ColumnsQuery).create_missing
        return StepStream(
            channel,
            model,
            routes.sessions,
            routes.ledger,
            Witness(self.desk, "FRAME", ROUTE, path, tag=tag, peer=peer, caller=caller),
            self.settings,
            routes.columns.answer_arrow,
            create_missing=create_missing,
        )

    def check_origin(self, origins: Sequence[str], hosts: Sequence[str]) -> None:
        """Refuse a page of another site: a browser lets any page open WebSockets to any server, with what the person
        in front of it may reach, and read what comes.

        Raises:
            OriginRefused, HostRefused.
        """
        self.desk.check_host((b"host", host.encode()) for host in hosts)
        self.desk.origins.check(origins, hosts)

    def tag_of(self, headers: Iterable[tuple[str, str]] = ()) -> Tag:
        """What a handshake is called."""
        return self.desk.tag_of(
            self.desk.terms_of([(name.lower().encode(), value.encode()) for name, value in headers])
        )

    def refuse(self, error: Exception, tag: Tag) -> Response:
        """The answer to a handshake that opens no stream; ``tag``: what it is called."""
        return self.desk.refuse(error, "a handshake", tag).response()

    def tell_handshake(self, target: str, status: int, tag: Tag, peer: str, caller: Caller[Routes] | None) -> None:
        """Have the access log tell of a handshake, which was answered at once."""
        answered = Answered("GET", target.partition("?")[0], ROUTE, status, 0.0, None, tag, peer)
        self.desk.tell_answered(answered, caller=caller)

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
        access = self.desk.access
        for connection in list(self._connections):
            try:
                if access is not None and connection.caller is not None and not access.is_valid(connection.caller):
                    connection.close(*KEY_REVOKED)
                connection.sweep(now)
            except Exception as error:
                self.desk.note("a sweep over a stream", error)
