from __future__ import annotations

import asyncio

import pytest

from ostinato.service.errors import Overloaded, StateStoreUnavailable
from ostinato.service.state.arena import Arena
from ostinato.service.state.census import LONG_REST, PATIENCE_SECONDS, REST, Census
from tests.service.puppet import MANIFEST


class Walks:
    """Counts of a store, by hand: each takes a second of a clock that is turned here."""

    def __init__(self, max_sessions: int) -> None:
        self.live = self.number = 0
        self.now = 0.0
        self.fails = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.census = Census(max_sessions, self.count, clock=lambda: self.now)
        self.arena = Arena(MANIFEST, capacity=1)

    async def count(self, _arena: Arena, _now: float) -> int:
        live = self.live
        await self.gate.wait()
        self.number += 1
        self.now += 1
        if self.fails:
            raise StateStoreUnavailable("away")
        return live

    async def begin(self, times: int = 1) -> None:
        for _ in range(times):
            if self.census.is_due(self.arena):
                await self.census.recount(self.arena, 0.0)
            self.census.take(self.arena)
            self.live += 1


async def test_far_from_the_limit_nobody_counts_again() -> None:
    walks = Walks(16_000)
    await walks.begin(999)
    assert walks.number == 1
    walks.now += REST
    await walks.begin(2)
    assert walks.number == 2


async def test_a_recount_finds_what_others_began_and_what_ended() -> None:
    walks = Walks(3)
    await walks.begin()
    walks.live += 2
    walks.now += REST
    with pytest.raises(Overloaded, match="3 sessions"):
        await walks.begin()
    walks.live -= 1
    walks.now += REST
    await walks.begin()


async def test_between_recounts_the_own_sessions_are_counted_and_rest_is_kept() -> None:
    walks = Walks(3)
    await walks.begin(3)
    with pytest.raises(Overloaded):
        await walks.begin()
    assert walks.number == 1
    walks.census.give_back(walks.arena)
    await walks.begin()
    assert walks.number == 1


async def test_what_begins_while_it_is_counted_is_not_forgotten() -> None:
    walks = Walks(2)
    walks.gate.clear()
    await walks.begin()  # waits in vain for PATIENCE_SECONDS, and goes on
    assert PATIENCE_SECONDS < 1
    walks.gate.set()
    await walks.begin()
    with pytest.raises(Overloaded):
        await walks.begin()


async def test_a_store_that_is_away_is_no_reason_to_refuse(caplog: pytest.LogCaptureFixture) -> None:
    walks = Walks(2)
    walks.fails = True
    await walks.begin()
    assert "could not be counted: away" in caplog.text
    await walks.census.stop()


async def test_a_stop_ends_a_count_that_is_under_way() -> None:
    walks = Walks(2)
    walks.gate.clear()
    await walks.begin()
    await walks.census.stop()
    assert walks.number == 0


async def test_who_only_looks_has_the_last_count_and_what_began_since_and_counts_seldom() -> None:
    walks = Walks(1000)
    census, arena = walks.census, walks.arena
    assert census.estimate(arena) == 0
    assert census.is_old(arena)
    walks.live = 7
    await census.recount(arena, 0.0)
    census.take(arena)
    census.take(arena)
    census.give_back(arena)
    assert census.estimate(arena) == 8
    # It took a second: two hundred of them pass before the next.
    walks.now += LONG_REST - 1
    assert not census.is_old(arena)
    walks.now += 1
    assert census.is_old(arena)
