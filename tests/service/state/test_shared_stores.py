"""Two stores over one place, as two workers or replicas have them: neither is ever taken in by its own old copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from ostinato.service.artifact.tensors import State
from ostinato.service.errors import (
    CopyOutdated,
    InvalidInput,
    Overloaded,
    RecordUnreadable,
    SessionClosed,
    SessionExists,
    SessionExpired,
    UnknownModel,
    UnknownSession,
)
from ostinato.service.state import census
from ostinato.service.state.arena import Arena, session_bytes
from ostinato.service.state.base import Address, Snapshot, Store
from ostinato.service.state.durable import DurableStore
from ostinato.service.state.lmdb.store import LmdbStore
from ostinato.service.state.redis.store import RedisStore
from ostinato.service.state.schemas import SCHEMA
from tests.service.puppet import MANIFEST, House, column
from tests.service.state.places import SHARED, Place, PlaceOf
from tests.service.state.test_store_contract import commit_of, facts, settled


class Side(NamedTuple):
    """A store and its memory."""

    store: Store
    arena: Arena

    async def step(self, address: Address, before: int, *outputs: float, now: float = 101.0) -> bool:
        """Commit one chunk; whether it won."""
        commit = commit_of(self.arena, (address.slot, before, [*outputs]))
        return bool((await settled(self.store.commit(commit, now)))[0])

    async def hold(self, session_id: str, now: float = 101.0) -> Address:
        """Find a session and hold its turn."""
        address = await self.store.find(session_id, now)
        self.arena.busy[address.slot] = True
        return address

    async def refresh(self, session_id: str, address: Address, now: float = 101.0) -> None:
        waiting = self.store.refresh(session_id, address, now)
        if waiting is not None:
            await waiting


def side(place: Place, manifest: object = MANIFEST, **options: float) -> Side:
    store = place(**options)
    arena = Arena(manifest, capacity=50)  # type: ignore[arg-type]  # tests hand on what model_copy made
    store.attach(arena)
    return Side(store, arena)


@pytest.fixture(params=SHARED)
def place(request: pytest.FixtureRequest, place_of: PlaceOf) -> Place:
    return place_of(request.param)


async def test_the_sessions_of_all_are_counted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "REST", 0)
    one, other = side(place, max_sessions=3), side(place, max_sessions=3)
    await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    await other.store.open("b", other.arena, ttl_seconds=0, now=100.0)
    await one.store.open("c", one.arena, ttl_seconds=0, now=100.0)
    for there in (one, other, side(place, max_sessions=3)):
        with pytest.raises(Overloaded):
            await there.store.open("d", there.arena, ttl_seconds=0, now=100.0)
    await other.store.close("c", None, 100.0)
    await one.store.open("d", one.arena, ttl_seconds=0, now=100.0)


async def test_what_one_commits_the_other_finds_to_the_bit(place: Place) -> None:
    one, other = side(place), side(place)
    here = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    assert await one.step(here, 0, 0.1, 0.2, 0.3)
    there = await other.store.find("a", 102.0)
    assert facts(other.arena, there) == facts(one.arena, here)


async def test_an_old_copy_does_not_commit_and_refresh_makes_it_new(place: Place) -> None:
    one, other = side(place), side(place)
    here = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    there = await other.hold("a")
    assert await one.step(here, 0, 5)
    assert not await other.step(there, 0, 7)
    await other.refresh("a", there)
    assert facts(other.arena, there) == facts(one.arena, here)
    assert await other.step(there, 1, 7)
    one.arena.busy[here.slot] = True
    await one.refresh("a", here)
    assert facts(one.arena, here) == facts(other.arena, there)


async def test_of_a_batch_only_what_is_old_is_lost(place: Place) -> None:
    one, other = side(place), side(place)
    here = [await one.store.open(name, one.arena, ttl_seconds=0, now=100.0) for name in "abcdef"]
    there = [await other.store.find(name, 100.0) for name in "abcdef"]
    for address in there[::2]:
        assert await other.step(address, 0, 9)
    rows = [(address.slot, 0, [float(number), float(number)]) for number, address in enumerate(here)]
    won = await settled(one.store.commit(commit_of(one.arena, *rows), 101.0))
    assert won.tolist() == [False, True] * 3
    assert one.arena.steps[[address.slot for address in here]].tolist()[1::2] == [2, 2, 2]
    assert [(await other.store.look(name, 101.0)).steps for name in "abcdef"] == [1, 2] * 3


async def test_the_rows_of_a_batch_have_each_its_own_fate_and_go_on_from_it(place: Place) -> None:
    one, other = side(place), side(place)
    here = [await one.store.open(name, one.arena, ttl_seconds=0, now=100.0) for name in "abcdef"]
    assert await other.step(await other.store.find("b", 100.0), 0, 9)
    for turn in range(2):
        # The first is at another count of steps, the second was changed elsewhere; of the others each has its number.
        rows = [(address.slot, turn + 5 * (number == 0), [10.0 * turn + number]) for number, address in enumerate(here)]
        won = await settled(one.store.commit(commit_of(one.arena, *rows), 101.0))
        assert won.tolist() == [False, False, True, True, True, True]
    there = [await other.store.find(name, 102.0) for name in "abcdef"]
    assert [facts(other.arena, address)[0] for address in there] == [0, 1, 2, 2, 2, 2]
    assert [facts(other.arena, address)[3:] for address in there[2:]] == [
        ([[10.0 + n]], [10.0 + n]) for n in range(2, 6)
    ]


async def test_sessions_that_were_committed_together_are_others_after_a_further_change_of_one(place: Place) -> None:
    one, other = side(place), side(place)
    here = [await one.store.open(name, one.arena, ttl_seconds=0, now=100.0) for name in "abc"]
    rows = [(address.slot, 0, [1.0]) for address in here]
    assert (await settled(one.store.commit(commit_of(one.arena, *rows), 101.0))).all()
    there = [await other.hold(name) for name in "abc"]
    # The first of them last: its stamp would be another whatever the others got.
    assert [await one.step(address, 1, 2) for address in (*here[1:], here[0])] == [True] * 3
    assert [await other.step(address, 1, 9) for address in there] == [False] * 3


async def test_a_session_closed_and_opened_again_elsewhere_is_another_though_its_steps_are_the_same(
    place: Place,
) -> None:
    one, other = side(place), side(place)
    here = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    assert await one.step(here, 0, 5)
    await other.store.close("a", None, 101.0)
    there = await other.store.open("a", other.arena, ttl_seconds=0, now=101.0)
    assert await other.step(there, 0, 6)
    one.arena.busy[here.slot] = True
    assert not await one.step(here, 1, 7)
    await one.refresh("a", here)
    assert facts(one.arena, here) == facts(other.arena, there)


async def test_a_session_closed_elsewhere_is_closed_here(place: Place) -> None:
    one, other = side(place), side(place)
    here = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    await other.store.close("a", None, 101.0)
    one.arena.busy[here.slot] = True
    assert not await one.step(here, 0, 7)
    with pytest.raises(SessionClosed):
        await one.refresh("a", here)
    assert one.arena.num_sessions == 0
    with pytest.raises(SessionClosed):
        await one.store.find("a", 102.0)
    with pytest.raises(SessionClosed):
        await one.store.close("a", None, 102.0)


async def test_an_id_that_is_live_elsewhere_exists(place: Place) -> None:
    one, other = side(place), side(place)
    await one.store.open("a", one.arena, ttl_seconds=5, now=100.0)
    with pytest.raises(SessionExists):
        await other.store.open("a", other.arena, ttl_seconds=0, now=104.0)
    await other.store.open("a", other.arena, ttl_seconds=0, now=105.0)
    with pytest.raises(SessionExists):
        await one.store.open("a", one.arena, ttl_seconds=0, now=106.0)


async def test_what_replaces_a_session_is_seen_elsewhere(place: Place) -> None:
    one, other = side(place), side(place)
    here = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    assert await one.step(here, 0, 5)
    there = await other.hold("a")
    snapshot = Snapshot([np.array([8.5], np.float32)], 1, np.array([[4.0], [8.5]], np.float32))
    one.arena.busy[here.slot] = True
    await one.store.replace("a", here, snapshot, 102.0)
    assert not await other.step(there, 1, 6)
    await other.refresh("a", there)
    assert facts(other.arena, there) == facts(one.arena, here) == (1, -1, 0, [[4.0], [8.5]], [8.5])


async def test_a_session_renewed_elsewhere_does_not_expire_here(place: Place) -> None:
    one, other = side(place), side(place)
    await one.store.open("a", one.arena, ttl_seconds=5, now=100.0)
    there = await other.store.find("a", 101.0)
    assert await other.step(there, 0, 1, now=104.0)
    assert (await one.store.find("a", 108.0)).arena is one.arena
    one.store.expire(109.0)
    for store in (one.store, other.store):
        with pytest.raises(SessionExpired):
            await store.find("a", 109.0)
        with pytest.raises(UnknownSession):
            await store.find("a", 119.0)


async def test_what_left_memory_comes_back_to_the_bit(place: Place) -> None:
    one = side(place, memory_budget=3.5 * session_bytes(MANIFEST))
    names = [f"session-{number}" for number in range(20)]
    expected = {}
    for number, name in enumerate(names):
        address = await one.store.open(name, one.arena, ttl_seconds=0, now=100.0)
        assert await one.step(address, 0, number / 3, number / 7)
        expected[name] = facts(one.arena, address)
    assert one.arena.num_sessions == 3
    for name in [*names, *reversed(names)]:
        assert facts(one.arena, await one.store.find(name, 102.0)) == expected[name]


async def test_sessions_outlive_the_store(place: Place) -> None:
    one = side(place)
    address = await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    assert await one.step(address, 0, 1, 2)
    other = side(place)
    assert facts(other.arena, await other.store.find("a", 101.0)) == facts(one.arena, address)


async def test_a_page_shows_what_all_have_opened(place: Place) -> None:
    one, other = side(place), side(place)
    for number in range(60):
        opener = (one, other)[number % 2]
        await opener.store.open(f"session-{number:02}", opener.arena, ttl_seconds=0, now=100.0)
    await one.store.close("session-07", None, 100.0)
    for limit in (1, 7, 100):
        found: list[str] = []
        cursor = None
        while True:
            page, cursor, _ = await other.store.page("sum", limit, cursor, 101.0)
            assert len(page) <= limit
            found += [facts.session_id for facts in page]
            if cursor is None:
                break
        assert sorted(set(found)) == [f"session-{number:02}" for number in range(60) if number != 7]
    assert (await other.store.page("another", 100, None, 101.0)).sessions == []


async def test_a_cursor_that_nobody_gave_is_refused(place: Place) -> None:
    one = side(place)
    for cursor in ("", "?", "abc", "W10=", "eyJhIjoxfQ==", "ü"):
        with pytest.raises(InvalidInput):
            await one.store.page(None, 5, cursor, 100.0)


async def test_a_version_whose_sessions_are_there_and_that_is_not_served_is_told(place: Place) -> None:
    one = side(place)
    for name in ("a", "b", "c"):
        await one.store.open(name, one.arena, ttl_seconds=0, now=100.0)
    await one.store.close("c", None, 101.0)
    newer = MANIFEST.model_copy(update={"version": "2"})
    other = side(place, newer)
    assert await other.store.missing_versions() == {("sum", "1"): 2}
    with pytest.raises(UnknownModel, match="'sum' version '1', which is not served"):
        await other.store.find("a", 101.0)
    for name in ("a", "b"):
        await other.store.close(name, None, 101.0)
    assert await other.store.missing_versions() == {}


async def test_a_record_of_other_states_is_refused_by_name(place: Place) -> None:
    one = side(place)
    await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    state = State(name="total", input="total", output="total_next", shape=("B", 2), dtype="float32")
    other = side(place, MANIFEST.model_copy(update={"states": (state,)}))
    with pytest.raises(RecordUnreadable, match="session 'a': sum/1 has another graph or other states"):
        await other.store.find("a", 101.0)


async def test_a_record_of_an_unknown_schema_is_refused_by_name(place: Place) -> None:
    one, other = side(place), side(place)
    await one.store.open("a", one.arena, ttl_seconds=0, now=100.0)
    assert isinstance(one.store, DurableStore)
    record = await one.store._read("a")
    assert record is not None
    record = record[:8] + bytes([SCHEMA + 1]) + record[9:]
    if isinstance(one.store, RedisStore):
        await one.store._ask(b"ostinato:session:a", "SET", record)
    else:
        await one.store._swap("a", lambda _, stamp: stamp.to_bytes(8, "little") + record[8:])
    with pytest.raises(RecordUnreadable, match=f"session 'a': its record is of schema {SCHEMA + 1}, and this"):
        await other.store.find("a", 101.0)
    with pytest.raises(RecordUnreadable, match="'a'"):
        await other.store.open("a", other.arena, ttl_seconds=0, now=101.0)


async def put_raw(store: Store, session_id: str, record: bytes) -> None:
    """Put bytes in the place of a session's record."""
    if isinstance(store, RedisStore):
        await store._ask(b"ostinato:session:" + session_id.encode(), "SET", record)
        return
    assert isinstance(store, LmdbStore)
    with store._journal.locked():
        store._journal.append([session_id], record, [len(record)])


async def raw(store: DurableStore, session_id: str) -> bytes:
    record = await store._read(session_id)
    assert record is not None
    return record


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "a bit of the state": lambda record: record[:-6] + bytes([record[-6] ^ 4]) + record[-5:],
    "a bit of the steps": lambda record: record[:18] + bytes([record[18] ^ 1]) + record[19:],
    "a newer schema": lambda record: record[:8] + bytes([SCHEMA + 1]) + record[9:],
    "cut short": lambda record: record[:40],
    "a word": lambda _: b"garbage",
    "nothing": lambda _: b"\0",
}


@pytest.mark.parametrize("how", DAMAGED)
async def test_a_record_that_cannot_be_read_costs_its_own_session_only(
    how: str, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = side(place), side(place)
    counted: list[None] = []
    other.store.on_unreadable = lambda: counted.append(None)
    for session_id in ("a", "bad", "c"):
        await one.store.open(session_id, one.arena, ttl_seconds=0, now=100.0)
    assert isinstance(other.store, DurableStore)
    await put_raw(one.store, "bad", DAMAGED[how](await raw(other.store, "bad")))
    for _ in range(3):
        with pytest.raises(RecordUnreadable, match="session 'bad'"):
            await other.store.find("bad", 101.0)
    with pytest.raises((RecordUnreadable, SessionExists)):  # it is live, if its head says so
        await one.store.open("bad", one.arena, ttl_seconds=0, now=101.0)
    found, num_unreadable, cursor = [], 0, None
    while True:
        page, cursor, num = await other.store.page(None, 1, cursor, 101.0)
        found += [each.session_id for each in page]
        num_unreadable += num
        if cursor is None:
            break
    is_seen_in_a_listing = how != "a bit of the state"  # which does not read so far
    assert (sorted(set(found) - {"bad"}), num_unreadable) == (["a", "c"], int(is_seen_in_a_listing))
    assert ("bad" in found) != is_seen_in_a_listing
    assert await other.store.missing_versions() == {}
    assert len(counted) == 1
    assert caplog.text.count("session 'bad'") == 1 + is_seen_in_a_listing  # once by each process that met it
    await other.store.close("bad", None, 102.0)
    for each in (one, other):
        with pytest.raises(SessionClosed):
            await each.store.look("bad", 103.0)
    await one.store.open("bad", one.arena, ttl_seconds=0, now=104.0)
    assert (await other.store.look("bad", 104.0)).steps == 0


async def test_a_session_in_memory_whose_record_was_damaged_is_closed_all_the_same(place: Place) -> None:
    house = House(store=place())
    session = await house.sessions.open("sum", session_id="bad")
    await house.ledger.step(session, column(1))
    assert isinstance(house.store, DurableStore)
    record = await raw(house.store, "bad")
    await put_raw(house.store, "bad", record[:-3] + b"xyz")
    await house.sessions.close("bad")
    with pytest.raises(SessionClosed):
        await house.sessions.find("bad")
    # And one that is not in memory.
    await put_raw(house.store, "worse", b"garbage")
    await house.sessions.close("worse")
    with pytest.raises(SessionClosed):
        await house.sessions.find("worse")


async def test_a_step_on_a_copy_whose_record_was_damaged_is_never_answered_wrongly(place: Place) -> None:
    house = House(store=place())
    session = await house.sessions.open("sum", session_id="bad")
    await house.ledger.step(session, column(1), seq=0)
    assert isinstance(house.store, DurableStore)
    record = await raw(house.store, "bad")
    await put_raw(
        house.store, "bad", record[:6] + bytes([record[6] ^ 1]) + record[7:]
    )  # of the stamp: it is not the copy's
    if isinstance(house.store, RedisStore):
        with pytest.raises(RecordUnreadable):
            await house.ledger.step(session, column(2), seq=1)
    else:  # the copy is the session until another process says otherwise
        assert (await house.ledger.step(session, column(2), seq=1)).outputs[-1, 0] == 3


async def test_a_version_that_is_there_again_stays_when_its_former_memory_goes(place: Place) -> None:
    former = side(place)
    await former.store.open("a", former.arena, ttl_seconds=0, now=100)
    newer = Side(former.store, Arena(MANIFEST, capacity=50))
    newer.store.attach(newer.arena)
    former.store.detach(former.arena)
    found = await newer.store.find("a", 101)
    assert found.arena is newer.arena
    assert await newer.step(found, 0, 1.0)


async def test_a_session_that_goes_on_by_another_version_is_not_closed_as_one_of_its_former(place: Place) -> None:
    one, other = side(place), side(place)
    second = MANIFEST.model_copy(update={"version": "2"})
    arena = Arena(second, capacity=50)
    other.store.attach(arena)
    await one.store.open("a", one.arena, ttl_seconds=0, now=100)
    mine, theirs = await one.hold("a"), await other.hold("a")
    await other.store.move("a", theirs, arena, Snapshot.initial(arena), 101)
    with pytest.raises(CopyOutdated):
        await one.store.close("a", mine, 102)
    assert (await other.store.look("a", 103)).version == "2"
