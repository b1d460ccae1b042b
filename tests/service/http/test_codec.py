from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from service.errors import InvalidInput, UnsupportedMediaType
from service.http import codec
from service.http.message import Request
from service.http.schemas import OpenBody, StepBody
from service.manifest import Input
from tests.service.puppet import MANIFEST

STEP = msgspec.json.Decoder(StepBody)
OPEN = msgspec.json.Decoder(OpenBody)


def request(body: bytes, media_type: str = "application/json") -> Request:
    return Request("a", b"", media_type, body)


def part(**changes: Any) -> Input:
    fields = {"name": "x", "dtype": "float32", "shape": ("B", "T", 2), "features": ("a", "b"), **changes}
    return Input(**fields)


class TestDecodeBody:
    def test_an_absent_body_is_an_empty_object(self) -> None:
        assert codec.decode_body(request(b"", ""), OPEN) == OpenBody()

    @pytest.mark.parametrize(
        ("body", "message", "field"),
        [
            (b'{"inputs": [[1, "a"]]}', "Expected `float | null`, got `str`", "inputs[0][1]"),
            (b'{"inputs": [[1, true]]}', "got `bool`", "inputs[0][1]"),
            (b'{"inputs": 3}', "Expected `array`, got `int`", "inputs"),
            (b"{}", "missing required field `inputs`", None),
            (b"[]", "Expected `object`, got `array`", None),
            (b'{"inputs": [[1]], "seq": 1.5}', "Expected `int | null`", "seq"),
            (b'{"inputs": [[1]], "seq": -1}', ">= 0", "seq"),
            (b'{"inputs": [[1]], "sequence": 1}', "unknown field `sequence`", None),
            (b'{"inputs": [[1e999]]}', "Number out of range", "inputs[0][0]"),
            (b'{"inputs": [[1, 2], [3, NaN]]}', "NaN and infinity are not JSON", "inputs[1][1]"),
            (b'{"inputs": [[-Infinity]]}', "NaN and infinity are not JSON", "inputs[0][0]"),
            (b'{"inputs": [[1]', "the body is not JSON", None),
            (b"\xff\xfe", "the body is not JSON", None),
            (b"[" * 100_000, "", None),
        ],
    )
    def test_a_body_that_does_not_fit_is_refused_by_its_place(
        self, body: bytes, message: str, field: str | None
    ) -> None:
        with pytest.raises(InvalidInput) as refusal:
            codec.decode_body(request(body), STEP)
        assert message in str(refusal.value)
        assert refusal.value.field == field

    def test_session_ids_are_of_known_characters(self) -> None:
        assert codec.decode_body(request(b'{"session_id": "a.B_3:-"}'), OPEN).session_id == "a.B_3:-"
        for bad in ("", "a/b", "a b", "é", "x" * 129, "a\\n"):
            with pytest.raises(InvalidInput) as refusal:
                codec.decode_body(request(f'{{"session_id": "{bad}"}}'.encode()), OPEN)
            assert refusal.value.field == "session_id"

    def test_other_media_types_are_refused(self) -> None:
        codec.decode_body(request(b"{}", "application/vnd.api+json"), OPEN)
        with pytest.raises(UnsupportedMediaType, match="not text/csv"):
            codec.decode_body(request(b"1,2", "text/csv"), OPEN)


class TestDecodeSequence:
    def test_rows_become_an_array_and_null_becomes_nan(self) -> None:
        made = codec.decode_sequence([[1, 2.5], [None, 4]], part(missing=True), "inputs")
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made, [[1, 2.5], [np.nan, 4]])

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8"])
    def test_every_dtype_holds_its_numbers(self, dtype: str) -> None:
        made = codec.decode_sequence([[1, 0], [7, 100]], part(dtype=dtype), "inputs")
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
            ([[1, 1e300]], {}, r"1e\+300 does not fit float32", "inputs[0][1]"),
            ([[1, 2], [1e6, 2]], {"dtype": "float16"}, r"1e\+06 does not fit float16", "inputs[1][0]"),
            ([[1, 2.5]], {"dtype": "int64"}, r"2\.5 does not fit int64", "inputs[0][1]"),
            ([[1, 300]], {"dtype": "uint8"}, "300 does not fit uint8", "inputs[0][1]"),
            ([[1, None]], {"dtype": "int64"}, "takes no missing values", "inputs[0][1]"),
            ([[1, 2], [1, 3]], {"categories": {"b": ["u", "v", "w"]}}, "3 is no code of 'b'.* 2 w", "inputs[1][1]"),
            ([[1, 0.5]], {"categories": {"b": ["u", "v"]}}, r"0\.5 is no code", "inputs[0][1]"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_its_place(
        self, rows: list[list[float | None]], changes: dict[str, Any], message: str, field: str
    ) -> None:
        with pytest.raises(InvalidInput, match=message) as refusal:
            codec.decode_sequence(rows, part(**changes), "inputs")
        assert refusal.value.field == field

    def test_a_category_may_be_missing(self) -> None:
        categorical = part(missing=True, categories={"b": ["u", "v"]})
        assert np.isnan(codec.decode_sequence([[1, None]], categorical, "inputs")[0, 1])


class TestDecodeStates:
    def test_states_come_in_the_manifests_order(self) -> None:
        (state,) = codec.decode_states({"total": [3]}, MANIFEST, "initial_state")
        assert state.dtype == np.float32
        assert state.tolist() == [3]

    @pytest.mark.parametrize(
        ("given", "message", "field"),
        [
            ({}, "state 'total' is absent", "s"),
            ({"total": [1], "h": [2]}, "no state 'h'", "s.h"),
            ({"total": [1, 2]}, r"shape \[2\] where the state has \[1\]", "s.total"),
            ({"total": ["x"]}, "not an array of float32", "s.total"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, given: dict[str, Any], message: str, field: str) -> None:
        with pytest.raises(InvalidInput, match=message) as refusal:
            codec.decode_states(given, MANIFEST, "s")
        assert refusal.value.field == field


def test_known_future_comes_by_name_or_in_rows() -> None:
    assert codec.known_future(None, ("u", "v")) == {}
    assert codec.known_future({"u": [1]}, ("u", "v")) == {"u": [1]}
    assert codec.known_future([[1, 2], [3, None]], ("u", "v")) == {"u": [1, 3], "v": [2, None]}
    with pytest.raises(InvalidInput, match="1 values; a row has 2: u, v"):
        codec.known_future([[1]], ("u", "v"))
