"""A scan over all sessions in Redis, some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import hiredis

from ostinato.service.errors import RecordUnreadable
from ostinato.service.state.names import tenant_of
from ostinato.service.state.records import HEAD_BYTES, Head, is_cut, read_head
from ostinato.service.state.redis.connection import Refused, pack
from ostinato.service.state.redis.servers import Command, RedisServers, cluster_slot


class Position(NamedTuple):
    """How far all sessions have been looked at: server by server, as far as its ``SCAN`` says, except ``left``.

    Redis gives a few keys more than it was asked for. Their ids are in the position, since it would not give the same
    ones again.
    """

    node: int = 0
    scan: int = 0
    left: tuple[str, ...] = ()

    def of_tenant(self, tenant: str | None) -> Position:
        """The position without the sessions of other tenants, which nobody is to read from it; None = of all."""
        return self if tenant is None else self._replace(left=tuple(n for n in self.left if tenant_of(n) == tenant))

    def is_possible(self) -> bool:
        """Whether there may be such a one."""
        return self.node >= 0 and 0 <= self.scan < 2**64


class Scan:
    """Goes over the sessions of all servers."""

    def __init__(self, servers: RedisServers) -> None:
        self._servers = servers
        self._session_key = servers.address.session_key

    async def next(self, position: Position, num_keys: int) -> Position | None:
        """The position behind about ``num_keys`` further keys of the database, with the ids of those that are sessions
        in ``left``; None = there is no more.

        Raises:
            RedisError.
        """
        nodes = await self._servers.nodes()
        if position.node >= len(nodes):
            return None
        scan = pack("SCAN", position.scan, "MATCH", self._session_key + b"*", "COUNT", num_keys)
        (answer,) = await self._servers.ask_node(nodes[position.node], [scan])
        if isinstance(answer, hiredis.ReplyError):
            raise Refused(self._servers.refusal(answer))
        at, keys = int(answer[0]), answer[1]
        left = tuple(key.removeprefix(self._session_key).decode(errors="replace") for key in dict.fromkeys(keys))
        return Position(position.node, at, left) if at else Position(position.node + 1, 0, left)

    async def heads(self, session_ids: Sequence[str]) -> list[Head | RecordUnreadable | None]:
        """The heads of records, or why one cannot be read; None where there is none.

        Raises:
            RedisError.
        """
        if not session_ids:
            return []
        keys = [self._session_key + session_id.encode() for session_id in session_ids]
        commands = [Command(cluster_slot(key), pack("GETRANGE", key, 0, HEAD_BYTES - 1)) for key in keys]
        answers = await self._servers.read(commands)
        cut = [row for row, answer in enumerate(answers) if type(answer) is bytes and is_cut(answer)]
        if cut:  # a long name of a source is in it
            commands = [Command(cluster_slot(keys[row]), pack("GET", keys[row])) for row in cut]
            for row, answer in zip(cut, await self._servers.read(commands), strict=True):
                answers[row] = answer
        heads: list[Head | RecordUnreadable | None] = []
        for session_id, answer in zip(session_ids, answers, strict=True):
            if isinstance(answer, hiredis.ReplyError):
                if not str(answer).startswith("WRONGTYPE"):
                    raise Refused(self._servers.refusal(answer))
                heads.append(foreign(session_id))
            else:
                heads.append(_head(session_id, answer) if answer else None)
        return heads


def foreign(session_id: str) -> RecordUnreadable:
    """What is said of a key that is no string."""
    return RecordUnreadable(
        f"session {session_id!r}: its key in Redis holds something else; closing it removes the key"
    )


def _head(session_id: str, record: bytes) -> Head | RecordUnreadable:
    try:
        return read_head(session_id, record)
    except RecordUnreadable as error:
        return error
