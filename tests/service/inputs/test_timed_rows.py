from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.manifest import GraphFile, Manifest
from ostinato.service.artifact.series_time import NO_TIME
from ostinato.service.errors import InvalidInput, TimeConflict
from ostinato.service.inputs.series_clock import SeriesClock
from ostinato.service.inputs.timed_rows import TimedRows, read_timed
from tests.timed_networks import HOURLY, IRREGULAR, timed_lstm

MOST = 50


def timed(at: Any, rows: Any, time: dict[str, Any] = HOURLY, **options: Any) -> TimedRows:
    """Rows with their times, of the network in ``tests/timed_networks.py``."""
    graph = {"step": GraphFile(file="model.onnx", sha256="0" * 64)}
    manifest = Manifest(graphs=graph, **timed_lstm(time, **options).manifest)
    clock = SeriesClock.of(manifest)
    assert clock is not None
    return read_timed(clock, at, np.array(rows, np.float32), clock.layout(rows, manifest.given), manifest.given)


def test_steps_that_are_missing_before_and_between_are_filled_in() -> None:
    given = timed(["2025-06-01T10:00:00Z", "2025-06-01T12:00:00Z"], [[1.0], [2.0]])
    placed = given.placed(int(given.numbers[0]) - 3, MOST)
    # 10:00 in UTC on a Sunday is noon in Berlin: 7 x 12 modulo 24 is 12, by 8.
    told = [[(7 * hour) % 24 / 8, 7] for hour in range(10, 15)]
    loads = [np.nan, np.nan, 1.0, np.nan, 2.0]
    expected = np.array([[load, *each] for load, each in zip(loads, told, strict=True)], np.float32)
    np.testing.assert_array_equal(placed.rows, expected)
    assert placed.num_filled == 3
    assert placed.positions is not None
    assert placed.positions.tolist() == [2, 4]


def test_without_a_last_step_nothing_is_filled_in_before() -> None:
    given = timed("2025-06-01T10:00:00Z", [[1.0], [2.0]])
    assert given.placed(NO_TIME, MOST).positions is None
    assert given.placed(int(given.numbers[0]) - 1, MOST).num_filled == 0


def test_what_a_calendar_tells_may_be_given_and_is_taken_then() -> None:
    given = timed("2025-06-01T10:00:00Z", [[1.0, 0.25, 3.0]])
    np.testing.assert_array_equal(given.placed(NO_TIME, MOST).rows, np.array([[1.0, 0.25, 3.0]], np.float32))


@pytest.mark.parametrize("behind", [0, 1, 30])
def test_what_does_not_come_after_the_last_step_is_refused(behind: int) -> None:
    given = timed("2025-06-01T10:00:00Z", [[1.0]])
    with pytest.raises(TimeConflict, match="begins at 2025-06-01T12:00:00") as refused:
        given.placed(int(given.numbers[0]) + behind, MOST)
    assert refused.value.last_at == given.clock.text(int(given.numbers[0]) + behind)


def test_a_gap_is_filled_up_to_the_manifests_bound_and_up_to_the_longest_chunk() -> None:
    few = {**HOURLY, "max_fill_steps": 4}
    given = timed("2025-06-01T10:00:00Z", [[1.0]], few)
    last = int(given.numbers[0]) - 1
    assert given.placed(last - 4, MOST).num_filled == 4
    with pytest.raises(TimeConflict, match=r"5 steps of 1 hour are missing .* at most 4 are filled in"):
        given.placed(last - 5, MOST)
    assert given.placed(last - 4, 5).num_filled == 4
    with pytest.raises(TimeConflict, match="a chunk has at most 4"):
        given.placed(last - 4, 4)
    with pytest.raises(TimeConflict, match="takes no missing values"):
        timed("2025-06-01T10:00:00Z", [[1.0, 0.5, 1.0]], missing=False).placed(last - 1, MOST)


def test_a_calendars_missing_number_is_refused_where_the_model_takes_none() -> None:
    with pytest.raises(InvalidInput, match="missing"):
        timed("2025-06-01T03:00:00+02:00", [[1.0]], missing=False)


def test_an_interval_is_the_time_since_the_step_before() -> None:
    times = ["2025-06-01T10:00:00Z", "2025-06-01T10:01:30Z"]
    given = timed(times, [[1.0, 0.5], [2.0, 0.5]], IRREGULAR)
    second = 1_000_000
    rows = given.placed(int(given.numbers[0]) - 45 * second, MOST).rows
    assert rows[:, 2].tolist() == [0.75, 1.5]
    assert np.isnan(given.placed(NO_TIME, MOST).rows[0, 2])
    zero = {"interval": {"feature": "weekday", "first": 0.0}}
    assert timed(times[:1], [[1.0, 0.5]], zero).placed(NO_TIME, MOST).rows[0, 2] == 0
    whole = timed(times[:1], [[1.0, 0.5, 9.0]], IRREGULAR)
    assert whole.placed(NO_TIME, MOST).rows[0, 2] == 9
