from __future__ import annotations

import struct
from pathlib import Path

import lmdb
import pytest

from ostinato.service.errors import StateStoreUnavailable
from ostinato.service.state.lmdb.database import Database
from ostinato.service.state.lmdb.meta_pages import DatabaseDamaged, check_file
from ostinato.service.state.lmdb.store import LmdbStore

PAGE_BYTES = 4096
LAST_PAGE_AT = 16 + 8 + 16 + 2 * 48
TRANSACTION_AT = LAST_PAGE_AT + 8


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A database with some hundred records in it."""
    database = Database(tmp_path)
    for number in range(3):
        database.put_segment(number, [(f"s{n:03}", bytes(1000)) for n in range(100 * number, 100 * number + 100)], -1.0)
    database.close()
    return tmp_path / "data.mdb"


def put(path: Path, at: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def newest_meta(path: Path) -> int:
    """Where the meta page of the last transaction is."""
    content = path.read_bytes()
    first, second = (struct.unpack_from("<Q", content, at + TRANSACTION_AT)[0] for at in (0, PAGE_BYTES))
    return 0 if first > second else PAGE_BYTES


def test_a_sound_file_and_one_that_is_not_there_are_sound(data: Path) -> None:
    check_file(data)
    check_file(data.with_name("none"))
    with lmdb.open(str(data.parent), max_dbs=3) as environment:
        assert (
            environment.info()["last_pgno"]
            == struct.unpack_from("<Q", data.read_bytes(), newest_meta(data) + LAST_PAGE_AT)[0]
        )


@pytest.mark.parametrize("num_pages", [0, 0.1, 1, 1.5, 2, 3, 40])
def test_a_file_cut_short_is_refused_with_a_sentence_and_kills_nobody(num_pages: float, data: Path) -> None:
    with data.open("r+b") as file:
        file.truncate(int(num_pages * PAGE_BYTES))
    with pytest.raises(StateStoreUnavailable, match=r"data\.mdb is damaged: it is cut short.*from a backup"):
        LmdbStore(data.parent, tombstone_seconds=10, memory_budget=1e6)


def test_a_file_short_of_its_very_last_page_is_cut_short(data: Path) -> None:
    needed = (struct.unpack_from("<Q", data.read_bytes(), newest_meta(data) + LAST_PAGE_AT)[0] + 1) * PAGE_BYTES
    for num_bytes, is_sound in ((needed, True), (needed - 1, False)):
        with data.open("r+b") as file:
            file.truncate(num_bytes)
        if is_sound:
            check_file(data)
        else:
            with pytest.raises(
                DatabaseDamaged, match=f"{num_bytes} bytes, of which its last transaction needs {needed}"
            ):
                check_file(data)


@pytest.mark.parametrize(
    ("offset", "content", "said"),
    [
        (16, b"\0", "none of an LMDB file"),
        (20, b"\x02", "none of an LMDB file of data version 1"),
        (40, struct.pack("<I", 4097), "a page has 4097 bytes"),
        (40, struct.pack("<I", 1 << 31), "a page has 2147483648 bytes"),
        (LAST_PAGE_AT, struct.pack("<Q", 1 << 40), "cut short"),
        (LAST_PAGE_AT, struct.pack("<Q", 1), "a page that it does not have"),
        (88 + 40, struct.pack("<Q", 1 << 30), "a page that it does not have"),
    ],
)
def test_a_meta_page_that_is_damaged_is_refused(offset: int, content: bytes, said: str, data: Path) -> None:
    put(data, newest_meta(data) + offset, content)
    with pytest.raises(DatabaseDamaged, match=said):
        check_file(data)
    if offset < 40:
        with pytest.raises(StateStoreUnavailable, match=said):
            LmdbStore(data.parent, tombstone_seconds=10, memory_budget=1e6)
