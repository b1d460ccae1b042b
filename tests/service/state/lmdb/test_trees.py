from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.errors import StateStoreUnavailable
from ostinato.service.state.lmdb.database import Database
from ostinato.service.state.lmdb.store import LmdbStore

PAGE_BYTES = 4096


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a database with branch pages, written in several transactions."""
    folder = tmp_path_factory.mktemp("whole")
    database = Database(folder)
    for number in range(4):
        records = [(f"{'s' * 100}{turn:04}", bytes(700)) for turn in range(number, 320, 4)]
        database.put_segment(number, records, -1.0)
    database.close()
    return (folder / "data.mdb").read_bytes()


def refused(folder: Path, content: bytes) -> bool:
    """Whether a database's file is refused; one that is not is walked from end to end."""
    folder.mkdir()
    (folder / "data.mdb").write_bytes(content)
    (folder / "journal.00000005").write_bytes(b"ostinatj" + (5).to_bytes(8, "little"))
    (folder / "journal.00000004").write_bytes(b"ostinatj" + (4).to_bytes(8, "little"))
    try:
        LmdbStore(folder, tombstone_seconds=10, memory_budget=1e6)
    except StateStoreUnavailable as error:
        return "from a backup" in str(error)
    database = Database(folder)
    assert len(database.behind(None, 10_000)) == 320
    database.close()
    return False


def test_a_sound_file_is_read(data: bytes, tmp_path: Path) -> None:
    assert not refused(tmp_path / "sound", data)


def test_a_page_that_is_zeroed_or_anothers_is_refused_and_kills_nobody(data: bytes, tmp_path: Path) -> None:
    """Whichever it is, except those that no tree has, which may hold anything."""
    num_refused = 0
    pages = range(2, len(data) // PAGE_BYTES, 5)
    for page in pages:
        at = slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES)
        other = data[2 * PAGE_BYTES : 3 * PAGE_BYTES] if page > 2 else data[-PAGE_BYTES:]
        for name, content in (("zeros", bytes(PAGE_BYTES)), ("other", other)):
            num_refused += refused(tmp_path / f"{name}-{page}", data[: at.start] + content + data[at.stop :])
    assert 10 < num_refused < 2 * len(pages)
