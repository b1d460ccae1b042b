"""Changes at one replica with another's change in between, and sessions whose time comes while a chunk is under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save

from ostinato.service.edge.asgi import Edge
from ostinato.service.state.record_store import RecordStore
from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.edge.v1.test_columns import add_model
from tests.service.puppet import House, until
from tests.service.state.places import Place, PlaceOf

A = "/v1/sessions/a"
ONE_STEP = b'{"inputs": [[1]]}'
Change = Callable[[], Awaitable[object]]


class Replica(NamedTuple):
    """A house and its edge. Its engine of version 1 runs in a thread, where the gate holds it."""

    house: House
    edge: Edge

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        return await Connection(method, path, body).through(self.edge)

    async def open(self, version: str = "1", ttl_seconds: float = 10, session_id: str = "a") -> tuple[int, Any]:
        body = f'{{"session_id": "{session_id}", "version": "{version}", "ttl_seconds": {ttl_seconds}}}'
        return await self.ask("POST", "/v1/models/sum/sessions", body.encode())

    async def step(self, body: bytes = ONE_STEP) -> tuple[int, Any]:
        status, content = await self.ask("POST", f"{A}/step", body)
        return status, content["outputs"][-1][0] if status == 200 else content["code"]

    async def look(self) -> Any:
        """The session's steps, or why it is not there."""
        status, content = await self.ask("GET", A)
        return content["steps"] if status == 200 else content["code"]

    async def begin(self, body: bytes = ONE_STEP) -> asyncio.Task[tuple[int, Any]]:
        """A step that is held until ``release``."""
        self.house.runner.gate.clear()
        task = asyncio.ensure_future(self.step(body))
        await until(lambda: self.house.runner.is_held)
        return task

    def release(self) -> None:
        self.house.runner.gate.set()

    def before_swap(self, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
        """Have something happen when the next change here has been decided, and is not made yet."""
        store = self.house.store
        assert isinstance(store, RecordStore)
        swap = store._swap

        async def swap_late(*given: Any) -> Any:
            monkeypatch.undo()
            await change()
            return await swap(*given)

        monkeypatch.setattr(store, "_swap", swap_late)

    def after_swap(self, monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
        """Have something happen when the next change here has been made, and is not known here yet."""
        store = self.house.store
        assert isinstance(store, RecordStore)
        swap = store._swap

        async def swap_early(*given: Any) -> Any:
            monkeypatch.undo()
            made = await swap(*given)
            await change()
            return made

        monkeypatch.setattr(store, "_swap", swap_early)


@asynccontextmanager
async def replicas(place: Place) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two over one store, both of which have session ``a`` in memory."""
    async with AsyncExitStack() as stack:
        both = []
        for _ in range(2):
            house = House(store=place(), in_thread=True)
            add_model(house, version="0")
            both.append(Replica(house, await stack.enter_async_context(edge_over(house))))
            stack.callback(house.runner.gate.set)
        one, other = both
        assert (await one.open())[0] == 201
        for each in both:
            await each.house.sessions.find("a")
        yield one, other
        for each in both:
            for engine in each.house.catalogue.engines:
                assert (engine.num_rows, int(engine.arena.busy.sum())) == (0, 0)
            # Slots of sessions that ended while a request was under way are given back.
            each.house.clock.now += 10_000
            each.house.sessions.expire()
            assert [engine.arena.num_used for engine in each.house.catalogue.engines] == [0, 0]


def turn(both: tuple[Replica, Replica], seconds: float) -> None:
    """Turn both clocks on."""
    for each in both:
        each.house.clock.now += seconds


def state(total: float, **metadata: str) -> bytes:
    return save({"total": np.array([total], np.float32)}, metadata or None)


@pytest.fixture(params=["lmdb", "redis"])
def place(request: pytest.FixtureRequest, place_of: PlaceOf) -> Place:
    return place_of(request.param)


CHANGES = {
    "reset": ("POST", f"{A}/reset", b""),
    "put": ("PUT", f"{A}/state", state(7, steps="3")),
    "close": ("DELETE", A, b""),
}


@pytest.mark.parametrize("version", ["1", "0"])
@pytest.mark.parametrize("verb", CHANGES)
async def test_a_session_opened_meanwhile_is_not_turned_into_the_one_before(
    verb: str, version: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(place) as both:
        one, other = both

        async def reopen() -> None:
            turn(both, 1)
            assert (await other.ask("DELETE", A))[0] == 204
            assert (await other.open(version))[0] == 201
            assert await other.step() == (200, 1)

        one.before_swap(monkeypatch, reopen)
        status, content = await one.ask(*CHANGES[verb])
        assert (status, content["code"]) == (410, "session_closed")
        for each in both:
            _, facts = await each.ask("GET", A)
            assert (facts["version"], facts["steps"]) == (version, 1)
        assert await one.step() == (200, 2)


async def test_a_state_without_steps_keeps_those_that_another_has_applied_meanwhile(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(place) as (one, other):
        assert await one.step() == (200, 1)
        one.before_swap(monkeypatch, other.step)
        status, facts = await one.ask("PUT", f"{A}/state", state(40))
        assert (status, facts["steps"]) == (200, 2)
        assert await other.step(b'{"inputs": [[1]], "seq": 2}') == (200, 41)


async def test_what_a_reset_answers_is_the_reset_and_not_what_followed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(place) as (one, other):
        assert await one.step() == (200, 1)
        one.after_swap(monkeypatch, other.step)
        status, facts = await one.ask("POST", f"{A}/reset")
        assert (status, facts["steps"]) == (200, 0)
        assert await one.step() == (200, 2)


@pytest.mark.parametrize("verb", ["open", "fork"])
async def test_what_an_opening_answers_is_the_opening_and_not_what_followed(
    verb: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(place) as (one, other):
        assert await one.step() == (200, 1)

        async def step_new() -> None:
            assert (await other.ask("POST", "/v1/sessions/new/step", ONE_STEP))[0] == 200

        one.after_swap(monkeypatch, step_new)
        if verb == "open":
            status, facts = await one.open(session_id="new")
        else:
            status, facts = await one.ask("POST", f"{A}/fork", b'{"session_id": "new"}')
        assert (status, facts["steps"]) == (201, 0 if verb == "open" else 1)
        _, answer = await one.ask("POST", "/v1/sessions/new/step", ONE_STEP)
        assert answer["outputs"] == [[2 if verb == "open" else 3]]


@pytest.mark.parametrize("end", ["nothing", "close"])
async def test_an_opening_that_was_made_is_answered_so_whatever_followed(
    end: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with replicas(place) as (one, other):

        async def close() -> None:
            if end == "close":
                assert (await other.ask("DELETE", "/v1/sessions/new"))[0] == 204

        one.after_swap(monkeypatch, close)
        assert (await one.open(session_id="new"))[0] == 201
        assert (await one.ask("POST", "/v1/sessions/new/step", ONE_STEP))[0] == (410 if end == "close" else 200)


@pytest.mark.parametrize("version", ["1", "0"])
async def test_an_opening_does_not_wait_for_what_is_under_way_of_the_session_before(version: str, place: Place) -> None:
    async with replicas(place) as both:
        one, other = both
        assert await one.step() == (200, 1)
        under_way = await one.begin()
        turn(both, 1)
        assert (await other.ask("DELETE", A))[0] == 204
        status, facts = await one.open(version)
        assert (status, facts["steps"], facts["version"]) == (201, 0, version)
        one.release()
        assert await under_way == (410, "session_closed")
        assert await other.look() == 0
        assert await one.step() == (200, 1)
        assert await other.step() == (200, 2)


async def test_a_chunk_under_way_renews_a_session_that_nobody_was_told_has_expired(place: Place) -> None:
    async with replicas(place) as both:
        one, other = both
        under_way = await one.begin()
        turn(both, 11)
        one.release()
        assert await under_way == (200, 1)
        assert await other.look() == 1


@pytest.mark.parametrize("seconds", [10, 25])
@pytest.mark.parametrize("verb", ["look", "step", "reset", "close", "put", "fork"])
async def test_a_session_that_somebody_was_told_has_expired_stays_so(verb: str, seconds: float, place: Place) -> None:
    requests = {**CHANGES, "look": ("GET", A, b""), "step": ("POST", f"{A}/step", ONE_STEP)}
    requests["fork"] = ("POST", f"{A}/fork", b"")
    expected = (410, "session_expired") if seconds < 20 else (404, "unknown_session")
    async with replicas(place) as both:
        one, other = both
        under_way = await one.begin()
        turn(both, seconds)
        status, content = await other.ask(*requests[verb])
        assert (status, content["code"]) == expected
        one.release()
        assert await under_way == expected
        assert await other.look() == await one.look() == expected[1]
        assert (await one.open())[0] == 201
        assert await other.step() == (200, 1)


@pytest.mark.parametrize("body", [ONE_STEP, b'{"inputs": [[1]], "seq": 0}', b'{"inputs": [[1], [1], [1], [1], [1]]}'])
@pytest.mark.parametrize("version", ["1", "0"])
async def test_a_chunk_does_not_land_in_the_session_that_was_opened_in_its_place(
    version: str, body: bytes, place: Place
) -> None:
    async with replicas(place) as both:
        one, other = both
        under_way = await one.begin(body)
        behind = asyncio.ensure_future(one.step())
        await asyncio.sleep(0)
        turn(both, 11)
        assert (await other.open(version))[0] == 201
        later = asyncio.ensure_future(one.step(b'{"inputs": [[5]]}'))
        await asyncio.sleep(0)
        one.release()
        assert (await under_way)[0] == (await behind)[0] == 410
        # What came after the opening is meant for it.
        assert await later == (200, 5)
        assert await other.step() == (200, 6)


async def test_what_was_removed_long_after_its_end_is_not_brought_back_by_a_chunk(place_of: PlaceOf) -> None:
    async with replicas(place_of("lmdb")) as both:
        one, other = both
        under_way = await one.begin()
        turn(both, 100)
        store: Any = other.house.store
        with store._journal.locked():
            store._journal.rotate()
        segment = store._journal.segments[0]
        store._database.put_segment(segment.number, [("a", segment.read("a"))], ended_before=other.house.clock.now)
        with store._journal.locked():
            store._journal.give_up(segment)
        assert await other.look() == "unknown_session"
        one.release()
        assert await under_way == (404, "unknown_session")
        assert await other.look() == "unknown_session"
