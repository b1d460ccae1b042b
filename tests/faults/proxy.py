"""A TCP connection with somebody in between, who loses answers and cuts it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from types import TracebackType

from tests.server import free_port

CHUNK_BYTES = 65_536


class _Link:
    """A client's connection and the one to the server behind it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_frozen = False

    def cut(self) -> None:
        """End both at once; what was not yet sent is gone."""
        self.client.transport.abort()
        self.server.transport.abort()


class Proxy:
    """Hands on bytes between clients and a server on this machine. A context manager.

    Attributes:
        num_lost: answers that did not arrive.
        loss: the chance of each answer to be lost as ``lose_answer`` loses one.
        max_delay_seconds: how long an answer is held back, at most.
        max_outage_seconds: how long nobody gets a new connection after an answer was lost, at most.
    """

    def __init__(self, server_port: int, generator: random.Random) -> None:
        self.port = free_port()
        self.num_lost = 0
        self.loss = 0.0
        self.max_delay_seconds = 0.0
        self.max_outage_seconds = 0.0
        self._out_until = 0.0
        self._server_port = server_port
        self._random = generator
        self._links: set[_Link] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._num_to_lose = 0
        self._swallows = False
        self._swallows_after = b""
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Proxy:
        self._listener = await asyncio.start_server(self._handle, "127.0.0.1", self.port, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._handlers)
        await self._listener.wait_closed()

    def lose_answer(self) -> None:
        """Lose the next answer on whichever connection, all of it or all but its beginning, and cut that connection."""
        self._num_to_lose += 1

    def swallow(self) -> None:
        """Lose all that the server answers from now on, until ``cut``."""
        self._swallows = True

    def swallow_after(self, word: bytes) -> None:
        """``swallow`` from the next bytes of a client's on that have ``word`` in them."""
        self._swallows_after = word

    def cut(self) -> None:
        """Cut all connections; new ones are as they should be."""
        for link in self._links:
            link.cut()
        self._swallows = False

    def lead_to(self, server_port: int) -> None:
        """Hand new connections to another server; those that there are stay where they are."""
        self._server_port = server_port

    def freeze(self) -> None:
        """Let nothing through, either way, on the connections that there are, and tell nobody; new ones work."""
        for link in self._links:
            link.is_frozen = True

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._out_until - clock())
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(writer, server_writer)
        self._links.add(link)
        try:
            await asyncio.gather(self._forward(reader, link), self._give_back(server_reader, link))
        finally:
            self._links.discard(link)
            link.cut()

    async def _forward(self, reader: asyncio.StreamReader, link: _Link) -> None:
        """Bytes of the client's, until it or the server has gone."""
        with contextlib.suppress(OSError):
            while content := await reader.read(CHUNK_BYTES):
                if self._swallows_after and self._swallows_after in content:
                    self._swallows, self._swallows_after = True, b""
                if link.is_frozen:
                    continue
                link.server.write(content)
                await link.server.drain()
        link.cut()

    async def _give_back(self, reader: asyncio.StreamReader, link: _Link) -> None:
        """Bytes of the server's, as far as they shall arrive."""
        with contextlib.suppress(OSError):
            while content := await reader.read(CHUNK_BYTES):
                if self.max_delay_seconds:
                    await asyncio.sleep(self._random.uniform(0, self.max_delay_seconds))
                if self._num_to_lose or self._random.random() < self.loss:
                    self._num_to_lose = max(0, self._num_to_lose - 1)
                    self.num_lost += 1
                    await self._tear(content, link)
                    break
                if self._swallows or link.is_frozen:
                    self.num_lost += 1
                    continue
                link.client.write(content)
                await link.client.drain()
        link.cut()

    async def _tear(self, content: bytes, link: _Link) -> None:
        """Let nothing arrive, or the beginning only."""
        outage_seconds = self._random.uniform(0, self.max_outage_seconds)
        self._out_until = asyncio.get_running_loop().time() + outage_seconds
        if self._random.random() < 0.5:
            link.client.write(content[: self._random.randrange(len(content))])
            await link.client.drain()
            await asyncio.sleep(0)  # so that it leaves before the connection is cut
