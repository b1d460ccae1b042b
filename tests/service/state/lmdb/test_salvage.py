"""What is done about a journal that was damaged: by bits, bytes, blocks, files."""

from __future__ import annotations

import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from ostinato.service.errors import RecordUnreadable, SessionClosed, StateStoreUnavailable, UnknownSession
from ostinato.service.state.lmdb import checkpoint
from ostinato.service.state.lmdb.entries import HEAD
from ostinato.service.state.lmdb.journal import Journal
from ostinato.service.state.lmdb.store import LmdbStore
from tests.service.puppet import Clock, House, column
from tests.service.state.lmdb.machine import restart_machine

IDS = ("station-1", "station-2", "station-3")


def store_at(folder: Path, **settings: Any) -> LmdbStore:
    return LmdbStore(folder, **{"tombstone_seconds": 10, "memory_budget": 1e6, "clock": Clock(), **settings})


async def total(house: House, session_id: str) -> float | None:
    """What all inputs of a session are together; None where its record is refused."""
    try:
        session = await house.sessions.find(session_id)
    except RecordUnreadable as error:
        return None if session_id in str(error) else math.nan
    return float((await house.ledger.step(session, column(0))).outputs[-1, 0])


async def stepped_together(house: House, value: float) -> tuple[int, int]:
    """Step all sessions in one commit; from where to where its entry stands."""
    journal = house.store._journal  # type: ignore[attr-defined]
    start = journal.current.end
    sessions = [house.sessions.use(session_id) for session_id in IDS]
    answers = [house.ledger.step(session, column(value)) for session in sessions if session is not None]
    for answer in answers:
        await answer
    return start, journal.current.end


async def lived(folder: Path, num_rounds: int = 10, **settings: Any) -> list[tuple[int, int]]:
    """A folder in which each session was stepped ``num_rounds`` times by 1; where the entry of each round stands."""
    house = House(store=store_at(folder, **settings))
    for session_id in IDS:
        await house.sessions.open("sum", session_id=session_id)
    return [await stepped_together(house, 1) for _ in range(num_rounds)]


def damage(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def flipped(path: Path, at: int, bit: int = 0) -> bytes:
    return bytes([path.read_bytes()[at] ^ 1 << bit])


async def test_a_flipped_bit_costs_at_most_the_session_whose_record_it_is_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the last round but two, and in the last: whatever bit it is, no session is older than acknowledged."""
    whole = tmp_path / "whole"
    rounds = await lived(whole)
    num_refused = 0
    for start, end in (rounds[7], rounds[9]):
        for at in range(start, end, 5):
            folder = tmp_path / f"{at}"
            shutil.copytree(whole, folder)
            path = folder / "journal.00000001"
            damage(path, at, flipped(path, at, at % 8))
            caplog.clear()
            store = store_at(folder)
            house = House(store=store)
            totals = [await total(house, session_id) for session_id in IDS]
            refused = totals.count(None)
            if (start, end) == rounds[7]:
                assert totals == [10, 10, 10], at  # each has a newer record
            else:
                assert refused <= 1, at
                assert set(totals) <= {10, None}, (at, totals)
            num_refused += refused
            assert f"damaged in its entry at byte {start}" in caplog.text
            assert (folder / f"journal.00000001.damaged-at-{start}").read_bytes() == path.read_bytes()[
                : (folder / f"journal.00000001.damaged-at-{start}").stat().st_size
            ]
            for index, session_id in enumerate(IDS):
                if totals[index] is None:
                    assert session_id in caplog.text
            await store.stop()
            shutil.rmtree(folder)
    assert num_refused > 20


async def test_a_refused_session_may_be_closed_and_begun_anew_and_stays_refused_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)
    _, end = (await lived(tmp_path))[-1]
    path = tmp_path / "journal.00000001"
    record_bytes = 130  # of the last record, some before the ids and the tail
    damage(path, end - 200, bytes(record_bytes // 2))
    store = store_at(tmp_path)
    house = House(store=store)
    before = [await total(house, session_id) for session_id in IDS]
    assert before.count(None) == 1
    refused = IDS[before.index(None)]
    await store._checkpoint.store()  # into the database, and no word is lost on the way
    await store.stop()
    caplog.clear()
    again = store_at(tmp_path)
    house = House(store=again)
    assert "damaged in its entry" not in caplog.text
    assert [await total(house, session_id) for session_id in IDS] == before
    page = await again.page(None, 10, None, 0)
    assert (len(page.sessions), page.num_unreadable) == (2, 1)
    with pytest.raises(RecordUnreadable):
        await house.sessions.open("sum", session_id=refused)
    await house.sessions.close(refused)
    with pytest.raises(SessionClosed):
        await house.sessions.find(refused)
    await house.sessions.open("sum", session_id=refused)
    assert await total(house, refused) == 0


@pytest.mark.parametrize("size", [4096, 9000])
async def test_a_zeroed_page_loses_names_so_the_folder_is_refused_unless_told(
    size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = await lived(tmp_path, num_rounds=60)
    path = tmp_path / "journal.00000001"
    start = rounds[5][0]
    damage(path, start - 10, bytes(size))
    with pytest.raises(StateStoreUnavailable, match=r"journal\.00000001 is damaged from byte .*recover=yes"):
        store_at(tmp_path)
    house = House(store=store_at(tmp_path, recovers=True))
    assert [await total(house, session_id) for session_id in IDS] == [60, 60, 60]  # their newest stand behind it
    assert "may be older than acknowledged" in caplog.text


async def test_a_block_written_twice_is_damage(tmp_path: Path) -> None:
    rounds = await lived(tmp_path, num_rounds=60)
    path = tmp_path / "journal.00000001"
    whole = path.read_bytes()
    assert rounds[-1][1] > 3 * 4096
    damage(path, 4096 * 2, whole[4096 : 4096 * 2])
    with pytest.raises(StateStoreUnavailable, match="is damaged from byte"):
        store_at(tmp_path)


@pytest.mark.parametrize("field", ["kind", "number", "ids bytes", "bytes behind"])
async def test_a_size_of_any_kind_that_is_damaged_is_known_from_the_other_end(field: str, tmp_path: Path) -> None:
    offset, num_bytes = {"kind": (4, 1), "number": (5, 4), "ids bytes": (9, 4), "bytes behind": (13, 8)}[field]
    assert HEAD.size == 29
    start, _ = (await lived(tmp_path))[4]
    damage(tmp_path / "journal.00000001", start + offset, b"\xff" * num_bytes)
    house = House(store=store_at(tmp_path))
    assert [await total(house, session_id) for session_id in IDS] == [10, 10, 10]


async def test_a_segment_cut_short_before_another_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(store=store_at(tmp_path))
    for session_id in IDS:
        await house.sessions.open("sum", session_id=session_id)
    start, _ = await stepped_together(house, 1)
    journal = house.store._journal  # type: ignore[attr-defined]
    with journal.locked():
        journal.rotate()
    path = tmp_path / "journal.00000001"
    with path.open("r+b") as file:
        file.truncate(start)
    with pytest.raises(StateStoreUnavailable, match="is damaged from byte"):
        store_at(tmp_path)
    # Unless it was a power cut: nothing says that this had been on the disk.
    restart_machine(monkeypatch)
    assert await total(House(store=store_at(tmp_path)), IDS[0]) == 0


async def test_damage_to_what_was_synced_is_told_after_the_machine_was_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(store=store_at(tmp_path))
    for session_id in IDS:
        await house.sessions.open("sum", session_id=session_id)
    first, _ = await stepped_together(house, 1)
    house.store._journal.begin_sync()()  # type: ignore[attr-defined]
    later, _ = await stepped_together(house, 1)
    await stepped_together(house, 1)
    path = tmp_path / "journal.00000001"
    whole = path.read_bytes()
    restart_machine(monkeypatch)
    damage(path, first + 100, flipped(path, first + 100))
    assert await total(House(store=store_at(tmp_path)), IDS[0]) == 3
    path.write_bytes(whole)
    damage(path, later + 100, flipped(path, later + 100))
    restart_machine(monkeypatch)  # this may never have reached the disk: a beginning is left
    assert await total(House(store=store_at(tmp_path)), IDS[0]) == 1


async def test_what_another_process_wrote_and_is_damaged_is_not_overwritten(tmp_path: Path) -> None:
    one, other = store_at(tmp_path), store_at(tmp_path)
    house, second = House(store=one), House(store=other)
    for session_id in IDS:
        await house.sessions.open("sum", session_id=session_id)
    start, end = await stepped_together(house, 1)
    damage(tmp_path / "journal.00000001", end - 200, bytes(40))
    totals = [await total(second, session_id) for session_id in IDS]
    assert totals.count(None) == 1
    assert totals.count(1) == 2
    assert other._journal.current.end > end > start
    # What it wrote since is read by the first.
    assert await total(house, IDS[totals.index(1)]) == 1


async def test_what_another_process_wrote_and_has_no_name_left_stops_the_store(tmp_path: Path) -> None:
    one, other = store_at(tmp_path), store_at(tmp_path)
    house, second = House(store=one), House(store=other)
    for session_id in IDS:
        await house.sessions.open("sum", session_id=session_id)
    start, end = await stepped_together(house, 1)
    damage(tmp_path / "journal.00000001", start, bytes(end - start))
    for _ in range(2):
        with pytest.raises(StateStoreUnavailable, match="is damaged from byte"):
            await second.sessions.find(IDS[0])
    assert await total(house, IDS[0]) == 1


def without_journal(folder: Path) -> None:
    for path in folder.glob("journal.0*"):
        path.unlink()


def without_the_newest(folder: Path) -> None:
    sorted(folder.glob("journal.0*"))[0].unlink()


@pytest.mark.parametrize("is_stored", [False, True])
@pytest.mark.parametrize("lose", [without_journal, without_the_newest])
async def test_a_folder_without_a_segment_that_the_database_knows_is_refused_unless_told(
    lose: Callable[[Path], None],
    is_stored: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)
    store = store_at(tmp_path)
    house = House(store=store)
    await house.sessions.open("sum", session_id="a")
    assert house.sessions.use("a") is not None
    if is_stored:
        await store._checkpoint.store()
    await house.ledger.step(await house.sessions.find("a"), column(1))
    await store.stop()
    lose(tmp_path)
    with pytest.raises(StateStoreUnavailable, match=r"journal\.0000000[12] is missing.*recover=yes"):
        store_at(tmp_path)
    again = House(store=store_at(tmp_path, recovers=True))
    assert "is missing" in caplog.text
    if is_stored:
        assert await total(again, "a") == 0
    else:
        with pytest.raises(UnknownSession):
            await again.sessions.find("a")


async def test_a_journal_of_another_time_than_the_database_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)
    folder, old = tmp_path / "now", tmp_path / "old"
    store = store_at(folder)
    house = House(store=store)
    await house.sessions.open("sum", session_id="a")
    for turn in range(3):
        if turn == 1:
            shutil.copytree(folder, old)
        await house.ledger.step(await house.sessions.find("a"), column(1))
        await store._checkpoint.store()
    await store.stop()
    for database, journal in ((folder, old), (old, folder)):
        mixed = tmp_path / f"{database.name}-{journal.name}"
        shutil.copytree(journal, mixed)
        shutil.copy(database / "data.mdb", mixed / "data.mdb")
        with pytest.raises(StateStoreUnavailable, match="is missing"):
            store_at(mixed)
    assert await total(House(store=store_at(folder)), "a") == 3


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_is_damaged_no_session_is_older_than_acknowledged_without_a_word(
    seed: int, tmp_path: Path
) -> None:
    """Bits, bytes, runs of bytes, pages, a file cut short: refused by name, or altogether, or whole."""
    generator = np.random.default_rng(seed)
    folder = tmp_path / "folder"
    await lived(folder, num_rounds=30)
    path = folder / "journal.00000001"
    whole = path.read_bytes()
    for turn in range(10):
        content = bytearray(whole)
        for _ in range(int(generator.integers(1, 3))):
            last = len(content)
            at = int(generator.integers(16, max(last, 17)))
            kind = generator.integers(5)
            num_bytes = (1, int(generator.integers(1, 40)), int(generator.integers(1, 600)), 4096, last)[kind]
            stop = min(at + num_bytes, last)
            content[at:stop] = (
                bytes([content[at] ^ 1 << int(generator.integers(8))])
                if kind == 0 and at < last
                else bytes(stop - at)
                if kind == 3
                else b""
                if kind == 4
                else generator.bytes(stop - at)
            )
        copy = tmp_path / f"{turn}"
        shutil.copytree(folder, copy)
        (copy / "journal.00000001").write_bytes(content)
        try:
            store = store_at(copy)
        except StateStoreUnavailable:
            continue
        house = House(store=store)
        for session_id in IDS:
            assert await total(house, session_id) in (30, None), (seed, turn)
        await store.stop()


async def test_an_entry_of_the_release_before_is_read_without_a_tail(tmp_path: Path) -> None:
    """As that release wrote it: head, ids, records; the checksum over segment, place, kind, number, ids and records."""
    ids = np.array([3, 2], "<u4").tobytes() + b"a\nb"
    body = ids + b"onetw"
    place = struct.pack("<QQBI", 1, 16, 1, 2)
    checksum = xxhash.xxh3_64_intdigest(place + body)
    entry = struct.pack("<4sBIIQQ", b"ostj", 1, 2, len(ids), 5, checksum) + body
    (tmp_path / "journal.00000001").write_bytes(struct.pack("<8sQ", b"ostinatj", 1) + entry)
    journal = Journal(tmp_path, lambda: None, lambda _: None)
    assert [journal.read("a"), journal.read("b")] == [b"one", b"tw"]


async def test_the_release_before_reads_an_entry_as_it_is_written_now(tmp_path: Path) -> None:
    """The records stand where its head and ids say, and its checksum is over all that it read."""
    journal = Journal(tmp_path, lambda: None, lambda _: None)
    with journal.locked():
        journal.append(["a", "b"], b"onetw", [3, 2])
    content = (tmp_path / "journal.00000001").read_bytes()[16:]
    magic, kind, number, ids_bytes, records_bytes, checksum = struct.unpack_from("<4sBIIQQ", content)
    body = content[29 : 29 + ids_bytes + records_bytes]
    assert (magic, kind, number) == (b"ostj", 1, 2)
    assert xxhash.xxh3_64_intdigest(struct.pack("<QQBI", 1, 16, kind, number) + body) == checksum
    assert body[8:ids_bytes] == b"a\nb"
    assert body[ids_bytes:].startswith(b"onetw")
