"""The checkpoint: what is on the disk when the database names a segment."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ostinato.service.state.lmdb import checkpoint, journal
from ostinato.service.state.lmdb.segment import segment_path
from ostinato.service.state.lmdb.store import LmdbStore
from tests.service.puppet import Clock, House, column

Synced = dict[int, int]


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Synced:
    """Inode -> how many bytes it had, of what was synced; a file that is let go of is not told from the next one."""
    fsync, sizes = os.fsync, Synced()

    def watched(file: int) -> None:
        fsync(file)
        status = os.fstat(file)
        sizes[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", watched)
    return sizes


def store_at(folder: Path) -> LmdbStore:
    return LmdbStore(folder, tombstone_seconds=10, memory_budget=1e6, clock=Clock())


async def with_session(folder: Path) -> tuple[House, LmdbStore]:
    """A store in a new folder, with the session ``a``."""
    store = store_at(folder)
    house = House(store=store)
    await house.sessions.open("sum", session_id="a")
    return house, store


async def rotate(house: House, store: LmdbStore) -> None:
    """A step, and the segment that it is in ends."""
    await house.ledger.step(await house.sessions.find("a"), column(1))
    with store._journal.locked():
        store._journal.rotate()


def watched_names(store: LmdbStore, folder: Path, synced: Synced) -> list[tuple[int, bool, bool]]:
    """Of each segment that the database names: its number, whether its file is on the disk, and the folder."""
    put, seen = store._database.put_segment, []

    def watched(number: int, *rest: object) -> None:
        path = segment_path(folder, number + 1)
        seen.append((number + 1, path.stat().st_ino in synced, folder.stat().st_ino in synced))
        put(number, *rest)  # type: ignore[arg-type]

    store._database.put_segment = watched  # type: ignore[method-assign, assignment]
    return seen


@pytest.mark.parametrize("num_behind", [1, 3], ids=["in time", "late"])
async def test_the_database_names_only_segments_that_are_on_the_disk(
    num_behind: int, tmp_path: Path, synced: Synced
) -> None:
    house, store = await with_session(tmp_path)
    named = watched_names(store, tmp_path, synced)
    for _ in range(3):
        for _ in range(num_behind):
            await rotate(house, store)
        synced.clear()  # what was synced before may be of a file's former segment
        store._checkpoint._naming.forget(0, 99)
        await store._checkpoint.store()
    assert named == [(2 + index, True, True) for index in range(3 * num_behind)]
    await store.stop()


async def test_a_segment_is_on_the_disk_before_anybody_appends_to_it(tmp_path: Path, synced: Synced) -> None:
    house, store = await with_session(tmp_path)
    await store._checkpoint.store()
    for number in (2, 3, 4):
        size = synced[segment_path(tmp_path, number).stat().st_ino]
        beginning = segment_path(tmp_path, number).read_bytes()[:16]
        synced.clear()
        await rotate(house, store)
        assert store._journal.current.number == number
        assert segment_path(tmp_path, number).read_bytes()[:16] == beginning
        assert size == 16 or number > 2  # the third is the file of the first again
        await store._checkpoint.store()
        assert segment_path(tmp_path, number).stat().st_ino not in synced  # it need not be once more, with its entries
    await store.stop()


async def test_a_file_that_another_process_took_away_is_put_on_the_disk_again(tmp_path: Path, synced: Synced) -> None:
    house, store = await with_session(tmp_path)
    await store._checkpoint.store()
    other = store_at(tmp_path)  # opens the folder: what nobody has appended to goes
    assert not segment_path(tmp_path, 2).exists()
    named = watched_names(store, tmp_path, synced)
    await rotate(house, store)
    synced.clear()
    await store._checkpoint.store()
    assert named == [(2, True, True)]
    await store.stop()
    await other.stop()


async def test_a_folder_opens_whose_next_segment_was_on_the_disk_already(tmp_path: Path) -> None:
    house, store = await with_session(tmp_path)
    await rotate(house, store)
    await store._checkpoint.store()
    await house.ledger.step(await house.sessions.find("a"), column(2))
    assert segment_path(tmp_path, 3).exists()
    again = store_at(tmp_path)
    assert (again._journal.damage.session_ids, again._journal.current.number) == (set(), 2)
    assert (await House(store=again).sessions.look("a")).steps == 2
    await again.stop()


def test_an_entry_of_a_former_segment_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where entries are alike, one of them begins at the very end of the segment that has the file now."""
    one = journal.Journal(tmp_path, lambda: None, lambda _: None)
    with one.locked():
        for _ in range(3):
            one.append(["a"], b"x" * 10_000, 10_000)
        first = one.current
        one.rotate()
        one.give_up(first)
        one.rotate()
        while one.current.end <= first.end // 3:
            one.append(["a"], b"y" * 10_000, 10_000)
    assert one.current.number == 3
    read, pread = [], os.pread

    def watched(file: int, size: int, offset: int) -> bytes:
        read.append(size)
        return pread(file, size, offset)

    monkeypatch.setattr(os, "pread", watched)
    one.follow()
    assert one.current.entry_at(one.current.end) is None
    assert max(read) < 1_000
    one.close()


@pytest.mark.parametrize("part", ["_group_sync.wait", "_database.put_segment"])
async def test_what_the_store_cannot_do_by_itself_is_counted_and_logged(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(checkpoint, "SYNC_SECONDS", 0.01)
    house, store = await with_session(tmp_path)
    failed = asyncio.Event()
    store.on_failure = failed.set
    await rotate(house, store)
    owner, _, name = part.partition(".")
    with monkeypatch.context() as patch:
        patch.setattr(getattr(store, owner), name, fails)
        await store.start()
        await failed.wait()
        assert "OSError: the disk is gone" in caplog.text
        assert "it is tried again" in caplog.text
    await store.stop()
