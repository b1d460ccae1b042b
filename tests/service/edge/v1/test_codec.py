from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ostinato.service.edge.message import Request
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.schemas import ForecastBody, OpenBody, PageQuery, PredictQuery, StepBody
from ostinato.service.errors import InvalidInput, UnsupportedMediaType

STEP = msgspec.json.Decoder(StepBody)
OPEN = msgspec.json.Decoder(OpenBody)


def request(body: bytes, media_type: str = "application/json") -> Request:
    return Request("a", b"", media_type, body)


class TestDecodeBody:
    def test_an_absent_body_is_an_empty_object(self) -> None:
        assert codec.decode_body(request(b"", ""), OPEN) == OpenBody()

    @pytest.mark.parametrize(
        ("body", "message", "field"),
        [
            (b'{"inputs": [[1, "a"]]}', "Expected `float | null`, got `str`", "inputs[0][1]"),
            (b'{"inputs": [[1, true]]}', "got `bool`", "inputs[0][1]"),
            (b'{"inputs": 3}', "Expected `array`, got `int`", "inputs"),
            (b"{}", "missing required field `inputs`", "inputs"),
            (b"[]", "Expected `object`, got `array`", None),
            (b'{"inputs": [[1]], "seq": 1.5}', "Expected `int | null`", "seq"),
            (b'{"inputs": [[1]], "seq": -1}', ">= 0", "seq"),
            (b'{"inputs": [[1]], "seq": 1' + b"0" * 4000 + b"}", "<= 9223372036854775807", "seq"),
            (
                b'{"inputs": [[1]], "sequence": 1}',
                "unknown field `sequence`",
                "sequence",
            ),
            (b'{"inputs": [[1]], "context": {}}', "a session's context is given when it is opened", "context"),
            (b'{"inputs": [[1e999]]}', "Number out of range", "inputs[0][0]"),
            (b'{"inputs": [[1, 2], [3, NaN]]}', "NaN and infinity are not JSON", "inputs[1][1]"),
            (b'{"inputs": [[-Infinity]]}', "NaN and infinity are not JSON", "inputs[0][0]"),
            (b'{"inputs": [[1]', "the body is not JSON", None),
            (b"\xff\xfe", "the body is not JSON", None),
            (b"[" * 100_000, "", None),
            (b'{"inputs": [[1, NaN]]}' + b" " * 70_000, "the body is not JSON", None),
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


def test_a_query_is_read_as_a_body_is() -> None:
    assert codec.decode_query(b"", PredictQuery) == PredictQuery()
    asked = codec.decode_query(b"go_backwards=1&return_sequences=False&version=1&version=2", PredictQuery)
    assert asked == PredictQuery(go_backwards=True, return_sequences=False, version="2")
    assert codec.decode_query(b"limit=1000&cursor=a%2Fb", PageQuery) == PageQuery(limit=1000, cursor="a/b")
    for query, query_type, field, message in (
        (b"go_backwards=perhaps", PredictQuery, "go_backwards", "bool"),
        (b"limit=1001", PageQuery, "limit", "<= 1000"),
        (b"limit=1.5", PageQuery, "limit", "int"),
        (b"limits=10", PageQuery, "limits", "unknown field `limits`"),
    ):
        with pytest.raises(InvalidInput, match=message) as refusal:
            codec.decode_query(query, query_type)
        assert refusal.value.field == field


def test_known_future_comes_by_name_or_in_rows() -> None:
    assert codec.known_future(None, ("u", "v")) == {}
    assert codec.known_future({"u": [1]}, ("u", "v")) == {"u": [1]}
    assert codec.known_future([[1, 2], [3, None]], ("u", "v")) == {"u": [1, 3], "v": [2, None]}
    with pytest.raises(InvalidInput, match="1 values; a row has 2: u, v"):
        codec.known_future([[1]], ("u", "v"))


@pytest.mark.parametrize(
    ("future", "field"),
    [
        ({"price": [1], "a[0].b": [1, True]}, "known_future.a[0].b[1]"),
        ({"price": [1], "day": [[1]]}, "known_future.day[0]"),
        ({"price": 1}, "known_future.price"),
    ],
)
def test_a_member_that_anybody_has_named_is_told_by_its_name(future: Any, field: str) -> None:
    body = msgspec.json.encode({"horizon": 2, "known_future": future})
    with pytest.raises(InvalidInput) as refusal:
        codec.decode_body(request(body), msgspec.json.Decoder(ForecastBody))
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        b'{"horizon": 2, "known_future": {"a": [true], "b": [1}',
        b'{"horizon": 2, "known_future": {"a": [true]}, "known_future": [[1]]}',
        b'{"horizon": 2, "known_future": {"a": [true]}, "known_future": ' + b"[" * 100_000,
        b'{"horizon": 2, "known_future": {"a": [true]}, "b": "\xff"}',
    ],
)
def test_what_comes_behind_a_fault_may_be_anything(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        codec.decode_body(request(body), msgspec.json.Decoder(ForecastBody))
