"""The document of ``redis://``: a key beside those of the sessions."""

from __future__ import annotations

from typing import Any

import hiredis

from ostinato.service.errors import StateStoreUnavailable
from ostinato.service.state.document import Document
from ostinato.service.state.redis.address import RedisAddress
from ostinato.service.state.redis.connection import RedisError, pack
from ostinato.service.state.redis.servers import Command, RedisServers, cluster_slot

SCRIPT = b"""
local there = redis.call('GET', KEYS[1]) or ''
if there == ARGV[2] then return 1 end
if there ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
"""What is there already as it should be was put there by the same swap, which was sent before and not answered."""


class RedisDocument(Document):
    """A key, which Redis compares and sets by a script."""

    def __init__(self, address: RedisAddress) -> None:
        self._servers = RedisServers(address)
        self._key = address.document_key

    async def get(self) -> bytes:
        """See ``Document.get``."""
        try:
            (content,) = await self._servers.read([self._command(b"GET", self._key)])
        except RedisError as error:
            raise StateStoreUnavailable(str(error)) from error
        return self._accepted(content) or b""

    async def compare_and_set(self, before: bytes, after: bytes) -> bool:
        """See ``Document.swap``."""
        try:
            (done,) = await self._servers.ask([self._command(b"EVAL", SCRIPT, 1, self._key, before, after)])
        except RedisError as error:
            raise StateStoreUnavailable(str(error)) from error
        return bool(self._accepted(done))

    async def stop(self) -> None:
        """See ``Document.stop``."""
        await self._servers.close()

    def _command(self, *parts: bytes | int) -> Command:
        return Command(cluster_slot(self._key), pack(*parts))

    def _accepted(self, answer: Any) -> Any:
        if isinstance(answer, hiredis.ReplyError):
            raise StateStoreUnavailable(self._servers.refusal(answer))
        return answer
