from __future__ import annotations

import asyncio

import pytest

from ostinato.service.engine.busy_poll import BusyPoll
from tests.service.puppet import House, column


class Turns:
    """A clock that stands still but when it is asked in a turn of the loop: each is a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


async def test_it_looks_in_every_turn_of_the_loop_until_its_time_is_up_and_then_sleeps() -> None:
    clock = Turns()
    poll = BusyPoll(asyncio.get_running_loop(), 5.0, clock=clock)
    poll.begin()
    for _ in range(20):
        await asyncio.sleep(0)
    # Asked once for the beginning, and then in each turn up to the one in which the time is up.
    assert clock.now == 1 + 5
    assert repr(poll) == "<BusyPoll 5 s>"


async def test_what_comes_meanwhile_has_it_look_on_and_not_twice_a_turn() -> None:
    clock = Turns()
    poll = BusyPoll(asyncio.get_running_loop(), 5.0, clock=clock)
    poll.begin()
    await asyncio.sleep(0)
    poll.begin()
    before = clock.now
    await asyncio.sleep(0)
    assert clock.now == before + 1
    for _ in range(20):
        await asyncio.sleep(0)
    assert clock.now == before + 5


@pytest.mark.parametrize("seconds", [0.0, 0.01])
async def test_steps_are_the_same_whether_a_worker_polls(seconds: float) -> None:
    house = House(busy_poll_seconds=seconds)
    session = await house.sessions.open("sum", session_id="a")
    answers = [await house.ledger.step(session, column(value)) for value in (1.0, 2.0, 3.0)]
    assert [float(answer.outputs[0, 0]) for answer in answers] == [1.0, 3.0, 6.0]
    assert (house.engine._scheduler._busy_poll is None) is (seconds == 0)
    house.engine.close()
