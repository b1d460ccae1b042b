from __future__ import annotations

import pytest

from ostinato.client.events import Event, EventParser

TEXT = (
    '\ufeffevent: step\ndata: {"a": "\u20ac\u2028"}\n\n: a comment\n\n'
    "event:two\r\ndata:one\r\ndata: more \r\n\r\ndata\rid: 7\r\r"
)
EVENTS = [Event("step", '{"a": "\u20ac\u2028"}'), Event("two", "one\nmore "), Event("", "")]


def events_of(*pieces: bytes) -> list[Event]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 1000])
def test_events_are_the_same_in_whatever_pieces_they_arrive(size: int) -> None:
    # A line that follows shows that the last carriage return stood alone.
    content = TEXT.encode() + b"data: x"
    assert events_of(*(content[at : at + size] for at in range(0, len(content), size))) == EVENTS


def test_an_event_is_given_with_its_last_byte() -> None:
    parser = EventParser()
    assert list(parser.feed(b"event: step\ndata: 1\n")) == []
    assert list(parser.feed(b"\n")) == [Event("step", "1")]
    assert list(parser.feed(b"\n")) == []


def test_the_name_is_that_of_one_event_only_and_what_has_no_data_is_none() -> None:
    assert events_of(b"event: a\n\ndata: 1\n\n") == [Event("", "1")]


def test_what_is_not_whole_at_the_end_is_no_event() -> None:
    assert events_of(b"data: 1\n\ndata: 2\n") == [Event("", "1")]
