from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ostinato.service.artifact.calibration import Alarm, Calibration, Crossing
from tests.forecast_networks import calibration


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"levels": (0.5, 0.2, 0.8, 0.95)}, "levels do not rise"),
        ({"raises": (1.1,)}, "one number for each of 4 levels"),
        ({"lags": (4, 2)}, "lags do not rise"),
        ({"lags": (2,)}, "has not the changes of each"),
        ({"alarm": {"begin": 0.5, "end": 0.9}}, "above its begin"),
        ({"crossings": ({"feature": "load"},)}, "one limit, above or below"),
        ({"crossings": ({"feature": "load", "above": 2, "until": 3},)}, "until lies beyond"),
        ({"crossings": ({"feature": "load", "below": 2, "until": 1},)}, "until lies beyond"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Calibration.model_validate({**calibration(), **changes})


def test_scores_rise_with_their_levels() -> None:
    (target,) = calibration()["targets"]
    with pytest.raises(ValidationError, match="rise with their levels"):
        Calibration.model_validate({**calibration(), "targets": [{**target, "scores": (1.0, 0.5, 2.0, 3.0)}]})


def test_a_step_goes_by_scores_or_by_the_next_longer_lag() -> None:
    by_lags = Calibration.model_validate(calibration())  # of lags 2 and 4
    assert [by_lags.basis(ahead) for ahead in range(1, 7)] == [0, 1, 2, 2, 2, 2]
    by_scores = Calibration.model_validate(calibration(lags=False))
    assert [by_scores.basis(ahead) for ahead in range(1, 4)] == [0, 0, 0]
    assert by_lags.num_steps == 4


def test_a_limit_ends_at_itself_unless_told() -> None:
    assert Crossing(feature="x", above=2.0).back_at == 2.0
    assert Crossing(feature="x", below=2.0, until=3.0).back_at == 3.0
    assert Alarm().begin == 0.99
