"""The servers behind one address: a Redis server, or all that make up a cluster."""

from __future__ import annotations

import asyncio
from binascii import crc_hqx
from collections.abc import Awaitable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import hiredis

from ostinato.service.state.redis.address import RedisAddress, ServerAddress
from ostinato.service.state.redis.connection import AnswerLost, RedisError, Refused, Unreachable, pack
from ostinato.service.state.redis.dialing import guard
from ostinato.service.state.redis.link import Link
from ostinato.service.state.redis.replies import TURNED_AWAY, UNABLE, error_word, is_elsewhere

NUM_CLUSTER_SLOTS = 16_384

MAX_SENDS = 8
"""How often a command is sent to where a cluster says that its key is."""

MOVE_SECONDS = 0.05
"""How long a command waits before it is sent again, where its keys are between two servers."""


class Command(NamedTuple):
    """A command, and the slot of a cluster in which its keys are. It may be sent twice: see ``RedisServers.ask``."""

    cluster_slot: int
    packed: bytes


def cluster_slot(key: bytes) -> int:
    """Where in a cluster a key without braces is."""
    return crc_hqx(key, 0) % NUM_CLUSTER_SLOTS


class RedisServers:
    """Asks the server that has a key; whether there are several is found out when the first is asked."""

    def __init__(self, address: RedisAddress) -> None:
        self.address = address
        self._guard = guard(address)
        self._seeds = address.hosts if address.service is None else address.hosts[:1]
        self._links = {host: Link(address if address.service else address.at(host)) for host in self._seeds}
        """Of the Sentinels' server, it stands under the name of the first Sentinel."""
        self._is_cluster: bool | None = None
        self._owners: list[ServerAddress] | None = None
        """Of each slot; None = to be asked for."""

    def __repr__(self) -> str:
        return ", ".join(map(repr, self._links.values()))

    @property
    def is_one(self) -> bool:
        """Whether one server has all keys, as far as is known."""
        return self._is_cluster is False

    def ask(self, commands: Sequence[Command], resent: set[int] | None = None) -> Awaitable[list[Any]]:
        """Send commands, at once where there is one server; what is awaited gives what Redis says to each, errors
        among it as ``hiredis.ReplyError``. Where a cluster's server cannot be asked, others are all the same: in the
        places of its answers is the ``RedisError``.

        Args:
            resent: gets the index of each command that some server was sent before and did not answer: whatever is
                said to it now, it may have been done then. None = that does not matter.

        Raises:
            Unreachable, AnswerLost, Refused: by what is awaited, where none of them was answered.
        """
        if self.is_one:
            packed = commands[0].packed if len(commands) == 1 else b"".join([each.packed for each in commands])
            num_commands = len(commands)
            on_resend = None if resent is None else partial(resent.update, range(num_commands))
            return self._first.ask(packed, num_commands, on_resend)
        return self._find_and_ask(commands, resent)

    async def read(self, commands: Sequence[Command]) -> list[Any]:
        """``ask`` for commands that change nothing; what a server says that is no more asked for changes is an error,
        since it may be old.
        """
        if not self.is_one:
            await self._find_out()
            if self._is_cluster:
                answers = await self._ask_cluster(commands, set())
                for answer in answers:
                    if isinstance(answer, RedisError):
                        raise answer
                return answers
        return await self._read_one([command.packed for command in commands])

    async def nodes(self) -> list[ServerAddress]:
        """The servers that have keys, in a lasting order."""
        await self._find_out()
        return [self._seeds[0]] if self._owners is None else sorted(set(self._owners))

    async def ask_node(self, node: ServerAddress, packed: Iterable[bytes]) -> list[Any]:
        """What one server says to each of several commands that change nothing; raises as ``ask``."""
        commands = list(packed)
        if self.is_one:
            return await self._read_one(commands)
        return await self._link(node).ask(b"".join(commands), len(commands))

    async def trouble(self) -> str | None:
        """Why no server takes changes now, as far as one that changes nothing tells; None = some do."""
        try:
            nodes = await self.nodes()
        except RedisError as error:
            return str(error)
        asked = await asyncio.gather(*(self._link(node).ask(self._guard) for node in nodes), return_exceptions=True)
        troubles: list[str] = []
        for node, answers in zip(nodes, asked, strict=True):
            if isinstance(answers, BaseException):
                troubles.append(str(answers))
                self._doubt(node)
            elif is_elsewhere(answers) or error_word(answers[0]) in UNABLE:
                troubles.append(self.refusal(answers[0]))
        return troubles[0] if len(troubles) == len(nodes) else None

    async def follow(self) -> None:
        """Connect anew where a name, or the Sentinels, have come to lead to another server."""
        await asyncio.gather(*(link.follow() for link in self._links.values()))

    def named(self, node: ServerAddress) -> tuple[ServerAddress, int]:
        """Whom a server's link leads to, and by which of its connections: with each, it may be another."""
        link = self._link(node)
        return link.server or node, link.num_connections

    def refusal(self, answer: Any) -> str:
        """An error that Redis answered, with its address; what it disproves is found out anew."""
        if self.is_one and error_word(answer) in ("MOVED", "CLUSTERDOWN"):
            self._is_cluster = None  # a cluster has taken its place
        return f"{self.address}: {answer}"

    async def close(self) -> None:
        """End all connections."""
        for link in self._links.values():
            await link.close()

    @property
    def _first(self) -> Link:
        return self._links[self._seeds[0]]

    def _link(self, node: ServerAddress) -> Link:
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = Link(self.address.at(node))
        return link

    def _doubt(self, node: ServerAddress) -> None:
        """Ask who has which slots anew, and this server last: another may have taken over, and it not know."""
        self._owners = None
        if node in self._links:
            self._links[node] = self._links.pop(node)

    async def _read_one(self, packed: Sequence[bytes]) -> list[Any]:
        guarded, *answers = await self._first.ask(b"".join((self._guard, *packed)), len(packed) + 1)
        return [guarded] * len(answers) if error_word(guarded) in TURNED_AWAY else answers

    async def _find_and_ask(self, commands: Sequence[Command], resent: set[int] | None) -> list[Any]:
        await self._find_out()
        if self._is_cluster:
            return await self._ask_cluster(commands, set() if resent is None else resent)
        return await self.ask(commands, resent)

    async def _find_out(self) -> None:
        """Learn whether it is a cluster, and which server has which slots."""
        if self._is_cluster is None:
            self._is_cluster = await self._ask_whether_cluster()
        if self._is_cluster and self._owners is None:
            self._owners = await self._ask_owners()

    async def _ask_whether_cluster(self) -> bool:
        """Whether it is a cluster, from the first host that says so."""
        errors: list[RedisError] = []
        for host in self._seeds:
            try:
                (answer,) = await self._links[host].ask(pack("INFO", "cluster"))
            except RedisError as error:
                errors.append(error)
                continue
            if isinstance(answer, hiredis.ReplyError):
                raise Refused(f"{self.address}: {answer}")
            is_cluster = b"cluster_enabled:1" in answer
            if self.address.is_cluster and not is_cluster:
                raise Refused(f"{self._links[host].address} is no cluster, as its address says by its scheme or hosts")
            return is_cluster
        raise errors[0]

    async def _ask_owners(self) -> list[ServerAddress]:
        """Which server has which slots, from the first that says so."""
        error: RedisError | None = None
        for node, link in list(self._links.items()):
            try:
                (answer,) = await link.ask(pack("CLUSTER", "SLOTS"))
            except RedisError as failure:
                error = error or failure
                continue
            if isinstance(answer, hiredis.ReplyError):
                error = Refused(f"{link.address}: {answer}")
                self._is_cluster = None  # it may be none any more
                continue
            # A slot that nobody has is anybody's: who is asked for it says what is wrong with the cluster.
            owners = [node] * NUM_CLUSTER_SLOTS
            for first, last, (host, port, *_), *_ in answer:
                # A server that does not know its own name gives none.
                owners[first : last + 1] = [(host.decode() or node[0], port)] * (last - first + 1)
            return owners
        assert error is not None
        raise Unreachable(str(error)) from error

    async def _ask_cluster(self, commands: Sequence[Command], resent: set[int]) -> list[Any]:
        owners = self._owners
        assert owners is not None
        answers: list[Any] = [None] * len(commands)
        # What is still to be sent: the command's index -> the server, and whether it is told that it is asked to.
        left = {index: (owners[command.cluster_slot], False) for index, command in enumerate(commands)}
        for _ in range(MAX_SENDS):
            await self._ask_nodes(commands, left, answers, resent)
            left, has_to_wait = self._redirect(commands, left, answers)
            if not left:
                break
            if has_to_wait:
                await asyncio.sleep(MOVE_SECONDS)
        errors = [answer for answer in answers if isinstance(answer, RedisError)]
        if len(errors) < len(answers):
            return answers
        if all(isinstance(error, Unreachable) for error in errors):
            raise errors[0]
        raise AnswerLost(str(errors[0])) from errors[0]

    async def _ask_nodes(
        self,
        commands: Sequence[Command],
        left: dict[int, tuple[ServerAddress, bool]],
        answers: list[Any],
        resent: set[int],
    ) -> None:
        """Send each server its part, all at once, and put what they say into ``answers``."""
        parts: dict[ServerAddress, list[int]] = {}
        for index, (node, _) in left.items():
            parts.setdefault(node, []).append(index)
        asked = []
        for node, indices in parts.items():
            packed = [commands[index].packed for index in indices]
            for position in reversed(range(len(indices))):
                if left[indices[position]][1]:
                    packed.insert(position, pack("ASKING"))
            asked.append(self._link(node).ask(b"".join(packed), len(packed), partial(resent.update, indices)))
        results = await asyncio.gather(*asked, return_exceptions=True)
        for node, indices, result in zip(parts, parts.values(), results, strict=True):
            if isinstance(result, RedisError):
                self._doubt(node)
                for index in indices:
                    answers[index] = result
                continue
            if isinstance(result, BaseException):
                raise result
            if is_elsewhere(result):
                self._doubt(node)
            said = iter(result)
            for index in indices:
                if left[index][1]:
                    next(said)
                answers[index] = next(said)

    def _redirect(
        self, commands: Sequence[Command], left: dict[int, tuple[ServerAddress, bool]], answers: list[Any]
    ) -> tuple[dict[int, tuple[ServerAddress, bool]], bool]:
        """Which of those just sent go elsewhere, and where; and whether to wait before."""
        again: dict[int, tuple[ServerAddress, bool]] = {}
        has_to_wait = False
        for index, (node, _) in left.items():
            answer = answers[index]
            if not isinstance(answer, hiredis.ReplyError):
                continue
            word, _, rest = str(answer).partition(" ")
            if word == "TRYAGAIN":
                again[index] = left[index]
                has_to_wait = True
            elif word in ("MOVED", "ASK"):
                host, _, port = rest.split()[1].rpartition(":")
                to = (host or node[0], int(port))
                again[index] = (to, word == "ASK")
                if word == "MOVED" and self._owners is not None:
                    self._owners[commands[index].cluster_slot] = to
        return again, has_to_wait
