"""Server-sent events, out of the pieces in which they arrive (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple

# str.splitlines knows more line ends than the format, and JSON may hold them.
_LINE_END = re.compile(r"\r\n|\n|\r")


class Event(NamedTuple):
    """An event; ``name`` is empty where it has none."""

    name: str
    data: str


class EventParser:
    """Gives each event as soon as its last byte is there. What is not whole at the end is no event."""

    def __init__(self) -> None:
        # A character may arrive in two pieces; a mark of the byte order may be in front.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._rest = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """The events that end in this piece."""
        text = self._rest + self._decoder.decode(piece)
        # A carriage return at the end may be the first half of a line's end.
        end = len(text) - text.endswith("\r")
        *lines, last = _LINE_END.split(text[:end])
        self._rest = last + text[end:]
        for line in lines:
            if line:
                self._take(line)
                continue
            if self._data:
                yield Event(self._name, "\n".join(self._data))
            self._name, self._data = "", []

    def _take(self, line: str) -> None:
        # A line that begins with a colon is a comment: a field without a name.
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
