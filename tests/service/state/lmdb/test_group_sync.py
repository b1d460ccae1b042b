from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from ostinato.service.state.lmdb.group_sync import GroupSync


class Disk:
    """Syncs that end when they are let."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.number = 0
        self.begun = asyncio.Event()
        self.gate = threading.Event()
        self.fails = False

    def begin(self) -> Callable[[], None]:
        self.number += 1
        return self.sync

    def sync(self) -> None:
        self.loop.call_soon_threadsafe(self.begun.set)
        assert self.gate.wait(10)
        if self.fails:
            raise OSError("no space left on device")


async def waits(sync: GroupSync, number: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(sync.wait()) for _ in range(number)]
    await asyncio.sleep(0)  # they begin
    return tasks


async def test_one_who_leaves_takes_the_sync_from_nobody() -> None:
    disk = Disk()
    first, *others = await waits(GroupSync(disk.begin), 3)
    await disk.begun.wait()
    first.cancel()
    await asyncio.wait([first])
    disk.gate.set()
    await asyncio.gather(*others)
    assert (first.cancelled(), disk.number) == (True, 1)


async def test_those_who_come_while_a_sync_runs_are_served_by_the_next_together() -> None:
    disk = Disk()
    sync = GroupSync(disk.begin)
    early = await waits(sync, 2)
    await disk.begun.wait()
    late = await waits(sync, 3)
    assert disk.number == 1
    disk.gate.set()
    await asyncio.gather(*early, *late)
    assert disk.number == 2


async def test_a_sync_that_fails_is_told_to_all_who_wait_for_it() -> None:
    disk = Disk()
    disk.fails = True
    disk.gate.set()
    told = await asyncio.gather(*(await waits(GroupSync(disk.begin), 2)), return_exceptions=True)
    assert [str(error) for error in told] == ["no space left on device"] * 2


async def test_who_comes_after_a_sync_gets_another() -> None:
    disk = Disk()
    disk.gate.set()
    sync = GroupSync(disk.begin)
    for number in (1, 2):
        await sync.wait()
        assert disk.number == number


@pytest.mark.parametrize("number", [1, 100])
async def test_one_sync_serves_however_many_wait_at_once(number: int) -> None:
    disk = Disk()
    disk.gate.set()
    await asyncio.gather(*(await waits(GroupSync(disk.begin), number)))
    assert disk.number == 1
