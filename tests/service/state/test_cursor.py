from __future__ import annotations

import base64
import zlib

import msgspec
import pytest

from ostinato.service.errors import InvalidInput
from ostinato.service.state.base import Store
from ostinato.service.state.cursor import read_cursor, write_cursor
from ostinato.service.state.redis.scan import Position
from tests.service.puppet import House
from tests.service.state.places import STORES, PlaceOf

GARBAGE = ("", "0", "0.0", "-1.5", "a", "abc", "?", "ü", "é" * 200, "=", "AAAA", "W10=", "9" * 10_000, "bnVsbA==", "\0")


def test_what_was_written_is_read() -> None:
    for position in (Position(), Position(2, 2**64 - 1, ("a", "b:c"))):
        assert read_cursor("redis", write_cursor("redis", position), Position) == position
    assert read_cursor("memory", write_cursor("memory", (1, 2)), tuple[int, int]) == (1, 2)


def test_a_word_with_a_letter_changed_or_left_out_is_refused() -> None:
    word = write_cursor("lmdb", "session-1")
    assert read_cursor("lmdb", word, str) == "session-1"
    for at in range(len(word)):
        for other in (word[:at] + word[at + 1 :], word[:at] + ("A" if word[at] != "A" else "B") + word[at + 1 :]):
            with pytest.raises(InvalidInput) as refusal:
                read_cursor("lmdb", other, str)
            assert refusal.value.field == "cursor"


def forged(kind: str) -> list[str]:
    """Words that are made as a store of this kind makes them, of what it never says."""
    positions: dict[str, list[object]] = {
        "memory": [(-1, 0), (0, -1), (-(2**70), 2**70), (1,), (0.5, 0), (None, 0), ["0", 0]],
        "lmdb": ["x" * 511, "é" * 256, None, 5, ["a"]],
        "redis": [
            *((-1, 0, ()), (0, -1, ()), (0, 2**64, ()), (0, 2**200, ()), (0, -(2**63) - 1, ())),
            *((0, 0.5, ()), ("0", 0, ()), (0, 0, (1,)), (0, 0, None), (0,) * 9, "a", {}),
        ],
    }
    contents = [msgspec.json.encode(position) for position in positions[kind]]
    contents += [
        b"",
        b"\xff",
        b'"\xff"',
        b'"\\ud800"',
        b'[0,0,["\\udfff"]]',
        b"[" * 9_999,
        b"[0,1e400,[]]",
        b"[0,-0.0,[]]",
    ]
    checks = [zlib.crc32(kind.encode() + b"\0" + content).to_bytes(4, "big") for content in contents]
    return [base64.urlsafe_b64encode(check + content).decode() for check, content in zip(checks, contents, strict=True)]


async def test_what_is_forged_is_refused_and_never_harms_a_store(name: str, place_of: PlaceOf) -> None:
    house = House(store=place_of(name)())
    await house.sessions.open("sum", session_id="a")
    for word in forged(name.split()[0]):
        with pytest.raises(InvalidInput, match="not one that this server gave"):
            await house.sessions.page(None, 5, word)


async def test_a_position_at_the_end_of_all_is_an_empty_page(name: str, place_of: PlaceOf) -> None:
    kind = name.split()[0]
    ends: dict[str, object] = {"memory": (2**70, 2**70), "lmdb": "x" * 510, "redis": (2**70, 2**64 - 1, ("gone",))}
    house = House(store=place_of(name)())
    assert (await house.sessions.page(None, 5, write_cursor(kind, ends[kind]))).sessions == []


@pytest.fixture(params=STORES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def cursor_of(store: Store) -> str:
    house = House(store=store)
    for number in range(20):
        await house.sessions.open("sum", session_id=f"session-{number}")
    cursor = (await house.sessions.page(None, 1, None)).next_cursor
    assert cursor is not None
    assert len((await house.sessions.page(None, 1, cursor)).sessions) <= 1
    return cursor


async def test_every_store_refuses_what_none_gave_and_what_another_gave(name: str, place_of: PlaceOf) -> None:
    kind = name.split()[0]
    given = {other: await cursor_of(place_of(other)()) for other in ("memory", "lmdb", "redis")}
    house = House(store=place_of(name)())
    for word in [*GARBAGE, *(word for other, word in given.items() if other != kind)]:
        with pytest.raises(InvalidInput, match="not one that this server gave"):
            await house.sessions.page(None, 5, word)
