from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ostinato.service.errors import StateStoreUnavailable
from ostinato.service.state.lmdb import checkpoint, journal
from ostinato.service.state.lmdb.backup import back_up
from ostinato.service.state.lmdb.store import LmdbStore
from tests.service.puppet import Clock, House, column


def store_at(folder: Path, **settings: Any) -> LmdbStore:
    return LmdbStore(folder, **{"tombstone_seconds": 10, "memory_budget": 1e6, "clock": Clock(), **settings})


class Load:
    """Steps sessions again and again, each by 1, 2, 3, ..., and knows how many were answered."""

    def __init__(self, house: House, num_sessions: int) -> None:
        self._house = house
        self.answered = {f"s{number}": 0 for number in range(num_sessions)}
        self.is_over = False

    async def run(self, session_id: str) -> None:
        session = await self._house.sessions.open("sum", session_id=session_id)
        while not self.is_over:
            value = float(self.answered[session_id] + 1)
            await self._house.ledger.step(session, column(value), seq=session.steps)
            self.answered[session_id] += 1

    async def keep_upkeep(self, store: LmdbStore) -> None:
        while not self.is_over:
            await store._checkpoint.store()
            await asyncio.sleep(0)


async def test_a_copy_under_load_has_every_step_answered_before_and_goes_on_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While segments end, go to the database, and their files become others'."""
    monkeypatch.setattr(checkpoint, "SEGMENT_SECONDS", 0)
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 100_000)
    store = store_at(tmp_path / "state")
    load = Load(House(store=store), 6)
    tasks = [asyncio.create_task(load.run(session_id)) for session_id in load.answered]
    tasks.append(asyncio.create_task(load.keep_upkeep(store)))
    while min(load.answered.values()) < 5:
        await asyncio.sleep(0)
    copies = []
    for number in range(4):
        before = dict(load.answered)
        target = tmp_path / "backups" / f"{number}"
        made = await asyncio.to_thread(back_up, tmp_path / "state", target)
        copies.append((target, before, dict(load.answered)))
        assert made.num_segments >= 1
        assert made.num_bytes == sum(path.stat().st_size for path in target.iterdir())
    load.is_over = True
    await asyncio.gather(*tasks)
    num_stored = 0
    for target, before, after in copies:
        copy = store_at(target)
        house = House(store=copy)
        for session_id in before:
            session = await house.sessions.find(session_id)
            # One that was on its way may be in it, and not be answered before the copy was done.
            assert before[session_id] <= session.steps <= after[session_id] + 1
            expected = session.steps * (session.steps + 1) / 2 + 0.5
            answer = await house.ledger.step(session, column(0.5), seq=session.steps)
            assert answer.outputs[-1, 0] == expected
        num_stored += len(copy._database.behind(None, 100))
        await copy.stop()
    assert num_stored > 4  # of which some was in the database by then
    await store.stop()


async def test_what_is_copied_is_not_changed_and_served_as_it_was(tmp_path: Path) -> None:
    store = store_at(tmp_path / "state")
    house = House(store=store)
    await house.ledger.step(await house.sessions.open("sum", session_id="a"), column(1, 2))
    made = back_up(tmp_path / "state", tmp_path / "copy")
    assert (made.num_records, made.num_segments) == (0, 1)
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["data.mdb", "journal.00000001"]
    assert {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "copy").iterdir()} == {"0o600"}
    await house.ledger.step(await house.sessions.find("a"), column(4))
    assert (await store_at(tmp_path / "copy").look("a", 0)).steps == 2
    assert (await store.look("a", 0)).steps == 3


def test_what_cannot_be_copied_is_said_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StateStoreUnavailable, match=r"not a folder of sessions; it has no data\.mdb"):
        back_up(tmp_path / "none", tmp_path / "copy")
    store_at(tmp_path / "state")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StateStoreUnavailable, match="it is there already"):
        back_up(tmp_path / "state", tmp_path / "taken")

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ostinato.service.state.lmdb.backup.shutil.copyfile", fails)
    with pytest.raises(StateStoreUnavailable, match="No space left on device"):
        back_up(tmp_path / "state", tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state", "taken"]
    (tmp_path / "state" / "data.mdb").write_bytes(b"")
    with pytest.raises(StateStoreUnavailable, match="damaged"):
        back_up(tmp_path / "state", tmp_path / "copy")
