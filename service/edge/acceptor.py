"""The acceptor: it takes connections from a socket that workers share, so that each worker has its share of them.

A system gives the next connection to whichever worker asks first, which leaves most of them with one that was quick
when they came, for as long as they live. Here a worker that has more connections than another one lets that one ask
first, and takes what is still there a moment later: a worker that is busy is not waited for.

Limits hold from here on: a connection with which TLS is being agreed is nobody's yet, and still takes a descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any, Protocol

import uvicorn

from ostinato.service.edge.connection_shares import ConnectionShares
from ostinato.service.edge.descriptors import USED_UP
from ostinato.service.edge.guarded_connection import MAX_REFUSED

PATIENCE_SECONDS = 0.005
"""How long a connection waits for a worker that has fewer of them."""
MOST_AT_ONCE = 100
"""Connections that are taken in one go, so that a storm of them leaves the loop to those that were there before."""
MOST_IN_VAIN = 4
"""Connections that are taken after that in one go, so that a worker which is busy for long holds nobody up."""
PAUSE_SECONDS = 0.2
"""Until it is tried again where no connection can be taken, as without a descriptor for it."""
_GONE = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM)
"""Of a connection whose client has left again."""


class ConnectionLimits(Protocol):
    """What the desk says of connections that are not there yet."""

    head_seconds: float
    max_connections: int

    def count_refusal(self, reason: str) -> None:
        """One was not taken."""


class Acceptor:
    """What takes connections of one listening socket; for uvicorn it is what ``create_server`` of its loop gives.

    Args:
        protocol: makes the protocol of a connection.
        count: how many connections this worker has, without those that have only begun.
        limits: how many it may have, and how long TLS may take to be agreed.
        on_used_up: told each time that there is no descriptor for a connection.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
        shares: ConnectionShares,
        count: Callable[[], int],
        limits: ConnectionLimits,
        on_used_up: Callable[[], object],
    ) -> None:
        self._listener = listener
        self._protocol, self._context = protocol, context
        self._shares, self._count = shares, count
        self._limits = limits
        self._on_used_up = on_used_up
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[object]] = set()
        self._beginning: set[socket.socket] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_closed = False

    def listen(self, backlog: int) -> None:
        """Take connections from now on."""
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._watch()

    def close(self) -> None:
        """Take no more; those that were taken live on."""
        self._is_closed = True
        self._shares.leave()
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Return at once: what uvicorn waits for, its connections, it waits for itself."""

    @property
    def num_connections(self) -> int:
        """Of this worker, with those that have only begun."""
        return self._count() + len(self._beginning)

    def _watch(self) -> None:
        self._pause = None
        if not self._is_closed:
            self._shares.tell(self.num_connections)
            self._loop.add_reader(self._listener, self._take_share)

    def _wait(self, seconds: float, then: Callable[[], object]) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, then)

    def _take_share(self) -> None:
        """Take connections while no other worker has fewer."""
        self._shares.tell(self.num_connections)
        for _ in range(MOST_AT_ONCE):
            if self._shares.is_another_due(self.num_connections):
                self._wait(PATIENCE_SECONDS, self._take_rest)
                return
            if not self._take():
                return

    def _take_rest(self) -> None:
        """Take what the others have left."""
        self._pause = None
        for _ in range(MOST_IN_VAIN):
            if not self._take():
                break
        if self._pause is None:
            self._watch()

    def _take(self) -> bool:
        """Take one connection; False = there is none, or it cannot be taken, which is tried again after a pause."""
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _GONE:
                return True
            if error.errno in USED_UP:
                self._on_used_up()
            elif error.errno != errno.EINVAL:  # the parent has just shut the port, and opens it again
                self._loop.call_exception_handler({"message": "no connection can be taken", "exception": error})
            self._wait(PAUSE_SECONDS, self._watch)
            return False
        if self.num_connections >= self._limits.max_connections + MAX_REFUSED:
            # To tell it so takes a descriptor, and with TLS a while in which nothing can be told.
            self._limits.count_refusal("too_many_connections")
            connection.close()
            return True
        connection.setblocking(False)
        self._beginning.add(connection)
        task = self._loop.create_task(self._begin(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._shares.tell(self.num_connections)
        return True

    async def _begin(self, connection: socket.socket) -> None:
        def protocol() -> asyncio.Protocol:
            made: Any = self._protocol()

            def connection_made(transport: asyncio.BaseTransport) -> None:
                self._beginning.discard(connection)  # now it is among those that ``count`` counts, and never twice
                del made.connection_made
                made.connection_made(transport)

            made.connection_made = connection_made
            return made  # type: ignore[no-any-return]

        seconds = (self._limits.head_seconds or None) if self._context is not None else None
        try:
            await self._loop.connect_accepted_socket(
                protocol, connection, ssl=self._context, ssl_handshake_timeout=seconds
            )
        except (OSError, EOFError):  # of a client that left, or with which no TLS could be agreed
            connection.close()
        finally:
            self._beginning.discard(connection)


class SharingServer(uvicorn.Server):
    """uvicorn's server, of a worker whose socket others may take connections of, too."""

    _shares: ConnectionShares
    _limits: ConnectionLimits
    _on_used_up: Callable[[], object]

    @classmethod
    def install(cls, descriptor: int | None, limits: ConnectionLimits, on_used_up: Callable[[], object]) -> None:
        """Have servers of uvicorn's that are made from now on share connections evenly, and take no more than they may.

        Args:
            descriptor: of the memory of the workers' shares; None = this worker is alone, and takes all.
            limits, on_used_up: see ``Acceptor``.
        """
        cls._shares, cls._limits, cls._on_used_up = ConnectionShares(descriptor), limits, staticmethod(on_used_up)
        uvicorn.Server = cls  # type: ignore[misc]  # the class of which BentoML makes one

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``; one that is given no sockets, as BentoML gives them, makes its own as ever."""
        await super().startup([] if sockets else sockets)
        config = self.config
        context = config.ssl if isinstance(config.ssl, ssl.SSLContext) else None

        def protocol() -> asyncio.Protocol:
            made: Callable[..., asyncio.Protocol] = config.http_protocol_class
            return made(config=config, server_state=self.server_state, app_state=self.lifespan.state)

        for listener in sockets or []:
            acceptor: Any = Acceptor(
                listener, protocol, context, self._shares, self._count, self._limits, self._on_used_up
            )
            acceptor.listen(config.backlog)
            self.servers.append(acceptor)

    def _count(self) -> int:
        return len(self.server_state.connections)
