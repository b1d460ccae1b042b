from __future__ import annotations

import numpy as np
import pytest

from ostinato.service.artifact.calibration import Calibration
from ostinato.service.artifact.distribution import targets_of
from ostinato.service.artifact.tracking import Tracker
from tests.forecast_networks import RATE, Count, calibration, drawn_steps


def tracker() -> Tracker:
    return Tracker(Calibration.model_validate(calibration()), targets_of(("load",), {}))


def histories(number: int, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    readings = np.stack([drawn_steps(seed, num_steps)[:, :1] for seed in range(number)]).astype(np.float64)
    points = np.nan_to_num(readings) + np.random.default_rng(0).normal(0, 0.3, readings.shape)
    return readings, points


def test_chunks_and_company_change_nothing() -> None:
    made, (readings, points) = tracker(), histories(5, 60)
    limited = np.repeat(readings, 2, axis=2)
    begin = np.repeat(made.initial()[None], 5, axis=0)
    whole = made.track(begin, readings, limited, points)
    for row in range(5):
        kept, anomaly, start = made.initial()[None], [], 0
        for length in (1, 7, 2, 30, 20):
            part = slice(start, start + length)
            tracked = made.track(
                kept, readings[row : row + 1, part], limited[row : row + 1, part], points[row : row + 1, part]
            )
            kept, start = tracked.after, start + length
            anomaly.append(tracked.anomaly[0])
        assert kept[0].tobytes() == whole.after[row].tobytes()
        assert np.concatenate(anomaly).tobytes() == whole.anomaly[row].tobytes()


def test_it_is_what_plain_python_counts() -> None:
    made, (readings, points) = tracker(), histories(3, 80)
    for row in range(3):
        count = Count()
        expected = [
            count.step(reading, point)
            for reading, point in zip(readings[row, :, 0].tolist(), points[row, :, 0].tolist(), strict=True)
        ]
        part = slice(row, row + 1)
        limited = np.repeat(readings[part], 2, axis=2)
        tracked = made.track(made.initial()[None], readings[part], limited, points[part])
        assert [None if np.isnan(value) else value for value in tracked.anomaly[0].tolist()] == expected
        rising = [[max(numbers[: place + 1]) for place in range(4)] for numbers in count.tracked]
        assert made.numbers_of(tracked.after[0])[:, 0].tolist() == rising


def test_a_missing_reading_changes_no_number_that_is_tracked() -> None:
    made = tracker()
    missing = np.full((1, 3, 1), np.nan)
    tracked = made.track(made.initial()[None], missing, np.repeat(missing, 2, axis=2), np.ones((1, 3, 1)))
    assert np.isnan(tracked.anomaly).all()
    assert made.numbers_of(tracked.after[0]).tolist() == made.numbers_of(made.initial()).tolist()


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_each_number_comes_to_hold_its_share_of_the_scores(scale: float) -> None:
    made, generator = tracker(), np.random.default_rng(3)
    num_steps = 20_000
    readings = scale * np.abs(generator.normal(size=(1, num_steps, 1)))
    tracked = made.track(made.initial()[None], readings, np.zeros((1, num_steps, 2)), np.zeros((1, num_steps, 1)))
    share = tracked.within[0, 1000:, 0].mean(axis=0)
    # By the telescoping sum of the steps' logarithms the share is off by no more than the numbers' range in the end.
    most = np.log(1024 * 256) / (RATE * (num_steps - 1000))
    assert np.abs(share - [0.2, 0.5, 0.8, 0.95]).max() < most
    places = tracked.anomaly[0, 1000:]
    assert abs(np.mean(places <= 0.65) - 0.65) < 0.03


def test_a_forecast_that_is_always_met_and_then_missed_is_followed_from_the_least() -> None:
    made = tracker()
    still = np.zeros((1, 3000, 1))
    kept = made.track(made.initial()[None], still, np.zeros((1, 3000, 2)), np.zeros((1, 3000, 1))).after
    assert made.numbers_of(kept[0])[0, 0].tolist() == [0.25 / 256, 0.5 / 256, 1 / 256, 2 / 256]
    moved = np.full((1, 1, 1), 5.0)
    tracked = made.track(kept, moved, np.zeros((1, 1, 2)), np.zeros((1, 1, 1)))
    assert tracked.anomaly[0, 0] > 0.999


def test_a_number_that_comes_too_often_in_a_row_is_an_anomaly_however_well_it_was_forecast() -> None:
    # Most repeats 2 and level 0.95: the r-th in a row is at 1 - 0.05 (2 / r)^2. A missing reading is passed over.
    made, nan = tracker(), np.nan
    readings = np.array([7.0, 7.0, 7.0, nan, 7.0, 7.5, 7.5, 7.0, nan, 7.0, 7.0, 7.0])
    expected = {2: 1 - 0.05 * 4 / 9, 4: 1 - 0.05 * 4 / 16, 10: 1 - 0.05 * 4 / 9, 11: 1 - 0.05 * 4 / 16}
    given = readings[None, :, None]
    # Each is forecast as it comes, so nothing else is surprising.
    points = np.append(readings[1:], nan)[None, :, None]
    limited = np.zeros((1, len(readings), 2))
    whole = made.track(made.initial()[None], given, limited, points)
    assert np.flatnonzero(whole.anomaly[0] > 0.5).tolist() == list(expected)
    assert whole.anomaly[0, list(expected)].tolist() == list(expected.values())
    assert np.flatnonzero(whole.flags[0, :, 0]).tolist() == [2, 3, 4, 10, 11]
    kept = made.initial()[None]
    for step in range(len(readings)):
        part = slice(step, step + 1)
        told = made.track(kept, given[:, part], limited[:, part], points[:, part])
        kept = told.after
        assert told.anomaly.tobytes() == whole.anomaly[:, part].tobytes()
    assert kept.tobytes() == whole.after.tobytes()


def test_nothing_is_kept_of_repeats_where_they_are_not_looked_at() -> None:
    members = calibration()
    (target,) = members["targets"]
    plain = Tracker(
        Calibration.model_validate({**members, "targets": [{**target, "most_repeats": 0}]}), targets_of(("load",), {})
    )
    assert plain.width == tracker().width - 2
    still = np.ones((1, 50, 1))
    assert plain.track(plain.initial()[None], still, np.zeros((1, 50, 2)), still).anomaly[0, 1:].max() == 0.0
