"""Large bodies in JSON: decoded a slice at a time, their elements counted before.

The decoder of JSON keeps the event loop to itself until it is done: for 16 MiB that is a second, in which nobody else
is answered. So what ``is_large`` is first looked through for the commas between elements, by numpy and in
blocks; then anyone who asked hears how many there are, and refuses what is too many; then a slice of elements after the
other is decoded. Between any two blocks or slices other requests have their turn, and the request may be cancelled.
What comes of it, and the words in which it is refused, are those of ``codec.decode_body``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import numpy as np
from numpy.typing import NDArray

from ostinato.service.edge.message import Request
from ostinato.service.edge.v1.body_place import BodyPlace
from ostinato.service.edge.v1.codec import check_json, decode_body, decode_json
from ostinato.service.errors import InvalidInput, TooLarge

LARGE_BYTES = 65_536
"""Larger bodies are decoded a slice at a time; see ``is_large``."""
SLICE_BYTES = BLOCK_BYTES = 32_768
FEW_BYTES = 8192
"""What is decoded in one go whatever it holds, inclusive."""
MAX_MEMBERS = 4096
"""Of an object in a large body: no body, and no model's states, have as many."""

MAX_NUMBER_BYTES = MAX_NAME_BYTES = 32_768
"""Of one number of a large body, however it is written; of a member's name with the blanks around it."""
MAX_TEXT_BYTES = 2 * 1024 * 1024
"""Of one text of a large body, which is decoded in one go."""
MAX_DEPTH = 8
"""Of what is larger than a slice: each level is looked through again."""

BodyType = TypeVar("BodyType", bound=msgspec.Struct)
Check = Callable[[BodyPlace, int], None]
"""``(place, number of elements)``: raises where an array has too many. Asked of those longer than a slice."""

Convert = Callable[[list[Any]], Awaitable[list[Any]]]
"""Gets elements of a member as they are decoded, and gives what is kept of them: millions of lists would keep the
collector of garbage busy.
"""

_KEY = re.compile(rb'("(?:[^"\\]|\\.)*")\s*:', re.DOTALL)
_INDEX = re.compile(r"\[(\d+)\](.*)", re.DOTALL)


def is_large(text: bytes) -> bool:
    """Whether JSON takes so long to decode that others are to have their turn in between."""
    return len(text) > LARGE_BYTES or (len(text) > FEW_BYTES and _has_slow_numbers(text))


async def read_body(
    request: Request,
    decoder: msgspec.json.Decoder[BodyType],
    begin: Callable[[BodyType], Check] | None = None,
    *,
    reads_query: bool = False,
    convert: dict[str, Convert] | None = None,
) -> BodyType:
    """``decode_body`` for a body of any size.

    Args:
        begin: gets a large body before its large members are decoded, which are empty yet, and tells how to check them.
        convert: member -> what becomes of its elements, where the body is large.

    Raises:
        UnsupportedMediaType, InvalidInput: as ``decode_body``.
        Whatever ``begin`` does, and the check that it gives.
    """
    if not is_large(request.body):
        return decode_body(request, decoder, reads_query=reads_query)
    check_json(request, reads_query=reads_query)
    return await read_large(request.body, decoder, begin, "the body", convert or {})


async def read_large(
    text: bytes,
    decoder: msgspec.json.Decoder[BodyType],
    begin: Callable[[BodyType], Check] | None,
    what: str,
    convert: dict[str, Convert],
) -> BodyType:
    """A large object of JSON; see ``read_body``. ``what`` names it in errors."""
    text = text.strip(b" \n\r\t")
    if text[:1] != b"{":
        return decode_json(text, decoder, what)
    slices = _Slices(what, convert)
    members = await slices.members(text)
    large = {name: value for name, value in members.items() if len(value) > _slice_bytes(value)}
    # What is large is left out at first: what is wrong with the rest is found before.
    body = decode_json(_outline(members), decoder, what)
    if begin is not None:
        slices.check = begin(body)
    kinds = {field.encode_name: field.type for field in msgspec.structs.fields(decoder.type)}
    for name, value in large.items():
        if value[:1] in (b"[", b"{"):
            setattr(body, name, await slices.read(kinds[name], value, BodyPlace(name)))
    return body


async def read_outline(text: bytes, what: str) -> bytes:
    """A large object of JSON with nothing in its large lists and objects: what its small members say.

    Raises:
        InvalidInput, TooLarge: it is none.
    """
    return _outline(await _Slices(what, {}).members(text.strip(b" \n\r\t")))


def _outline(members: dict[str, bytes]) -> bytes:
    empty = {b"[": b"[]", b"{": b"{}"}
    parts = []
    for name, value in members.items():
        shown = value
        if len(value) > _slice_bytes(value):
            _check_text(value, name)
            shown = empty.get(value[:1], value)
        parts.append(b"%b:%b" % (msgspec.json.encode(name), shown))
    return b"{%b}" % b",".join(parts)


def _check_text(value: bytes, place: str) -> None:
    if value[:1] == b'"' and len(value) > MAX_TEXT_BYTES:
        raise TooLarge(f"{place} is a text of {len(value)} bytes; the most is {MAX_TEXT_BYTES}")


def _without_limit(*_: object) -> None:
    pass


class _Slices:
    """The slices of one text."""

    def __init__(self, what: str, convert: dict[str, Convert]) -> None:
        self._what = what
        self._convert = convert
        self.check: Check = _without_limit

    async def read(self, kind: Any, text: bytes, place: BodyPlace) -> Any:
        """A value of type ``kind``."""
        text = text.strip(b" \n\r\t")
        if len(text) > _slice_bytes(text):
            _check_text(text, place)
            if place.num_levels > MAX_DEPTH:
                raise InvalidInput(f"{self._what} is nested too deeply")
            if text[:1] == b"[" and (item := _item_type(kind)) is not None:
                return await self._array(item, text, place)
            if text[:1] == b"{" and (item := _value_type(kind)) is not None:
                members = await self.members(text)
                return {name: await self.read(item, value, place.value(name)) for name, value in members.items()}
            if text[:1] in (b"[", b"{"):  # where there should be none, which is seen at once
                text = text[:1] + (b"]" if text[:1] == b"[" else b"}")
            elif text[:1] != b'"' and len(text) > MAX_NUMBER_BYTES:
                raise InvalidInput(f"a number or word of {len(text)} characters", field=place)
        return self._decode(kind, text, place, 0)

    async def members(self, text: bytes) -> dict[str, bytes]:
        """The members of an object by their names, the last of each."""

        def check(_: BodyPlace, count: int) -> None:
            if count > MAX_MEMBERS:
                raise InvalidInput(f"an object of {count} members in {self._what}")

        bounds = (await self._bounds(text, check, BodyPlace(""))).tolist()
        if len(bounds) == 2 and await _behind_blanks(text, 1, len(text) - 1) == len(text) - 1:
            return {}
        found: dict[str, bytes] = {}
        for start, end in pairwise(bounds):
            at = await _behind_blanks(text, start + 1, end)
            key = _KEY.match(text, at, min(end, at + MAX_NAME_BYTES))
            if key is None:
                raise self._no_json(f"a member without a name, or with one of over {MAX_NAME_BYTES} bytes")
            name = self._decode(str, key[1], "", 0)
            found.pop(name, None)
            found[name] = text[key.end() : end].strip(b" \n\r\t")
            if not found[name]:
                raise self._no_json(f"member {name[:100]!r} has no value")
            if end - start > SLICE_BYTES:
                await asyncio.sleep(0)
        return found

    async def _array(self, item: Any, text: bytes, place: BodyPlace) -> list[Any]:
        bounds = await self._bounds(text, self.check, place)
        count = len(bounds) - 1
        if count == 1 and await _behind_blanks(text, 1, len(text) - 1) == len(text) - 1:
            return []
        made: list[Any] = []
        kind = list[item]
        convert = self._convert.get(place)
        first = 0
        while first < count:
            start = int(bounds[first]) + 1
            most = _slice_bytes(text[start : start + SLICE_BYTES])
            last = int(np.searchsorted(bounds, start + most, side="right")) - 1
            last = min(max(last, first + 1), count)
            piece = text[start : int(bounds[last])]
            if last == first + 1:
                elements = [await self.read(item, piece, place.element(first))]
            else:
                elements = self._decode(kind, b"[%b]" % piece, place, first)
            made += elements if convert is None else await convert(elements)
            if len(made) != last:  # there was nothing between two commas
                raise self._no_json(f"no value at {place}[{last - 1}]")
            first = last
            await asyncio.sleep(0)
        return made

    async def _bounds(self, text: bytes, check: Check, place: BodyPlace) -> NDArray[np.int64]:
        """Where the elements of an array, or the members of an object, begin and end: at its brackets, and the commas
        between them. ``check`` hears how many there are.
        """
        codes = np.frombuffer(text, np.uint8)
        found = [np.zeros(1, np.int64)]
        count = 1
        depth = num_quotes = num_escapes = 0
        for start in range(0, len(codes), BLOCK_BYTES):
            block = codes[start : start + BLOCK_BYTES]
            quotes = block == ord('"')
            escapes = block == ord("\\")
            if num_escapes or escapes.any():
                places = np.arange(len(block))
                runs = places - np.maximum.accumulate(np.where(escapes, -1 - num_escapes, places))
                quotes &= np.concatenate([[num_escapes], runs[:-1]]) % 2 == 0
                num_escapes = int(runs[-1])
            folded = block | 0x20  # "[" is as "{", and "]" as "}"
            changes = (folded == ord("{")).view(np.int8) - (folded == ord("}")).view(np.int8)
            commas = block == ord(",")
            if num_quotes % 2 or quotes.any():
                outside = (num_quotes + np.cumsum(quotes)) % 2 == 0
                num_quotes += int(np.count_nonzero(quotes))
                changes *= outside
                commas &= outside
            depths = np.cumsum(changes, dtype=np.int32) + depth
            depth = int(depths[-1])
            if depths.min() < (start + len(block) < len(codes)):
                break
            found.append(np.flatnonzero(commas & (depths == 1)) + start)
            count += len(found[-1])
            await asyncio.sleep(0)
        if depth or num_quotes % 2 or text[-1:] != (b"]" if text[:1] == b"[" else b"}"):
            raise self._no_json("brackets or quotes do not match")
        check(place, count)
        return np.concatenate([*found, [len(text) - 1]])

    def _decode(self, kind: Any, text: bytes, place: str, first: int) -> Any:
        """``text`` as ``kind``; where it is a list, its elements are those from ``first`` on of that at ``place``."""
        try:
            return decode_json(text, _decoder(kind), self._what)
        except InvalidInput as error:
            if error.field is None:  # it is not even JSON, or the place is all of it
                raise InvalidInput(str(error), None if "is not JSON" in str(error) else place or None) from error
            inner = error.field
            if first and (index := _INDEX.fullmatch(inner)):
                inner = f"[{int(index[1]) + first}]{index[2]}"
            dot = "." if inner and place and not inner.startswith("[") else ""
            raise InvalidInput(str(error), f"{place}{dot}{inner}" or None) from error

    def _no_json(self, why: str) -> InvalidInput:
        return InvalidInput(f"{self._what} is not JSON: {why}")


def _slice_bytes(text: bytes) -> int:
    """How much of ``text``, or of its first ``SLICE_BYTES``, is decoded in one go."""
    return min(SLICE_BYTES, FEW_BYTES) if _has_slow_numbers(text[:SLICE_BYTES]) else SLICE_BYTES


def _has_slow_numbers(text: bytes) -> bool:
    """Whether there may be numbers with an exponent in it: a few of them, as 1e300, take 10 us each to be rounded as
    they should, which is 400 times as long as others.
    """
    codes = np.frombuffer(text, np.uint8)
    places = np.flatnonzero((codes[1:-1] | 0x20) == ord("e"))
    before, behind = codes[places], codes[places + 2]
    is_digit = (before >= ord("0")) & (before <= ord("9"))
    return bool((is_digit & (behind <= ord("9")) & (behind >= ord("+"))).any())


async def _behind_blanks(text: bytes, start: int, end: int) -> int:
    """Where the first byte from ``start`` on is that is no blank; ``end`` where there is none."""
    for at in range(start, end, BLOCK_BYTES):
        block = text[at : min(at + BLOCK_BYTES, end)]
        if left := block.lstrip(b" \n\r\t"):
            return at + len(block) - len(left)
        await asyncio.sleep(0)
    return end


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _arms(kind: Any) -> tuple[Any, ...]:
    """The types of which a value may have any."""
    args = get_args(kind)
    if get_origin(kind) in (list, dict) or not args:
        return (kind,)
    return tuple(arm for each in args for arm in _arms(each))


def _item_type(kind: Any) -> Any:
    """The type of the elements where a value may be a list; None where it may not."""
    if kind is Any:
        return Any
    return next((get_args(arm)[0] for arm in _arms(kind) if get_origin(arm) is list), None)


def _value_type(kind: Any) -> Any:
    """The type of the members where a value may be an object; None where it may not."""
    if kind is Any:
        return Any
    return next((get_args(arm)[1] for arm in _arms(kind) if get_origin(arm) is dict), None)
