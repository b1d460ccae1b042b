from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.client.forecasts import forecast_body, forecast_of, forecast_of_session, many_forecasts

ANSWER: dict[str, Any] = {
    "outputs": [[1.0], [2.0]],
    "intervals": {"80": {"lower": [0.5, 1.0], "upper": [1.5, 3.0]}, "97.5": {"lower": [0, 0], "upper": [4, 5]}},
    "quantiles": {"0.1": [0.25, 0.75]},
    "samples": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
    "seed": 7,
}
BODY = forecast_body(2, None, {"level": [80, 97.5], "quantiles": 0.1, "num_samples": 3})


def test_one_level_is_as_good_as_a_list_of_one() -> None:
    assert forecast_body(3, None, {"level": 80}) == {"horizon": 3, "level": [80.0]}
    assert forecast_body(3, {"x": [1]}, {"quantiles": np.array([0.1, 0.9]), "seed": 4}) == {
        "horizon": 3,
        "known_future": {"x": [1]},
        "quantiles": [0.1, 0.9],
        "seed": 4,
    }


def test_what_was_asked_for_is_found_by_its_number() -> None:
    made = forecast_of(ANSWER, BODY)
    assert made.outputs.tolist() == [[1.0], [2.0]]
    assert made.intervals[97.5].upper.tolist() == [4.0, 5.0]
    assert made.quantiles[0.1].tolist() == [0.25, 0.75]
    assert made.samples is not None
    assert made.samples.shape == (3, 2)
    assert made.seed == 7


def test_several_targets_have_their_names() -> None:
    ends = {name: {"load": [1.0, 2.0], "price": [3.0, 4.0]} for name in ("lower", "upper")}
    made = forecast_of({**ANSWER, "intervals": {"80": ends}}, forecast_body(2, None, {"level": 80}))
    assert made.intervals[80].lower["price"].tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": [[1.0]]},
        {"intervals": {"80": {"lower": [1.0], "upper": [2.0]}}},
        {"quantiles": {"0.1": [1.0, 2.0, 3.0]}},
        {"samples": [[1.0, 2.0]]},
    ],
)
def test_an_answer_to_another_question_is_none(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"numbers where|not those of"):
        forecast_of({**ANSWER, **change}, BODY)


def test_another_sessions_forecast_is_none_of_ours() -> None:
    with pytest.raises(ValueError, match="'b' was asked for"):
        forecast_of_session({"session_id": "a", **ANSWER}, "b", BODY)


def test_rows_that_failed_are_told_and_others_are_there() -> None:
    body = {**BODY, "session_ids": ["a", "b"]}
    error = {"row": 1, "code": "unknown_session", "detail": "it is not there"}
    members = {"session_ids": ["a", "b"], "forecasts": [ANSWER, None], "errors": [error]}
    made = many_forecasts(members, body)
    assert made.forecasts[0] is not None
    assert made.forecasts[1] is None
    assert made.errors[0].code == "unknown_session"
    with pytest.raises(ValueError, match="without a forecast"):
        many_forecasts({**members, "errors": []}, body)
    with pytest.raises(ValueError, match="not those that were sent"):
        many_forecasts({**members, "session_ids": ["a"]}, body)
