from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ostinato.service.edge.asgi import Edge, Scope, Send
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.exchange import Receive
from ostinato.service.edge.routes import Routes
from ostinato.service.edge.system import SystemRoutes
from ostinato.service.edge.websocket.streams import Streams
from tests.service.puppet import House, column, until


async def nothing() -> None:
    """No start and no stop."""


async def inner(scope: Scope, _receive: Receive, send: Send) -> None:
    """Stands for BentoML's application."""
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


class Connection:
    """One request, its body in parts given by the test, and what came back."""

    def __init__(self, method: str, path: str, *parts: bytes, **headers: str) -> None:
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for number, part in enumerate(parts or (b"",)):
            more = number + 1 < len(parts)
            self.incoming.put_nowait({"type": "http.request", "body": part, "more_body": more})
        self.sent: list[MutableMapping[str, Any]] = []

    def hang_up(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    async def through(self, edge: Edge) -> tuple[int, Any]:
        """The status and the JSON that came back."""
        await edge(self.scope, self.incoming.get, self.send)
        body = self.sent[1]["body"]
        return self.sent[0]["status"], json.loads(body) if body[:1] in (b"{", b"[") else body


@asynccontextmanager
async def edge_over(house: House) -> Any:
    desk = Desk(house.metrics, house.settings)
    routes = Routes(house.catalogue, house.sessions, house.ledger, desk)
    streams = Streams(house.catalogue, routes, desk, house.metrics, house.settings)
    system = SystemRoutes(house.metrics, lambda: (True, {}))
    edge = Edge(inner, desk, routes, system, streams, start=nothing, stop=nothing)
    sweeping = asyncio.ensure_future(desk.sweep())
    try:
        yield edge
    finally:
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
        house.engine.close()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not desk.under_way


async def test_a_body_may_come_in_parts() -> None:
    house = House()
    await house.sessions.open("sum", session_id="a")
    async with edge_over(house) as edge:
        status, content = await Connection("POST", "/v1/sessions/a/step", b'{"inp', b'uts": [[', b"4]]}").through(edge)
    assert (status, content["outputs"]) == (200, [[4.0]])


@pytest.mark.parametrize("parts", [(b"x" * 101,), (b"x" * 60, b"x" * 60, b"x")])
async def test_a_body_over_the_limit_is_refused(parts: tuple[bytes, ...]) -> None:
    async with edge_over(House(max_body_bytes=100)) as edge:
        status, content = await Connection("POST", "/v1/sessions/a/step", *parts).through(edge)
        assert (status, content["code"]) == (413, "too_large")


async def test_a_body_is_refused_by_its_announced_length_before_it_is_read() -> None:
    async with edge_over(House(max_body_bytes=100)) as edge:
        connection = Connection("POST", "/v1/sessions/a/step", b"", content_length="101")
        status, _ = await connection.through(edge)
    assert status == 413
    assert connection.incoming.qsize() == 1


async def test_a_body_in_a_coding_that_is_not_read_is_refused() -> None:
    async with edge_over(House()) as edge:
        status, content = await Connection("POST", "/v1/sessions/a/step", b"", content_encoding="br").through(edge)
    assert (status, content["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown_route"),
        ("GET", "/v1/sessions/a/step/b", 404, "unknown_route"),
        ("GET", "/v1/sessions/a/step", 405, "method_not_allowed"),
        ("GET", "/v1/models/nothing", 404, "unknown_model"),
        ("GET", "/v1/sessions/nothing", 404, "unknown_session"),
        ("GET", "/v1/models/sum/stream", 426, "upgrade_required"),
        ("GET", "/v1/models/nothing/stream", 404, "unknown_model"),
        ("POST", "/v1/models/sum/stream", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_says_so(method: str, path: str, status: int, code: str) -> None:
    async with edge_over(House()) as edge:
        found, content = await Connection(method, path).through(edge)
    assert (found, content["code"]) == (status, code)


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
async def test_health_takes_no_other_methods(path: str) -> None:
    async with edge_over(House()) as edge:
        status, content = await Connection("POST", path).through(edge)
    assert (status, content) == (405, {"error": f"{path} takes GET, not POST"})


async def test_what_bentomls_page_is_made_of_is_not_served() -> None:
    async with edge_over(House()) as edge:
        status, content = await Connection("GET", "/static_content/index.html").through(edge)
    assert (status, content["code"]) == (404, "unknown_route")


async def test_every_other_path_goes_to_bentoml() -> None:
    async with edge_over(House()) as edge:
        assert await Connection("GET", "/schema.json").through(edge) == (299, b"/schema.json")


async def test_a_client_that_hangs_up_within_its_body_is_forgotten() -> None:
    async with edge_over(House()) as edge:
        connection = Connection("POST", "/v1/sessions/a/step", b'{"inputs"', b"")
        connection.incoming.get_nowait()
        connection.incoming.get_nowait()
        connection.hang_up()
        await edge(connection.scope, connection.incoming.get, connection.send)
    assert connection.sent == []


async def test_a_request_past_its_deadline_is_answered_and_not_applied_while_it_waits() -> None:
    house = House(in_thread=True, deadline_seconds=0.3)
    session = await house.sessions.open("sum", session_id="a")
    house.runner.gate.clear()
    first = asyncio.ensure_future(house.ledger.step(session, column(1)))
    await until(lambda: house.runner.is_held)
    async with edge_over(house) as edge:
        status, content = await Connection("POST", "/v1/sessions/a/step", b'{"inputs": [[4]]}').through(edge)
        house.runner.gate.set()
        await first
    assert (status, content["code"]) == (504, "deadline_exceeded")
    assert session.steps == 1


async def test_a_client_that_hangs_up_while_it_waits_costs_nothing() -> None:
    house = House(in_thread=True)
    session = await house.sessions.open("sum", session_id="a")
    house.runner.gate.clear()
    first = asyncio.ensure_future(house.ledger.step(session, column(1)))
    await until(lambda: house.runner.is_held)
    async with edge_over(house) as edge:
        connection = Connection("POST", "/v1/sessions/a/step", b'{"inputs": [[4]]}')
        connection.hang_up()
        await edge(connection.scope, connection.incoming.get, connection.send)
        house.runner.gate.set()
        await first
    assert connection.sent == []
    assert session.steps == 1
    assert house.value('ostinato_cancelled_total{model="sum",version="1"}') == 1


async def test_requests_are_counted_by_route_and_never_by_session() -> None:
    house = House()
    async with edge_over(house) as edge:
        await Connection("GET", "/v1/sessions/secret-id").through(edge)
    assert house.value('ostinato_request_seconds_count{code_class="4xx",route="/v1/sessions/{name}"}') == 1
    assert house.value('ostinato_rejected_total{reason="unknown_session"}') == 1
    assert b"secret-id" not in house.metrics.render()


async def test_every_route_has_its_series_at_0_from_the_start_and_typed_ones_are_counted() -> None:
    house = House()
    async with edge_over(house) as edge:
        for route in ("/step", "/v1/sessions/{name}/step", "/v1/models", "none"):
            for code_class in ("2xx", "4xx", "5xx"):
                series = f'ostinato_request_seconds_count{{code_class="{code_class}",route="{route}"}}'
                assert house.value(series) == 0
        await Connection("POST", "/step", b'{"session_id": "nobody", "inputs": [[1]]}').through(edge)
    assert house.value('ostinato_request_seconds_count{code_class="4xx",route="/step"}') == 1
