from __future__ import annotations

import math

import pytest

from ostinato.service.errors import (
    CheckpointExists,
    InvalidInput,
    RateLimited,
    SessionExists,
    UnknownCheckpoint,
    UnknownModel,
)
from ostinato.service.sessions import checkpoints as module
from ostinato.service.sessions.checkpoints import CheckpointShelf
from tests.service.puppet import House, column
from tests.service.state.places import STORES, Place, PlaceOf


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, place_of: PlaceOf) -> Place:
    return place_of(request.param)


async def warmed(house: House, session_id: str = "warm", *values: float) -> CheckpointShelf:
    session = await house.sessions.open("sum", session_id=session_id)
    await house.ledger.step(session, column(*(values or (1.0, 2.0))))
    return CheckpointShelf(house.sessions)


async def test_a_session_begins_where_a_checkpoint_was_saved(place: Place) -> None:
    house = House(store=place())
    shelf = await warmed(house)
    saved = await shelf.save(await house.sessions.find("warm"), "morning")
    assert (saved.session_id, saved.model, saved.version, saved.steps) == ("morning", "sum", "1", 2)
    assert saved.expires_at == math.inf
    # What becomes of the session then is nothing to the checkpoint.
    await house.ledger.step(await house.sessions.find("warm"), column(100.0))
    await house.sessions.close("warm")
    for name in ("a", "b"):
        facts = await shelf.open("morning", "sum", session_id=name)
        assert (facts.session_id, facts.steps) == (name, 2)
        answer = await house.ledger.step(await house.sessions.find(name), column(4.0), 2)
        assert answer.outputs.tolist() == [[7.0]]
    assert (await shelf.look("morning")).steps == 2


async def test_checkpoints_are_no_sessions_and_sessions_no_checkpoints(place: Place) -> None:
    house = House(store=place())
    shelf = await warmed(house)
    await shelf.save(await house.sessions.find("warm"), "warm")
    mine = await house.sessions.page(None, 100, None)
    everybody = await house.sessions.page(None, 100, None, of_all=True)
    assert [facts.session_id for facts in mine.sessions] == ["warm"]
    assert [facts.session_id for facts in everybody.sessions] == ["warm"]
    assert [facts.session_id for facts in (await shelf.page(100, None)).sessions] == ["warm"]
    assert house.sessions.use("~/warm") is None
    await shelf.delete("warm")
    assert (await house.sessions.look("warm")).steps == 2
    assert not (await shelf.page(100, None)).sessions


async def test_a_name_is_one_checkpoints_until_that_is_deleted(place: Place) -> None:
    house = House(store=place())
    shelf = await warmed(house)
    session = await house.sessions.find("warm")
    await shelf.save(session, "m")
    with pytest.raises(CheckpointExists, match="delete it first"):
        await shelf.save(session, "m")
    await shelf.delete("m")
    for gone in (shelf.look("m"), shelf.delete("m"), shelf.open("m", "sum")):
        with pytest.raises(UnknownCheckpoint):
            await gone
    await shelf.save(session, "m")
    with pytest.raises(InvalidInput) as refused:
        await shelf.save(session, "a/b")
    assert refused.value.field == "name"


async def test_what_does_not_fit_a_checkpoint_is_told(place: Place) -> None:
    house = House(store=place())
    shelf = await warmed(house)
    await shelf.save(await house.sessions.find("warm"), "m")
    for options, field in (({"version": "1"}, None), ({"context": {"who": 1}}, "context")):
        if field is None:
            assert (await shelf.open("m", "sum", **options)).steps == 2
            continue
        with pytest.raises(InvalidInput) as refused:
            await shelf.open("m", "sum", **options)
        assert refused.value.field == field
    with pytest.raises(InvalidInput) as refused:
        await shelf.open("m", "another")
    assert refused.value.field == "from"
    with pytest.raises(UnknownModel):
        await shelf.open("m", "sum", version="7")
    with pytest.raises(SessionExists):
        await shelf.open("m", "sum", session_id="warm")


async def test_tenants_have_checkpoints_of_their_own(place: Place) -> None:
    house = House(store=place())
    shelf = await warmed(house)
    await shelf.save(await house.sessions.find("warm"), "m")
    acme = house.sessions.of_tenant("acme")
    theirs = CheckpointShelf(acme)
    with pytest.raises(UnknownCheckpoint):
        await theirs.look("m")
    session = await acme.open("sum", session_id="warm")
    await house.ledger.step(session, column(9.0))
    await theirs.save(session, "m")
    assert ((await shelf.look("m")).steps, (await theirs.look("m")).steps) == (2, 1)
    assert (await theirs.open("m", "sum", session_id="x")).steps == 1
    assert sorted(facts.session_id for facts in (await acme.page(None, 100, None)).sessions) == ["warm", "x"]


async def test_there_are_as_many_as_may_be(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(store=place())
    monkeypatch.setattr(module, "MAX_CHECKPOINTS", 2)
    shelf = await warmed(house)
    session = await house.sessions.find("warm")
    for name in ("a", "b"):
        await shelf.save(session, name)
    with pytest.raises(RateLimited, match="delete one first"):
        await shelf.save(session, "c")
    await shelf.delete("a")
    await shelf.save(session, "c")
