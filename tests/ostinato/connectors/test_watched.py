"""Watched readings: what columns say of chunks comes to the readings that it is about."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ostinato.connectors.watched import WatchedReadings, watched_of

BOUNDS = np.array([0, 2, 3, 5], np.int32)


def table(anomaly: list[Any], events: list[Any], seqs: list[int | None]) -> pa.Table:
    return pa.table({"seq": seqs, "anomaly": anomaly, "events": events})


def test_chunks_come_to_their_rows_around_one_that_failed() -> None:
    began, ended = (
        {"event": "level_began", "step": 12, "value": 3.0, "above": 2.0},
        {"event": "level_ended", "step": 42},
    )
    told = table([[None, 0.5], None, [0.25, 0.75]], [[began], None, [ended]], [10, None, 40])
    watched = watched_of(told, BOUNDS)
    assert watched is not None
    assert np.array_equal(watched.anomaly, [np.nan, 0.5, np.nan, 0.25, 0.75], equal_nan=True)
    assert watched.events == {1: [began], 4: [ended]}
    batch = WatchedReadings.unknown(6)
    batch.put(np.array([5, 0, 1, 4, 2]), watched)
    assert (batch.members(0), batch.members(5)) == ({"anomaly": 0.5, "events": [began]}, {"anomaly": None})
    assert batch.part(2, 5).events == {0: [ended]}


def test_rows_of_one_step_may_be_plain_numbers() -> None:
    watched = watched_of(
        table([0.5, None], [None, [{"event": "anomaly_ended", "step": 1}]], [3, 0]), np.array([0, 1, 2])
    )
    assert watched is not None
    assert (watched.members(0), watched.members(1)["events"][0]["step"]) == ({"anomaly": 0.5}, 1)


def test_a_model_that_is_not_calibrated_says_nothing() -> None:
    assert watched_of(pa.table({"seq": [1]}), np.array([0, 1])) is None


def test_what_is_about_other_chunks_is_refused() -> None:
    with pytest.raises(ValueError, match="step 13 in a chunk behind step 10"):
        watched_of(table([[0.5, 0.5], None, None], [[{"event": "e", "step": 13}], None, None], [10, 1, 1]), BOUNDS)
    with pytest.raises(ValueError, match="broadcast"):
        watched_of(table([[0.5] * 3, None, None], [None] * 3, [1, 1, 1]), BOUNDS)
