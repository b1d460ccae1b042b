from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard

from ostinato.service.edge.codings import (
    CODINGS,
    MAX_MEMBERS,
    SLICE_BYTES,
    accepted_coding,
    coding_of,
    decoded,
    encoded,
)
from ostinato.service.errors import MalformedRequest, OstinatoError, TooLarge, UnsupportedCoding

TEXT = b'{"inputs": [[1.5]]}' * 20_000
MAX_BYTES = len(TEXT)


def streamed(text: bytes, window_log: int = 20) -> bytes:
    """Zstd whose frame does not say how much it holds."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log, write_checksum=True)
    coder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return coder.compress(text) + coder.flush()


def raw_deflate(text: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(text) + coder.flush()


PACKED = {
    "gzip": gzip.compress(TEXT, mtime=0),
    "deflate": zlib.compress(TEXT),
    "zstd": zstandard.compress(TEXT),
}
SKIPPABLE = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        *PACKED.items(),
        ("gzip", gzip.compress(TEXT[:1000], mtime=0) + gzip.compress(TEXT[1000:], mtime=0)),
        ("deflate", raw_deflate(TEXT)),
        ("zstd", streamed(TEXT)),
        ("zstd", zstandard.compress(TEXT[:1000]) + SKIPPABLE + zstandard.compress(b"") + streamed(TEXT[1000:])),
    ],
)
async def test_a_body_is_unpacked_as_it_was_packed(coding: str, body: bytes) -> None:
    assert await decoded(body, coding, MAX_BYTES) == TEXT
    with pytest.raises(TooLarge, match=f"over {MAX_BYTES - 1} bytes when it is unpacked"):
        await decoded(body, coding, MAX_BYTES - 1)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("num_bytes", [0, 1, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, 40_000])
async def test_what_is_packed_here_can_be_unpacked(coding: str, num_bytes: int) -> None:
    text = TEXT[:num_bytes]
    packed = await encoded(text, coding)
    others: dict[str, Callable[[bytes], bytes]]
    others = {"gzip": gzip.decompress, "deflate": zlib.decompress, "zstd": zstandard.decompress}
    assert others[coding](packed) == text
    assert await decoded(packed, coding, num_bytes) == text


@pytest.mark.parametrize(
    ("coding", "body", "why"),
    [
        *((coding, body[:-3], "cut off") for coding, body in PACKED.items()),
        *((coding, body[:5], "cut off|does not begin") for coding, body in PACKED.items()),
        *((coding, body + b"x", "something follows|header check|cut off") for coding, body in PACKED.items()),
        *((coding, b"plain text, and no more", "as its Content-Encoding says") for coding in CODINGS),
        ("gzip", PACKED["gzip"][:-8] + b"\0\0\0\0" + PACKED["gzip"][-4:], "incorrect data check"),
        ("gzip", PACKED["gzip"][:-4] + b"\0\0\0\0", "incorrect length check"),
        ("deflate", PACKED["deflate"][:-4] + b"\0\0\0\0", "incorrect data check"),
        ("zstd", streamed(TEXT)[:-4] + b"\0\0\0\0", "checksum"),
        ("zstd", streamed(TEXT, window_log=24), "too much memory"),
        ("zstd", SKIPPABLE[:-1], "cut off"),
        ("zstd", zstandard.compress(b"a") * (MAX_MEMBERS + 1), f"over {MAX_MEMBERS} frames"),
        ("gzip", gzip.compress(b"a", mtime=0) * (MAX_MEMBERS + 1), "something follows"),
    ],
)
async def test_what_is_damaged_is_refused_in_a_sentence(coding: str, body: bytes, why: str) -> None:
    with pytest.raises(MalformedRequest, match=f"the body is no {coding}, .*({why})"):
        await decoded(body, coding, MAX_BYTES)


BOMB_BYTES, MOST_BYTES = 64 << 20, 4 << 20


def bomb(coding: str) -> bytes:
    """Very little that holds very many zeros."""
    if coding != "deflate":
        return (
            zstandard.compress(bytes(BOMB_BYTES)) if coding == "zstd" else gzip.compress(bytes(BOMB_BYTES), 1, mtime=0)
        )
    return zlib.compress(bytes(BOMB_BYTES), 1)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        *((coding, bomb(coding)) for coding in CODINGS),
        ("zstd", streamed(bytes(BOMB_BYTES))),
        ("zstd", zstandard.compress(bytes(MOST_BYTES // 2)) * 40),
    ],
    ids=["zstd", "gzip", "deflate", "zstd-streamed", "zstd-frames"],
)
async def test_a_bomb_is_refused_before_it_is_unpacked(coding: str, body: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(TooLarge):
        await decoded(body, coding, MOST_BYTES)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 3 * MOST_BYTES < BOMB_BYTES // 4


@pytest.mark.parametrize("coding", CODINGS)
async def test_others_have_their_turns_while_a_body_is_unpacked_or_an_answer_packed(coding: str) -> None:
    for work in (decoded(bomb(coding), coding, BOMB_BYTES), encoded(TEXT * 10, coding)):
        working, turns = asyncio.create_task(work), 0
        while not working.done():
            turns += 1
            await asyncio.sleep(0)
        await working
        # One is before it begins; how many follow is the machine's.
        assert turns >= 2


@pytest.mark.parametrize(
    ("values", "coding"),
    [
        ([], ""),
        ([b"identity"], ""),
        ([b"", b"identity, "], ""),
        ([b"gzip"], "gzip"),
        ([b" X-GZip "], "gzip"),
        ([b"identity, zstd"], "zstd"),
        ([b"deflate"], "deflate"),
    ],
)
def test_the_coding_of_a_body_is_that_of_its_headers(values: list[bytes], coding: str) -> None:
    assert coding_of(values) == coding


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([b"br"], "'br' is not read; zstd, gzip, deflate are"),
        ([b"gzip, gzip"], "several codings"),
        ([b"gzip", b"zstd"], "several codings"),
        ([b"gzip;q=1"], "is not read"),
        ([b"\xff" * 200], "is not read"),
    ],
)
def test_another_coding_is_refused_with_those_that_are_read(values: list[bytes], why: str) -> None:
    with pytest.raises(UnsupportedCoding, match=why) as refusal:
        coding_of(values)
    assert isinstance(refusal.value, OstinatoError)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (b"", ""),
        (b"identity", ""),
        (b"br", ""),
        (b"gzip", "gzip"),
        (b"GZIP", "gzip"),
        (b"x-gzip", "gzip"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip, deflate", "gzip"),
        (b"zstd;q=0.5, gzip;q=0.8", "gzip"),
        (b"zstd;q=0, gzip;q=0.1", "gzip"),
        (b"gzip;q=0", ""),
        (b"*", "zstd"),
        (b"*;q=0", ""),
        (b"zstd;q=0, *", "gzip"),
        (b"gzip;q=0.5, identity", ""),
        (b"gzip;q=0.5, identity;q=0.4", "gzip"),
        (b"gzip ; Q=0.5", "gzip"),
        (b"gzip;q=2, deflate;q=0.1", "deflate"),
        (b"gzip;q=high", ""),
        (b",,;q=1,", ""),
    ],
)
def test_an_answer_leaves_in_the_coding_that_is_liked_best(value: bytes, coding: str) -> None:
    assert accepted_coding(value)[0] == coding


@pytest.mark.parametrize(
    ("value", "is_any_size"),
    [(b"gzip", False), (b"gzip, identity;q=0", True), (b"gzip, *;q=0", True), (b"gzip, *;q=0, identity;q=0.1", False)],
)
def test_an_answer_of_any_size_is_coded_for_who_takes_none_as_it_is(value: bytes, is_any_size: bool) -> None:
    coding, least = accepted_coding(value)
    assert (coding, least == 1) == ("gzip", is_any_size)
