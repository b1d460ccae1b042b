from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import ANY
from ostinato.service.engine.sequence.batching import Company, SequenceWork
from ostinato.service.engine.sequence.scheduler import RunCost, SequenceScheduler
from ostinato.service.errors import Draining, OstinatoError, Overloaded, RunFailed, TooLarge
from ostinato.service.metrics.sequences import SequenceMetrics
from ostinato.service.metrics.series import Metrics
from tests.waiting import PATIENCE_SECONDS


class DoublingRunner:
    """Twice its rows; fails with a work that ``fails``, and has no answer to one that holds NaN."""

    def __init__(self) -> None:
        self.company, self.max_batch_size = Company(ANY, takes_lengths=True), 8
        self.runs: list[list[int]] = []
        self.threads: set[str] = set()
        self.fails: Callable[[SequenceWork], bool] = lambda _: False
        self.gate = threading.Event()
        self.gate.set()

    def run_works(self, works: Sequence[SequenceWork], num_steps: int) -> list[NDArray[Any] | None]:
        self.runs.append([work.num_steps for work in works])
        self.threads.add(threading.current_thread().name)
        assert self.gate.wait(PATIENCE_SECONDS)
        assert num_steps >= max(work.num_steps for work in works)
        if any(self.fails(work) for work in works):
            raise ValueError("a fault of the runner's")
        return [None if np.isnan(work.rows).any() else 2 * work.rows for work in works]


class Desk:
    def __init__(self, seconds: float = 0.0, max_queue_rows: int = 10) -> None:
        self.runner, self.metrics = DoublingRunner(), Metrics()
        self.scheduler = SequenceScheduler(
            self.runner,
            RunCost(seconds, 0.0),
            inline_run_seconds=0.5,
            max_queue_rows=max_queue_rows,
            metrics=SequenceMetrics(self.metrics, "double", "1"),
        )

    def ask(self, *lengths: int, value: float = 1.0) -> list[asyncio.Future[NDArray[Any]]]:
        self.scheduler.admit(len(lengths))
        works = [
            SequenceWork(np.full((length, 1), value, np.float32), (), self.scheduler.new_future()) for length in lengths
        ]
        self.scheduler.submit(works)
        return [work.future for work in works]

    def value(self, series: str) -> float:
        line = next(
            each for each in self.metrics.render().decode().splitlines() if each.startswith(f"ostinato_{series}{{")
        )
        return float(line.split()[-1])


async def outcome(future: asyncio.Future[NDArray[Any]]) -> int | type[BaseException]:
    """How many rows, or the error."""
    try:
        return len(await future)
    except OstinatoError as error:
        return type(error)


async def test_like_lengths_that_arrive_together_run_together() -> None:
    desk = Desk()
    futures = desk.ask(5, 100, 5, 97, 5)
    assert [await outcome(each) for each in futures] == [5, 100, 5, 97, 5]
    assert sorted(map(sorted, desk.runner.runs)) == [[5, 5, 5], [97, 100]]
    assert (desk.value("steps_total"), desk.value("padding_steps_total")) == (212, 3)
    assert desk.scheduler.num_rows == 0


async def test_only_the_sequence_at_fault_fails() -> None:
    desk = Desk()
    desk.runner.fails = lambda work: bool(work.rows[0, 0] == 7)
    futures = [*desk.ask(5, 5), *desk.ask(5, value=7.0), *desk.ask(5)]
    assert [await outcome(each) for each in futures] == [5, 5, RunFailed, 5]
    assert desk.runner.runs == [[5] * 4, [5], [5], [5], [5]]
    assert desk.scheduler.num_rows == 0


async def test_a_sequence_whose_answer_is_not_finite_fails_alone_and_without_another_run() -> None:
    desk = Desk()
    futures = [*desk.ask(5), *desk.ask(5, value=float("nan")), *desk.ask(5)]
    assert [await outcome(each) for each in futures] == [5, RunFailed, 5]
    assert desk.runner.runs == [[5] * 3]
    assert desk.value("run_failures_total") == 1


async def test_a_long_run_is_in_a_thread_and_a_short_one_on_the_event_loop() -> None:
    desk = Desk(seconds=0.01)
    await desk.ask(5)[0]
    assert desk.runner.threads == {threading.current_thread().name}
    await desk.ask(100)[0]
    assert any(name.startswith("ostinato-run") for name in desk.runner.threads)
    desk.scheduler.close()


async def test_what_nobody_waits_for_is_dropped_before_it_begins() -> None:
    desk = Desk(seconds=1.0)
    desk.runner.gate.clear()
    running = desk.ask(5)[0]
    while not desk.runner.runs:
        await asyncio.sleep(0)
    gone, waiting = desk.ask(6, 6)
    gone.cancel()
    running.cancel()
    desk.runner.gate.set()
    assert await outcome(waiting) == 6
    assert desk.runner.runs == [[5], [6]]
    assert desk.value("cancelled_total") == 1
    assert desk.scheduler.num_rows == 0
    desk.scheduler.close()


async def test_more_than_may_wait_is_refused_before_anything_is_taken_in() -> None:
    desk = Desk(max_queue_rows=3)
    with pytest.raises(TooLarge, match="4 sequences in one request"):
        desk.ask(1, 1, 1, 1)
    futures = desk.ask(1, 1)
    with pytest.raises(Overloaded, match="2 of at most 3 sequences"):
        desk.ask(1, 1)
    assert [await outcome(each) for each in futures] == [1, 1]


async def test_a_drain_finishes_what_was_taken_in_and_a_close_fails_it() -> None:
    desk = Desk()
    taken = desk.ask(5)[0]
    desk.scheduler.drain()
    with pytest.raises(Draining):
        desk.ask(5)
    assert await outcome(taken) == 5
    closed = Desk()
    left = closed.ask(5)[0]
    closed.scheduler.close()
    assert await outcome(left) is Draining
    assert closed.scheduler.num_rows == 0
