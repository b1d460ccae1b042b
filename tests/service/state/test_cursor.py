from __future__ import annotations

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
