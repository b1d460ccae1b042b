from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Dtype, Input, State
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.sequences import to_sequence, to_states
from tests.service.puppet import MANIFEST

CODES: dict[str, Any] = {"ranges": {"b": {"least": 0, "most": 3}}}
AMOUNT: dict[str, Any] = {"ranges": {"b": {"least": 0, "most": 3, "whole": False}}}


def part(**changes: Any) -> Input:
    fields = {"name": "x", "dtype": "float32", "shape": ("B", "T", 2), "features": ("a", "b"), **changes}
    return Input(**fields)


def with_state(dtype: Dtype, **changes: Any) -> Manifest:
    state = State(name="seen", input="seen", output="seen_next", shape=("B", 3), dtype=dtype, **changes)
    return MANIFEST.model_copy(update={"states": (state,)})


class TestToSequence:
    def test_rows_become_an_array_and_null_becomes_nan(self) -> None:
        made = to_sequence([[1, 2.5], [None, 4]], part(missing=True), "inputs")
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made, [[1, 2.5], [np.nan, 4]])

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8"])
    def test_every_dtype_holds_its_numbers(self, dtype: str) -> None:
        made = to_sequence([[1, 0], [7, 100]], part(dtype=dtype), "inputs")
        assert made.dtype == dtype
        assert made.tolist() == [[1, 0], [7, 100]]

    def test_a_whole_number_keeps_its_digits_beside_one_with_a_point(self) -> None:
        rows = [[2**53 + 1, 3.0], [-(2**63), 1e3]]
        assert to_sequence(rows, part(dtype="int64"), "inputs").tolist() == [[2**53 + 1, 3], [-(2**63), 1000]]

    @pytest.mark.parametrize(
        ("rows", "changes", "message", "field"),
        [
            ([], {}, "no step", "inputs"),
            ([[1, 2], [3]], {}, "1 features; a step has 2: a, b", "inputs[1]"),
            ([[]], {}, "0 features; a step has 2", "inputs[0]"),
            ([[1, 2, 3]], {}, "3 features; a step has 2", "inputs[0]"),
            ([[1, None]], {}, "takes no missing values", "inputs[0][1]"),
            ([[1, 1e300]], {}, "this number does not fit float32", "inputs[0][1]"),
            ([[1, 2], [3, 10**400]], {}, "this number does not fit float32", "inputs[1][1]"),
            ([[None, -(10**400)]], {"dtype": "int64"}, "this number does not fit int64", "inputs[0][1]"),
            ([[1, 2], [1e6, 2]], {"dtype": "float16"}, r"1e\+06 does not fit float16", "inputs[1][0]"),
            ([[1, 2.5]], {"dtype": "int64"}, r"2\.5 does not fit int64", "inputs[0][1]"),
            ([[1, 300]], {"dtype": "uint8"}, "300 does not fit uint8", "inputs[0][1]"),
            ([[1, None]], {"dtype": "int64"}, "takes no missing values", "inputs[0][1]"),
            ([[1, 2], [1, 3]], {"categories": {"b": ["u", "v", "w"]}}, "3 is no code of 'b'.* 2 w", "inputs[1][1]"),
            ([[1, 0.5]], {"categories": {"b": ["u", "v"]}}, r"0\.5 is no code", "inputs[0][1]"),
            ([[1, 7]], {"dtype": "int64", "num_codes": 7}, "7 is no code; codes are 0 to 6", "inputs[0][1]"),
            ([[1, -1]], {"dtype": "int64", "num_codes": 7}, "-1 is no code", "inputs[0][1]"),
            ([[1, 3], [9, 4]], CODES, "4 is no code of 'b'; codes are 0 to 3", "inputs[1][1]"),
            ([[1, -1]], CODES, "-1 is no code of 'b'", "inputs[0][1]"),
            ([[1, 2.5]], CODES, r"2\.5 is no code of 'b'", "inputs[0][1]"),
            ([[1, 10]], CODES | {"dtype": "int64"}, "10 is no code of 'b'", "inputs[0][1]"),
            ([[1, 2.5], [1, 3.5]], AMOUNT, r"3\.5 is outside what 'b' may be, 0 to 3", "inputs[1][1]"),
            ([[1, 2.0**53 + 2]], {"dtype": "int64"}, "write a whole number, without", "inputs[0][1]"),
            ([[2**53 + 1, 2**63]], {"dtype": "int64"}, "^9223372036854775808 does not fit int64", "inputs[0][1]"),
            ([[2**53 + 1, -(2**63) - 1]], {"dtype": "int64"}, "^-9223372036854775809 does not fit", "inputs[0][1]"),
            ([[2**63 - 1, 0.5]], {"dtype": "int64"}, "^0.5 does not fit int64", "inputs[0][1]"),
            ([[2**53 + 1, 1e16]], {"dtype": "int64"}, "may be another number", "inputs[0][1]"),
            ([[2**63 - 1, None]], {"dtype": "int64"}, "takes no missing values", "inputs[0][1]"),
            ([[1, 2**31]], {"dtype": "int32"}, "^2147483648 does not fit int32", "inputs[0][1]"),
            ([[1, -1]], {"dtype": "uint8"}, "^-1 does not fit uint8", "inputs[0][1]"),
            ([[1, 2**53 + 1]], {"dtype": "int64", "num_codes": 7}, "^9007199254740993 is no code", "inputs[0][1]"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_its_place(
        self, rows: list[list[float | None]], changes: dict[str, Any], message: str, field: str
    ) -> None:
        with pytest.raises(InvalidInput, match=message) as refusal:
            to_sequence(rows, part(**changes), "inputs")
        assert refusal.value.field == field

    def test_a_category_may_be_missing(self) -> None:
        categorical = part(missing=True, categories={"b": ["u", "v"]})
        assert np.isnan(to_sequence([[1, None]], categorical, "inputs")[0, 1])


class TestToStates:
    def test_states_come_in_the_manifests_order(self) -> None:
        (state,) = to_states({"total": [3]}, MANIFEST, "initial_state")
        assert state.dtype == np.float32
        assert state.tolist() == [3]

    @pytest.mark.parametrize(
        ("given", "message", "field"),
        [
            ({}, "state 'total' is absent", "s"),
            ({"total": [1], "h": [2]}, "no state 'h'; it has total", "s.h"),
            ({"total": [1, 2]}, r"shape \[2\] where the state has \[1\]", "s.total"),
            ({"total": ["x"]}, "not an array of numbers", "s.total"),
            ({"total": ["inf"]}, "not an array of numbers", "s.total"),
            ({"total": [None]}, "not an array of numbers", "s.total"),
            ({"total": [True]}, "not an array of numbers", "s.total"),
            ({"total": [10**400]}, "not an array of", "s.total"),
            ({"total": [1e39]}, r"1e\+39 does not fit float32", "s.total[0]"),
            ({"total": [[1], [2, 3]]}, "not an array of float32", "s.total"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, given: dict[str, Any], message: str, field: str) -> None:
        with pytest.raises(InvalidInput, match=message) as refusal:
            to_states(given, MANIFEST, "s")
        assert refusal.value.field == field

    @pytest.mark.parametrize("given", [[None, 0.1, 3], [None, None, None]])
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_null_is_nan_in_a_state_that_may_hold_it(self, given: list[Any], dtype: Dtype) -> None:
        (taken,) = to_states({"seen": given}, with_state(dtype, missing=True), "s")
        assert taken.dtype == dtype
        wanted = np.array([np.nan if value is None else value for value in given], dtype)
        assert taken.tobytes() == wanted.tobytes()

    @pytest.mark.parametrize("given", [[None, True, 1.0], [None, "1", 1.0], [None, [1.0], 1.0], [None, 10**400, 1]])
    def test_what_stands_beside_null_has_to_be_a_number(self, given: list[Any]) -> None:
        with pytest.raises(InvalidInput, match="not an array of"):
            to_states({"seen": given}, with_state("float32", missing=True), "s")

    def test_a_truth_among_numbers_is_no_number(self) -> None:
        with pytest.raises(InvalidInput, match="not an array of numbers: true or false is in it"):
            to_states({"seen": [0.5, True, 1.0]}, with_state("float32"), "s")

    @pytest.mark.parametrize("given", [[True, False, True], [1, 0, 1]])
    def test_a_state_of_true_and_false_comes_back_as_it_went_out(self, given: list[Any]) -> None:
        (taken,) = to_states({"seen": given}, with_state("bool"), "s")
        assert taken.dtype == np.bool_
        assert taken.tolist() == [True, False, True]

    def test_whole_numbers_of_a_state_stay_as_they_are(self) -> None:
        (taken,) = to_states({"seen": [2**53 + 1, 3.0, -(2**63)]}, with_state("int64"), "s")
        assert taken.tolist() == [2**53 + 1, 3, -(2**63)]
        with pytest.raises(InvalidInput, match="9223372036854775808 does not fit int64") as refusal:
            to_states({"seen": [2**53 + 1, 3.0, 2**63]}, with_state("int64"), "s")
        assert refusal.value.field == "s.seen[2]"

    def test_null_that_may_have_been_an_infinity_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="not an array of numbers"):
            to_states({"seen": [None, 1.0, 2.0]}, with_state("float32", missing=True, infinite=True), "s")
