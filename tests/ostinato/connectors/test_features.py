"""Features of a model, and which numbers it takes."""

from __future__ import annotations

import numpy as np
import pytest

from ostinato.connectors.features import ReadingFeatures
from ostinato.errors import CommandError
from tests.ostinato.connectors.examples import features


def test_rows_that_a_model_does_not_take_are_named_with_the_reason() -> None:
    limited = features("x", "room", ranges={"room": {"least": 1, "most": 3}})
    rows = np.array([[1, 2], [np.nan, 1], [np.inf, 1], [0, 4], [0, 1]], np.float32)
    assert limited.faults(rows) == {
        1: "x is missing, and the model takes no missing values",
        2: "x is infinite, or too large for float32",
        3: "room is 4, which is not from 1 to 3",
    }
    assert set(features("x", "y", missing=True).faults(rows)) == {2}


def test_words_become_codes_and_others_the_one_for_what_is_unknown() -> None:
    worded = features("x", "kind", categories={"kind": ["a", "b", "?"]}, unknown={})
    assert worded.row([1.5, "b"]) == [1.5, 1.0]
    with pytest.raises(ValueError, match="kind: 'c' is none of the words"):
        worded.row([1.5, "c"])
    open_ended = features("x", "kind", categories={"kind": ["a", "b", "?"]}, unknown={"kind": "?"})
    assert open_ended.row(["2", "c"]) == [2.0, 2.0]
    assert np.isnan(open_ended.row([None, "a"])[0])


@pytest.mark.parametrize(
    ("described", "sentence"),
    [
        ({"model": "m"}, "no version of 'm' is served"),
        ({"manifest": {"name": "m", "task": "generator"}}, "of task 'generator'"),
    ],
)
def test_a_model_that_takes_no_readings_is_refused(described: dict[str, object], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        ReadingFeatures.of(described)
