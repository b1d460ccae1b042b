"""Turns of one slot: each request in its order, and nothing is held by one that has gone."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from ostinato.service.errors import SessionClosed
from ostinato.service.sessions.turns import Turn, Turns
from ostinato.service.state.arena import Arena
from tests.service.puppet import MANIFEST


class Stage:
    """A slot of a session whose first request is under way, and a line behind it."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.arena = Arena(MANIFEST, 4)
        self.slot = self.arena.allocate("a")
        self.begun: list[str] = []
        self.take("first")

    def take(self, name: str, *, keeps_busy: bool = True) -> asyncio.Future[None]:
        """A request that is noted when its turn comes; its future."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.turns.take(self.arena, self.slot, Turn(future, partial(self._begin, name, keeps_busy)))
        return future

    def _begin(self, name: str, keeps_busy: bool) -> bool:
        self.begun.append(name)
        return keeps_busy

    def end(self) -> None:
        self.turns.end(self.arena, self.slot)

    async def hold(self) -> str:
        """Hold the slot alone, and let it go at once."""
        async with self.turns.alone(self.arena, self.slot):
            self.begun.append("alone")
        return "held"

    @property
    def is_busy(self) -> bool:
        return bool(self.arena.busy[self.slot])

    @property
    def num_waiting(self) -> str:
        return repr(self.turns)


async def test_requests_begin_in_the_order_of_their_arrival_one_at_a_time() -> None:
    stage = Stage()
    for name in ("second", "third", "fourth"):
        stage.take(name, keeps_busy=name != "third")
    assert stage.begun == ["first"]
    stage.end()
    assert stage.begun == ["first", "second"]
    stage.end()
    # The third was over at once.
    assert stage.begun == ["first", "second", "third", "fourth"]
    assert stage.is_busy
    stage.end()
    assert not stage.is_busy


async def test_a_wait_that_is_cancelled_in_the_line_takes_nobodys_turn() -> None:
    stage = Stage()
    waiting = asyncio.ensure_future(stage.hold())
    await asyncio.sleep(0)
    stage.take("behind")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    # The first is still under way.
    assert (stage.is_busy, stage.begun) == (True, ["first"])
    stage.end()
    assert (stage.is_busy, stage.begun) == (True, ["first", "behind"])


async def test_a_wait_that_is_cancelled_just_when_its_turn_has_come_gives_it_to_the_next() -> None:
    stage = Stage()
    waiting = asyncio.ensure_future(stage.hold())
    await asyncio.sleep(0)
    stage.take("behind")
    stage.end()
    # Its turn has come, and it has not run since.
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (stage.is_busy, stage.begun) == (True, ["first", "behind"])
    stage.end()
    assert (stage.is_busy, stage.num_waiting) == (False, "<Turns 0 waiting for 0 sessions>")


async def test_all_who_wait_for_a_session_that_ended_are_told_and_hold_nothing() -> None:
    stage = Stage()
    chunk = stage.take("chunk", keeps_busy=False)
    waiting = asyncio.ensure_future(stage.hold())
    await asyncio.sleep(0)
    stage.turns.refuse_rest(stage.arena, stage.slot, SessionClosed("it ended"))
    with pytest.raises(SessionClosed, match="it ended"):
        await waiting
    assert isinstance(chunk.exception(), SessionClosed)
    assert stage.num_waiting == "<Turns 0 waiting for 0 sessions>"


async def test_one_who_ended_the_session_leaves_the_turn_of_the_next_in_its_slot_alone() -> None:
    stage = Stage()
    stage.end()
    async with stage.turns.alone(stage.arena, stage.slot):
        stage.arena.release(stage.slot)
        assert stage.arena.allocate("b") == stage.slot
        stage.take("of b")
        assert stage.is_busy
    assert stage.is_busy
