"""What a replica's old copy would refuse, after another has closed the session and opened another under its id."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save

from ostinato.service.artifact.tensors import Input, State
from ostinato.service.edge.arrow.columns import ARROW
from ostinato.service.edge.asgi import Edge
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.direct import DirectExchange
from ostinato.service.edge.message import Response
from ostinato.service.edge.routes import Routes
from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.edge.v1.test_columns import add_model, post, post_arrow, post_json, stream
from tests.service.edge.websocket.test_stream import Line
from tests.service.puppet import Clock, House, until
from tests.service.state.places import Place, PlaceOf

A = "/v1/sessions/a"
WIDE = Input(name="inputs", dtype="float32", shape=("B", "T", 2), features=("x", "y"))
LARGER = State(name="total", input="total", output="total_next", shape=("B", 3), dtype="float32")
OTHERS = {
    "another model": {"name": "wide", "inputs": (WIDE,), "states": (LARGER,), "feedback": {}},
    "another version": {"version": "0", "inputs": (WIDE,), "states": (LARGER,), "feedback": {}},
}
"""What the session was before: it takes two features, and cannot forecast."""


class Replicas(NamedTuple):
    """Two houses over one store, with their edges."""

    one: House
    other: House
    edge: Edge
    far_edge: Edge


@pytest.fixture(params=["lmdb", "redis"])
def place(request: pytest.FixtureRequest, place_of: PlaceOf) -> Place:
    return place_of(request.param)


@pytest.fixture(params=OTHERS)
def former(request: pytest.FixtureRequest) -> dict[str, Any]:
    return OTHERS[request.param]


@asynccontextmanager
async def replicas(place: Place, former: dict[str, Any]) -> AsyncIterator[Replicas]:
    """Session ``a`` was ``former`` here; it has been closed and opened there as ``sum``, and ``one`` does not know."""
    one, other = House(store=place()), House(store=place())
    for house in (one, other):
        add_model(house, **former)
    async with AsyncExitStack() as stack:
        edges = [await stack.enter_async_context(edge_over(house)) for house in (one, other)]
        both = Replicas(one, other, *edges)
        await one.sessions.open(former.get("name", "sum"), version=former.get("version"), session_id="a")
        assert one.sessions.use("a") is not None
        assert await ask(both.far_edge, "DELETE", A) == (204, b"")
        for house in (one, other):
            house.clock.now += 1
        status, _ = await ask(
            both.far_edge, "POST", "/v1/models/sum/sessions", b'{"session_id": "a", "version": "1", "ttl_seconds": 90}'
        )
        assert status == 201
        yield both
        for house in (one, other):
            for engine in house.catalogue.engines:
                assert (engine.num_rows, int(engine.arena.busy.sum())) == (0, 0)


async def ask(edge: Edge, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    return await Connection(method, path, body).through(edge)


async def total(edge: Edge) -> float:
    """What the session has added up."""
    status, content = await ask(edge, "POST", f"{A}/step", b'{"inputs": [[0]]}')
    assert status == 200, content
    return float(content["outputs"][0][0])


async def test_a_step_is_applied(place: Place, former: dict[str, Any]) -> None:
    async with replicas(place, former) as both:
        status, content = await ask(both.edge, "POST", f"{A}/step", b'{"inputs": [[5], [6]], "seq": 0}')
        assert (status, content.get("outputs")) == (200, [[5], [11]])
        assert await total(both.far_edge) == 11


async def test_what_the_newest_refuses_is_refused(place: Place, former: dict[str, Any]) -> None:
    async with replicas(place, former) as both:
        # It would have fitted the former one.
        status, content = await ask(both.edge, "POST", f"{A}/step", b'{"inputs": [[5, 6]]}')
        assert (status, content["code"]) == (422, "invalid_input")
        status, content = await ask(both.edge, "POST", f"{A}/step", b'{"inputs": [[5, 6, 7]]}')
        assert (status, content["code"]) == (422, "invalid_input")
        assert await total(both.edge) == 0


class Writer:
    """A connection that keeps its answers."""

    path = peer = ""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []

    def respond(self, response: Response, *_: object) -> None:
        self.answers.append((response.status, json.loads(response.body)))

    async def respond_in_parts(self, *_: object) -> None:
        raise AssertionError

    def cut_off(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("body", "status"), [(b'{"inputs": [[5]]}', 200), (b'{"inputs": [[5, 6, 7]]}', 422), (b'{"inputs": [[5, 6]]}', 422)]
)
async def test_a_step_past_asgi_is_judged_anew(body: bytes, status: int, place: Place, former: dict[str, Any]) -> None:
    async with replicas(place, former) as both:
        house = both.one
        writer, desk = Writer(), Desk(house.metrics, house.settings)
        routes = Routes(house.catalogue, house.sessions, house.ledger, desk)
        exchange = DirectExchange(writer, desk, routes, True)
        exchange.begin(f"{A}/step", b"", [(b"content-type", b"application/json")], body)
        await until(lambda: writer.answers)
        assert [each for each, _ in writer.answers] == [status]
        assert not desk.under_way
        assert await total(both.far_edge) == (5 if status == 200 else 0)


async def test_rows_of_a_message_are_applied(place: Place, former: dict[str, Any]) -> None:
    async with replicas(place, former) as both:
        reply = await post_json(both.edge, {"session_ids": ["a", "a"], "inputs": [[5], [6]], "seq": [0, 1]})
        assert (reply.status, reply.content["outputs"], reply.content["errors"]) == (200, [[5], [11]], [])
        reply = await post_arrow(both.far_edge, ["a"], [[7]])
        assert (reply.status, reply.content["outputs"]) == (200, [[18]])


async def test_a_block_of_the_former_model_is_told_of_the_newest(place: Place) -> None:
    async with replicas(place, OTHERS["another model"]) as both:
        floats = pa.array([[5, 6]], pa.list_(pa.float32(), 2))
        columns = {"session_id": pa.array(["a"], pa.utf8()), "inputs": floats}
        reply = await post(both.edge, "/v1/models/wide/step", stream(columns), ARROW)
        assert (reply.content["code"], reply.content["outputs"]) == (["invalid_input"], [None])
        assert "is of model 'sum', not of 'wide'" in reply.content["detail"][0]
        assert await total(both.edge) == 0


async def test_a_block_of_a_former_version_is_applied_by_the_newest(place: Place) -> None:
    former = {"version": "2"}
    async with replicas(place, former) as both:
        reply = await post_json(both.edge, {"session_ids": ["a"], "inputs": [[5]]})
        assert (reply.content["outputs"], reply.content["errors"]) == ([[5]], [])
        assert (await ask(both.far_edge, "GET", A))[1]["version"] == "1"
        assert await total(both.far_edge) == 5


@pytest.mark.parametrize("way", ["rows", "frames"])
async def test_what_may_begin_the_session_goes_on_with_one_that_began_meanwhile(
    way: str, place: Place, former: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is of a session that has ended and is forgotten: the first begins another, the second is its next."""

    def tick(clock: Clock) -> float:
        clock.now += 0.001
        return clock.now

    one, other = House(store=place(tombstone_seconds=0)), House(store=place(tombstone_seconds=0))
    for house in (one, other):
        add_model(house, **former)
    async with edge_over(one) as edge, edge_over(other) as far_edge:
        await one.sessions.open(former.get("name", "sum"), version=former.get("version"), session_id="a")
        assert await ask(far_edge, "DELETE", A) == (204, b"")
        monkeypatch.setattr(Clock, "__call__", tick)
        if way == "rows":
            reply = await post_json(edge, {"session_ids": ["a", "a"], "inputs": [[5], [6]], "create_missing": True})
            assert (reply.content["outputs"], reply.content["errors"]) == ([[5], [11]], [])
        else:
            line = Line(one, create_missing=True)
            line.say(*({"session_id": "a", "inputs": [[number]]} for number in (5, 6)))
            assert [answer.get("outputs") for answer in await line.recorder.until(2)] == [[[5]], [[11]]]
            line.stream.end()


async def test_frames_are_applied_in_their_order(place: Place, former: dict[str, Any]) -> None:
    async with replicas(place, former) as both:
        line = Line(both.one)
        line.say(*({"session_id": "a", "inputs": [[number]], "id": number} for number in (1, 10, 100)))
        sent = await line.recorder.until(3)
        assert [(answer["id"], answer.get("outputs")) for answer in sent] == [(1, [[1]]), (10, [[11]]), (100, [[111]])]
        line.stream.end()


async def test_a_forecast_is_made(place: Place, former: dict[str, Any]) -> None:
    async with replicas(place, former) as both:
        assert (await ask(both.far_edge, "POST", f"{A}/step", b'{"inputs": [[5]]}'))[0] == 200
        status, content = await ask(both.edge, "POST", f"{A}/forecast", b'{"horizon": 2}')
        assert (status, content.get("outputs")) == (200, [[5], [10]])


@pytest.mark.parametrize(("metadata", "steps"), [({"steps": "7"}, 7), ({}, 0)])
async def test_a_state_is_put(metadata: dict[str, str], steps: int, place: Place, former: dict[str, Any]) -> None:
    async with replicas(place, former) as both:
        file = save({"total": np.array([5], np.float32)}, metadata or None)
        status, content = await ask(both.edge, "PUT", f"{A}/state", file)
        assert (status, content.get("steps"), content.get("version")) == (200, steps, "1")
        assert await total(both.far_edge) == 5


@pytest.mark.parametrize("verb", ["reset", "fork", "state", "look", "close"])
async def test_other_verbs_are_about_the_newest(verb: str, place: Place, former: dict[str, Any]) -> None:
    async with replicas(place, former) as both:
        assert (await ask(both.far_edge, "POST", f"{A}/step", b'{"inputs": [[5]]}'))[0] == 200
        methods = {"state": ("GET", "/state"), "look": ("GET", ""), "close": ("DELETE", "")}
        method, action = methods.get(verb, ("POST", f"/{verb}"))
        status, content = await ask(both.edge, method, f"{A}{action}")
        assert status == {"fork": 201, "close": 204}.get(verb, 200), content
        if verb in ("reset", "fork", "look"):
            facts = (content["model"], content["version"], content["steps"])
            assert facts == ("sum", "1", 0 if verb == "reset" else 1)
        if verb == "close":
            assert (await ask(both.far_edge, "GET", A))[0] == 410
        else:
            assert await total(both.far_edge) == (0 if verb == "reset" else 5)


async def test_a_run_that_failed_from_an_old_copy_is_made_from_the_newest(place: Place) -> None:
    async with replicas(place, {"version": "2"}) as both:
        add_up: Callable[..., Awaitable[Any]] = lambda edge, body: ask(edge, "POST", f"{A}/step", body)  # noqa: E731
        assert (await add_up(both.edge, b'{"inputs": [[3e38]]}'))[0] == 200
        assert (await ask(both.far_edge, "POST", f"{A}/reset"))[0] == 200
        # 3e38 twice is infinite; from 0 it is not.
        status, content = await add_up(both.edge, b'{"inputs": [[3e38]]}')
        assert status == 200, content
        assert (await add_up(both.edge, b'{"inputs": [[3e38]]}'))[1]["code"] == "run_failed"


async def test_an_ended_session_is_not_there_whatever_the_copy_says(place: Place) -> None:
    async with replicas(place, {"version": "2"}) as both:
        assert (await ask(both.far_edge, "DELETE", A))[0] == 204
        for method, action in (("POST", "/step"), ("POST", "/reset"), ("POST", "/fork"), ("DELETE", "")):
            body = b'{"inputs": [[1]]}' if action == "/step" else b""
            status, content = await ask(both.edge, method, f"{A}{action}", body)
            assert (status, content["code"]) == (410, "session_closed"), (method, action)


CUSTOMER = Input(name="customer", dtype="float32", shape=("B", 2), features=("age", "size"))


async def test_a_session_whose_context_may_be_missing_can_begin_with_its_first_step(place: Place) -> None:
    house = House(store=place())
    engine = add_model(house, name="who", context=(CUSTOMER.model_copy(update={"missing": True}),))
    async with edge_over(house):
        session = await house.sessions.find_or_begin("a", engine)
        total, customer = session.arena.read(session.slot)
        assert total.tolist() == [0]
        assert np.isnan(customer).all()
        house.sessions.abandon(session)


async def test_what_cannot_begin_with_a_step_is_looked_for_where_the_sessions_are(place: Place) -> None:
    one, other = House(store=place()), House(store=place())
    for house in (one, other):
        add_model(house, name="who", context=(CUSTOMER,))
    async with edge_over(one) as edge, edge_over(other) as far_edge:
        await one.sessions.open("sum", session_id="a")
        assert await ask(far_edge, "DELETE", A) == (204, b"")
        line = Line(one, "who", create_missing=True)
        line.say({"session_id": "a", "inputs": [[1]]})
        await line.recorder.until(1)
        line.stream.end()
        assert line.recorder.codes == ["session_closed"]  # and not that it is another model's
        body = b'{"session_ids": ["a"], "inputs": [[1]], "create_missing": true}'
        reply = await post(edge, "/v1/models/who/step", body)
        assert [error["code"] for error in reply.content["errors"]] == ["session_closed"]


async def test_a_reset_keeps_the_context_that_the_session_was_opened_with_elsewhere(place: Place) -> None:
    one, other = House(store=place()), House(store=place())
    for house in (one, other):
        add_model(house, name="who", context=(CUSTOMER,))
    async with edge_over(one) as edge, edge_over(other) as far_edge:
        await one.sessions.open("who", session_id="a", context={"customer": [1, 2]})
        assert await ask(far_edge, "DELETE", A) == (204, b"")
        for house in (one, other):
            house.clock.now += 1
        await other.sessions.open("who", session_id="a", context={"customer": [3, 4]})
        status, _ = await ask(edge, "POST", f"{A}/reset", b"{}")
        assert status == 200
        for house in (one, other):
            snapshot = await house.sessions.snapshot(await house.sessions.find("a"))
            assert [rows.tolist() for rows in snapshot.states] == [[0], [3, 4]]
