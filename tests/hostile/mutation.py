"""Mutation: bytes that were well formed once, and are not quite any more. The same generator, the same bytes."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence

MAX_BYTES = 65_536
"""Nothing grows beyond: what many bytes cost is for those who send them whole."""

BOUNDARIES: tuple[int, ...] = (
    0,
    1,
    2,
    3,
    7,
    8,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
)
BOUNDARIES += (2**62, 2**63 - 1, 2**63, 2**64 - 1)

JSON_WORDS = (
    b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity", b"[]", b"{}", b'""', b"[[]]", b"[null]", b"[[[1]]]",
    b"1e400", b"-1e400", b"1e-400", b"0.1", b"-0", b"00", b"1e38", b"3.5e38", b"16777217", b"9007199254740993", b"1.0",
    b"-1", b"18446744073709551616", b"9" * 400, b'"\\ud800"', b'"\\u0000"', b'"\xc3\xa9"', b'"\xff"', b"[" * 200,
    b'{"a":' * 200, b'"inputs"', b'"seq"', b'"session_id"', b'"__proto__"', b" " * 100, b"\x00", b"\xef\xbb\xbf",
)  # fmt: skip
HEAD_WORDS = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\x00", b":", b"/", b"//", b"/../", b"%2e%2e", b"%00", b"%ff"),
    *(b"%", b"?", b"#", b"*", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"PRI", b"http://x/v1/models"),
    *(b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/9.9", b"\xff\xfe", b"x: y\r\n" * 120),
    *(b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"5;a=b\r\n"),
    b"content-length: 0\r\n",
    b"content-length: 5\r\n",
    b"content-length: -1\r\n",
    b"content-length: 0x10\r\n",
    b"content-length: 99999999999999999999\r\n",
    b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip, chunked\r\n",
    b"transfer-encoding: identity\r\n",
    b"upgrade: websocket\r\nconnection: upgrade\r\n",
    b"upgrade: h2c\r\nconnection: upgrade\r\n",
    b"expect: 100-continue\r\n",
    b"expect: 200-ok\r\n",
    b"host: \r\n",
    b"host: a\r\nhost: b\r\n",
    b"content-encoding: gzip\r\n",
    b"content-type: a/b\r\n",
    b"content-type: multipart/form-data\r\n",
    b"content-type: application/json; charset=utf-16\r\n",
    b"connection: close\r\n",
    b"connection: keep-alive\r\n",
    b"sec-websocket-version: 13\r\n",
    b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
    b"origin: null\r\n",
)

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")

Change = Callable[[bytes], bytes]


class Mutator:
    """Changes bytes a little, once to five times.

    Args:
        generator: of where and what.
        others: what parts are taken from.
        words: of the format that is mutated.
    """

    def __init__(self, generator: random.Random, others: Sequence[bytes], words: Sequence[bytes] = ()) -> None:
        self._random = generator
        self._others = others
        self._words = words
        self._changes: list[Change] = [
            *(self._flip, self._set, self._cut_out, self._cut_off, self._repeat, self._splice, self._swap_number),
            *(self._swap_integer, self._swap_integer, self._shuffle),
        ]
        if words:
            self._changes += [self._insert_word, self._replace_by_word, self._swap_number]

    def mutate(self, content: bytes) -> bytes:
        """Some bytes like these; at most ``MAX_BYTES``."""
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 3, 5))):
            content = self._random.choice(self._changes)(content)[:MAX_BYTES]
        return content

    def _at(self, content: bytes) -> int:
        return self._random.randrange(len(content) + 1)

    def _span(self, content: bytes) -> tuple[int, int]:
        """A part, most often a short one."""
        start = self._at(content)
        return start, min(len(content), start + self._random.choice((0, 1, 2, 4, 8, 16, 64, 256)))

    def _flip(self, content: bytes) -> bytes:
        if not content:
            return content
        changed = bytearray(content)
        for _ in range(self._random.choice((1, 1, 1, 2, 8))):
            changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)

    def _set(self, content: bytes) -> bytes:
        start, end = self._span(content)
        value = self._random.choice((0, 1, 0x7F, 0x80, 0xFF, self._random.randrange(256)))
        return content[:start] + bytes([value]) * (end - start) + content[end:]

    def _cut_out(self, content: bytes) -> bytes:
        start, end = self._span(content)
        return content[:start] + content[end:]

    def _cut_off(self, content: bytes) -> bytes:
        return content[: self._at(content)]

    def _repeat(self, content: bytes) -> bytes:
        start, end = self._span(content)
        return content[:end] + content[start:end] * self._random.choice((1, 2, 10, 100, 1000)) + content[end:]

    def _splice(self, content: bytes) -> bytes:
        other = self._random.choice(self._others) if self._others else content
        start, end = self._span(other)
        if self._random.random() < 0.3:
            return content[: self._at(content)] + other[start:]
        into, until = self._span(content)
        return content[:into] + other[start:end] + content[until:]

    def _shuffle(self, content: bytes) -> bytes:
        """Two parts that lie one behind the other change places."""
        first, second, third = sorted(self._at(content) for _ in range(3))
        return content[:first] + content[second:third] + content[first:second] + content[third:]

    def _swap_number(self, content: bytes) -> bytes:
        """A number in digits becomes one at some boundary."""
        places = [match.span() for match in _NUMBER.finditer(content[:4096])]
        if not places:
            return self._swap_integer(content)
        start, end = self._random.choice(places)
        number = self._random.choice(BOUNDARIES) * self._random.choice((1, -1))
        return content[:start] + str(number).encode() + content[end:]

    def _swap_integer(self, content: bytes) -> bytes:
        """Two, four or eight bytes become an integer at some boundary, or one near what they were."""
        size, letter = self._random.choice(((2, "H"), (4, "I"), (4, "I"), (8, "Q")))
        if len(content) < size:
            return content
        # What is written by machines is aligned, most often.
        step = self._random.choice((1, size))
        at = self._random.randrange((len(content) - size) // step + 1) * step
        order = self._random.choice("<<<>")
        (before,) = struct.unpack_from(order + letter, content, at)
        near = before + self._random.choice((-8, -1, 1, 8)), before * 2, -before
        value = self._random.choice((*near, *BOUNDARIES, *(-each for each in BOUNDARIES)))
        return content[:at] + struct.pack(order + letter, value % (1 << (8 * size))) + content[at + size :]

    def _insert_word(self, content: bytes) -> bytes:
        at = self._at(content)
        return content[:at] + self._random.choice(self._words) + content[at:]

    def _replace_by_word(self, content: bytes) -> bytes:
        start, end = self._span(content)
        return content[:start] + self._random.choice(self._words) + content[end:]
