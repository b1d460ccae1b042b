"""The database alone: what is lost in it is known, though nothing is left to ask for it."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ostinato.service.errors import StateStoreUnavailable
from ostinato.service.state.lmdb.database import DATA_FILE, Database
from ostinato.service.state.lmdb.segment import Segment
from ostinato.service.state.schemas import EXPIRES_AT, FROZEN, names_of, version_of
from tests.service.puppet import House, column
from tests.service.state.lmdb.test_salvage import store_at, total

IDS = [f"station-{number:03}" for number in range(40)]


async def stored(folder: Path) -> bytearray:
    """Sessions of one step each, all in the database; its file."""
    store = store_at(folder)
    house = House(store=store)
    for session_id in IDS:
        await house.sessions.open("sum", session_id=session_id)
        await house.ledger.step(await house.sessions.find(session_id), column(1))
    with store._journal.locked():
        store._journal.rotate()
    await store._checkpoint.store()
    await store.stop()
    return bytearray((folder / DATA_FILE).read_bytes())


@pytest.mark.parametrize(("at", "bit"), [(0, 6), (8, 1), (10, 0), (10, 6)])
async def test_a_flipped_bit_in_an_id_is_no_session_lost_without_a_word(
    at: int, bit: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether its order is as before or not; a session that is not found would be opened again, from the beginning."""
    content = await stored(tmp_path)
    place = content.find(IDS[20].encode())
    while place >= 0:  # pages that were copied before they were changed have it, too
        content[place + at] ^= 1 << bit
        place = content.find(IDS[20].encode(), place + 1)
    (tmp_path / DATA_FILE).write_bytes(content)
    with pytest.raises(StateStoreUnavailable, match=r"not found by their ids any more.*\?recover=yes"):
        store_at(tmp_path)
    with caplog.at_level(logging.ERROR):
        house = House(store=store_at(tmp_path, recovers=True))
    assert "not found by their ids any more" in caplog.text
    assert await total(house, IDS[0]) == 1


async def test_a_session_whose_damaged_time_says_that_it_ended_long_ago_stays(tmp_path: Path) -> None:
    """It is refused until somebody closes it: no sweep takes it for one whose time has come."""
    await stored(tmp_path)
    database = Database(tmp_path)
    record = database.read(IDS[0]) or b""
    damaged = [bytearray(record) for _ in range(64)]
    for bit, content in enumerate(damaged):
        content[EXPIRES_AT + bit // 8] ^= 1 << bit % 8
    database.put_segment(1, [(IDS[0], record[: FROZEN.itemsize])], 1e300)
    for content in damaged:
        database.put_segment(1, [(IDS[1], bytes(content))], 1e300)
        database.sweep(None, 1e300)
        assert database.read(IDS[1]) == bytes(content)
    assert database.read(IDS[0]) == record[: FROZEN.itemsize]
    assert database.read(IDS[2]) is None  # it is sound, and its time has come
    database.close()


def test_a_folder_is_opened_while_a_thread_of_the_same_process_writes(tmp_path: Path) -> None:
    """As a backup does. Who waited for the writer with Python's lock held would wait for ever."""
    database = Database(tmp_path)
    writes, opened = threading.Event(), threading.Event()

    def write() -> None:
        with database._environment.begin(write=True):
            writes.set()
            assert opened.wait(10)

    with ThreadPoolExecutor() as threads:
        writing = threads.submit(write)
        assert writes.wait(10)
        other = Database(tmp_path)
        opened.set()
        writing.result()
    other.put_segment(1, [("a", b"")], 0.0)
    assert database.read("a") == b""
    other.close()
    database.close()


async def test_every_version_of_a_segment_is_known_though_the_first_of_its_records_is_damaged(tmp_path: Path) -> None:
    await stored(tmp_path)
    database = Database(tmp_path)
    record = database.read(IDS[0]) or b""
    at = FROZEN["steps"].itemsize + 16  # in the head, whose checksum tells
    damaged = record[:at] + bytes([record[at] ^ 1]) + record[at + 1 :]
    assert version_of(damaged) is None
    assert names_of(damaged) == names_of(record) != b""
    other = record.replace(b"sum1", b"mus1", 1)
    assert names_of(other) != names_of(record)
    with database._environment.begin(write=True) as transaction:
        transaction.drop(database._versions, delete=False)
    assert database.versions() == set()
    database.put_segment(7, [("a", damaged), ("b", record), ("c", record), ("d", b"")], 0)
    assert database.versions() == {("sum", "1")}
    database.close()


def test_records_of_a_segment_are_read_at_once_and_none_of_a_file_that_is_another_s_by_now(tmp_path: Path) -> None:
    segment = Segment(tmp_path / "journal", 3, is_new=True)
    records = [bytes([number]) * (100 + number) for number in range(40)]
    segment.append(IDS, b"".join(records), [len(record) for record in records])
    backwards = IDS[::-1]
    assert segment.read_all(backwards) == records[::-1] == [segment.read(session_id) for session_id in backwards]
    other = Segment(tmp_path / "journal", 4, is_new=True)
    assert segment.read_all(IDS) is None
    for each in (segment, other):
        each.close()
