from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from ostinato.client.arrays import to_json
from ostinato.client.given import has_names, is_plain, to_array, to_mapping, to_rows
from ostinato.errors import InputError
from tests.ostinato.fake_frames import NA, Frame, Series

FEATURES = ("load", "sun", "wind")
LOADS, SUNS, WINDS = [1.0, 2.0], [3.0, 4.0], [5.0, 6.0]
ROWS = [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]


def sent(given: Any, features: tuple[str, ...] | None = FEATURES, **options: Any) -> Any:
    """What the service reads."""
    return json.loads(to_json(to_rows(given, features, "net", **options)))


@pytest.mark.parametrize(
    "given",
    [
        Frame({"load": LOADS, "sun": SUNS, "wind": WINDS}),
        Frame({"wind": WINDS, "load": LOADS, "sun": SUNS}),
        Frame({2: LOADS, 0: SUNS, 1: WINDS}),
        [Series([5.0, 1.0, 3.0], index=["wind", "load", "sun"]), Series([2.0, 4.0, 6.0], index=[0, 1, 2])],
        torch.tensor(ROWS, requires_grad=True),
        torch.tensor(ROWS, dtype=torch.bfloat16),
        [torch.tensor(row) for row in ROWS],
        [np.array(row) for row in ROWS],
        [tuple(row) for row in ROWS],
        np.array(ROWS),
        ROWS,
    ],
    ids=lambda given: type(given).__name__,
)
def test_rows_are_sent_in_the_order_of_the_features(given: Any) -> None:
    assert sent(given) == ROWS


@pytest.mark.parametrize(
    "given",
    [
        ROWS[0],
        tuple(ROWS[0]),
        np.array(ROWS[0], np.float32),
        torch.tensor(ROWS[0]),
        [np.float32(number) for number in ROWS[0]],
        [torch.tensor(number) for number in ROWS[0]],
        Series(ROWS[0], index=range(3)),
        Series([5.0, 1.0, 3.0], index=["wind", "load", "sun"]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_one_axis_of_as_many_numbers_as_features_is_one_step(given: Any) -> None:
    assert sent(given) == ROWS[:1]


def test_one_axis_for_one_feature_is_as_many_steps() -> None:
    days = Series([1.0, 2.0, 3.0], index=["monday", "tuesday", "wednesday"])
    for given in ([1.0, 2.0, 3.0], np.array([1.0, 2.0, 3.0]), days):
        assert sent(given, ("load",)) == [[1.0], [2.0], [3.0]]
    assert sent([1.0], ("load",)) == sent(Series([1.0], index=["load"]), ("load",)) == [[1.0]]


@pytest.mark.parametrize(
    ("given", "shape"),
    [([1.0, 2.0], "[2]"), (np.zeros((2, 3, 1)), "[2, 3, 1]"), (torch.tensor(1.0), "[]")],
)
def test_another_shape_is_told_with_the_one_that_is_taken(given: Any, shape: str) -> None:
    with pytest.raises(InputError) as caught:
        sent(given)
    said = str(caught.value)
    assert said.startswith(f"a chunk is [n, F], n steps of F features each, and this has the shape {shape}")
    assert said.endswith("'net' has 3 features: load, sun, wind")


def test_a_sequence_is_never_one_step() -> None:
    with pytest.raises(InputError, match=r"^a sequence is \[n, F\].* has the shape \[3\]"):
        sent(ROWS[0], may_be_one=False)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["load", "sun"], "lacks wind"),
        (["load", "sun", "wind", "time"], "has time"),
        (["load", "sun", "Wind"], "lacks wind and has Wind"),
        (["load", "sun", "wind", "sun"], "has sun, sun"),
    ],
)
def test_other_names_are_refused_with_the_names(columns: list[str], said: str) -> None:
    frame = Frame.of_rows(columns, [[0.0] * len(columns)])
    with pytest.raises(
        InputError, match=rf"features of 'net' are load, sun, wind, and this {said}: choose the columns"
    ):
        sent(frame)


def test_a_missing_value_is_null_whatever_the_frame_calls_it() -> None:
    frame = Frame({"load": [1.0, NA()], "sun": [None, 4.0], "wind": [float("nan"), 6.0]})
    assert sent(frame) == [[1.0, None, None], [None, 4.0, 6.0]]
    assert sent(Series([1, NA(), 3], index=range(3))) == [[1, None, 3]]
    assert json.loads(to_json({"inputs": [[NA(), float("nan")]]})) == {"inputs": [[None, None]]}


def test_flags_are_numbers() -> None:
    assert json.loads(to_json(np.array([[True, False]]))) == [[1, 0]]
    mixed = Frame({"load": [True, False], "sun": [NA(), 2.5], "wind": [1, 2]})
    # By its text, as True equals 1.
    assert to_json(to_rows(mixed, FEATURES, "net")) == b"[[1,null,1],[0,2.5,2]]"


def test_times_are_no_numbers() -> None:
    times = np.array([["2026-01-01", "2026-01-02"]], "datetime64[ns]")
    for given in (times, Frame({"at": times[0]}), [[times[0, 0]]]):
        with pytest.raises(InputError, match=r"this holds times \(datetime64\[ns\]\); say in which unit"):
            to_json(given)


def test_a_frame_of_what_is_known_is_its_columns_by_name() -> None:
    known = json.loads(to_json(to_mapping(Frame({"sun": SUNS, "wind": Series(WINDS, index=range(2)).numbers}))))
    assert known == {"sun": SUNS, "wind": WINDS}
    assert to_mapping(ROWS) is ROWS
    assert json.loads(to_json({"sun": Series(SUNS, index=range(2))})) == {"sun": SUNS}


def test_rows_as_they_are_sent_need_no_look_at_the_model() -> None:
    assert is_plain(ROWS)
    assert is_plain(np.zeros((2, 3)))
    assert is_plain([])  # the service says that there is no step in it
    assert not any(map(is_plain, ([1.0], np.zeros(3), Frame({"load": LOADS}), torch.zeros(2, 3))))
    assert has_names([Series([1.0], index=["load"])])
    assert not has_names([[1.0]])
    assert not has_names(Series([1.0], index=[0]))
    assert to_array("text") is None


def test_whole_numbers_stay_as_they_are_beside_columns_of_floats() -> None:
    frame = Frame({"wind": [0.5, np.nan], "load": [2**53 + 1, -(2**63)], "sun": SUNS})
    assert sent(frame) == [[2**53 + 1, 3.0, 0.5], [-(2**63), 4.0, None]]
