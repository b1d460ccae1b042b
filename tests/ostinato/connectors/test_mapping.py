"""The mapping: each message is a reading or a dead letter with its reason, and never both."""

from __future__ import annotations

import numpy as np
import pytest

from ostinato.connectors.mapping import Mapping, to_microseconds
from ostinato.connectors.settings import MappingSettings
from ostinato.errors import InputError
from tests.ostinato.connectors.examples import features, messages


def test_readings_have_their_key_time_and_row() -> None:
    mapping = Mapping(MappingSettings(key="id", time="at", inputs={"y": "why"}), features())
    readings, refusals = mapping.read(
        messages(
            b'{"id": "a b", "at": 1.5, "x": 1, "why": 2}', b'{"id": 7, "at": "1970-01-01T00:00:02Z", "x": 3, "why": 4}'
        )
    )
    assert refusals == []
    assert (readings.keys, readings.times, readings.offsets) == (["a b", "7"], [1_500_000, 2_000_000], [0, 1])
    assert readings.inputs.tolist() == [[1, 2], [3, 4]]
    assert readings.inputs.dtype == np.float32
    assert mapping.session_id("a b") == "a:20b"


def test_what_is_no_reading_is_a_dead_letter_and_the_rest_goes_on() -> None:
    mapping = Mapping(MappingSettings(time="at"), features())
    readings, refusals = mapping.read(
        messages(
            b'{"at": 1, "x": 1, "y": 1}',
            b"?",
            b'{"at": "noon", "x": 1, "y": 1}',
            b'{"at": 2, "x": "word", "y": 1}',
            b'{"at": 3, "x": 1e99, "y": 1}',
            b'{"at": 4, "x": null, "y": 1}',
            b'{"at": 5, "x": 5, "y": 1}',
            b'{"at": 6, "x": 6, "y": 1}',
            keys=[b"k", b"k", b"k", b"k", b"k", b"k", None, b"k"],
            first=10,
        )
    )
    assert (readings.offsets, readings.times) == ([10, 17], [1_000_000, 6_000_000])
    assert readings.inputs[:, 0].tolist() == [1, 6]
    assert {refusal.offset: refusal.reason.split(" (")[0] for refusal in refusals} == {
        11: "not JSON: Expecting value: line 1 column 1",
        12: "'noon' is no time",
        13: "x: 'word' is no number",
        14: "x is infinite, or too large for float32",
        15: "x is missing, and the model takes no missing values",
        16: "it has no key",
    }
    assert refusals[0].value == b"?"


def test_a_feature_that_there_is_not_fails_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no feature 'temp'; did you mean temperature"):
        Mapping(MappingSettings(inputs={"temp": "t"}), features("temperature"))


def test_an_offset_of_the_messages_own_is_a_whole_number() -> None:
    mapping = Mapping(MappingSettings(), features(), "seq")
    readings, refusals = mapping.read(
        messages(b'{"seq": 41, "x": 1, "y": 1}', b'{"seq": -1, "x": 1, "y": 1}', b'{"seq": true, "x": 1, "y": 1}')
    )
    assert readings.offsets == [41]
    assert [refusal.reason.split(":")[0] for refusal in refusals] == ["-1 is no offset", "True is no offset"]


@pytest.mark.parametrize(
    ("time", "unit", "micros"),
    [(1, 1_000_000, 1_000_000), ("2.5", 1000, 2500), ("2026-01-01T01:00:00+01:00", 1, 1_767_225_600_000_000)],
)
def test_times_are_microseconds(time: object, unit: int, micros: int) -> None:
    assert to_microseconds(time, unit) == micros


@pytest.mark.parametrize("time", [None, True, float("nan"), float("inf"), "later", [], 1e300])
def test_what_is_no_time_is_refused(time: object) -> None:
    with pytest.raises(ValueError, match="no time"):
        to_microseconds(time)
