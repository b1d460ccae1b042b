from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from ostinato.service.engine.recurrent import scheduler
from ostinato.service.engine.recurrent.batching import Iteration
from ostinato.service.errors import Draining, RunFailed
from tests.service.puppet import Clock, House, column, until


async def run(house: House, *values: float) -> list[float]:
    """One private sequence through the engine, from admission to giving the slot back."""
    house.engine.admit(1)
    slot = house.engine.take_slot()
    outputs = await house.engine.run(slot, column(*values))
    house.engine.give_back(slot)
    return [float(value) for value in outputs[:, 0]]


async def test_work_submitted_together_runs_together() -> None:
    house = House()
    assert await asyncio.gather(*(run(house, value) for value in (1, 2, 3))) == [[1], [2], [3]]
    assert [len(slots) for slots, _ in house.runner.iterations] == [3]


async def test_mixed_lengths_run_with_no_step_computed_twice_or_padded() -> None:
    house = House()
    answers = await asyncio.gather(*(run(house, *[1.0] * length) for length in (1, 3, 11, 6)))
    assert answers == [list(range(1, length + 1)) for length in (1, 3, 11, 6)]
    assert sum(len(slots) * steps for slots, steps in house.runner.iterations) == 1 + 3 + 11 + 6
    assert house.value('ostinato_steps_total{model="sum",version="1"}') == 21


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_newcomer_joins_while_a_long_sequence_runs(in_thread: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "PASS_SECONDS", 0.0)
    house = House(in_thread=in_thread, engine_clock=time.perf_counter)
    long = asyncio.ensure_future(run(house, *[1.0] * 40))
    while not house.runner.iterations:
        await asyncio.sleep(0)
    assert await run(house, 5) == [5]
    assert not long.done()
    assert (await long)[-1] == 40
    house.engine.close()


async def test_a_failing_run_answers_every_waiter() -> None:
    house = House()
    house.runner.fails = lambda _: True
    answers = await asyncio.gather(*(run(house, value) for value in (1, 2, 3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RunFailed] * 3
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 0)


async def test_one_row_that_makes_the_run_fail_leaves_its_batch_mates_unharmed() -> None:
    house = House()
    house.runner.fails = lambda iteration: any((work.inputs == 13).any() for work in iteration.works)
    answers = await asyncio.gather(*(run(house, value) for value in (1, 13, 3)), return_exceptions=True)
    assert answers[0] == [1]
    assert isinstance(answers[1], RunFailed)
    assert answers[2] == [3]


async def test_a_row_that_is_not_finite_fails_alone() -> None:
    house = House()
    answers = await asyncio.gather(*(run(house, value) for value in (1, np.inf, 3)), return_exceptions=True)
    assert (answers[0], answers[2]) == ([1], [3])
    assert isinstance(answers[1], RunFailed)
    assert "not finite" in str(answers[1])


async def test_a_sequence_that_fails_half_way_gives_back_all_its_slots() -> None:
    house = House()

    def fails(iteration: Iteration) -> bool:
        return iteration.works[0].num_done >= 8

    house.runner.fails = fails
    with pytest.raises(RunFailed, match="told to fail"):
        await run(house, *[1.0] * 20)
    assert house.engine.arena.num_used == 0


async def test_a_graph_that_answers_once_a_run_answers_with_its_last_run() -> None:
    house = House()
    house.runner.answers_every_step = False
    answers = await asyncio.gather(*(run(house, *[1.0] * length) for length in (1, 2, 3, 5, 9)))
    assert answers == [[1], [2], [3], [5], [9]]


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_runner_that_breaks_its_word_fails_its_works_and_stops_nobody(in_thread: bool) -> None:
    house = House(in_thread=in_thread)
    house.runner.breaks = True
    answers = await asyncio.gather(*(run(house, value) for value in (1, 2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RunFailed] * 2
    house.runner.breaks = False
    assert await run(house, 4) == [4]
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 0)
    house.engine.close()


async def test_closing_in_the_middle_of_a_run_answers_everyone() -> None:
    house = House(in_thread=True)
    house.runner.gate.clear()
    running = [asyncio.ensure_future(run(house, *[1.0] * 9)) for _ in range(3)]
    await until(lambda: house.runner.is_held)
    threading.Timer(0.05, house.runner.gate.set).start()  # closing waits for the run, and so holds this thread up
    house.engine.close()
    answers = await asyncio.gather(*running, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Draining] * 3
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 0)


async def test_draining_refuses_new_work_and_finishes_the_old() -> None:
    house = House()
    old = asyncio.ensure_future(run(house, *[1.0] * 20))
    await asyncio.sleep(0)
    house.engine.drain()
    with pytest.raises(Draining):
        house.engine.admit(1)
    assert (await old)[-1] == 20


async def test_closing_answers_what_never_ran() -> None:
    house = House()
    waiting = asyncio.ensure_future(run(house, 1))
    await asyncio.sleep(0)
    house.engine.close()
    with pytest.raises(Draining, match="nothing was applied"):
        await waiting


async def test_cancelled_work_never_runs_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "PASS_SECONDS", 0.0)
    house = House(engine_clock=time.perf_counter)  # eight rows fit into a batch; the ninth must wait
    others = [asyncio.ensure_future(run(house, *[1.0] * 20)) for _ in range(8)]
    waiting = asyncio.ensure_future(run(house, 99))
    while not house.runner.iterations:
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [answer[-1] for answer in await asyncio.gather(*others)] == [20] * 8
    assert sum(len(slots) * steps for slots, steps in house.runner.iterations) == 8 * 20
    assert house.value('ostinato_cancelled_total{model="sum",version="1"}') == 1
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 0)


async def test_a_caller_that_goes_away_during_a_run_disturbs_nobody() -> None:
    house = House(in_thread=True)
    house.runner.gate.clear()
    leaver, stayer = asyncio.ensure_future(run(house, 1)), asyncio.ensure_future(run(house, 2))
    await until(lambda: house.runner.is_held)
    leaver.cancel()
    await asyncio.sleep(0)
    assert house.engine.arena.num_used == 2  # the run still holds the leaver's slot
    house.runner.gate.set()
    assert await stayer == [2]
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 0)
    house.engine.close()


async def test_iterations_follow_each_other_until_the_event_loop_is_to_read_again() -> None:
    clock = Clock()
    house = House(engine_clock=clock)

    def takes_two_milliseconds(_: Iteration) -> bool:
        clock.now += 0.002
        return False

    house.runner.fails = takes_two_milliseconds
    running = asyncio.ensure_future(run(house, *[1.0] * 40))  # four steps an iteration
    turns: list[int] = []
    while not running.done():
        await asyncio.sleep(0)
        turns.append(len(house.runner.iterations))
    # Three iterations take 6 ms, which is the first time that 5 ms are over.
    assert sorted(set(turns)) == [0, 3, 6, 9, 10]


async def test_what_waits_runs_before_more_is_admitted_once_the_event_loop_has_read_for_long() -> None:
    clock = Clock(1.0)
    house = House(engine_clock=clock)
    waiting = asyncio.ensure_future(run(house, 1))
    await asyncio.sleep(0)
    clock.now += scheduler.READ_SECONDS
    house.engine.admit(1)
    assert house.runner.iterations == []
    clock.now += 0.001
    house.engine.admit(1)
    assert len(house.runner.iterations) == 1
    house.engine.leave(2)
    assert await waiting == [1]
    assert house.engine.num_rows == 0


async def test_times_are_those_of_the_clock_given() -> None:
    clock = Clock(5.0)
    house = House(engine_clock=clock)

    def takes_a_second(_: Iteration) -> bool:
        clock.now += 1
        return False

    house.runner.fails = takes_a_second
    waiting = asyncio.ensure_future(run(house, 1))
    await asyncio.sleep(0)
    clock.now += 0.25
    await waiting
    assert house.value('ostinato_queue_seconds_sum{model="sum",version="1"}') == 0.25
    assert house.value('ostinato_run_seconds_sum{model="sum",version="1"}') == 1.0
