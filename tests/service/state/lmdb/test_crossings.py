"""Several workers over one folder: kills, power cuts, failing disks, and requests that cross."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ostinato.service.errors import SessionClosed, StateStoreUnavailable
from ostinato.service.state.arena import Arena
from ostinato.service.state.lmdb import checkpoint, journal
from ostinato.service.state.lmdb.journal import Journal
from ostinato.service.state.lmdb.store import LmdbStore
from tests.service.puppet import MANIFEST, Clock, House, column, until
from tests.service.state.lmdb.machine import restart_machine


def store_at(folder: Path, **settings: Any) -> LmdbStore:
    return LmdbStore(folder, **{"tombstone_seconds": 10, "memory_budget": 1e6, "clock": Clock(), **settings})


def watch_fsync(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of what is synced from now on."""
    fsync, paths = os.fsync, []

    def watched(file: int) -> None:
        paths.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        fsync(file)

    monkeypatch.setattr(os, "fsync", watched)
    return paths


class Disk(threading.Event):
    """What syncs wait for; ``num_waiting`` tells how many began to."""

    num_waiting = 0


def gated(store: LmdbStore) -> Disk:
    """The disk of one process makes what is appended from now on wait for the event."""
    disk = Disk()
    begin, end = store._group_sync._begin_sync, store._journal.current.end

    def slow() -> Callable[[], None]:
        sync, waits = begin(), store._journal.current.end > end

        def run() -> None:
            if waits:
                disk.num_waiting += 1
                assert disk.wait(10)
            sync()

        return run

    store._group_sync._begin_sync = slow
    return disk


async def step(house: House, session_id: str, *values: float, seq: int | None = None) -> float:
    session = await house.sessions.find(session_id)
    return float((await house.ledger.step(session, column(*values), seq=seq)).outputs[-1, 0])


async def test_reset_resets_the_copy_in_memory(tmp_path: Path) -> None:
    house = House(store=store_at(tmp_path))
    session = await house.sessions.open("sum", session_id="a")
    await house.ledger.step(session, column(5))
    await house.sessions.reset(session)
    assert session.steps == 0
    assert await step(house, "a", 1) == 1


async def test_an_idle_worker_that_has_the_upkeep_stores_what_others_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 500)
    idle, other = store_at(tmp_path), store_at(tmp_path)
    await idle._checkpoint.store()  # takes the lock
    house = House(store=other)
    session = await house.sessions.open("sum", session_id="a")
    for _ in range(50):
        await house.ledger.step(session, column(1))
    for _ in range(5):
        await idle._checkpoint.store()
    with other._journal.locked():
        assert len(other._journal.segments) <= 3, other._journal


@pytest.mark.parametrize("more", [1, 8])
async def test_who_takes_over_the_upkeep_puts_back_nothing_old(
    more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)
    one = store_at(tmp_path)
    house = House(store=one)
    await house.sessions.open("sum", session_id="a")
    await step(house, "a", 1)
    with one._journal.locked():
        one._journal.rotate()
    heir = store_at(tmp_path)  # started, or followed last, between rotation and storing; idle from then on
    for _ in range(more):
        await step(house, "a", 10)
        await one._checkpoint.store()
    os.close(one._checkpoint._lock)  # kill -9: the lock is free
    await heir._checkpoint.store()
    second = House(store=heir)
    assert await step(second, "a", 100) == 1 + 10 * more + 100


async def test_a_synced_record_survives_a_power_cut_though_a_later_one_was_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)
    store = store_at(tmp_path)
    house = House(store=store)
    await house.sessions.open("sum", session_id="a")
    assert await step(house, "a", 1) == 1
    await store._group_sync.wait()  # acknowledged, and on the disk
    put = store._database.put_segment

    def busy(number: int, records: Any, ended_before: float) -> None:
        # A chunk is committed while the segment goes to the database.
        asyncio.run_coroutine_threadsafe(step(house, "a", 10), loop).result(10)
        put(number, records, ended_before)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(store._database, "put_segment", busy)
    await store._checkpoint.store()
    # The power cut: nothing of the second segment behind its head was synced.
    current = store._journal.current
    path = store._journal._path(current.number)
    os.truncate(path, 16)
    restart_machine(monkeypatch)
    again = House(store=store_at(tmp_path))
    assert (await again.sessions.look("a")).steps >= 1


def _append(journal: Journal, **records: bytes) -> int:
    with journal.locked():
        journal.append(list(records), b"".join(records.values()), list(map(len, records.values())))
        return journal.current.end


def test_equal_entries_make_the_orphan_sound_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Journal(tmp_path, lambda: None, lambda _: None)
    _append(one, a=b"1" * 5000)
    lost_from = one.current.end
    lost_to = _append(one, b=b"2" * 5000)
    _append(one, a=b"3" * 5000)
    path = one._path(1)
    whole = bytearray(path.read_bytes())
    whole[lost_from:lost_to] = bytes(lost_to - lost_from)
    path.write_bytes(whole)
    restart_machine(monkeypatch)
    two = Journal(tmp_path, lambda: None, lambda _: None)
    assert (two.read("a") or b"")[:1] == b"1"
    _append(two, a=b"4" * 5000)  # acknowledged, and synced
    two.begin_sync()()
    assert (Journal(tmp_path, lambda: None, lambda _: None).read("a") or b"")[:1] == b"4"


def test_a_segment_begun_again_after_a_power_cut_holds_nothing_of_its_first_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Journal(tmp_path, lambda: None, lambda _: None)
    _append(one, a=b"1" * 5000)
    first_to = one.current.end
    _append(one, a=b"2" * 5000)
    path = one._path(1)
    whole = bytearray(path.read_bytes())
    whole[:first_to] = bytes(first_to)  # neither head nor first entry reached the disk
    path.write_bytes(whole)
    restart_machine(monkeypatch)
    two = Journal(tmp_path, lambda: None, lambda _: None)
    _append(two, b=b"4" * 5000)
    assert Journal(tmp_path, lambda: None, lambda _: None).read("a") is None


async def test_a_session_opened_while_another_worker_steps_it_keeps_the_step(tmp_path: Path) -> None:
    """sync=always: the open waits for the disk, and the record that it made is old when it goes on."""
    one, two = store_at(tmp_path, sync_always=True), store_at(tmp_path, sync_always=True)
    house, second = House(store=one), House(store=two)
    await house.sessions.open("sum", session_id="other")
    disk = gated(one)
    opening = asyncio.ensure_future(house.sessions.open("sum", session_id="a"))
    await until(lambda: disk.num_waiting)
    assert await step(second, "a", 5) == 5  # acknowledged by the other worker
    one._journal.follow()  # any request of this process does
    disk.set()
    session = await opening
    answer = await house.ledger.step(session, column(1))
    assert answer.outputs[-1, 0] == 6, answer


async def test_a_reset_while_another_worker_steps_keeps_the_step(tmp_path: Path) -> None:
    one, two = store_at(tmp_path, sync_always=True), store_at(tmp_path, sync_always=True)
    house, second = House(store=one), House(store=two)
    session = await house.sessions.open("sum", session_id="a")
    disk = gated(one)
    resetting = asyncio.ensure_future(house.sessions.reset(session))
    await until(lambda: disk.num_waiting)
    assert await step(second, "a", 5) == 5
    one._journal.follow()
    disk.set()
    await resetting
    assert await step(house, "a", 1) == 6


async def test_what_could_not_be_synced_is_synced_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_at(tmp_path, sync_always=True)
    house = House(store=store)
    session = await house.sessions.open("sum", session_id="a")

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(StateStoreUnavailable):
            await house.ledger.step(session, column(1), seq=0)
    synced = watch_fsync(monkeypatch)
    await house.ledger.step(session, column(1), seq=0)  # sent again, as it was told to
    assert synced


async def test_a_failed_fsync_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_at(tmp_path)
    house = House(store=store)
    await house.sessions.open("sum", session_id="a")

    def failing(_: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="I/O"):
            await store._group_sync.wait()
    synced = watch_fsync(monkeypatch)
    await store._group_sync.wait()
    assert synced


async def test_a_duplicate_at_another_worker_waits_for_the_disk(tmp_path: Path) -> None:
    one, two = store_at(tmp_path, sync_always=True), store_at(tmp_path, sync_always=True)
    house, second = House(store=one), House(store=two)
    session = await house.sessions.open("sum", session_id="a")
    disk, disk2 = gated(one), gated(two)
    first = house.ledger.step(session, column(1), seq=0)
    await until(lambda: disk.num_waiting)
    again = asyncio.ensure_future(step(second, "a", 1, seq=0))
    await until(lambda: disk2.num_waiting or again.done())
    early = again.done()
    disk.set()
    disk2.set()
    await first
    await again
    assert not early, "acknowledged, and on no disk"


async def test_beginning_anew_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)
    one, sleeper = store_at(tmp_path), store_at(tmp_path)
    house, second = House(store=one), House(store=sleeper)
    await house.sessions.open("sum", session_id="a")
    await step(house, "a", 1)
    assert await step(second, "a", 1) == 2
    for _ in range(8):
        await step(house, "a", 1)
        await one._checkpoint.store()
    session = second.sessions.use("a")
    assert session is not None

    def unreadable() -> int:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(sleeper._journal, "_first", unreadable)
        with pytest.raises(StateStoreUnavailable):
            await second.ledger.step(session, column(1))
    assert await step(second, "a", 100) == 110
    assert second.engine.num_rows == 0


async def test_an_odd_error_in_refresh_leaks_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(store=store_at(tmp_path))
    session = await house.sessions.open("sum", session_id="a")

    def odd(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "refresh", odd)
        with pytest.raises(MemoryError):
            await house.ledger.step(session, column(1), seq=7)
    assert house.engine.num_rows == 0


async def test_an_odd_error_behind_a_chunk_keeps_no_session_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(store=store_at(tmp_path))
    session = await house.sessions.open("sum", session_id="a")
    other = await house.sessions.open("sum", session_id="b")

    def odd(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "refresh", odd)
        futures = [
            house.ledger.step(session, column(1)),
            house.ledger.step(other, column(1)),
            house.ledger.step(session, column(1), seq=7),
        ]
        await asyncio.wait(futures, timeout=0.5)
    assert not house.engine.arena.busy.any()
    assert house.engine.num_rows == 0
    await asyncio.gather(*futures, return_exceptions=True)


async def test_the_checkpoint_survives_any_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SYNC_SECONDS", 0.01)
    store = store_at(tmp_path)
    await store.start()

    num_calls = 0

    async def odd() -> None:
        nonlocal num_calls
        num_calls += 1
        raise AssertionError

    monkeypatch.setattr(store._checkpoint, "store", odd)
    await until(lambda: num_calls > 1)
    dead = [task for task in store._checkpoint._tasks if task.done()]
    for task in dead:
        task.exception()
    await store.stop()
    assert not dead


async def test_who_writes_to_a_segment_that_another_began_syncs_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = store_at(tmp_path), store_at(tmp_path)
    house, second = House(store=one), House(store=two)
    await house.sessions.open("sum", session_id="a")
    await step(second, "a", 1)
    await two._group_sync.wait()
    with one._journal.locked():
        one._journal.rotate()
    await step(second, "a", 1)
    files = watch_fsync(monkeypatch)
    await two._group_sync.wait()
    assert str(tmp_path) in files


@pytest.mark.parametrize("what", ["reset", "close"])
async def test_a_cancelled_request_leaves_the_copy_as_the_store_has_it(what: str, tmp_path: Path) -> None:
    one, two = store_at(tmp_path, sync_always=True), store_at(tmp_path)
    house, second = House(store=one), House(store=two)
    session = await house.sessions.open("sum", session_id="a")
    await house.ledger.step(session, column(5))
    disk = gated(one)
    work = house.sessions.reset(session) if what == "reset" else house.sessions.close("a")
    task = asyncio.ensure_future(work)
    await until(lambda: disk.num_waiting)
    task.cancel()
    await asyncio.wait([task])
    try:
        seen: Any = (await second.sessions.look("a")).steps  # the other worker says so
    except SessionClosed:
        seen = "closed"
    disk.set()
    await one._group_sync.wait()
    try:
        answer: Any = await step(house, "a", 1)
    except SessionClosed:
        answer = "closed"
    assert (seen, answer) in [(0, 1.0), ("closed", "closed")]


async def test_a_record_of_another_schema_keeps_no_worker_from_starting(tmp_path: Path) -> None:
    one = store_at(tmp_path)
    house = House(store=one)
    await house.sessions.open("sum", session_id="a")
    record = bytearray(one._journal.read("a") or b"")
    record[8] = 9
    with one._journal.locked():
        one._journal.append(["a"], bytes(record), [len(record)])
    await store_at(tmp_path).missing_versions()


async def test_what_a_killed_worker_left_unsynced_is_synced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = store_at(tmp_path)
    house = House(store=one)
    await house.sessions.open("sum", session_id="a")
    await step(house, "a", 1)  # acknowledged; kill -9 before the sync
    two = store_at(tmp_path)
    files = watch_fsync(monkeypatch)
    await two._group_sync.wait()
    assert any("journal.0" in file for file in files), files


async def test_an_expired_copy_in_memory_is_not_the_session_opened_anew(tmp_path: Path) -> None:
    """The contract of Store.open, without what Sessions does before it."""
    store = store_at(tmp_path)
    arena = Arena(MANIFEST, 10)
    store.attach(arena)
    address = await store.open("a", arena, ttl_seconds=5, now=100.0)
    arena.steps[address.slot] = 7
    again = await store.open("a", arena, ttl_seconds=5, now=200.0)
    assert arena.steps[again.slot] == 0
    assert arena.expires_at[again.slot] == 205.0


def test_workers_that_were_killed_hold_no_places_of_readers(tmp_path: Path) -> None:
    store_at(tmp_path)  # lives on, so that LMDB does not begin its lock file anew
    script = """
import os, sys
from pathlib import Path
from ostinato.service.state.lmdb.database import Database
database = Database(Path(sys.argv[1]))
transaction = database._environment.begin()
os.kill(os.getpid(), 9)
"""
    for _ in range(3):
        killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
        assert killed.returncode == -signal.SIGKILL
    store = store_at(tmp_path)
    assert store._database.first_segment() == 1
    pids = {line.split()[0] for line in store._database._environment.readers().splitlines()[1:]}
    assert pids <= {str(os.getpid())}


async def test_a_page_whose_segment_was_taken_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has stored and begun anew the file between ``follow`` and ``read``: ``Segment.read`` is None."""
    store = store_at(tmp_path)
    house = House(store=store)
    await house.sessions.open("sum", session_id="a")
    monkeypatch.setattr(store._journal, "read", lambda _: None)
    await house.sessions.page(None, 10, None)


async def test_an_id_that_another_worker_closed_can_be_opened_here(tmp_path: Path) -> None:
    house, second = House(store=store_at(tmp_path)), House(store=store_at(tmp_path))
    await house.sessions.open("sum", session_id="a")
    await step(house, "a", 5)
    await second.sessions.close("a")
    session = await house.sessions.open("sum", session_id="a")
    assert session.steps == 0
    assert await step(second, "a", 1) == 1
