"""A consumer group of the test's broker: members, generations, and a barrier at which each of them begins."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field

UNKNOWN_MEMBER, ILLEGAL_GENERATION, IN_PROGRESS = 25, 22, 27
FIRST_JOIN_SECONDS = 0.2
"""For which the first member of a group is waited with, so that others can come, too."""


@dataclass
class Member:
    """One of a group. ``joined``: resolved when its generation begins; None = it has not joined the next one yet."""

    name: str
    session_seconds: float
    rebalance_seconds: float
    protocols: list[tuple[str, bytes]]
    heard_at: float
    joined: asyncio.Future[None] | None = None
    assigned: asyncio.Future[bytes] | None = None


@dataclass
class Group:
    """A group. ``offsets``: partition -> offset and metadata."""

    name: str
    generation: int = 0
    is_rebalancing: bool = False
    members: dict[str, Member] = field(default_factory=dict)
    offsets: dict[tuple[str, int], tuple[int, str]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _barrier: asyncio.Task[None] | None = None

    async def join(
        self, name: str, session_seconds: float, rebalance_seconds: float, protocols: list[tuple[str, bytes]]
    ) -> Member:
        """Become a member, or stay one; waits until the next generation begins."""
        if name not in self.members:
            name = f"member-{next(self._numbers)}-{time.monotonic_ns()}"
            self.members[name] = Member(name, session_seconds, rebalance_seconds, protocols, time.monotonic())
        member = self.members[name]
        member.protocols, member.heard_at = protocols, time.monotonic()
        member.joined = member.joined or asyncio.get_running_loop().create_future()
        self.rebalance()
        await asyncio.shield(member.joined)
        return member

    @property
    def leader(self) -> str:
        return min(self.members)

    def rebalance(self) -> None:
        """Have all members join anew."""
        if not self.is_rebalancing:
            self.is_rebalancing = True
            self._barrier = asyncio.create_task(self._begin_generation())

    async def _begin_generation(self) -> None:
        await asyncio.sleep(FIRST_JOIN_SECONDS)
        give_up_at = time.monotonic() + max((one.rebalance_seconds for one in self.members.values()), default=0)
        while any(one.joined is None for one in self.members.values()) and time.monotonic() < give_up_at:
            await asyncio.sleep(0.02)
        self.members = {name: one for name, one in self.members.items() if one.joined is not None}
        self.generation += 1
        self.is_rebalancing = False
        for member in self.members.values():
            joined, member.joined = member.joined, None
            member.assigned = asyncio.get_running_loop().create_future()
            member.heard_at = time.monotonic()
            assert joined is not None
            joined.set_result(None)

    async def sync(self, name: str, generation: int, assignments: list[tuple[str, bytes]]) -> tuple[int, bytes]:
        """The error and what a member is to read, as the leader says."""
        if error := self.fault(name, generation):
            return error, b""
        for member, assignment in assignments:
            future = self.members[member].assigned if member in self.members else None
            if future is not None and not future.done():
                future.set_result(assignment)
        own = self.members[name].assigned
        assert own is not None
        while not own.done():
            await asyncio.sleep(0.01)
            if error := self.fault(name, generation) or IN_PROGRESS * self.is_rebalancing:
                return error, b""
        return 0, own.result()

    def fault(self, name: str, generation: int) -> int:
        """The error of a member that is none of this generation; 0 = it is one."""
        if name not in self.members:
            return UNKNOWN_MEMBER
        return ILLEGAL_GENERATION if generation != self.generation else 0

    def heartbeat(self, name: str, generation: int) -> int:
        """The error of a sign of life."""
        if error := self.fault(name, generation):
            return error
        self.members[name].heard_at = time.monotonic()
        return IN_PROGRESS if self.is_rebalancing else 0

    def leave(self, name: str) -> None:
        """A member goes."""
        if self.members.pop(name, None) is not None and self.members:
            self.rebalance()

    def expire(self) -> None:
        """Members that were not heard of for long go, too."""
        now = time.monotonic()
        for member in list(self.members.values()):
            if member.joined is None and now - member.heard_at > member.session_seconds:
                self.leave(member.name)
