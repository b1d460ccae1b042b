"""Tar archives: what is in one, a header after the other.

Python's own reader makes of a header what it claims: it calls itself for each header in a row, goes back by a negative
size, and may look at a megabyte of digits for hours. Here each header is held to its bounds, and read once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK_BYTES = 512
MAX_HEADER_BYTES = 1024 * 1024
"""Of what is told of one entry: its name, and whatever a file system knows of it."""

_FILES, _FOLDER = b"0\x007", b"5"
_LONG_NAME, _LONG_LINK, _SPARSE, _TOLD, _TOLD_OF_ALL = b"L", b"K", b"S", b"x", b"g"
_WITHOUT_CONTENT = b"123456"
"""Links, devices, folders and pipes: whatever their size says, nothing is behind them."""


class DamagedArchive(ValueError):
    """Bytes that are no archive; says what is wrong with them."""


class TarEntry(NamedTuple):
    """One entry: its name, what it is, and where the bytes of a file lie."""

    name: str
    is_file: bool
    is_folder: bool
    place: int
    size: int


def entries(file: BinaryIO) -> Iterator[TarEntry | None]:
    """The entries of an archive, in its order; None for a header that only tells of the next one.

    Raises:
        DamagedArchive: it is none, or is cut short.
    """
    end = file.seek(0, os.SEEK_END)
    told: dict[str, str] = {}
    place = 0
    while (header := _header(file, place, end)) is not None:
        kind, size = header[156:157], _number(header[124:136])
        place += BLOCK_BYTES
        if kind in (_LONG_NAME, _LONG_LINK, _TOLD, _TOLD_OF_ALL):
            content = _content(file, place, size, end)
            if kind == _LONG_NAME:
                told["path"] = _text(content)
            elif kind == _TOLD:
                told |= _records(content)
            yield None
        else:
            entry = _entry(header, kind, told, place, size)
            if entry.size > end - place:
                raise DamagedArchive("it is cut short")
            size, told = entry.size, {}
            yield entry
        place += -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _header(file: BinaryIO, place: int, end: int) -> bytes | None:
    """The block at a place; None behind the last entry."""
    file.seek(place)
    header = file.read(BLOCK_BYTES)
    if not header.strip(b"\0") and (place or header):
        return None
    if len(header) < BLOCK_BYTES:
        raise DamagedArchive("it is cut short" if place else "it is empty, or has another form")
    found = sum(header[:148]) + 8 * ord(" ") + sum(header[156:])
    if _number(header[148:156]) != found:
        raise DamagedArchive(f"there is no header at byte {place:,} of {end:,}")
    return header


def _entry(header: bytes, kind: bytes, told: dict[str, str], place: int, size: int) -> TarEntry:
    if kind == _SPARSE or any(key.startswith("GNU.sparse") for key in told):
        raise DamagedArchive("it has files with holes, as tar --sparse makes them")
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and (above := _text(header[345:500])):
        name = f"{above}/{name}"
    name = told.get("path", name)
    is_folder = kind == _FOLDER or (kind in _FILES and name.endswith("/"))
    if kind in _WITHOUT_CONTENT:
        size = 0
    elif "size" in told:
        size = _whole(told["size"])
    return TarEntry(name, kind in _FILES and not is_folder, is_folder, place, size)


def _content(file: BinaryIO, place: int, size: int, end: int) -> bytes:
    if size > MAX_HEADER_BYTES:
        raise DamagedArchive(f"a header of {size:,} bytes")
    if size > end - place:
        raise DamagedArchive("it is cut short")
    file.seek(place)
    return file.read(size)


def _records(content: bytes) -> dict[str, str]:
    """What is told of an entry: records, each ``LENGTH KEY=VALUE`` and a line feed."""
    found: dict[str, str] = {}
    place = 0
    while place < len(content) and content[place]:
        length = content[place : place + 20].partition(b" ")[0]
        begin, end = place + len(length) + 1, place + _whole(length.decode(errors="replace"))
        key, equals, value = content[begin : max(begin, end - 1)].partition(b"=")
        if not equals or end > len(content) or content[end - 1] != ord("\n"):
            raise DamagedArchive("a header tells what is no record")
        found[key.decode(errors="replace")] = value.decode(errors="replace")
        place = end
    return found


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise DamagedArchive(f"a header has {text[:20]!r} for a number")
    return int(text)


def _number(field: bytes) -> int:
    """A number of a header: octal, or where its first bit is set, its bytes."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise DamagedArchive("a header has a negative number")
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise DamagedArchive(f"a header has {digits!r} for a number")
    return int(digits or b"0", 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")
