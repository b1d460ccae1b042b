from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.errors import RecordUnreadable, SessionClosed, StateStoreUnavailable, UnknownModel, UnknownSession
from ostinato.service.state.arena import Arena
from ostinato.service.state.lmdb import checkpoint
from ostinato.service.state.lmdb.database import Database
from ostinato.service.state.lmdb.store import LmdbStore
from tests.service.puppet import MANIFEST, Clock, House, column


@pytest.fixture(autouse=True)
def _segments_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)


def store_at(folder: Path, **settings: Any) -> LmdbStore:
    return LmdbStore(folder, **{"tombstone_seconds": 10, "memory_budget": 1e6, "clock": Clock(), **settings})


def segments(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("journal.0"))


def inodes(*paths: Path) -> set[int]:
    return {path.stat().st_ino for path in paths}


async def stepped(house: House, session_id: str, *values: float) -> float:
    """The total after a chunk, for which the session is found or opened."""
    try:
        session = await house.sessions.find(session_id)
    except UnknownSession:
        session = await house.sessions.open("sum", session_id=session_id)
    return float((await house.ledger.step(session, column(*values), seq=session.steps)).outputs[-1, 0])


async def test_what_was_committed_is_there_after_a_restart_from_journal_and_database(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    house = House(store=store)
    for session_id in ("in both", "in the database", "in the journal"):
        session_id = session_id.replace(" ", "-")
        if session_id == "in-the-journal":
            await store._checkpoint.store()
        await stepped(house, session_id, 1, 2)
    await stepped(house, "in-both", 4)
    again = House(store=store_at(tmp_path))
    assert [await stepped(again, name, 10) for name in ("in-both", "in-the-database", "in-the-journal")] == [17, 13, 13]


async def test_upkeep_ends_segments_and_leaves_one_file_and_a_spare(tmp_path: Path) -> None:
    house = House(store=store_at(tmp_path))
    for turn in range(3):
        await stepped(house, "a", turn)
        await house.store._checkpoint.store()  # type: ignore[attr-defined]
    assert segments(tmp_path) == ["journal.00000004", "journal.00000005"]


async def test_one_process_does_the_upkeep_until_it_ends(tmp_path: Path) -> None:
    one, other = store_at(tmp_path), store_at(tmp_path)
    house, second = House(store=one), House(store=other)
    await stepped(house, "a", 1)
    await one._checkpoint.store()
    await stepped(second, "a", 1)
    await other._checkpoint.store()
    assert other._journal.current.number == 2
    await one.stop()
    await other._checkpoint.store()
    assert other._journal.current.number == 3
    assert await stepped(second, "a", 1) == 3


async def test_a_segment_that_was_stored_but_not_dropped_is_dropped_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path)
    house = House(store=store)
    await stepped(house, "a", 1)
    with monkeypatch.context() as patch:
        patch.setattr(store._journal, "give_up", _killed)
        with pytest.raises(KeyboardInterrupt):
            await store._checkpoint.store()
    await store.stop()
    again = store_at(tmp_path)
    house = House(store=again)
    assert await stepped(house, "a", 2) == 3
    await again._checkpoint.store()
    assert "journal.00000001" not in segments(tmp_path)
    assert await stepped(House(store=store_at(tmp_path)), "a", 3) == 6


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


async def test_a_process_whose_segment_was_stored_by_another_finds_its_sessions(tmp_path: Path) -> None:
    one, other = store_at(tmp_path), store_at(tmp_path)
    house, second = House(store=one), House(store=other)
    await stepped(house, "a", 1)
    await stepped(second, "b", 5)
    for turn in range(3):  # the other sleeps through these
        await one._checkpoint.store()
        await stepped(house, "a", turn)
    assert await stepped(second, "a", 10) == 1 + 0 + 1 + 2 + 10
    assert await stepped(second, "b", 1) == 6
    assert await stepped(house, "b", 1) == 7


async def test_sessions_that_ended_long_ago_leave_the_database(tmp_path: Path) -> None:
    clock = Clock(1000.0)
    store = store_at(tmp_path, clock=clock)
    house = House(store=store)
    for session_id in ("closed", "expired", "live"):
        ttl = 1.0 if session_id == "expired" else 0.0
        await store.open(session_id, house.engine.arena, ttl_seconds=ttl, now=clock())
    await store._checkpoint.store()
    assert [key for key, _ in store._database.behind(None, 10)] == ["closed", "expired", "live"]
    await store.close("closed", None, clock())
    clock.now = 1011.0  # both ended 10 s ago
    await store._checkpoint.store()
    assert [key for key, _ in store._database.behind(None, 10)] == ["expired", "live"]
    await store._checkpoint.sweep()
    assert [key for key, _ in store._database.behind(None, 10)] == ["live"]


async def test_an_answer_waits_for_the_disk_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path, sync_always=True)
    house = House(store=store)
    session = await house.sessions.open("sum")
    disk = threading.Event()
    begin_sync, synced = store._journal.begin_sync, []

    def slow() -> Callable[[], None]:
        sync = begin_sync()

        def run() -> None:
            assert disk.wait(10)
            sync()
            synced.append(store._journal.current.end)

        return run

    monkeypatch.setattr(store._group_sync, "_begin_sync", slow)
    answers = [house.ledger.step(session, column(1), seq=0), house.ledger.step(session, column(2), seq=1)]
    await asyncio.sleep(0.05)
    assert not any(answer.done() for answer in answers)
    disk.set()
    assert [answer.outputs[-1, 0] for answer in await asyncio.gather(*answers)] == [1, 3]
    assert len(synced) == 2  # the second was appended when the first was answered


async def test_a_sync_serves_all_who_wait_and_none_who_came_after_it_began(tmp_path: Path) -> None:
    store = store_at(tmp_path, sync_always=True)
    house = House(store=store)
    sessions = [await house.sessions.open("sum") for _ in range(20)]
    begun: list[int] = []
    begin_sync = store._group_sync._begin_sync
    store._group_sync._begin_sync = lambda: (begun.append(store._journal.current.end), begin_sync())[1]  # type: ignore[func-returns-value]
    await asyncio.gather(*(house.ledger.step(session, column(1)) for session in sessions))
    assert begun == [store._journal.current.end]
    # One that begins while a sync runs is not served by that.
    first = house.ledger.step(sessions[0], column(1))
    while len(begun) == 1:
        await asyncio.sleep(0)
    await asyncio.gather(first, house.ledger.step(sessions[1], column(1)))
    assert len(begun) == 3
    assert begun[-1] == store._journal.current.end


async def test_a_sync_that_fails_answers_nobody(tmp_path: Path) -> None:
    store = store_at(tmp_path, sync_always=True)
    house = House(store=store)
    session = await house.sessions.open("sum")

    def fails() -> None:
        raise OSError(5, "Input/output error")

    store._group_sync._begin_sync = lambda: fails
    with pytest.raises(StateStoreUnavailable, match="Input/output error"):
        await house.ledger.step(session, column(1), seq=0)


async def test_a_version_that_still_has_sessions_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ostinato.service.state.lmdb.store.COUNTED", 1)  # more sessions than are counted in one go
    house = House(store=store_at(tmp_path))
    for session_id in ("a", "b", "c"):
        await stepped(house, session_id, 1)
    await house.sessions.close("c")
    assert await house.store.missing_versions() == {}
    await house.store._checkpoint.store()  # type: ignore[attr-defined]
    await house.store.stop()
    newer = store_at(tmp_path)
    newer.attach(Arena(MANIFEST.model_copy(update={"version": "2"}), 10))
    assert await newer.missing_versions() == {("sum", "1"): 2}
    with pytest.raises(UnknownModel, match="'a' runs model 'sum' version '1', which is not served"):
        await newer.find("a", 0)
    for session_id in ("a", "b"):
        assert (await newer.look(session_id, 0)).version == "1"
        await newer.close(session_id, None, 0)
    with pytest.raises(SessionClosed):
        await newer.find("a", 0)
    await newer._checkpoint.store()
    assert await newer.missing_versions() == {}


async def test_a_million_addresses_are_no_memory(tmp_path: Path) -> None:
    """The map is large and the file is small."""
    Database(tmp_path).close()
    assert (tmp_path / "data.mdb").stat().st_size < 1_000_000


async def test_a_session_of_another_graph_under_the_same_version_is_refused(tmp_path: Path) -> None:
    """To go on from its state would give what no offline run gives."""
    await stepped(House(store=store_at(tmp_path)), "a", 1)
    store = store_at(tmp_path)
    graphs = {"step": MANIFEST.graphs["step"].model_copy(update={"sha256": "1" * 64})}
    store.attach(Arena(MANIFEST.model_copy(update={"graphs": graphs}), 10))
    with pytest.raises(RecordUnreadable, match="'a': sum/1 has another graph"):
        await store.find("a", 0)


async def test_a_sync_that_failed_is_tried_again_with_all_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path)
    await stepped(House(store=store), "a", 1)
    sync = store._journal.begin_sync()
    with monkeypatch.context() as patch:
        patch.setattr("ostinato.service.state.lmdb.journal.os.fsync", _fails)
        with pytest.raises(OSError, match="output"):
            sync()
    synced: list[int] = []
    monkeypatch.setattr("ostinato.service.state.lmdb.journal.os.fsync", synced.append)
    store._journal.begin_sync()()
    assert len(synced) == 2  # the segment and the folder


def _fails(_: int) -> None:
    raise OSError(5, "Input/output error")


async def test_what_another_process_appended_is_synced_by_this_one(tmp_path: Path) -> None:
    """It may have been killed before its own sync."""
    one, other = store_at(tmp_path), store_at(tmp_path)
    house, second = House(store=one), House(store=other)
    await stepped(house, "a", 1)
    other._journal.begin_sync()()
    assert not other._journal._unsynced
    await stepped(house, "a", 1)
    assert await stepped(second, "a", 1) == 3
    assert list(other._journal._unsynced) == [other._journal.current]
    assert list(store_at(tmp_path)._journal._unsynced)


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateStoreUnavailable, match="file"):
        store_at(tmp_path / "file")


@pytest.mark.parametrize("seed", range(4))
async def test_memory_for_a_few_sessions_serves_many(seed: int, tmp_path: Path) -> None:
    """Sessions come and go between memory, journal and database, and none of them notices."""
    generator = np.random.default_rng(seed)
    store = store_at(tmp_path, memory_budget=12 * 410)
    house = House(store=store)
    totals: dict[str, float] = {}
    for turn in range(600):
        session_id = f"s{int(generator.integers(40))}"
        values = generator.integers(0, 9, int(generator.choice([1, 1, 2, 7]))).tolist()
        totals[session_id] = totals.get(session_id, 0.0) + sum(values)
        assert await stepped(house, session_id, *values) == totals[session_id], (seed, turn)
        assert house.engine.arena.num_sessions <= 12
        if turn % 150 == 149:
            await store._checkpoint.store()
    evicted = house.value('ostinato_sessions_total{event="evicted",model="sum",version="1"}')
    loaded = house.value('ostinato_sessions_total{event="loaded",model="sum",version="1"}')
    assert evicted > 100
    assert loaded > 100


async def test_chunks_of_more_sessions_than_the_budget_holds_run_at_once(tmp_path: Path) -> None:
    """Each is busy, so that none makes room, and has a state that waits between its iterations."""
    house = House(store=store_at(tmp_path, memory_budget=1), max_queue_rows=4)
    for number in range(4):
        await stepped(house, f"s{number}", 100 * number)
    chunk = column(*[1.0] * 6)  # an iteration has 4 steps
    answers = [house.ledger.step(await house.sessions.find(f"s{number}"), chunk) for number in range(4)]
    assert [answer.outputs[-1, 0] for answer in await asyncio.gather(*answers)] == [6, 106, 206, 306]
    assert house.engine.num_rows == 0


async def test_what_is_appended_is_synced_beside_the_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by them: an answer waits for no disk."""
    monkeypatch.setattr(checkpoint, "SYNC_SECONDS", 0.01)
    synced = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("ostinato.service.state.lmdb.journal.os.fsync", lambda _: loop.call_soon_threadsafe(synced.set))
    store = store_at(tmp_path)
    house = House(store=store)
    await stepped(house, "a", 1)
    synced.clear()  # what was synced while the folder was opened
    await stepped(house, "a", 1)
    assert not synced.is_set()
    await store.start()
    await asyncio.wait_for(synced.wait(), 10)
    await store.stop()


async def test_a_stop_waits_for_what_goes_to_the_database_just_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread uses files that are closed behind the stop, and the lock that keeps others from the same work."""
    monkeypatch.setattr(checkpoint, "SYNC_SECONDS", 0.01)
    store = store_at(tmp_path)
    await stepped(House(store=store), "a", 1)
    begun, gate, stored = threading.Event(), threading.Event(), []
    put = store._database.put_segment

    def slow(number: int, records: Any, ended_before: float) -> None:
        begun.set()
        assert gate.wait(10)
        put(number, records, ended_before)
        stored.append(number)

    monkeypatch.setattr(store._database, "put_segment", slow)
    await store.start()
    await asyncio.to_thread(begun.wait, 10)
    stopping = asyncio.ensure_future(store._checkpoint.stop())
    for _ in range(20):  # many more turns than it takes to cancel what only waits
        await asyncio.sleep(0)
    assert not stopping.done()
    gate.set()
    await stopping
    assert stored == [1]


async def test_a_stop_leaves_on_the_disk_what_was_answered_in_the_last_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path)
    await stepped(House(store=store), "a", 1)
    synced: list[int] = []
    monkeypatch.setattr(
        "ostinato.service.state.lmdb.journal.os.fsync", lambda file: synced.append(os.fstat(file).st_ino)
    )
    await store.stop()
    assert inodes(store._journal.current.path) <= {*synced}


async def test_a_sweep_goes_on_where_the_one_before_came_to_and_begins_again_at_the_end(tmp_path: Path) -> None:
    """It looks at 2,000 records at a time; what a segment holds goes to the database in as many slices as it takes."""
    clock = Clock(1000.0)
    store = store_at(tmp_path, clock=clock)
    arena = House(store=store).engine.arena
    ids = [f"s{number:04}" for number in range(2050)]
    for session_id in ids:
        ttl = {"s0000": 2.0, "s2049": 1.0}.get(session_id, 0.0)
        await store.open(session_id, arena, ttl_seconds=ttl, now=clock())
    await store._checkpoint.store()
    assert [key for key, _ in store._database.behind(None, 3000)] == ids
    clock.now = 1011.5  # the last one ended 10 s ago, and the first has half a second left
    await store._checkpoint.sweep()
    clock.now = 1013.0
    await store._checkpoint.sweep()
    assert [key for key, _ in store._database.behind(None, 3000)] == ids[:-1]
    await store._checkpoint.sweep()
    assert [key for key, _ in store._database.behind(None, 3000)] == ids[1:-1]


async def test_it_tells_how_many_sessions_it_has_and_what_they_take_on_the_disk(tmp_path: Path) -> None:
    store = store_at(tmp_path)
    house = House(store=store)
    for number in range(3):
        await stepped(house, f"a-{number}", 1)
    another = store_at(tmp_path)
    arena = House(store=another).engine.arena
    assert another.num_live(arena) == 0
    await another.count(house.clock())
    assert another.num_live(arena) == store.num_live(house.engine.arena) == 3
    sizes = store.num_bytes
    assert sizes.keys() == {"journal", "database"}
    assert all(size > 0 and size % 512 == 0 for size in sizes.values())
    await stepped(house, "a-0", *[1.0] * 40_000)
    assert store.num_bytes["journal"] > sizes["journal"]
