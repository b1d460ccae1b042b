"""The typed BentoML routes: the bodies of ``/v1``, and everything else that ``/v1`` does to a request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.puppet import House, column
from tests.service.puppet_generator import puppet_engine

pytestmark = pytest.mark.usefixtures("one_request_id")

BODIES: dict[str, dict[str, Any]] = {
    "/predict": {"model": "sum", "sequences": [[[1], [2]]]},
    "/step": {"session_id": "a", "inputs": [[1], [2]]},
    "/forecast": {"session_id": "a", "horizon": 2},
    "/generate": {"model": "puppet", "inputs": [[3]]},
    "/generate_stream": {"model": "puppet", "inputs": [[3]]},
}
V1 = {
    "/predict": "/v1/models/sum/predict",
    "/step": "/v1/sessions/a/step",
    "/forecast": "/v1/sessions/a/forecast",
    "/generate": "/v1/models/puppet/generate",
    "/generate_stream": "/v1/models/puppet/generate",
}


async def post(
    house: House, path: str, body: bytes | dict[str, Any], *, query: str = "", **headers: str
) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with edge_over(house) as edge:
        connection = Connection("POST", path, raw, **headers)
        connection.scope["query_string"] = query.encode()
        status, content = await connection.through(edge)
    parts = [message["body"] for message in connection.sent[1:]]
    return status, b"".join(parts) if len(parts) > 1 else content


async def house_of_all() -> House:
    """A session ``a`` of ``sum`` with one step, and ``puppet``, which generates."""
    house = House()
    house.catalogue.add(puppet_engine())
    session = await house.sessions.open("sum", session_id="a")
    await house.ledger.step(session, column(5))
    return house


OTHERS: dict[str, dict[str, Any]] = {
    "/v1/models/puppet/score": {"inputs": [[3]], "targets": [[1]]},
    "/v1/models/sum/sessions": {},
    "/v1/sessions/a/fork": {},
    "/v1/sessions/a/reset": {},
    "/v1/models/sum/step": {"session_ids": ["a"], "inputs": [[1]]},
}
"""Routes with a body that have no typed one."""


@pytest.mark.parametrize("path", [*BODIES, *V1.values(), *OTHERS])
async def test_an_option_in_the_query_is_refused_where_nobody_reads_it(path: str) -> None:
    names = {v1: typed for typed, v1 in V1.items()}
    body = OTHERS.get(path) or BODIES.get(names.get(path, path), {})
    if path in names:
        body = {member: value for member, value in body.items() if member not in ("model", "session_id")}
    house = await house_of_all()
    status, problem = await post(house, path, body, query="seq=5")
    assert (status, problem["code"]) == (422, "invalid_input")
    assert (await house.sessions.look("a")).steps == 1
    assert (await post(await house_of_all(), path, body))[0] < 300


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": False},
        {"go_backwards": True, "return_state": True},
        {"initial_state": {"total": [10]}},
        {"seq": 1},
        {"seq": 7},
        {"known_future": {"wind": [1]}},
        {"method": "beam", "num_beams": 2, "length_penalty": 1.5, "num_return": 2, "return_log_probs": True},
        {"method": "sample", "seed": 3, "temperature": 0.5, "top_k": 2, "top_p": 0.9, "max_steps": 2},
        {"version": "1"},
        {"version": "9"},
        {"Seq": 5},
        {"return_attention": 1},
    ],
    ids=str,
)
async def test_a_typed_route_answers_as_its_route_under_v1(path: str, options: dict[str, Any]) -> None:
    body = BODIES[path] | options
    name = "session_id" if "session_id" in body else "model"
    unnamed = {member: value for member, value in body.items() if member != name}
    if path == "/generate_stream":
        unnamed["stream"] = True
    assert await post(await house_of_all(), path, body) == await post(await house_of_all(), V1[path], unnamed)


@pytest.mark.parametrize("path", BODIES)
async def test_an_unknown_member_is_refused_by_its_name(path: str) -> None:
    house = await house_of_all()
    status, content = await post(house, path, BODIES[path] | {"unheard_of": 1})
    assert (status, content["code"]) == (422, "invalid_input")
    assert "`unheard_of`" in content["detail"]
    assert house.value('ostinato_rejected_total{reason="invalid_input"}') == 1
    assert house.value(f'ostinato_request_seconds_count{{code_class="4xx",route="{path}"}}') == 1


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": 3, "session_id": 3}', b'{"inputs": [[NaN]]}', b"\xff"])
async def test_a_bad_body_is_answered_by_a_problem(path: str, body: bytes) -> None:
    status, content = await post(House(), path, body)
    assert (status, content["code"]) == (422, "invalid_input")


async def test_a_step_with_a_misspelt_seq_is_not_applied() -> None:
    house = await house_of_all()
    await post(house, "/step", {"session_id": "a", "inputs": [[1], [2]], "Seq": 5})
    session = await house.sessions.find("a")
    assert session.steps == 1


async def test_a_stream_cannot_be_asked_for_at_once() -> None:
    status, content = await post(await house_of_all(), "/generate_stream", BODIES["/generate"] | {"stream": False})
    assert (status, content["field"]) == (422, "stream")


@pytest.mark.parametrize(
    ("method", "headers", "status", "code"),
    [
        ("GET", {}, 405, "method_not_allowed"),
        ("POST", {"content_type": "text/csv"}, 415, "unsupported_media_type"),
        ("POST", {"content_encoding": "gzip"}, 400, "malformed_request"),
        ("POST", {"content_length": "101"}, 413, "too_large"),
        ("POST", {"content_encoding": "br"}, 415, "unsupported_media_type"),
    ],
)
async def test_limits_hold_as_everywhere(method: str, headers: dict[str, str], status: int, code: str) -> None:
    house = House(max_body_bytes=100)
    async with edge_over(house) as edge:
        found, content = await Connection(method, "/predict", b"{}", **headers).through(edge)
    assert (found, content["code"]) == (status, code)
    assert house.value(f'ostinato_rejected_total{{reason="{code}"}}') == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/predict", {"sequences": [{"load": [[1]]}]}, "model"),
        ("/step", {"inputs": {"load": [[1]]}}, "session_id"),
        ("/step", {"inputs": [[1]], "session_id": "a", "context": {}}, "context"),
        ("/step", {"session_id": "a"}, "inputs"),
    ],
)
async def test_a_member_that_is_absent_or_unknown_is_the_field(path: str, body: dict[str, Any], field: str) -> None:
    status, problem = await post(await house_of_all(), path, body)
    assert (status, problem["code"], problem["field"]) == (422, "invalid_input", field)
