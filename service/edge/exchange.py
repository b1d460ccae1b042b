"""A request under way through ASGI, and what may end it before it is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ostinato.service.edge.access import Caller
from ostinato.service.edge.tags import NO_TAG
from ostinato.service.errors import DeadlineExceeded

AsgiEvent = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[AsgiEvent]]


CLIENT_GONE = 499
"""What a trace has for the status of a request whose client has gone; nginx's word for it."""


class ClientGone(Exception):
    """The client hung up: nobody is left to answer. No error of the domain, and so in no table."""


class Exchange:
    """A request that came through ASGI.

    ``read_at`` is when its body had been read, 0 before; ``reason`` says why the sweep cancelled its task;
    ``is_streaming`` whether its answer is under way, which has no deadline; ``tag`` what it is called; ``span`` its
    trace's, and ``code`` the word of its error; ``caller`` who asks, None = anybody.
    """

    __slots__ = (
        "arrived_at",
        "caller",
        "code",
        "is_streaming",
        "read_at",
        "reason",
        "receive",
        "span",
        "tag",
        "task",
        "watcher",
    )

    def __init__(self, receive: Receive, task: asyncio.Task[Any] | None) -> None:
        self.receive = receive
        self.task = task
        self.arrived_at = time.perf_counter()
        self.read_at = 0.0
        self.is_streaming = False
        self.reason: type[DeadlineExceeded] | type[ClientGone] | None = None
        self.watcher: asyncio.Task[None] | None = None
        self.tag = NO_TAG
        self.span: Any = None
        self.code = ""
        self.caller: Caller[Any] | None = None

    @property
    def is_read(self) -> bool:
        """Whether its body is there."""
        return self.read_at > 0

    def expire(self) -> None:
        """End it, since its deadline has passed."""
        self.cancel(DeadlineExceeded)

    def look_after(self) -> None:
        """Watch for the client to hang up, once its body is there and nothing else can be received."""
        if self.watcher is None and self.read_at:
            self.watcher = asyncio.create_task(self.watch())

    def cut_off(self) -> None:
        """End it in the middle of its answer."""
        self.cancel(ClientGone)

    def cancel(self, reason: type[DeadlineExceeded] | type[ClientGone]) -> None:
        """End the request's task, once."""
        if self.reason is None and self.task is not None:
            self.reason = reason
            self.task.cancel()

    async def watch(self) -> None:
        """Wait for the client to hang up; there is nothing else left to receive."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.cancel(ClientGone)
