"""Releases of two schemas on one store, by a made-up next one."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from ostinato.service.config import Settings
from ostinato.service.errors import RecordUnreadable
from ostinato.service.state.address import open_store
from ostinato.service.state.base import Store
from ostinato.service.state.durable import DurableStore
from ostinato.service.state.records import read_head
from ostinato.service.state.schemas import FROZEN, SCHEMA, SCHEMAS, Schema
from tests.service.puppet import House, column
from tests.service.state.places import SHARED, Place, PlaceOf

NEXT = SCHEMA + 1


@pytest.fixture(params=SHARED)
def place(request: pytest.FixtureRequest, place_of: PlaceOf) -> Place:
    return place_of(request.param)


@pytest.fixture(autouse=True)
def _a_next_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema with a longer head, in another order, which this release reads and writes, too."""
    now = SCHEMAS[SCHEMA].head
    later = [("weight", "<f8"), *((name, now[name]) for name in reversed((now.names or ())[len(FROZEN.names or ()) :]))]
    head = np.dtype([*((name, FROZEN[name]) for name in FROZEN.names or ()), *later])
    monkeypatch.setitem(SCHEMAS, NEXT, Schema(NEXT, head))


async def schema_of(store: Store, session_id: str) -> int:
    assert isinstance(store, DurableStore)
    record = await store._read(session_id)
    assert record is not None
    return read_head(session_id, record).schema.number


class Client:
    """Steps sessions at any replica, and knows what must come out."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.sent: dict[str, list[float]] = {}

    async def step(self, house: House) -> None:
        session_id = f"s{self._random.randrange(8)}"
        values = [float(self._random.randrange(9)) for _ in range(self._random.choice((1, 1, 3)))]
        sent = self.sent.setdefault(session_id, [])
        session = await (house.sessions.find(session_id) if sent else house.sessions.open("sum", session_id=session_id))
        answer = await house.ledger.step(session, column(*values), seq=len(sent))
        assert answer.outputs[:, 0].tolist() == np.cumsum([sum(sent), *values])[1:].tolist()
        sent += values


@pytest.mark.parametrize("first", [2, 3])
async def test_a_roll_out_in_two_steps_loses_nothing_while_both_releases_are_live(first: int, place: Place) -> None:
    """New replicas write the former schema until the last old one is gone, and theirs when they are restarted."""
    writes = [(first, first), (first, first), (first + 1, first), (first + 1, first + 1)]
    client = Client(first)
    for phase in writes:
        houses = [House(store=place(record_schema=schema)) for schema in phase]
        for turn in range(60):
            await client.step(houses[turn % 2])
    store = place(record_schema=first)
    assert {await schema_of(store, session_id) for session_id in client.sent} == {first + 1}


async def test_a_release_before_refuses_what_it_cannot_read_and_leaves_it_as_it_is(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the two steps were not taken: an error, and nothing lost."""
    old, new = House(store=place()), House(store=place(record_schema=NEXT))
    session = await old.sessions.open("sum", session_id="a", ttl_seconds=0)
    await old.ledger.step(session, column(1), seq=0)
    await new.ledger.step(await new.sessions.find("a"), column(2), seq=1)
    assert await schema_of(new.store, "a") == NEXT
    tries: list[Callable[[], Awaitable[object]]] = [
        lambda: old.sessions.look("a"),
        lambda: old.ledger.step(session, column(100), seq=1),
        lambda: old.ledger.step(session, column(100)),
        lambda: old.sessions.reset(session),
        lambda: old.sessions.snapshot(session),
        lambda: old.sessions.open("sum", session_id="a"),
    ]
    with monkeypatch.context() as patch:
        patch.delitem(SCHEMAS, NEXT)  # as the release before is
        for attempt in tries:
            with pytest.raises(RecordUnreadable, match=f"of schema {NEXT}, and this release reads 2 and 3"):
                await attempt()
        page = await old.sessions.page(None, 10, None)
        assert (page.sessions, page.num_unreadable) == ([], 1)
        old.sessions.expire()
    answer = await new.ledger.step(await new.sessions.find("a"), column(4), seq=2)
    assert answer.outputs.tolist() == [[7.0]]


@pytest.mark.parametrize("schema", [0, NEXT + 1, 99])
def test_a_schema_that_this_release_does_not_write_is_refused_by_name(schema: int, place: Place) -> None:
    with pytest.raises(ValueError, match=f"--record-schema {schema}: this release writes 2 or 3 or {NEXT}"):
        place(record_schema=schema)


async def test_the_setting_reaches_the_store(tmp_path: object) -> None:
    for schema in (SCHEMA - 1, SCHEMA):
        store = open_store(Settings(state=f"lmdb://{tmp_path}/{schema}", record_schema=schema))
        house = House(store=store)
        await house.sessions.open("sum", session_id="a")
        assert await schema_of(store, "a") == schema
        await store.stop()
    assert Settings().record_schema == SCHEMA


def test_every_schema_begins_with_what_is_frozen() -> None:
    """So that a release tells of a record that it cannot read at least what it is, and when it ends."""
    for schema in SCHEMAS.values():
        for name in FROZEN.names or ():
            assert schema.head.fields is not None
            assert FROZEN.fields is not None
            assert schema.head.fields[name] == FROZEN.fields[name]
    assert FROZEN.itemsize == 70
