from __future__ import annotations

import logging
from typing import Any

import pytest

from ostinato.service.edge.access_log import AccessLog, Answered
from ostinato.service.edge.tags import Tag
from ostinato.service.tracing import TraceParent
from tests.service.edge.test_guarded_connection import both_ways
from tests.service.edge.test_http_connection import STEP, Client, post, serving, step
from tests.service.puppet import House

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ANSWERED = Answered("POST", STEP, "/v1/sessions/{}/step", 200, 0.0012, 68, Tag(b"r-1"))


@pytest.fixture(autouse=True)
def all_is_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ostinato.access")


def test_a_line_says_who_asked_what_and_how_it_was_answered(caplog: pytest.LogCaptureFixture) -> None:
    tag = Tag(b"r-1", TraceParent(TRACE, "00f067aa0ba902b7", 1))
    AccessLog(1.0).tell(ANSWERED._replace(client="10.0.0.1:80", key="phone", tenant="acme", tag=tag))
    [line] = caplog.records
    assert line.getMessage() == (
        f"POST {STEP} 200 in 1.20 ms 68 bytes from 10.0.0.1:80 by key phone (request id r-1, trace {TRACE})"
    )
    told = vars(line)
    assert {name: told[name] for name in ("method", "path", "route", "status", "seconds", "bytes", "client")} == {
        "method": "POST",
        "path": STEP,
        "route": "/v1/sessions/{name}/step",
        "status": 200,
        "seconds": 0.0012,
        "bytes": 68,
        "client": "10.0.0.1:80",
    }
    assert (told["key"], told["tenant"], told["request_id"], told["trace_id"]) == ("phone", "acme", "r-1", TRACE)


def test_a_share_of_the_requests_is_told_and_all_that_failed_of_us(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.05, 0.3, 0.09, 0.1])
    monkeypatch.setattr("ostinato.service.edge.access_log.random.random", lambda: next(drawn))
    log = AccessLog(0.1)
    assert [log.is_due(status) for status in (200, 200, 404, 404)] == [True, False, True, False]
    assert all(log.is_due(status) for status in (500, 503))
    assert AccessLog(1.0).is_due(200)


@both_ways
async def test_each_request_is_a_line_however_it_came(direct: bool, caplog: pytest.LogCaptureFixture) -> None:
    house = House(access_log=1.0)
    await house.sessions.open("sum", session_id="a")
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        for request in (
            step(1),
            post(STEP, "{"),
            post("/v1/models/sum/sessions/%0aERROR", "{}"),
            b"GET /v1/sessions/a HTTP/1.1\r\nhost: x\r\nx-request-id: mine\r\n\r\n",
        ):
            await client.send(request)
            answer: Any = await client.answer()
            line = caplog.records[-1]
            told = vars(line)
            assert told["status"] == answer[0]
            assert told["request_id"] == dict(answer[1])["x-request-id"]
            assert "\n" not in line.getMessage()
    assert [line.levelname for line in caplog.records] == ["INFO"] * 4
    routes = [vars(line)["route"] for line in caplog.records]
    assert routes == ["/v1/sessions/{name}/step"] * 2 + ["none", "/v1/sessions/{name}"]


async def test_nothing_is_told_where_it_was_not_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    await house.sessions.open("sum", session_id="a")
    async with serving(house) as server, Client.to(server) as client:
        await client.send(step(1))
        await client.answer()
    assert not caplog.records
