"""Kafka's wire, as far as the test's broker speaks it: fields of requests read, and those of answers written."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar

Item = TypeVar("Item")


class WireReader:
    """Reads the fields of a request in their order. ``flexible``: lengths are variable, and tags follow."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str) -> int:
        (found,) = struct.unpack_from(f">{form}", self._data, self._at)
        self._at += struct.calcsize(form)
        return int(found)

    def i8(self) -> int:
        return self.number("b")

    def i16(self) -> int:
        return self.number("h")

    def i32(self) -> int:
        return self.number("i")

    def i64(self) -> int:
        return self.number("q")

    def take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        self._at += count
        return found

    def varint(self) -> int:
        shift = found = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            found |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return found

    def text(self) -> str | None:
        length = self.i16()
        return None if length < 0 else self.take(length).decode()

    def content(self) -> bytes:
        length = self.i32()
        return b"" if length < 0 else self.take(length)

    def items(self, read: Callable[[], Item]) -> list[Item]:
        return [read() for _ in range(max(0, self.i32()))]

    def short_text(self) -> str | None:
        length = self.varint()
        return None if length == 0 else self.take(length - 1).decode()

    def short_items(self, read: Callable[[], Item]) -> list[Item]:
        return [read() for _ in range(max(0, self.varint() - 1))]

    def tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.take(self.varint())


class WireWriter:
    """Writes the fields of an answer in their order."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def put(self, form: str, *values: Any) -> Self:
        self._parts.append(struct.pack(f">{form}", *values))
        return self

    def text(self, value: str | None) -> Self:
        if value is None:
            return self.put("h", -1)
        content = value.encode()
        self.put("h", len(content))
        self._parts.append(content)
        return self

    def content(self, value: bytes) -> Self:
        self.put("i", len(value))
        self._parts.append(value)
        return self

    def items(self, values: Iterable[Any], write: Callable[[Any], object]) -> Self:
        found = list(values)
        self.put("i", len(found))
        for value in found:
            write(value)
        return self

    def varint(self, value: int) -> Self:
        while value > 127:
            self._parts.append(bytes([value & 127 | 128]))
            value >>= 7
        self._parts.append(bytes([value]))
        return self

    def short_text(self, value: str | None) -> Self:
        if value is None:
            return self.varint(0)
        content = value.encode()
        self.varint(len(content) + 1)
        self._parts.append(content)
        return self

    def short_items(self, values: Iterable[Any], write: Callable[[Any], object]) -> Self:
        found = list(values)
        self.varint(len(found) + 1)
        for value in found:
            write(value)
        return self

    def tags(self) -> Self:
        return self.varint(0)

    def bytes(self) -> bytes:
        return b"".join(self._parts)
