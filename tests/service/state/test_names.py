"""Sessions of several tenants in one store: each names and sees its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from ostinato.service.errors import InvalidInput, OstinatoError, RateLimited, SessionClosed, UnknownSession
from ostinato.service.sessions.sessions import Sessions
from tests.service.puppet import House, column
from tests.service.state.places import STORES, PlaceOf

TENANTS = ("", "acme", "zeta", "acme.2")


NewHouse = Callable[[], House]


@pytest.fixture(params=STORES)
def new_house(request: pytest.FixtureRequest, place_of: PlaceOf) -> NewHouse:
    return lambda: House(store=place_of(request.param)(max_sessions=1000))


def views(house: House) -> dict[str, Sessions]:
    return {tenant: house.sessions.of_tenant(tenant) for tenant in TENANTS}


async def ids_of(sessions: Sessions, limit: int, **options: bool) -> list[str]:
    """All ids, by pages; all but the last of a page that was cut are full."""
    found: list[str] = []
    cursor = None
    while True:
        page = await sessions.page(None, limit, cursor, **options)
        found += [facts.session_id for facts in page.sessions]
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("seed", range(2))
async def test_equal_ids_of_tenants_are_sessions_of_their_own(new_house: NewHouse, seed: int) -> None:
    house = new_house()
    generator = random.Random(seed)
    of = views(house)
    totals: dict[tuple[str, str], float] = {}
    for tenant in TENANTS:
        for session_id in ("a", "b", "A.b:c-d"):
            await of[tenant].open("sum", session_id=session_id)
            totals[tenant, session_id] = 0.0
    for _ in range(60):
        drawn = generator.sample(sorted(totals), 5)

        async def step(place: tuple[str, str]) -> None:
            tenant, session_id = place
            session = of[tenant].use(session_id) or await of[tenant].find(session_id)
            added = float(generator.randrange(100))
            totals[place] += added
            answer = await house.ledger.step(session, column(added))
            assert (answer.session_id, answer.outputs.tolist()) == (session_id, [[totals[place]]])

        await asyncio.gather(*map(step, drawn))
    for tenant in TENANTS:
        assert sorted(await ids_of(of[tenant], 2)) == ["A.b:c-d", "a", "b"]


async def test_another_tenant_s_session_is_one_that_never_was(new_house: NewHouse) -> None:
    house = new_house()
    of = views(house)
    await of["acme"].open("sum", session_id="theirs")
    await of["acme"].open("sum", session_id="ended")
    await of["acme"].close("ended")
    for tenant in ("", "zeta"):
        for session_id in ("theirs", "ended", "never"):
            assert of[tenant].use(session_id) is None
            for attempt in (of[tenant].find, of[tenant].find_newest, of[tenant].look, of[tenant].close):
                with pytest.raises(UnknownSession) as raised:
                    await attempt(session_id)
                assert str(raised.value) == f"no session {session_id!r}; open it with POST /v1/models/<model>/sessions"
    with pytest.raises(SessionClosed, match="session 'ended' was closed"):
        await of["acme"].look("ended")


@pytest.mark.parametrize("forged", ["acme/theirs", "acme/", "/theirs", "../theirs", "acme%2Ftheirs"])
async def test_no_id_names_another_tenant_s_session(new_house: NewHouse, forged: str) -> None:
    house = new_house()
    of = views(house)
    await of["acme"].open("sum", session_id="theirs")
    with pytest.raises(UnknownSession):
        await of[""].look(forged)
    with pytest.raises(InvalidInput):
        await of[""].open("sum", session_id=forged)


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_pages_are_of_one_tenant_full_and_their_cursors_name_no_other(new_house: NewHouse, limit: int) -> None:
    house = new_house()
    of = views(house)
    for number in range(9):
        for tenant in TENANTS:
            await of[tenant].open("sum", session_id=f"{'secret' if tenant == 'acme' else 's'}-{number}")
    for tenant in TENANTS:
        expected = sorted(f"{'secret' if tenant == 'acme' else 's'}-{number}" for number in range(9))
        assert sorted(await ids_of(of[tenant], limit)) == expected
    everything = await ids_of(house.sessions, limit, of_all=True)
    assert sorted(everything) == sorted(
        f"{tenant}/{name}" if tenant else name
        for tenant in TENANTS
        for name in (f"{'secret' if tenant == 'acme' else 's'}-{number}" for number in range(9))
    )
    # A cursor of one tenant shows another nothing but its own.
    for one in TENANTS:
        cursor = (await of[one].page(None, 1, None)).next_cursor
        for other in set(TENANTS) - {one}:
            page = await of[other].page(None, 1000, cursor)
            assert {facts.session_id.partition("-")[0] for facts in page.sessions} <= {
                "secret" if other == "acme" else "s"
            }


async def test_a_tenant_has_as_many_sessions_as_its_key_may(new_house: NewHouse) -> None:
    house = new_house()
    await house.sessions.open("sum", session_id="of nobody's".replace(" ", "-").replace("'", ""))
    few = house.sessions.of_tenant("acme", 2)
    first = await few.open("sum", session_id="a")
    await few.find_or_begin("b", house.engine)
    refused: list[OstinatoError] = []
    for attempt in (
        few.open("sum"),
        few.find_or_begin("c", house.engine),
        few.begin("d", house.engine, None, None),
        few.fork(first),
    ):
        with pytest.raises(RateLimited, match="2 sessions are live") as raised:
            await attempt
        refused.append(raised.value)
    assert len(refused) == 4
    assert (await few.find_or_begin("a", house.engine)).session_id == "a"  # it is there
    await few.close("a")
    assert (await few.open("sum", session_id="e")).session_id == "e"
    opened = await few.find("e")
    await few.close_opened("e", float(opened.arena.opened_at[opened.slot]))
    assert (await few.begin("f", house.engine, None, None)).session_id == "f"
