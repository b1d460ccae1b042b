"""Sessions that their first chunk opens, on stores that several processes share."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.service.puppet import until
from tests.service.state.places import Place, PlaceOf
from tests.service.state.test_record_store import Replica, replicas, turn

INFINITE = 3e38
"""Twice that is no float32."""


@pytest.fixture(params=["lmdb", "redis"])
def place(request: pytest.FixtureRequest, place_of: PlaceOf) -> Place:
    return place_of(request.param)


async def create(replica: Replica, *values: float, session_id: str = "new", model: str = "sum") -> list[Any]:
    """Steps of one session in one message, that open it where it is missing; of each its total, or its error's code."""
    body = {"session_ids": [session_id] * len(values), "inputs": [[value] for value in values], "create_missing": True}
    status, content = await replica.ask("POST", f"/v1/models/{model}/step", json.dumps(body).encode())
    assert status == 200, content
    codes = {error["row"]: error["code"] for error in content["errors"]}
    return [codes.get(row) or made[0] for row, made in enumerate(content["outputs"])]


async def seen(replica: Replica, session_id: str = "new") -> Any:
    """The session's steps, or why it is not there; which looking at it, and the list, agree on."""
    status, content = await replica.ask("GET", f"/v1/sessions/{session_id}")
    _, page = await replica.ask("GET", "/v1/sessions")
    assert (session_id in {each["session_id"] for each in page["sessions"]}) == (status == 200)
    return content["steps"] if status == 200 else content["code"]


async def test_it_is_not_there_before_its_first_chunk(place: Place) -> None:
    async with replicas(place) as (one, other):
        one.house.runner.gate.clear()
        creating = asyncio.ensure_future(create(one, 5))
        await until(lambda: one.house.runner.is_held)
        assert await seen(one) == await seen(other) == "unknown_session"
        behind = asyncio.ensure_future(create(one, 6))
        one.release()
        assert (await creating, await behind) == ([5], [11])
        assert await seen(one) == await seen(other) == 2
        assert await create(other, 7) == [18]
        assert one.house.value('ostinato_sessions_total{event="opened",model="sum",version="1"}') == 2  # a, and new


async def test_a_chunk_that_fails_opens_nothing(place: Place) -> None:
    async with replicas(place) as (one, other):
        one.house.runner.fails = lambda _: True
        assert await create(one, 5) == ["run_failed"]
        assert await seen(one) == await seen(other) == "unknown_session"
        one.house.runner.fails = lambda _: len(one.house.runner.iterations) <= 4
        # What waited behind it opens it in its place.
        assert await create(one, 5, 6) == ["run_failed", 6]
        assert await seen(one) == await seen(other) == 1


async def test_what_another_replica_opens_meanwhile_is_stepped(place: Place) -> None:
    async with replicas(place) as (one, other):
        one.house.runner.gate.clear()
        creating = asyncio.ensure_future(create(one, 5))
        await until(lambda: one.house.runner.is_held)
        behind = asyncio.ensure_future(create(one, 1000))
        await asyncio.sleep(0)
        turn((one, other), 1)
        assert await create(other, 100) == [100]
        one.release()
        assert (await creating, await behind) == ([105], [1105])
        assert await seen(one) == await seen(other) == 3


async def test_what_an_opening_opens_meanwhile_is_stepped(place: Place) -> None:
    async with replicas(place) as (one, other):
        one.house.runner.gate.clear()
        creating = asyncio.ensure_future(create(one, 5))
        await until(lambda: one.house.runner.is_held)
        turn((one, other), 1)
        assert (await one.open(session_id="new"))[0] == 201
        assert await seen(one) == 0
        one.release()
        assert await creating == [5]
        assert await seen(other) == 1


@pytest.mark.parametrize("seconds", [1, 30])
async def test_where_the_copy_is_of_a_session_that_ended_its_tombstone_decides(seconds: float, place: Place) -> None:
    async with replicas(place) as both:
        one, other = both
        assert await create(one, 5) == [5]
        assert (await other.ask("DELETE", "/v1/sessions/new"))[0] == 204
        turn(both, seconds)
        # A tombstone lasts 10 s; and a session's time to live is longer than what was turned.
        assert await create(one, 6, 7) == (["session_closed"] * 2 if seconds < 10 else [6, 13])
        assert await seen(other) == ("session_closed" if seconds < 10 else 2)


async def test_of_two_messages_at_once_each_step_counts(place: Place) -> None:
    async with replicas(place) as (one, other):
        made = await asyncio.gather(*(create(each, 1) for each in (one, other, one, other)))
        assert sorted(total for [total] in made) == [1, 2, 3, 4]
        assert await seen(one) == 4


async def test_one_of_another_model_is_not_opened_but_refused(place: Place) -> None:
    async with replicas(place) as (one, _):
        assert await create(one, 1, session_id="a") == [1]
        assert await create(one, 1, session_id="..") == ["invalid_input"]
