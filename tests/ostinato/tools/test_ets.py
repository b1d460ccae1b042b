from __future__ import annotations

import numpy as np
from statsforecast.models import AutoETS

from ostinato.tools.ets import ets_points

NAN = float("nan")


def test_it_is_fitted_to_what_was_known_at_the_origin_and_to_nothing_else() -> None:
    random = np.random.default_rng(0)
    values = 10 + np.tile([0.0, 3.0, 1.0, -2.0], 15) + random.normal(size=60) / 10
    told: list[tuple[int, int]] = []
    made = ets_points(values, [30, 50], 4, 4, lambda done, total: told.append((done, total)))
    expected = [AutoETS(season_length=4).forecast(values[: origin + 1], 4)["mean"].tolist() for origin in (30, 50)]
    assert made.tolist() == expected
    assert told == [(1, 2), (2, 2)]
    changed = values.copy()
    changed[31:] = 1000.0
    assert ets_points(changed, [30], 4, 4).tolist() == expected[:1]


def test_a_hole_is_the_value_before_it_and_a_short_history_gives_nothing() -> None:
    values = np.array([NAN, *[1.0, 2.0, 3.0] * 5, NAN, 2.0])
    filled = np.array([*[1.0, 2.0, 3.0] * 5, 3.0, 2.0])
    made = ets_points(values, [5, 17], 2, 1)
    assert np.isnan(made[0]).all()
    assert made[1].tolist() == AutoETS(season_length=1).forecast(filled, 2)["mean"].tolist()
