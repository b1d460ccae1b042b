"""The acceptor: it takes connections from a socket that workers share, so that each worker has its share of them.

A system gives the next connection to whichever worker asks first, which leaves most of them with one that was quick
when they came, for as long as they live. Here a worker that has more connections than another one lets that one ask
first, and takes what is still there a moment later: a worker that is busy is not waited for.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn

from ostinato.service.edge.descriptors import USED_UP
from ostinato.service.edge.shares import Shares

PATIENCE_SECONDS = 0.005
"""How long a connection waits for a worker that has fewer of them."""
MOST_IN_VAIN = 4
"""Connections that are taken after that in one go, so that a worker which is busy for long holds nobody up."""
PAUSE_SECONDS = 0.2
"""Until it is tried again where no connection can be taken, as without a descriptor for it."""
_GONE = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM)
"""Of a connection whose client has left again."""


class Acceptor:
    """What takes connections of one listening socket; for uvicorn it is what ``create_server`` of its loop gives.

    Args:
        protocol: makes the protocol of a connection.
        count: how many connections this worker has.
        on_used_up: told each time that there is no descriptor for a connection.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
        shares: Shares,
        count: Callable[[], int],
        on_used_up: Callable[[], object],
    ) -> None:
        self._listener = listener
        self._protocol, self._context = protocol, context
        self._shares, self._count = shares, count
        self._on_used_up = on_used_up
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[object]] = set()
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
        while not self._shares.is_another_due(self.num_connections):
            if not self._take():
                return
        self._wait(PATIENCE_SECONDS, self._take_rest)

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
        connection.setblocking(False)
        task = self._loop.create_task(self._begin(connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        self._shares.tell(self.num_connections)
        return True

    async def _begin(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection, ssl=self._context)
        except (OSError, EOFError):  # of a client that left, or with which no TLS could be agreed
            connection.close()


class SharingServer(uvicorn.Server):
    """uvicorn's server, of a worker that shares its socket with others."""

    _shares: Shares
    _on_used_up: Callable[[], object]

    @classmethod
    def install(cls, descriptor: int | None, on_used_up: Callable[[], object]) -> None:
        """Have servers of uvicorn's that are made from now on share connections evenly.

        Args:
            descriptor: of the memory of the workers' shares; None = this worker is alone, and takes all.
            on_used_up: see ``Acceptor``.
        """
        if descriptor is not None:
            cls._shares, cls._on_used_up = Shares(descriptor), staticmethod(on_used_up)
            uvicorn.Server = cls  # type: ignore[misc]  # the class of which BentoML makes one

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``."""
        await super().startup([])
        config = self.config
        context = config.ssl if isinstance(config.ssl, ssl.SSLContext) else None

        def protocol() -> asyncio.Protocol:
            made: Callable[..., asyncio.Protocol] = config.http_protocol_class
            return made(config=config, server_state=self.server_state, app_state=self.lifespan.state)

        for listener in sockets or []:
            acceptor: Any = Acceptor(listener, protocol, context, self._shares, self._count, self._on_used_up)
            acceptor.listen(config.backlog)
            self.servers.append(acceptor)

    def _count(self) -> int:
        return len(self.server_state.connections)
