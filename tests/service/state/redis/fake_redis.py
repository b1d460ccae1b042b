"""A server that says what a test has it say, as Redis would."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import hiredis

Says = Callable[[int, list[bytes]], bytes | None]
"""By the number of the connection and a command; None = what is usual. It ends the connection by an ``OSError``."""

CERTIFICATES = Path(__file__).parent / "certificates"
"""Good until 2099: ``ca.pem``, and by it ``server.pem`` of the host redis.test and ``client.pem``, with their keys."""

USUAL = {
    b"ROLE": b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
    b"INFO": b"$17\r\ncluster_enabled:0\r\n",
    b"PERSIST": b":0\r\n",
    b"GET": b"$-1\r\n",
}


class FakeRedis:
    """A master with nothing in it, but for what ``says`` has it say. A context manager.

    Attributes:
        num_connections: made to it, also those that were over at once.
        writers: of each connection, in the order in which they were made.
        commands: all that it was told, in upper case.
    """

    def __init__(
        self,
        says: Says = lambda _number, _command: None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.says = says
        self.host = host
        self.port = port
        self.num_connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.commands: list[list[bytes]] = []
        self._context = context
        self._listener: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> FakeRedis:
        self._listener = await asyncio.start_server(self._handle, self.host, self.port, ssl=self._context)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        assert self._listener is not None
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await self._listener.wait_closed()
        await asyncio.sleep(0)  # the connections are told

    def leave(self) -> None:
        """Let nobody connect any more."""
        assert self._listener is not None
        self._listener.close()

    def said(self, name: bytes) -> list[list[bytes]]:
        """The arguments of each command of a name."""
        return [command[1:] for command in self.commands if command[0] == name]

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        self.num_connections += 1
        self.writers.append(writer)
        number = self.num_connections
        commands = hiredis.Reader()  # a command looks like an answer that is a list
        try:
            with contextlib.suppress(OSError):
                while content := await reader.read(65_536):
                    commands.feed(content)
                    while (command := commands.gets()) is not False:
                        command[0] = command[0].upper()
                        self.commands.append(command)
                        writer.write(self.says(number, command) or USUAL.get(command[0], b"+OK\r\n"))
                    await writer.drain()
        finally:
            writer.transport.abort()
