from __future__ import annotations

import asyncio
import random
from hashlib import sha256

import pytest

from ostinato.service.access.key import Key, Right
from ostinato.service.access.meter import BURST_SECONDS, UNMETERED, Meter, Meters, shared_memory
from ostinato.service.errors import RateLimited, RunFailed, StateStoreUnavailable, UnknownSession


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(name: str, rate: float | None, secret: str = "") -> Key:
    return Key(name, "acme", frozenset({Right.STEP}), sha256(f"{name}{secret}".encode()).digest(), rate)


def take(meter: Meter, num_steps: int) -> int:
    """0 where the steps were let through; else for how many seconds to wait."""
    try:
        meter.take(num_steps)
    except RateLimited as error:
        return error.retry_after_seconds
    return 0


@pytest.mark.parametrize("seed", range(3))
def test_the_rate_is_kept_in_the_long_run_whatever_is_asked_for(seed: int) -> None:
    generator, clock, rate = random.Random(seed), Clock(), 100.0
    meter = Meters(clock=clock).meter_of(key("a", rate))
    began_at, taken, largest = clock.now, 0, 0
    for _ in range(5000):
        asked = generator.choice((1, 3, 40, 700))
        if not take(meter, asked):
            taken, largest = taken + asked, max(largest, asked)
        clock.now += generator.expovariate(50)
    seconds = clock.now - began_at
    assert rate * seconds * 0.98 <= taken <= rate * (seconds + BURST_SECONDS) + largest


def test_who_waits_as_long_as_is_said_is_let_through() -> None:
    clock = Clock()
    meter = Meters(clock=clock).meter_of(key("a", 2.0))
    assert take(meter, 25) == 0  # more than the rate allows in any second, and let through all the same
    wait = take(meter, 1)
    assert wait > 1
    clock.now += wait - 1
    assert take(meter, 1) > 0
    clock.now += 1
    assert take(meter, 1) == 0


def test_what_was_run_counts_though_it_was_not_known_before() -> None:
    clock = Clock()
    meter = Meters(clock=clock).meter_of(key("a", 10.0))
    meter.count(100)
    assert take(meter, 1) == 10


def test_workers_count_together_and_keys_apart() -> None:
    clock, descriptor = Clock(), shared_memory()
    one, other = (Meters(descriptor, clock=clock) for _ in range(2))
    mine, theirs, apart = one.meter_of(key("a", 10.0)), other.meter_of(key("a", 10.0)), other.meter_of(key("b", 10.0))
    mine.count(100)
    assert take(theirs, 1) > 0
    assert take(apart, 1) == 0
    # A worker that is started in the place of another knows what was asked of that one.
    assert take(Meters(descriptor, clock=clock).meter_of(key("a", 10.0)), 1) > 0


def test_more_keys_than_there_are_rows_all_have_a_meter() -> None:
    meters = Meters(clock=Clock())
    for number in range(5000):
        assert take(meters.meter_of(key(f"k{number}", 1e9)), 1) == 0


def test_a_key_without_a_rate_is_not_counted() -> None:
    assert Meters().meter_of(key("a", None)) is UNMETERED
    UNMETERED.take(10**9)
    UNMETERED.take(10**9)


@pytest.mark.parametrize("num_steps", [1, 1000, 10**9, 9 * 10**18])
def test_what_is_refused_is_not_counted(num_steps: int) -> None:
    clock = Clock()
    meter = Meters(clock=clock).meter_of(key("a", 2.0))
    with pytest.raises(UnknownSession), meter.asked(num_steps):
        raise UnknownSession("there is none")
    assert take(meter, 1) == 0


@pytest.mark.parametrize("error", [RunFailed("NaN"), StateStoreUnavailable("away"), RuntimeError("a bug")])
def test_what_has_run_is_counted_whatever_came_of_it(error: Exception) -> None:
    meter = Meters(clock=Clock()).meter_of(key("a", 2.0))
    with pytest.raises(type(error)), meter.asked(1000):
        raise error
    assert take(meter, 1) > 0


def test_what_is_made_counts_as_a_burst_meanwhile_and_as_itself_then() -> None:
    clock = Clock()
    meter = Meters(clock=clock).meter_of(key("a", 50.0))
    made = 0
    with meter.making(100_000, lambda: made):
        assert take(meter, 1) == 1  # no second one is begun now
        made = 20
    clock.now += 0.4
    assert take(meter, 50) == 0
    with pytest.raises(RateLimited), meter.making(100_000, lambda: 0):
        raise AssertionError
    clock.now += 2
    with pytest.raises(asyncio.CancelledError), meter.making(100_000, lambda: 500):
        raise asyncio.CancelledError
    assert take(meter, 1) == 10


def test_what_its_client_gave_up_is_counted() -> None:
    meter = Meters(clock=Clock()).meter_of(key("a", 2.0))
    with pytest.raises(asyncio.CancelledError), meter.asked(1000):
        raise asyncio.CancelledError
    assert take(meter, 1) > 0


def test_a_higher_rate_makes_the_wait_shorter_and_a_new_key_has_none() -> None:
    clock, descriptor = Clock(), shared_memory()
    meters = Meters(descriptor, clock=clock)
    meters.meter_of(key("a", 2.0)).take(1000)
    assert take(Meters(descriptor, clock=clock).meter_of(key("a", 2.0)), 1) == 500
    assert take(meters.meter_of(key("a", 100.0)), 1) == 10
    # The other workers hear of the new rate each at its own time.
    assert take(Meters(descriptor, clock=clock).meter_of(key("a", 100.0)), 1) == 10
    assert take(meters.meter_of(key("a", 2.0, "another")), 1) == 0
