"""Content codings (RFC 9110, section 8.4): bodies may come in them, and answers leave in them where that is asked."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Iterable
from functools import lru_cache

import zstandard

from ostinato.service.errors import MalformedRequest, TooLarge, UnsupportedCoding
from ostinato.service.inputs.turns import Pace

CODINGS = ("zstd", "gzip", "deflate")
"""Those that are read and written, the first before the others where a client takes them equally."""

MIN_CODED_BYTES = 1024
"""A smaller answer is one packet, and stays as it is."""
INLINE_BYTES = 8192
"""What is coded in one go, about a tenth of a millisecond; more of it in a thread, without Python's lock."""
SLICE_BYTES = 65_536
"""How much is made of a coded body between two turns of the event loop."""
MAX_MEMBERS = 1_000
"""Of a body: each may be of no byte, and costs some."""
MAX_BLOCKS = 200_000
"""Of a frame of zstd: those that are written hold kilobytes."""
MAX_WINDOW_BYTES = 8 * 1024 * 1024
"""What a frame of zstd may have read back in, inclusive (RFC 9659)."""

_ALIASES = {"x-gzip": "gzip"}
_QUALITY = re.compile(r"\s*;\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)
MIN_FRAME_BYTES, MAX_HEAD_BYTES = 6, 18
_SKIPPABLE, _SKIPPABLE_HEAD_BYTES = range(0x184D2A50, 0x184D2A60), 8
_BLOCK_HEAD_BYTES, _REPEATED = 3, 1


def coding_of(values: Iterable[bytes]) -> str:
    """The coding of a body, by its headers ``Content-Encoding``; empty = none.

    Raises:
        UnsupportedCoding: there are several, or it is another than ``CODINGS``.
    """
    names = [name.strip().lower() for value in values for name in value.decode("latin-1").split(",")]
    codings = [_ALIASES.get(name, name) for name in names if name not in ("", "identity")]
    if not codings:
        return ""
    if len(codings) > 1:
        raise UnsupportedCoding("a body in several codings is not read; send it in one, or as it is")
    if codings[0] not in CODINGS:
        read = ", ".join(CODINGS)
        raise UnsupportedCoding(f"a body in {codings[0][:40]!r} is not read; {read} are, or send it as it is")
    return codings[0]


@lru_cache(maxsize=256)
def accepted_coding(value: bytes) -> tuple[str, int]:
    """The coding that a client likes best, by its header ``Accept-Encoding``, and from how many bytes of an answer on
    it is worth it; empty = the answer as it is.
    """
    qualities: dict[str, float] = {}
    for part in value.decode("latin-1").lower().split(","):
        name, has_quality, _ = part.partition(";")
        found = _QUALITY.fullmatch(part, len(name))
        if not has_quality or found is not None:  # what is not of that grammar is as if it were not there
            name = name.strip()
            qualities[_ALIASES.get(name, name)] = float(found[1]) if found else 1.0
    others = qualities.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: qualities.get(coding, others))
    quality = qualities.get(best, others)
    # Anyone who does not name it takes an answer as it is, too, and likes it less than what was named.
    if quality <= 0 or quality < qualities.get("identity", 0.0):
        return "", 0
    takes_plain = qualities.get("identity", others if "*" in qualities else 1.0) > 0
    return best, MIN_CODED_BYTES if takes_plain else 1


async def encoded(body: bytes, coding: str) -> bytes:
    """``body`` in a coding; a large one is coded in a thread."""
    if len(body) <= INLINE_BYTES:
        return encoded_at_once(body, coding)
    return await asyncio.to_thread(encoded_at_once, body, coding)


def encoded_at_once(body: bytes, coding: str) -> bytes:
    """``body`` in a coding, quickly rather than as small as can be: digits hardly shrink any further."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=1).compress(body)
    coder = zlib.compressobj(level=1, wbits=31 if coding == "gzip" else 15)
    return coder.compress(body) + coder.flush()


async def decoded(body: bytes, coding: str, max_bytes: int) -> bytes:
    """What a body in a coding holds; never more memory than that may take, and others have their turns meanwhile.

    Raises:
        TooLarge: it holds over ``max_bytes``.
        MalformedRequest: it is damaged, cut off, or something else follows.
    """
    if not body:
        return body
    if coding == "zstd":
        return await asyncio.to_thread(_from_zstd, body, max_bytes)
    return await _from_zlib(body, coding, max_bytes)


async def _from_zlib(body: bytes, coding: str, max_bytes: int) -> bytes:
    bits = 31
    if coding == "deflate":
        # Some send the bare stream, without the head of zlib (RFC 1950) that they should.
        has_head = body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
        bits = 15 if has_head else -15
    pace, parts, num_made, num_members = Pace(), [b""], 0, 1
    decoder = zlib.decompressobj(wbits=bits)
    for start in range(0, len(body), SLICE_BYTES):
        rest = body[start : start + SLICE_BYTES]
        # A full slice may not be all that it made of what it was given.
        while rest or (len(parts[-1]) == SLICE_BYTES and not decoder.eof):
            if decoder.eof:
                num_members += 1
                if coding != "gzip" or num_members > MAX_MEMBERS:
                    raise _damaged(coding, "something follows its end")
                decoder = zlib.decompressobj(wbits=bits)
            try:
                parts.append(decoder.decompress(rest, SLICE_BYTES))
            except zlib.error as error:
                raise _damaged(coding, str(error).partition(": ")[2]) from error
            num_made += len(parts[-1])
            if num_made > max_bytes:
                raise _too_large(max_bytes)
            rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            await pace.rest()
    if not decoder.eof:
        raise _damaged(coding, "it is cut off")
    return b"".join(parts)


def _from_zstd(body: bytes, max_bytes: int) -> bytes:
    decoder = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    parts: list[bytes] = []
    start, num_left = 0, max_bytes
    for _ in range(MAX_MEMBERS):
        end, num_bytes = _frame(body, start)
        if num_bytes is not None and num_bytes > num_left:
            raise _too_large(max_bytes)
        if num_bytes != 0:
            try:
                parts.append(decoder.decompress(body[start:end], max_output_size=num_left + 1))
            except zstandard.ZstdError as error:
                if num_bytes is None and "full frame" in str(error):  # the frame is whole, and the room was not enough
                    raise _too_large(max_bytes) from error
                raise _damaged("zstd", str(error).partition(": ")[2]) from error
            num_left -= len(parts[-1])
            if num_left < 0:
                raise _too_large(max_bytes)
        if end == len(body):
            return b"".join(parts)
        start = end
    raise _damaged("zstd", f"it has over {MAX_MEMBERS} frames")


def _frame(body: bytes, start: int) -> tuple[int, int | None]:
    """Where a frame of zstd ends (RFC 8878, section 3.1), and how many bytes it says that it holds; None = it does not
    say.
    """
    head = body[start : start + MAX_HEAD_BYTES]
    if int.from_bytes(head[:4], "little") in _SKIPPABLE and len(head) >= _SKIPPABLE_HEAD_BYTES:
        end = start + _SKIPPABLE_HEAD_BYTES + int.from_bytes(head[4:8], "little")
        return _within(end, body), 0
    try:
        told = zstandard.get_frame_parameters(head)
        end = start + zstandard.frame_header_size(head)
    except zstandard.ZstdError as error:
        what = "something follows its end" if start else "it does not begin as such"
        raise _damaged("zstd", "it is cut off" if len(head) < MIN_FRAME_BYTES and not start else what) from error
    for _ in range(MAX_BLOCKS):
        block = int.from_bytes(body[end : _within(end + _BLOCK_HEAD_BYTES, body)], "little")
        end += _BLOCK_HEAD_BYTES + (1 if block >> 1 & 3 == _REPEATED else block >> 3)
        if block & 1:
            end = _within(end + 4 * told.has_checksum, body)
            is_told = told.content_size != zstandard.CONTENTSIZE_UNKNOWN
            return end, told.content_size if is_told else None
    raise _damaged("zstd", f"it has over {MAX_BLOCKS} blocks")


def _within(end: int, body: bytes) -> int:
    if end > len(body):
        raise _damaged("zstd", "it is cut off")
    return end


def _damaged(coding: str, why: str) -> MalformedRequest:
    return MalformedRequest(f"the body is no {coding}, as its Content-Encoding says: {why or 'it cannot be read'}")


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"the body is over {max_bytes} bytes when it is unpacked; send fewer steps at a time")
