"""The watch over Redis: whether it takes changes, whether its address still leads there, and what it is set to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ostinato.service.state.redis.address import ServerAddress
from ostinato.service.state.redis.connection import RedisError, pack
from ostinato.service.state.redis.durability import weaknesses
from ostinato.service.state.redis.servers import RedisServers

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
"""How often Redis is asked whether it takes changes; so a connection that died in silence is found, too."""

FOLLOW_EVERY = 5
"""Each how many times it is also looked at where the address leads."""


class Watch:
    """Asks, as long as it runs; no request waits for it.

    Args:
        on_failure: called each time that no change can be made.

    Attributes:
        trouble: why no change can be made, by what Redis said last; None = they can.
    """

    def __init__(self, servers: RedisServers, on_failure: Callable[[], object]) -> None:
        self.trouble: str | None = f"{servers.address} has not answered yet"
        self._servers = servers
        self._on_failure = on_failure
        self._looked_at: dict[ServerAddress, tuple[ServerAddress, int]] = {}
        self._said: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _watch(self) -> None:
        was_ever_able = False
        for number in range(2**62):
            try:
                if number % FOLLOW_EVERY == FOLLOW_EVERY - 1:
                    await self._servers.follow()
                trouble = await self._servers.trouble()
                if trouble is None:
                    await self._look_at_servers()
            except Exception as error:
                logger.exception("the watch over Redis failed")
                trouble = f"{self._servers.address}: {type(error).__name__}"
            self._tell(trouble, was_ever_able)
            was_ever_able = was_ever_able or trouble is None
            await asyncio.sleep(WATCH_SECONDS)

    def _tell(self, trouble: str | None, was_ever_able: bool) -> None:
        """Say once what is wrong, in whatever words, and when it is over."""
        if trouble is not None and (self.trouble is None or not was_ever_able) and trouble != self.trouble:
            logger.error("sessions cannot be changed: %s", trouble)
        elif trouble is None and was_ever_able and self.trouble is not None:
            logger.info("sessions can be changed again: %s answers", self._servers.address)
        self.trouble = trouble
        if trouble is not None:
            self._on_failure()

    async def _look_at_servers(self) -> None:
        """Say once what each server is set to that may lose sessions; behind a new connection may be another."""
        try:
            for node in await self._servers.nodes():
                named = self._servers.named(node)
                if self._looked_at.get(node) == named:
                    continue
                answers = await self._servers.ask_node(node, map(pack, ("INFO",) * 2, ("memory", "persistence")))
                info = "\n".join(answer.decode() for answer in answers if isinstance(answer, bytes))
                self._looked_at[node] = named
                (host, port), _ = named
                for line in (f"Redis {host}:{port}: {weakness}" for weakness in weaknesses(info)):
                    if line not in self._said:
                        self._said.add(line)
                        logger.warning("%s", line)
        except RedisError:
            pass  # the next time
