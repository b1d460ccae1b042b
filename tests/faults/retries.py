"""The patience of a client: the same request again, to any replica, until it is answered."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tests.faults.chunk import NotAnswered

Given = TypeVar("Given")

FIRST_PAUSE_SECONDS = 0.02
MAX_PAUSE_SECONDS = 0.5
PATIENCE_SECONDS = 300.0
"""A service that is killed as soon as it answers again is up for a moment in many seconds: of 64 clients, some come too
late a dozen times in a row. Who hears nothing for as long as this has been forgotten.
"""


class GaveUp(Exception):
    """A request was not answered for as long as patience lasts."""


class Retries:
    """Sends each request to a random replica, and again until it is answered.

    Args:
        urls: the replicas.
        attempt_seconds: how long an answer may take before the request is sent again.
        patience_seconds: how long a request is sent again.
    """

    def __init__(
        self,
        urls: Sequence[str],
        generator: random.Random,
        *,
        attempt_seconds: float,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.urls = list(urls)
        self.attempt_seconds = attempt_seconds
        self.num_retries = 0
        self._patience_seconds = patience_seconds
        self._random = generator

    async def once(self, attempt: Callable[[str], Awaitable[Given]], url: str | None = None) -> Given:
        """One attempt at a replica, a random one if it does not matter which.

        Raises:
            NotAnswered: no answer, or none yet.
        """
        try:
            async with asyncio.timeout(self.attempt_seconds):
                return await attempt(url or self._random.choice(self.urls))
        except TimeoutError as error:
            raise NotAnswered("no answer in time") from error

    async def until_answered(self, attempt: Callable[[str], Awaitable[Given]], url: str | None = None) -> Given:
        """Attempts until one is answered.

        Raises:
            GaveUp: none was.
        """
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._patience_seconds
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self.once(attempt, url)
            except NotAnswered as error:
                if clock() > give_up_at:
                    raise GaveUp(f"not answered in {self._patience_seconds:g} s, at last: {error}") from error
            await asyncio.sleep(pause_seconds * self._random.uniform(0.5, 1.5))
            pause_seconds = min(2 * pause_seconds, MAX_PAUSE_SECONDS)
            self.num_retries += 1
