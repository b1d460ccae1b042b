"""Sessions of the puppet, whose output, the sum so far, its manifest takes for a forecast of the next input."""

from __future__ import annotations

from typing import Any

from ostinato.service.metrics.drift import SAMPLE_SECONDS
from tests.service.puppet import Clock, House, column


def told(house: House) -> tuple[float, float, float]:
    """Pairs, and the errors of the forecast and of persistence."""
    labels = {"model": "sum", "version": "1", "feature": "x"}
    metrics = house.metrics
    families: list[Any] = [metrics.forecast_pairs, metrics.forecast_error, metrics.persistence_error]
    pairs, error, persistence = (family.labels(**labels).value for family in families)
    return pairs, error, persistence


async def test_the_last_forecast_is_compared_with_the_value_that_comes_and_so_is_the_last_value() -> None:
    house = House(engine_clock=Clock())
    session = await house.sessions.open("sum")
    assert told(house) == (0, 0, 0)
    await house.ledger.step(session, column(1))
    assert told(house) == (0, 0, 0), "of the first there was no forecast"
    # The sum was 1, and so was the last value: 3 comes.
    await house.ledger.step(session, column(3))
    assert told(house) == (1, 2, 2)


async def test_within_a_chunk_each_step_is_compared_with_the_one_before() -> None:
    house = House(engine_clock=Clock())
    session = await house.sessions.open("sum")
    # Sums 1, 3, 6 beside 2, 3, 4; and the values before, 1, 2, 3.
    await house.ledger.step(session, column(1, 2, 3, 4))
    assert told(house) == (3, 1 + 0 + 2, 1 + 1 + 1)


async def test_a_session_that_took_steps_unseen_is_not_compared_by_what_was_seen_before() -> None:
    clock = Clock()
    house = House(engine_clock=clock)
    session, other = await house.sessions.open("sum"), await house.sessions.open("sum")
    await house.ledger.step(session, column(1))
    await house.ledger.step(session, column(1))  # it is followed, and no further
    assert told(house) == (1, 0, 0)
    await house.ledger.step(session, column(5))  # not looked at
    clock.now += 10 * SAMPLE_SECONDS
    await house.ledger.step(session, column(7))
    assert told(house) == (1, 0, 0)
    clock.now += 10 * SAMPLE_SECONDS
    await house.ledger.step(other, column(1))
    assert told(house) == (1, 0, 0)


async def test_a_session_in_the_slot_of_another_is_not_compared_with_that_ones_values() -> None:
    clock = Clock()
    house = House(engine_clock=clock)
    third = await house.sessions.open("sum")
    await house.ledger.step(third, column(4))
    clock.now += 10 * SAMPLE_SECONDS
    first = await house.sessions.open("sum", session_id="first")
    await house.ledger.step(first, column(9))
    await house.sessions.close("first")
    house.clock.now += 1
    second = await house.sessions.fork(third)  # which has as many steps
    assert (second.slot, second.steps) == (first.slot, 1)
    clock.now += 10 * SAMPLE_SECONDS
    await house.ledger.step(second, column(1))
    assert told(house) == (0, 0, 0)


async def test_what_a_forecast_feeds_itself_is_no_input() -> None:
    house = House(engine_clock=Clock())
    slot = house.engine.take_slot()
    house.engine.admit(1)
    await house.engine.run(slot, column(1, 2, 3))
    house.engine.give_back(slot)
    house.engine.leave(1)
    assert told(house) == (0, 0, 0)
