from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from ostinato.service.metrics.families import HALF_LIFE_SECONDS, Distance, Histogram, distances
from ostinato.service.metrics.series import OPEN_METRICS, Metrics
from tests.service.puppet import Clock


def seen(*values: float, clock: Clock | None = None, spread: float = 1.0) -> Distance:
    distance = Distance(clock or Clock())
    distance.see(len(values), sum(values), sum(value * value for value in values), spread)
    return distance


def test_values_as_in_training_are_at_no_distance() -> None:
    # 50 times -1 and 50 times 1: mean 0, deviation 1.
    assert seen(*[-1.0, 1.0] * 50).read() == 0


def test_values_that_moved_by_two_deviations_are_at_two() -> None:
    assert seen(*[1.0, 3.0] * 50).read() == pytest.approx(2)


def test_values_that_vary_three_times_as_much_are_at_two() -> None:
    assert seen(*[-3.0, 3.0] * 50).read() == pytest.approx(2)


def test_a_move_and_a_spread_are_added_as_sides_of_a_triangle() -> None:
    # Mean 3, deviation 5: 3 and 5 - 1 = 4 make 5.
    assert seen(*[-2.0, 8.0] * 50).read() == pytest.approx(5)


def test_what_did_not_vary_in_training_is_at_no_distance_as_long_as_it_does_not() -> None:
    assert seen(*[0.0] * 100, spread=0.0).read() == 0
    assert seen(*[0.0] * 100).read() == 1, "one that varied and varies no more is not as it was"


def test_too_few_values_tell_nothing() -> None:
    assert seen(*[9.0] * 29).read() == 0
    assert seen(*[9.0] * 30).read() > 0


def test_what_came_a_half_life_ago_counts_half() -> None:
    clock = Clock()
    distance = seen(*[0.0] * 200, clock=clock)
    clock.now += HALF_LIFE_SECONDS
    distance.see(100, 400.0, 1600.0, 1.0)
    weight, total, *_ = distance.numbers()
    assert (weight, total) == (200, 400)


def test_workers_values_are_put_together_before_a_distance_is_taken() -> None:
    family = distances("input_distance", "...", "model")
    # -2 and 2 are both at a distance; together they are values with mean 0 and deviation 2.
    one, other = seen(*[-2.0] * 100).numbers(), seen(*[2.0] * 100).numbers()
    family.load({("m",): [family.over_workers((a, b)) for a, b in zip(one, other, strict=True)]})
    line = family.lines(is_open=False)[-1]
    assert line.startswith('ostinato_input_distance{model="m"} ')
    assert float(line.rpartition(" ")[2]) == pytest.approx(1)
    assert math.isclose(seen(*[2.0] * 100).read(), math.hypot(2, 1))


async def test_a_wait_is_counted_whatever_comes_of_it() -> None:
    histogram = Histogram((1000.0,))
    event = asyncio.Event()
    event.set()
    assert await histogram.observe_wait(event.wait())

    async def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await histogram.observe_wait(fail())
    assert histogram.counts == [2, 0]


def test_what_is_written_is_read_the_same_by_both_parsers() -> None:
    metrics = Metrics()
    hostile = 'a "quoted" \\ name\nof two lines'
    metrics.rejected.labels(reason=hostile).inc(3)
    metrics.steps.labels(model="m", version="1").inc(1e17)
    metrics.process_resident_bytes.labels().set(math.inf)
    metrics.run_seconds.labels(model="m", version="1").observe_all([0.0002, 0.3, 11.0])

    def read(families: Iterable[Metric]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    plain = read(text_string_to_metric_families(metrics.render().decode()))
    as_open = read(open_metrics_families(metrics.render(OPEN_METRICS).decode()))  # type: ignore[no-untyped-call]
    assert plain == as_open
    model = [("model", "m"), ("version", "1")]
    assert plain["ostinato_rejected_total", frozenset({("reason", hostile)})] == 3
    assert plain["ostinato_steps_total", frozenset(model)] == 1e17
    assert plain["ostinato_process_resident_memory_bytes", frozenset()] == math.inf
    assert plain["ostinato_run_seconds_bucket", frozenset([*model, ("le", "0.5")])] == 2
    assert plain["ostinato_run_seconds_bucket", frozenset([*model, ("le", "+Inf")])] == 3
    assert plain["ostinato_run_seconds_sum", frozenset(model)] == pytest.approx(11.3002)
