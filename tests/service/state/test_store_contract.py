"""The contract of every store; a new store joins ``STORES`` and passes all of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any, TypeVar

import numpy as np
import pytest

from ostinato.service.errors import Overloaded, SessionClosed, SessionExists, SessionExpired, UnknownSession
from ostinato.service.state import census
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Address, Snapshot, Store
from ostinato.service.state.commit import Commit
from tests.service.puppet import MANIFEST
from tests.service.state.places import STORES, PlaceOf

Value = TypeVar("Value")


@pytest.fixture(params=STORES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(name: str, place_of: PlaceOf) -> Store:
    return place_of(name)()


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recount may follow the one before at once."""
    monkeypatch.setattr(census, "REST", 0)


@pytest.fixture
def arena(store: Store) -> Arena:
    arena = Arena(MANIFEST, capacity=20)
    store.attach(arena)
    return arena


async def settled(value: Value | Awaitable[Value]) -> Value:
    """What a store gave, at once or to be awaited."""
    return await value if inspect.isawaitable(value) else value


def commit_of(arena: Arena, *rows: tuple[int, int, list[float]]) -> Commit:
    """A commit of (slot, steps before, outputs) rows, with the last output as the new state."""
    slots = np.array([slot for slot, _, _ in rows], np.int64)
    outputs = [np.array(values, np.float32)[:, None] for _, _, values in rows]
    return Commit(
        arena=arena,
        slots=slots,
        states=[np.stack([values[-1] for values in outputs])],
        steps_before=np.array([before for _, before, _ in rows], np.int64),
        steps_after=np.array([before + len(outputs) for _, before, outputs in rows], np.int64),
        digests=np.arange(len(rows), dtype=np.int64) + 70,
        outputs=np.stack([values[-1] for values in outputs]),
        long_answers={row: values for row, values in enumerate(outputs) if len(values) > 1},
    )


class TestStore:
    async def test_an_opened_session_is_found_in_its_initial_state(self, store: Store, arena: Arena) -> None:
        opened = await store.open("a", arena, ttl_seconds=0, now=100.0)
        assert await store.find("a", 100.0) == opened
        assert arena.steps[opened.slot] == 0
        assert arena.read(opened.slot)[0].tolist() == [0.0]

    async def test_a_live_id_cannot_be_opened_again(self, store: Store, arena: Arena) -> None:
        await store.open("a", arena, ttl_seconds=0, now=100.0)
        with pytest.raises(SessionExists):
            await store.open("a", arena, ttl_seconds=0, now=101.0)

    async def test_no_more_sessions_are_live_than_may_be_however_they_begin(self, place_of: PlaceOf, name: str) -> None:
        store = place_of(name)(max_sessions=3)
        arena = Arena(MANIFEST, capacity=20)
        store.attach(arena)
        source = await store.open("a", arena, ttl_seconds=0, now=100.0)
        copy = Snapshot([np.array([9], np.float32)], 30, np.array([[8.0]], np.float32))
        await store.open("b", arena, ttl_seconds=50, now=100.0, snapshot=copy)  # as a fork is
        begun = await store.find_or_begin("c", arena, ttl_seconds=0, now=100.0)
        assert (await settled(store.commit(commit_of(arena, (begun.slot, 0, [1.0])), 100.0))).tolist() == [True]
        for snapshot in (None, copy):
            with pytest.raises(Overloaded, match="3 sessions"):
                await store.open("d", arena, ttl_seconds=0, now=100.0, snapshot=snapshot)
        with pytest.raises(Overloaded, match="3 sessions"):
            await store.find_or_begin("d", arena, ttl_seconds=0, now=100.0)
        with pytest.raises(SessionExists):  # and not "try again later"
            await store.open("a", arena, ttl_seconds=0, now=100.0)
        assert await store.find_or_begin("a", arena, ttl_seconds=0, now=100.0) == source
        await store.close("c", begun, 100.0)
        await store.open("d", arena, ttl_seconds=0, now=100.0)
        with pytest.raises(Overloaded):
            await store.open("e", arena, ttl_seconds=0, now=149.0)
        await store.open("e", arena, ttl_seconds=0, now=150.0)  # b's time has come

    async def test_a_session_that_was_abandoned_leaves_its_place(self, place_of: PlaceOf, name: str) -> None:
        store = place_of(name)(max_sessions=1)
        arena = Arena(MANIFEST, capacity=20)
        store.attach(arena)
        for session_id in ("a", "b"):
            begun = await store.find_or_begin(session_id, arena, ttl_seconds=0, now=100.0)
            store.abandon(session_id, begun)
        await store.open("c", arena, ttl_seconds=0, now=100.0)

    async def test_an_id_that_ended_is_remembered_while_another_begins_and_when_that_is_abandoned(
        self, store: Store, arena: Arena
    ) -> None:
        await store.open("a", arena, ttl_seconds=0, now=100.0)
        await store.close("a", None, 102.0)
        begun = await store.begin("a", arena, ttl_seconds=50, now=103.0)
        with pytest.raises(SessionClosed):
            await store.look("a", 103.0)
        store.abandon("a", begun)
        with pytest.raises(SessionClosed):
            await store.find("a", 103.0)

    async def test_what_ended_may_begin_anew_and_what_is_there_may_not(self, store: Store, arena: Arena) -> None:
        await store.open("a", arena, ttl_seconds=0, now=100.0)
        with pytest.raises(SessionExists):
            await store.begin("a", arena, ttl_seconds=0, now=101.0)
        await store.close("a", None, 102.0)
        copy = Snapshot([np.array([9], np.float32)], 0, np.array([[8.0]], np.float32))
        begun = await store.begin("a", arena, ttl_seconds=50, now=103.0, snapshot=copy)
        arena.busy[begun.slot] = True  # as of who puts a chunk to it
        with pytest.raises(SessionExists):
            await store.begin("a", arena, ttl_seconds=0, now=103.0)
        with pytest.raises(SessionClosed):
            await store.look("a", 103.0)
        assert arena.read(begun.slot)[0].tolist() == [9.0]
        assert (await settled(store.commit(commit_of(arena, (begun.slot, 0, [1.0])), 104.0))).tolist() == [True]
        facts = await store.look("a", 105.0)
        assert (facts.steps, facts.opened_at, facts.ttl_seconds) == (1, 103.0, 50)

    async def test_a_replaced_session_is_what_it_was_replaced_with(self, store: Store, arena: Arena) -> None:
        address = await store.open("a", arena, ttl_seconds=50, now=100.0)
        await settled(store.commit(commit_of(arena, (address.slot, 0, [1.0, 2.0])), 101.0))
        arena.busy[address.slot] = True  # as of who holds its turn
        answer = np.array([[8.0]], np.float32)
        await store.replace("a", address, Snapshot([np.array([9], np.float32)], 30, answer), 120.0)
        arena.busy[address.slot] = False
        # By the time that it would have expired, had it not been replaced, memory has it still.
        for now in (121.0, 160.0):
            slot = (await store.find("a", now)).slot
            assert slot == address.slot
            assert (arena.read(slot)[0].tolist(), arena.steps[slot]) == ([9.0], 30)
            assert (arena.answer(slot).tolist(), arena.last_seq[slot]) == ([[8.0]], -1)
        facts = await store.look("a", 160.0)
        assert (facts.steps, facts.opened_at, facts.expires_at) == (30, 100.0, 170.0)
        committed = store.commit(commit_of(arena, (slot, 30, [11.0])), 161.0)
        assert (await settled(committed)).tolist() == [True]
        assert (await store.look("a", 161.0)).steps == 31

    async def test_an_id_never_opened_is_unknown(self, store: Store) -> None:
        with pytest.raises(UnknownSession):
            await store.find("a", 100.0)

    async def test_a_commit_is_the_sessions_new_state(self, store: Store, arena: Arena) -> None:
        a = await store.open("a", arena, ttl_seconds=0, now=100.0)
        b = await store.open("b", arena, ttl_seconds=0, now=100.0)
        won = await settled(store.commit(commit_of(arena, (a.slot, 0, [1, 2, 3]), (b.slot, 0, [5])), 101.0))
        assert won.tolist() == [True, True]
        assert facts(arena, a) == (3, 0, 70, [[1], [2], [3]], [3])
        assert facts(arena, b) == (1, 0, 71, [[5]], [5])

    async def test_only_the_last_answer_is_kept(self, store: Store, arena: Arena) -> None:
        a = await store.open("a", arena, ttl_seconds=0, now=100.0)
        await settled(store.commit(commit_of(arena, (a.slot, 0, [1, 2, 3])), 101.0))
        await settled(store.commit(commit_of(arena, (a.slot, 3, [4])), 102.0))
        assert facts(arena, a) == (4, 3, 70, [[4]], [4])

    async def test_a_commit_on_a_wrong_step_count_is_lost_and_the_others_are_not(
        self, store: Store, arena: Arena
    ) -> None:
        a = await store.open("a", arena, ttl_seconds=0, now=100.0)
        b = await store.open("b", arena, ttl_seconds=0, now=100.0)
        won = await settled(store.commit(commit_of(arena, (a.slot, 7, [9]), (b.slot, 0, [5])), 101.0))
        assert won.tolist() == [False, True]
        assert (arena.steps[a.slot], arena.steps[b.slot]) == (0, 1)
        assert [arena.read(address.slot)[0].tolist() for address in (a, b)] == [[0], [5]]

    async def test_a_session_expires_at_its_time_and_is_told_from_one_that_never_was(
        self, store: Store, arena: Arena
    ) -> None:
        await store.open("a", arena, ttl_seconds=5, now=100.0)
        await store.find("a", 104.999)
        with pytest.raises(SessionExpired):
            await store.find("a", 105.0)
        assert store.expire(105.0) == [arena]
        with pytest.raises(SessionExpired):
            await store.find("a", 114.9)
        store.expire(115.0)
        with pytest.raises(UnknownSession):
            await store.find("a", 115.0)

    async def test_an_expired_id_is_remembered_from_its_time_on_whenever_it_was_looked_for(
        self, store: Store, arena: Arena
    ) -> None:
        for session_id in ("swept", "asked_for"):
            await store.open(session_id, arena, ttl_seconds=5, now=100.0)
        with pytest.raises(SessionExpired):
            await store.find("asked_for", 112.0)  # 7 s after its end, of the 10 that it is remembered
        store.expire(112.0)
        for session_id in ("swept", "asked_for"):
            with pytest.raises(SessionExpired):
                await store.find(session_id, 114.9)
        for session_id in ("swept", "asked_for"):
            with pytest.raises(UnknownSession):
                await store.find(session_id, 115.0)

    async def test_an_id_that_nobody_looked_for_until_it_was_to_be_forgotten_is_unknown(
        self, store: Store, arena: Arena
    ) -> None:
        await store.open("a", arena, ttl_seconds=5, now=100.0)
        with pytest.raises(UnknownSession):
            await store.find("a", 115.0)

    async def test_a_commit_begins_the_time_to_live_anew(self, store: Store, arena: Arena) -> None:
        a = await store.open("a", arena, ttl_seconds=5, now=100.0)
        await settled(store.commit(commit_of(arena, (a.slot, 0, [1])), 103.0))
        assert store.expire(107.9) == []
        assert store.expire(108.0) == [arena]

    async def test_a_busy_session_does_not_expire(self, store: Store, arena: Arena) -> None:
        a = await store.open("a", arena, ttl_seconds=5, now=100.0)
        arena.busy[a.slot] = True
        assert store.expire(200.0) == []
        assert await store.find("a", 200.0) == a

    async def test_no_time_to_live_is_for_ever(self, store: Store, arena: Arena) -> None:
        await store.open("a", arena, ttl_seconds=0, now=100.0)
        assert store.expire(1e12) == []

    async def test_a_closed_id_is_remembered_and_may_be_opened_again(self, store: Store, arena: Arena) -> None:
        await store.open("a", arena, ttl_seconds=0, now=100.0)
        await store.close("a", None, 101.0)
        with pytest.raises(SessionClosed):
            await store.find("a", 102.0)
        with pytest.raises(SessionClosed):
            await store.close("a", None, 102.0)
        again = await store.open("a", arena, ttl_seconds=0, now=103.0)
        assert await store.find("a", 103.0) == again
        assert arena.num_sessions == 1

    async def test_a_slot_used_before_starts_from_the_initial_state(self, store: Store, arena: Arena) -> None:
        a = await store.open("a", arena, ttl_seconds=0, now=100.0)
        await settled(store.commit(commit_of(arena, (a.slot, 0, [1, 2])), 101.0))
        await store.close("a", None, 101.0)
        b = await store.open("b", arena, ttl_seconds=0, now=102.0)
        assert arena.read(b.slot)[0].tolist() == [0.0]
        assert (arena.steps[b.slot], arena.last_seq[b.slot]) == (0, -1)
        assert b.slot not in arena.long_answers

    async def test_a_scan_gives_live_sessions_from_a_position_on(self, store: Store, arena: Arena) -> None:
        for name in "abcd":
            await store.open(name, arena, ttl_seconds=5 if name == "b" else 0, now=100.0)
        await store.close("c", None, 101.0)
        found, cursor, _ = await store.page(None, 1, None, 110.0)
        assert cursor is not None
        while cursor is not None:
            page, cursor, _ = await store.page(None, 1, cursor, 110.0)
            assert len(page) <= 1
            found += page
        assert sorted(facts.session_id for facts in found) == ["a", "d"]


@pytest.mark.parametrize("name", STORES)
async def test_without_tombstones_an_ended_id_is_unknown_at_once_and_may_be_opened_again(
    name: str, place_of: PlaceOf
) -> None:
    store = place_of(name)(tombstone_seconds=0)
    arena = Arena(MANIFEST, capacity=20)
    store.attach(arena)
    await store.open("closed", arena, ttl_seconds=0, now=100.0)
    await store.open("expired", arena, ttl_seconds=5, now=100.0)
    await store.close("closed", None, 101.0)
    for session_id, now in (("closed", 101.0), ("expired", 105.0)):
        with pytest.raises(UnknownSession):
            await store.find(session_id, now)
        with pytest.raises(UnknownSession):
            await store.close(session_id, None, now)
        again = await store.open(session_id, arena, ttl_seconds=0, now=now)
        assert (await settled(store.commit(commit_of(arena, (again.slot, 0, [1])), now))).tolist() == [True]
        assert await store.find(session_id, 1e6) == again


def facts(arena: Arena, address: Address) -> tuple[int, int, int, Any, Any]:
    """(steps, last seq, digest, the stored answer, the state) of a session."""
    slot = address.slot
    return (
        int(arena.steps[slot]),
        int(arena.last_seq[slot]),
        int(arena.last_digest[slot]),
        arena.answer(slot).tolist(),
        arena.read(slot)[0].tolist(),
    )
