from __future__ import annotations

import json

import numpy as np
import pytest

from ostinato.client.arrays import from_json, to_json, to_outputs, to_outputs_with_holes
from ostinato.errors import ServiceError, UnexpectedAnswer


def test_a_missing_value_is_null_however_it_is_written() -> None:
    nan = float("nan")
    expected = [[1.5, None], [None, 2.0]]
    for inputs in (
        [[1.5, None], [nan, 2.0]],
        [[np.float32(1.5), np.float32(nan)], (None, 2.0)],
        np.array([[1.5, nan], [nan, 2.0]], np.float32),
        [np.array([1.5, nan]), [None, 2]],
    ):
        assert json.loads(to_json({"inputs": inputs})) == {"inputs": expected}


def test_every_number_arrives_to_the_bit() -> None:
    numbers = np.random.default_rng(5).normal(size=(100, 3)).astype(np.float32) * 10.0 ** np.arange(-20, 40, 20)
    assert (np.array(json.loads(to_json(numbers))) == numbers).all()
    assert to_json(np.array([[1, 2]], np.int64)) == b"[[1,2]]"


def test_null_among_outputs_is_minus_infinity() -> None:
    outputs = to_outputs([[[1.5, None]], [[None, 2.0]]])
    assert outputs.dtype == np.float32
    assert outputs.tolist() == [[[1.5, -np.inf]], [[-np.inf, 2.0]]]
    assert np.isnan(to_outputs([None, 1.0], np.nan)[0])
    for content in (None, [None, "1"], [[None], [1, 2]]):
        with pytest.raises(ServiceError, match="no numbers"):
            to_outputs(content)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e39", "1" + 400 * "0"])
def test_a_number_that_no_output_can_be_is_refused(number: str) -> None:
    for content in (f"[[{number}, 0.5]]", f"[[{number}, null, 0.5]]"):
        with pytest.raises(UnexpectedAnswer, match=r"beyond float32|no numbers"):
            to_outputs(from_json(content))
    assert to_outputs(from_json("[[3.4028235e38, -3.4028235e38]]")).tolist() == [
        [2.0**128 - 2.0**104, 2.0**104 - 2.0**128]
    ]


def test_infinity_is_left_to_the_service_or_refused() -> None:
    assert to_json([[float("inf"), float("nan")]]) == b"[[Infinity,null]]"
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json([[float("inf"), float("nan")]], allow_infinity=False)


def test_what_is_no_number_is_named() -> None:
    with pytest.raises(TypeError, match="object is neither a number nor a list of numbers"):
        to_json([[object()]])


def test_outputs_are_float32_and_integers_stay() -> None:
    # 0.1 in float32 is 0.100000001490116...
    made = to_outputs([[0.1, 2.0]])
    np.testing.assert_array_equal(made, np.array([[0.1, 2.0]], np.float32), strict=True)
    assert to_outputs([[1, 2]]).dtype == np.int64
    assert to_outputs([[True]]).dtype == np.bool_
    for wrong in ("text", [["a"]], [[1.0], [1.0, 2.0]], None):
        with pytest.raises(ServiceError, match="no numbers"):
            to_outputs(wrong)


def test_what_only_python_takes_for_json_is_none() -> None:
    assert from_json(b'{"a": [1.5, null]}') == {"a": [1.5, None]}
    assert from_json('"\u00e9"') == "\u00e9"
    for wrong in (b"[NaN]", "[Infinity]", "[-Infinity]", b"[1", b'"\xff"', "[" * 100_000):
        with pytest.raises(ValueError, match=r"not JSON|Expecting|decode|too deeply"):
            from_json(wrong)


def test_rows_that_failed_are_holes() -> None:
    np.testing.assert_array_equal(
        to_outputs_with_holes([[1.0, 2.0], None]), np.array([[1, 2], [np.nan, np.nan]], np.float32)
    )
    assert to_outputs_with_holes([None, [3]]).tolist() == [[0], [3]]
    assert to_outputs_with_holes([None, None]).shape == (2, 0)
