"""The wire: an ONNX file as protobuf lays it out, read a field at a time, so that nothing is made of what it claims.

It knows of ONNX (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto) only where tensors may be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from mmap import mmap
from typing import NamedTuple, TypeAlias

MAX_DEPTH = 64
"""Of messages in messages. A subgraph is three below the graph of its node."""
MAX_MESSAGES = 4_000_000
"""Nodes, attributes, tensors and what they hold, in a file: read, each takes a hundred bytes; on the disk, two."""

Buffer: TypeAlias = bytes | mmap


class BrokenWire(ValueError):
    """Bytes that are no such file; says which, and what is wrong with them."""


class Field(NamedTuple):
    """A field of a message: its number, and a whole number, or where its bytes begin and end.

    Attributes:
        value: of a whole number, or of one in 4 or 8 bytes, which nobody here reads; else 0.
    """

    number: int
    kind: int
    value: int
    start: int
    end: int


@dataclass
class WireTensor:
    """What a file says of a tensor.

    Attributes:
        place: what it is of, in words.
        dtype: ONNX' number of its type.
        dims: as they are there, which is anything.
        raw: where its bytes begin and end in the file itself; None = it has no such field.
        typed: field of numbers of their type -> how many there are, at least.
        external: of a tensor whose numbers are in another file: key -> word.
    """

    place: str
    name: str = ""
    dtype: int = 0
    dims: list[int] = field(default_factory=list)
    raw: tuple[int, int] | None = None
    typed: dict[int, int] = field(default_factory=dict)
    external: dict[str, str] = field(default_factory=dict)
    is_external: bool = False
    is_segment: bool = False

    @property
    def raw_bytes(self) -> int | None:
        """How many bytes of it the file itself holds; None = it has no such field."""
        return None if self.raw is None else self.raw[1] - self.raw[0]


LENGTH, VARINT = 2, 0
_SIZES = {1: 8, 5: 4}
_TENSOR = "tensor"
_NAMED = {"node": 3, "attribute": 1, "function": 1}
_INSIDE: dict[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: _TENSOR, 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: _TENSOR, 6: "graph", 10: _TENSOR, 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: _TENSOR, 2: _TENSOR},
}
"""Kind of a message -> its fields in which there may be a tensor, and of what kind these are."""
_CONTINUED = bytes(range(0x80, 0x100))
MAX_NAME_BYTES = 4096
MAX_PLACE = 200
_TYPED_SIZES = {4: 4, 5: 0, 6: 0, 7: 0, 10: 8, 11: 0}
"""Of a tensor's fields of numbers: bytes of each number where they are packed, 0 = one or more."""


def fields(content: Buffer, start: int = 0, end: int | None = None) -> Iterator[Field]:
    """The fields of a message, in their order.

    Raises:
        BrokenWire: they are none, or one goes beyond the end.
    """
    end = len(content) if end is None else end
    place = start
    while place < end:
        began = place
        tag, place = _varint(content, place, end)
        number, kind = tag >> 3, tag & 7
        value = 0
        if number == 0:
            raise BrokenWire(f"there is no field at byte {began}")
        if kind == VARINT:
            value, place = _varint(content, place, end)
            yield Field(number, kind, value, began, place)
            continue
        if kind == LENGTH:
            size, place = _varint(content, place, end)
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise BrokenWire(f"a field of an unknown kind at byte {began}")
        if size > end - place:
            raise BrokenWire(f"it is cut off: at byte {began}, {size} bytes should follow, and {end - place} do")
        yield Field(number, kind, value, place, place + size)
        place += size


def _varint(content: Buffer, place: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while place < end:
        byte = content[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, place
        shift += 7
        if shift > 63:
            raise BrokenWire(f"a number without an end at byte {place}")
    raise BrokenWire(f"it is cut off within a number at byte {place}")


def tensors(content: Buffer) -> Iterator[WireTensor]:
    """All tensors of an ONNX file: of graphs in graphs, functions, sparse tensors and what it says of training, too.

    Raises:
        BrokenWire: it is no such file, or holds more messages, or more in one another, than any sound one does.
    """
    return _Walk(content).message("model", 0, len(content), "", 0)


def external_files(content: Buffer) -> list[str]:
    """Names of the files that an ONNX file reads its weights from; empty where it holds them all itself.

    Raises:
        BrokenWire: as ``tensors``.
    """
    if content.find(b"location") < 0:  # as nearly always, which spares the walk
        return []
    return sorted({tensor.external.get("location", "") for tensor in tensors(content) if tensor.external})


class _Walk:
    def __init__(self, content: Buffer) -> None:
        self._content = content
        self._num_messages = 0

    def message(self, kind: str, start: int, end: int, place: str, depth: int) -> Iterator[WireTensor]:
        """The tensors in a message of a kind."""
        if depth > MAX_DEPTH:
            raise BrokenWire("it holds graphs in graphs, deeper than any sound one does")
        if kind == _TENSOR:
            yield self._tensor(start, end, place)
            return
        inside = _INSIDE[kind]
        if kind in _NAMED:
            place = self._place(kind, start, end, place)
        for each in fields(self._content, start, end):
            self._num_messages += 1
            if self._num_messages > MAX_MESSAGES:
                raise BrokenWire(f"it has more than {MAX_MESSAGES:,} parts")
            if each.number in inside and each.kind == LENGTH:
                yield from self.message(inside[each.number], each.start, each.end, place, depth + 1)

    def _place(self, kind: str, start: int, end: int, above: str) -> str:
        """A message in words: ``attribute 'value' of node 'n'``."""
        name = ""
        for each in fields(self._content, start, end):
            if each.number == _NAMED[kind] and each.kind == LENGTH:
                name = self._text(each)
        own = f"{kind} {name!r}"
        return f"{own} of {above}"[:MAX_PLACE] if above else own

    def _tensor(self, start: int, end: int, place: str) -> WireTensor:
        made = WireTensor(place)
        for each in fields(self._content, start, end):
            if each.number == 1:
                made.dims += self._numbers(each)
            elif each.number == 2 and each.kind == VARINT:
                made.dtype = each.value
            elif each.number == 3:
                made.is_segment = True
            elif each.number in _TYPED_SIZES:
                made.typed[each.number] = made.typed.get(each.number, 0) + self._count(each)
            elif each.number == 8 and each.kind == LENGTH:
                made.name = self._text(each)
            elif each.number == 9 and each.kind == LENGTH:
                made.raw = each.start, each.end
            elif each.number == 13 and each.kind == LENGTH:
                key, value = self._entry(each)
                if key in made.external:
                    raise BrokenWire(f"{place or 'a tensor'} says twice what its {key} is")
                made.external[key] = value
            elif each.number == 14 and each.kind == VARINT:
                made.is_external = each.value == 1
        made.place = f"tensor {made.name!r}" + (f" of {place}" if place else "")
        return made

    def _entry(self, entry: Field) -> tuple[str, str]:
        words = {1: "", 2: ""}
        for each in fields(self._content, entry.start, entry.end):
            if each.number in words and each.kind == LENGTH:
                words[each.number] = self._text(each)
        return words[1], words[2]

    def _numbers(self, each: Field) -> list[int]:
        if each.kind == VARINT:
            return [_signed(each.value)]
        numbers, place = [], each.start
        while place < each.end:
            value, place = _varint(self._content, place, each.end)
            numbers.append(_signed(value))
        return numbers

    def _count(self, each: Field) -> int:
        """How many numbers a field holds."""
        size = _TYPED_SIZES[each.number]
        if each.kind != LENGTH or each.number == 6:
            return 1
        if size:
            return (each.end - each.start) // size
        return len(self._content[each.start : each.end].translate(None, _CONTINUED))

    def _text(self, each: Field) -> str:
        return self._content[each.start : min(each.end, each.start + MAX_NAME_BYTES)].decode(errors="replace")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
