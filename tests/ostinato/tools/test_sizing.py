from __future__ import annotations

import math

import pytest

from ostinato.tools.sizing import (
    GIB,
    KEY_BYTES,
    Demand,
    Margins,
    SessionBytes,
    cost_of,
    disk_bytes_of,
    read_count,
    read_rate,
    size_of,
)

MODEL = SessionBytes(record=1000 - KEY_BYTES, memory=1000)


def test_replicas_are_as_many_as_the_rate_takes_and_the_spare_ones() -> None:
    # 10,000 steps/s over 500 a worker that is half of 1,000: 20.
    size = size_of(Demand(1000, 10_000.0), MODEL, "redis", 1000.0, Margins(busy=0.5, spare=2))
    assert size.replicas == 22
    assert size.changes_per_second == 10_000.0
    # A step more takes one more.
    assert size_of(Demand(1000, 10_001.0), MODEL, "redis", 1000.0, Margins(busy=0.5, spare=2)).replicas == 23


def test_a_session_that_no_memory_holds_is_looked_up() -> None:
    # A worker and a spare one hold 2 x 1,000 of 8,000 sessions.
    limits = Margins(busy=1.0, spare=1, memory_budget=1_000_000)
    size = size_of(Demand(8000, 100.0), MODEL, "redis", 100.0, limits)
    assert size.resident == 0.25
    assert size.reads_per_second == 75.0


def test_shards_are_as_many_as_memory_or_rate_asks_for_whichever_is_more() -> None:
    many = size_of(Demand(10_000_000, 1.0), MODEL, "redis", 100.0, Margins(shard_bytes=4_000_000_000))
    assert (many.shards, many.redis_servers) == (3, 6)  # 10 GB over 4 GB each, twice
    assert many.redis_bytes == 2 * 10_000_000_000
    limits = Margins(busy=0.5, shard_changes=1000.0, memory_budget=GIB)
    fast = size_of(Demand(100, 5000.0), MODEL, "redis", 100.0, limits)
    assert fast.shards == 10  # all are in memory: 5,000 changes over 500 each


def test_a_hundred_million_sessions_a_step_a_minute() -> None:
    size = size_of(Demand(100_000_000, 100_000_000 / 60), SessionBytes(1125, 1428), "redis", 25_000.0, Margins())
    assert size.changes_per_second == pytest.approx(1.667e6, rel=1e-3)
    assert size.replicas == math.ceil(1_666_666.7 / 12_500) + 1
    assert size.redis_bytes == 100_000_000 * (1125 + KEY_BYTES) * 2


def test_files_are_on_one_machine_and_memory_is_not_a_cache() -> None:
    files = size_of(Demand(1000, 100.0), MODEL, "lmdb", 100.0, Margins(busy=1.0))
    assert (files.replicas, files.shards, files.redis_servers) == (1, 0, 0)
    assert files.disk_bytes >= 1000 * MODEL.record
    everything = size_of(Demand(10**7, 100.0), MODEL, "memory", 100.0, Margins(busy=1.0, memory_budget=1))
    assert everything.resident == 1.0
    assert everything.replica_bytes > 10**10


def test_a_large_record_has_pages_of_its_own() -> None:
    assert disk_bytes_of(4000) >= 4096
    assert 2 * 4096 <= disk_bytes_of(5000) < 3 * 4096


def test_a_million_steps_cost_their_cores_and_their_memory() -> None:
    demand = Demand(1000, 1000.0)
    size = size_of(demand, MODEL, "redis", 1000.0, Margins(busy=1.0, spare=0, copies=1))
    assert (size.replicas, size.redis_servers) == (1, 1)
    assert size.core_seconds == pytest.approx(2000.0)  # two cores for 1,000 s
    assert cost_of(size, demand, core_hour=3.6, gib_hour=0.0) == pytest.approx(2.0)
    with_memory = cost_of(size, demand, core_hour=0.0, gib_hour=3.6)
    assert with_memory == pytest.approx(size.memory_bytes / GIB)


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("10M", 10_000_000), ("2.5k", 2500), ("1_000", 1000), ("1,000,000", 1_000_000), ("1b", 10**9)],
)
def test_counts_are_read(text: str, count: int) -> None:
    assert read_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "ten", "1T", "M", "0.1", "1e3 x", "NaN", "inf"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no number of sessions"):
        read_count(text)


@pytest.mark.parametrize(
    ("text", "rate"), [("4/s", 4.0), ("1/min", 1 / 60), ("0.5/h", 0.5 / 3600), ("3 / day", 3 / 86_400), ("2", 2.0)]
)
def test_rates_are_read(text: str, rate: float) -> None:
    assert read_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "1/fortnight", "often", "1/", "nan/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no rate"):
        read_rate(text)
