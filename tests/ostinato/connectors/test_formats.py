"""Formats: whole batches and single messages are read alike, and what is wrong is told of that message alone."""

from __future__ import annotations

import struct

import pytest

from ostinato.connectors.formats import BinaryFormat, CsvFormat, JsonFormat
from ostinato.errors import InputError


def test_json_is_read_as_a_batch_and_one_by_one() -> None:
    form = JsonFormat(["k", "x"])
    good = [b'{"k": "a", "x": 1}', b'{"x": null, "k": "b"}']
    assert form.read(good) == ([("a", 1), ("b", None)], {})
    found, faults = form.read([*good, b'{"kk": 1, "x": 2}', b"[1]", None, b"{", b'{"k": 1}, {"k": 2}'])
    assert found[:2] == [("a", 1), ("b", None)]
    assert faults[2] == "it has no 'k'; did you mean kk?"
    assert [faults[place] for place in (3, 4)] == ["not an object of JSON", "the message is empty"]
    assert faults[5].startswith("not JSON")
    assert faults[6].startswith("not JSON"), "two objects in one message are not two messages"


def test_two_messages_that_are_one_object_together_are_two_that_cannot_be_read() -> None:
    found, faults = JsonFormat(["x"]).read([b'{"x": 1', b'"y": 2}'])
    assert found == [(), ()]
    assert sorted(faults) == [0, 1]


def test_messages_that_share_a_text_or_a_list_take_nothing_from_those_between() -> None:
    form = JsonFormat(["x"])
    victims = [b'{"x": 1}', b'{"x": 2}']
    for more in (b'{"x": 77}, {"x": 88}', b'{"x": 77}, "a mark", {"x": 88}'):
        for opened, closed in ((b'{"x": 66, "pad": "', b'"}'), (b'{"x": 66, "pad": [{}', b"{}]}")):
            found, faults = form.read([opened, closed, *victims, more])
            assert found == [(), (), (1,), (2,), ()]
            assert sorted(faults) == [0, 1, 4]


def test_a_name_with_dots_leads_inwards() -> None:
    form = JsonFormat(["a.b", "c"])
    assert form.read([b'{"a": {"b": 5}, "c": 1}']) == ([(5, 1)], {})
    assert form.read([b'{"a.b": 6, "c": 1}']) == ([(6, 1)], {})
    assert "it has no 'a.b'" in form.read([b'{"a": 1, "c": 1}'])[1][0]


def test_csv_has_its_columns_in_their_order() -> None:
    form = CsvFormat(["x", "k"], ["k", "other", "x"])
    assert form.read([b'a,"1,5",2\r\n', b"b,,"]) == ([("2", "a"), ("", "b")], {})
    assert form.read([b"a,b"])[1] == {0: "2 cells for 3 columns"}
    assert "not CSV" in form.read([b"\xff,b,c"])[1][0]
    with pytest.raises(InputError, match=r"no 'keys'; did you mean key"):
        CsvFormat(["keys"], ["key"]).check()


def test_binary_records_have_one_size() -> None:
    form = BinaryFormat(["x", "device", "at"], "device:S4 at:<i8 x:<f4")
    assert form.read([struct.pack("<4sqf", b"ab", 7, 0.5), b"short"]) == (
        [(0.5, "ab", 7), ()],
        {1: "5 bytes where the layout has 16"},
    )
    with pytest.raises(InputError, match="no 'y'"):
        BinaryFormat(["y"], "x:<f4").check()
    for layout in ("x", "x:O", "x:nonsense"):
        with pytest.raises(InputError, match=r"\[mapping\] layout"):
            BinaryFormat(["x"], layout)
