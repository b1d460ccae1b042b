"""Processes of this machine that make parts: each loads the model once, and ends with the one that started it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from ostinato.errors import CommandError
from ostinato.service.tether import end_with_parent
from ostinato.tools.backfill.asked import Backfill
from ostinato.tools.backfill.part_maker import PartMaker

Done = Callable[[int], None]
"""Called with the number of rows that are done more."""


def usable_cores() -> int:
    """The processors that this process may run on."""
    allowed = getattr(os, "sched_getaffinity", None)  # which Linux has
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def make_parts(asked: Backfill, indices: Sequence[int], num_workers: int, done: Done) -> None:
    """Make parts, in this process where one is enough.

    Raises:
        CommandError: a worker was killed. And whatever ``PartMaker`` does.
    """
    num_workers = min(num_workers, len(indices))
    if num_workers <= 1:
        maker = PartMaker(asked) if indices else None
        for index in indices:
            assert maker is not None
            maker.make(index, done)
        return
    share = replace(asked, memory_bytes=asked.memory_bytes // num_workers)
    context = multiprocessing.get_context("spawn")  # a fork would have onnxruntime's threads only by name
    with ProcessPoolExecutor(num_workers, mp_context=context, initializer=end_with_parent) as pool:
        waiting = [pool.submit(_make, share, index) for index in indices]
        try:
            for each in as_completed(waiting):
                done(each.result())
        except BrokenProcessPool as error:
            raise CommandError(
                "a worker was killed, perhaps for lack of memory: the same command continues after what is done; "
                "--workers and --memory make it take less"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


_makers: dict[Path, PartMaker] = {}
"""In a worker: the one maker, by the folder of its parts. It is made with the first part: what is wrong then comes back
as an error, and not as a pool that broke.
"""


def _make(asked: Backfill, index: int) -> int:
    """In a worker: the rows of the part that it made."""
    if asked.folder not in _makers:
        _makers[asked.folder] = PartMaker(asked)
    _makers[asked.folder].make(index)
    return asked.cuts[index + 1] - asked.cuts[index]
