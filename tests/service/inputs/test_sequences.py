from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.sequences import to_sequence, to_states
from tests.service.puppet import MANIFEST

CODES: dict[str, Any] = {"ranges": {"b": {"least": 0, "most": 3}}}
AMOUNT: dict[str, Any] = {"ranges": {"b": {"least": 0, "most": 3, "whole": False}}}


def part(**changes: Any) -> Input:
    fields = {"name": "x", "dtype": "float32", "shape": ("B", "T", 2), "features": ("a", "b"), **changes}
    return Input(**fields)


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
            ([[1, 2.0**53 + 2]], {"dtype": "int64"}, "does not fit int64", "inputs[0][1]"),
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
            ({"total": [1], "h": [2]}, "no state 'h'", "s.h"),
            ({"total": [1, 2]}, r"shape \[2\] where the state has \[1\]", "s.total"),
            ({"total": ["x"]}, "not a number, but str", "s.total[0]"),
            ({"total": ["inf"]}, "not a number, but str", "s.total[0]"),
            ({"total": [None]}, "not a number, but null", "s.total[0]"),
            ({"total": [True]}, "not a number, but bool", "s.total[0]"),
            ({"total": [[1]]}, r"shape \[1, 1\] where", "s.total"),
            ({"total": {"a": 1}}, r"shape \[\] where", "s.total"),
            ({"total": [10**400]}, "a number that does not fit float32", "s.total"),
            ({"total": [1e39]}, r"1e\+39 does not fit float32", "s.total[0]"),
            ({"total": [[1], [2, 3]]}, r"shape \[2\] where", "s.total"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, given: dict[str, Any], message: str, field: str) -> None:
        with pytest.raises(InvalidInput, match=message) as refusal:
            to_states(given, MANIFEST, "s")
        assert refusal.value.field == field

    def test_a_truth_among_numbers_is_no_number(self) -> None:
        wide = manifest_of(shape=("B", 2))
        with pytest.raises(InvalidInput, match="not a number, but bool") as refusal:
            to_states({"total": [0.5, True]}, wide, "s")
        assert refusal.value.field == "s.total[1]"

    def test_a_state_that_was_returned_with_null_may_come_in_again(self) -> None:
        (state,) = to_states({"total": [None, 2.5]}, manifest_of(shape=("B", 2), missing=True), "s")
        assert (np.isnan(state[0]), state[1]) == (True, 2.5)

    def test_null_is_refused_where_it_may_have_been_an_infinity(self) -> None:
        for missing in (False, True):
            with pytest.raises(InvalidInput, match="null does not say which infinity"):
                to_states({"total": [None]}, manifest_of(missing=missing, infinite=True), "s")


def manifest_of(**changes: Any) -> Manifest:
    """The puppet's manifest with another state."""
    (state,) = MANIFEST.states
    return MANIFEST.model_copy(update={"states": (state.model_copy(update=changes),)})
