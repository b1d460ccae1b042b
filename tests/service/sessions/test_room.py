from __future__ import annotations

import asyncio

import pytest

from ostinato.service.errors import RateLimited, SessionExists
from ostinato.service.sessions import room as room_module
from ostinato.service.sessions.room import Room


class Store:
    """The sessions that there are, with when they were opened, and how often they were counted."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.live: dict[str, float] = {}
        self.num_counts = 0

    async def count(self) -> int:
        self.num_counts += 1
        await asyncio.sleep(0)
        return len(self.live)

    def room(self) -> Room:
        """That of one process."""
        return Room(self.count, clock=lambda: self.now, now=lambda: self.now)

    async def begin(self, room: Room, name: str, most: int | None) -> bool:
        try:
            async with room.one_more(name, most):
                await asyncio.sleep(0)
                if name in self.live:
                    raise SessionExists("there is one")
                self.live[name] = self.now
        except RateLimited:
            return False
        return True

    def end(self, room: Room, name: str) -> None:
        room.give_back(name, self.live.pop(name))


async def test_as_many_begin_as_there_is_room_for() -> None:
    store = Store()
    store.live = {"x": 1.0, "y": 1.0}
    room = store.room()
    assert [await store.begin(room, f"s{number}", 5) for number in range(5)] == [True, True, True, False, False]
    assert store.num_counts == 1
    store.end(room, "x")
    assert await store.begin(room, "t", 5)
    assert not await store.begin(room, "u", 5)


async def test_many_at_once_are_as_many_as_there_is_room_for() -> None:
    store = Store()
    room = store.room()
    begun = await asyncio.gather(*(store.begin(room, f"s{number}", 5) for number in range(40)))
    assert (sum(begun), len(store.live), store.num_counts) == (5, 5, 1)


async def test_what_is_refused_takes_no_room() -> None:
    store = Store()
    room = store.room()
    assert await store.begin(room, "a", 3)
    for _ in range(10):
        with pytest.raises(SessionExists):
            await store.begin(room, "a", 3)
    assert await store.begin(room, "b", 3)
    assert await store.begin(room, "c", 3)
    assert not await store.begin(room, "d", 3)


async def test_the_end_of_what_others_began_since_the_count_leaves_no_room() -> None:
    store = Store()
    room = store.room()
    assert await store.begin(room, "mine", 2)
    store.now += 0.1
    for number in range(20):
        store.live[f"other{number}"] = store.now
        store.end(room, f"other{number}")
    assert await store.begin(room, "second", 2)
    assert not await store.begin(room, "third", 2)


async def test_keys_of_a_tenant_share_its_room_each_with_its_own_limit() -> None:
    store = Store()
    room = store.room()
    assert [await store.begin(room, f"s{number}", 2) for number in range(3)] == [True, True, False]
    assert await store.begin(room, "any", None)
    assert await store.begin(room, "large", 4)
    assert not await store.begin(room, "more", 4)


@pytest.mark.parametrize("seed", range(3))
async def test_processes_keep_the_limit_together_but_for_what_begins_between_two_counts(seed: int) -> None:
    import random

    generator, store = random.Random(seed), Store()
    rooms = [store.room() for _ in range(3)]
    for number in range(300):
        await store.begin(generator.choice(rooms), f"s{number}", 5)
        assert len(store.live) <= 5
        if store.live and generator.random() < 0.4:
            store.end(generator.choice(rooms), generator.choice(list(store.live)))
        store.now += 1.1


async def test_what_ended_elsewhere_is_known_with_the_next_count_and_that_is_told() -> None:
    store = Store()
    room = store.room()
    assert await store.begin(room, "a", 1)
    store.live.clear()  # it expired
    with pytest.raises(RateLimited) as raised:
        async with room.one_more("b", 1):
            raise AssertionError
    store.now += raised.value.retry_after_seconds
    assert await store.begin(room, "b", 1)


async def test_a_count_that_fails_is_made_again() -> None:
    store = Store()

    async def fail_once() -> int:
        if not store.num_counts:
            store.num_counts += 1
            raise OSError("away")
        return await store.count()

    room = Room(fail_once, clock=lambda: store.now, now=lambda: store.now)
    with pytest.raises(OSError, match="away"):
        await store.begin(room, "a", 1)
    await asyncio.sleep(0)
    assert await store.begin(room, "a", 1)


async def test_more_than_are_remembered_are_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "MOST_REMEMBERED", 10)
    store = Store()
    room = store.room()
    for number in range(50):
        assert await store.begin(room, f"s{number}", None if number else 100)
    assert not await store.begin(room, "more", 50)
