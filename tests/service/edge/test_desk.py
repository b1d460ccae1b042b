"""One way in which an error becomes a logged, counted, worded answer, whichever way the request came in."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pyarrow as pa
import pytest

from ostinato.service.edge.arrow.columns import ARROW
from ostinato.service.edge.arrow.ipc import write_columns
from ostinato.service.edge.asgi import Edge
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.direct import DirectExchange
from ostinato.service.edge.message import Response
from ostinato.service.edge.problems import CODES
from ostinato.service.edge.tags import NO_TAG
from ostinato.service.edge.websocket.channel import Message
from ostinato.service.errors import RecordUnreadable, RunFailed, StateStoreUnavailable
from ostinato.service.inference.generation import StepEvent
from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.puppet import House
from tests.service.puppet_decoder import PuppetDecoder
from tests.service.puppet_encoder import PuppetEncoder
from tests.service.puppet_generator import puppet_engine

STEP = b'{"inputs": [[1]]}'


class Writer:
    """A connection that keeps the answer."""

    path = peer = ""

    def __init__(self) -> None:
        self.answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def respond(self, response: Response, *_: object) -> None:
        self.answered.set_result(response)

    async def respond_in_parts(self, *_: object) -> None:
        raise AssertionError("no step is answered in parts")

    def cut_off(self) -> None:
        raise AssertionError("no step is cut off")


class Recorder:
    """A channel that keeps the answer."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def send(self, message: bytes, *, is_text: bool) -> None:  # noqa: ARG002
        self.answered.set_result(json.loads(message))

    def read_more(self, wanted: bool) -> None:
        """There is nothing more to read."""

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002
        raise AssertionError("nothing closes it")


async def past_asgi(edge: Edge) -> str:
    writer = Writer()
    headers = [(b"content-type", b"application/json")]
    DirectExchange(writer, edge.desk, edge.routes, True).begin("/v1/sessions/a/step", b"", headers, STEP)
    return str(json.loads((await writer.answered).body)["code"])


async def asgi(edge: Edge) -> str:
    _, content = await Connection("POST", "/v1/sessions/a/step", STEP).through(edge)
    return str(content["code"])


async def typed(edge: Edge) -> str:
    _, content = await Connection("POST", "/step", b'{"session_id": "a", "inputs": [[1]]}').through(edge)
    return str(content["code"])


async def frame(edge: Edge) -> str:
    recorder = Recorder()
    stream = edge._streams.open("/v1/models/sum/stream", recorder)
    stream.receive([Message(b'{"session_id": "a", "inputs": [[1]]}', True, time.perf_counter())])
    return str((await recorder.answered)["error"]["code"])


async def row_in_json(edge: Edge) -> str:
    body = b'{"session_ids": ["a"], "inputs": [[1]]}'
    _, content = await Connection("POST", "/v1/models/sum/step", body).through(edge)
    return str(content["errors"][0]["code"])


async def row_in_arrow(edge: Edge) -> str:
    body = write_columns({"session_id": pa.array(["a"]), "inputs": pa.array([[1.0]])})
    _, content = await Connection("POST", "/v1/models/sum/step", body, content_type=ARROW).through(edge)
    code = pa.ipc.open_stream(content).read_all()["code"].to_pylist()[0]
    return str(code)


WAYS = [past_asgi, asgi, typed, frame, row_in_json, row_in_arrow]


@pytest.mark.parametrize("way", WAYS)
async def test_a_run_that_fails_is_logged_counted_and_worded_alike(
    way: Callable[[Edge], Awaitable[str]], caplog: pytest.LogCaptureFixture
) -> None:
    house = House()
    await house.sessions.open("sum", session_id="a")
    house.runner.fails = lambda _: True
    async with edge_over(house) as edge:
        assert await way(edge) == "run_failed"
    assert house.value('ostinato_rejected_total{reason="run_failed"}') == 1
    [logged] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "failed" in logged.getMessage()
    assert logged.exc_info is not None
    assert "RuntimeError: told to fail" in logging.Formatter().formatException(logged.exc_info)


@pytest.mark.parametrize(
    "error", [StateStoreUnavailable("no room"), OSError("no room")], ids=["the store's", "unexpected"]
)
@pytest.mark.parametrize("way", WAYS)
async def test_a_commit_that_fails_is_logged_with_its_cause_and_counted_alike(
    way: Callable[[Edge], Awaitable[str]],
    error: Exception,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise error

    house = House()
    await house.sessions.open("sum", session_id="a")
    monkeypatch.setattr(house.store, "commit", fails)
    async with edge_over(house) as edge:
        assert await way(edge) == "state_store_unavailable"
    assert house.value('ostinato_rejected_total{reason="state_store_unavailable"}') == 1
    assert house.value("ostinato_store_errors_total") == 1
    [logged] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert logged.exc_info is not None
    assert "no room" in logging.Formatter().formatException(logged.exc_info)


async def test_a_lookup_that_the_store_fails_is_counted_as_a_commit_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object) -> None:
        raise StateStoreUnavailable("away")

    house = House()
    async with edge_over(house) as edge:
        monkeypatch.setattr(house.sessions, "find", fails)
        assert (await Connection("POST", "/v1/sessions/a/forecast", b'{"horizon": 1}').through(edge))[0] == 503
    assert house.value("ostinato_store_errors_total") == 1


async def test_an_unexpected_error_while_a_session_is_brought_up_to_date_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("told to fail")

    house = House()
    await house.sessions.open("sum", session_id="a")
    monkeypatch.setattr(house.store, "refresh", fails)
    async with edge_over(house) as edge:
        body = b'{"inputs": [[1]], "seq": 7}'
        _, content = await Connection("POST", "/v1/sessions/a/step", body).through(edge)
    assert content["code"] == "internal"
    [logged] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert logged.getMessage() == f"POST /v1/sessions/a/step (request id {content['request_id']}) failed"
    assert vars(logged)["request_id"] == content["request_id"]


async def test_of_a_store_that_stays_away_the_log_tells_once_a_minute_how_often(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house, now = House(), 5.0
    desk = Desk(house.metrics, house.settings, clock=lambda: now)
    for now in (5.0, 6.0, 64.9, 65.0, 66.0):
        desk.refuse(StateStoreUnavailable(f"away at {now:g}"), f"the request at {now:g}")
    assert [record.getMessage() for record in caplog.records] == [
        "the request at 5 failed",
        "2 more of these in 60 s; the last: the request at 64.9 failed: away at 64.9",
    ]
    assert house.value("ostinato_store_errors_total") == 5


async def test_a_record_that_cannot_be_read_is_ours_to_look_into(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    assert Desk(house.metrics, house.settings).refuse(RecordUnreadable("torn"), "a look").status == 500
    assert [record.getMessage() for record in caplog.records] == ["a look failed"]


async def test_of_a_record_that_cannot_be_read_not_every_request_tells_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house, now = House(), 5.0
    desk = Desk(house.metrics, house.settings, clock=lambda: now)
    for now in (5.0, 6.0, 7.0, 65.0):
        desk.refuse(RecordUnreadable("torn"), f"a step at {now:g}")
    expected = ["a step at 5 failed", "2 more of these in 60 s; the last: a step at 7 failed: torn"]
    assert [record.getMessage() for record in caplog.records] == expected
    assert house.value('ostinato_rejected_total{reason="record_unreadable"}') == 4


@pytest.mark.parametrize("content_type", ["application/json", ARROW])
async def test_rows_that_fail_are_all_counted_and_logged_in_a_few_lines(
    content_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first with its cause, and when a second is over, or the worker ends, how many more."""
    house = House()
    ids = [f"s{number}" for number in range(100)]
    for session_id in ids:
        await house.sessions.open("sum", session_id=session_id)
    house.runner.fails = lambda _: True
    columns = write_columns({"session_id": pa.array(ids), "inputs": pa.array([[1.0]] * 100)})
    body = columns if content_type == ARROW else json.dumps({"session_ids": ids, "inputs": [[1]] * 100}).encode()
    async with edge_over(house) as edge:
        for _ in range(3):
            await Connection("POST", "/v1/models/sum/step", body, content_type=content_type).through(edge)
    assert house.value('ostinato_rejected_total{reason="run_failed"}') == 300
    logged = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.exc_info is not None for record in logged] == [True] + [False] * (len(logged) - 1)
    assert sum(int(record.getMessage().split()[0]) for record in logged[1:]) == 299


async def test_each_code_is_a_series_before_it_counts() -> None:
    house = House()
    Desk(house.metrics, house.settings)
    text = house.metrics.render().decode()
    assert {code for code in CODES if f'reason="{code}"}} 0.0' not in text} == set()
    assert "internal" in CODES


@pytest.mark.parametrize("way", WAYS)
async def test_a_clients_mistake_is_counted_and_not_logged(
    way: Callable[[Edge], Awaitable[str]], caplog: pytest.LogCaptureFixture
) -> None:
    house = House()
    async with edge_over(house) as edge:
        assert await way(edge) == "unknown_session"
    assert house.value('ostinato_rejected_total{reason="unknown_session"}') == 1
    assert [record for record in caplog.records if record.name == "ostinato.service.edge.desk"] == []


async def test_each_row_is_counted_as_a_request_of_its_own_would_be() -> None:
    house = House()
    await house.sessions.open("sum", session_id="a")
    async with edge_over(house) as edge:
        body = b'{"session_ids": ["x", "a", "y", "a/b"], "inputs": [[1], [2], [3], [4]]}'
        _, content = await Connection("POST", "/v1/models/sum/step", body).through(edge)
    assert [(error["row"], error["code"]) for error in content["errors"]] == [
        (0, "unknown_session"),
        (2, "unknown_session"),
        (3, "unknown_session"),
    ]
    assert house.value('ostinato_rejected_total{reason="unknown_session"}') == 3


async def test_a_stream_of_events_that_fails_on_its_way_is_logged_counted_and_worded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def breaks(_asked: object) -> AsyncIterator[StepEvent]:
        yield StepEvent(0, 0, 1, 2, -0.5)
        raise RunFailed("told to fail")

    monkeypatch.setattr("ostinato.service.edge.v1.generate.stream", breaks)
    house = House()
    house.catalogue.add(puppet_engine())
    async with edge_over(house) as edge:
        connection = Connection("POST", "/generate", b'{"model": "puppet", "inputs": [[3]], "stream": true}')
        await edge(connection.scope, connection.incoming.get, connection.send)
    last = connection.sent[-2]["body"].decode()
    assert last.startswith("event: error\n")
    assert json.loads(last.partition("data: ")[2])["code"] == "run_failed"
    assert house.value('ostinato_rejected_total{reason="run_failed"}') == 1
    assert "a stream of outputs of model puppet failed" in caplog.text


@pytest.mark.parametrize("part", [PuppetEncoder, PuppetDecoder])
async def test_a_run_that_generates_and_fails_unexpectedly_is_logged_once_with_its_cause(
    part: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("told to fail")

    house = House()
    house.catalogue.add(puppet_engine())
    monkeypatch.setattr(part, "run", fails)
    async with edge_over(house) as edge:
        _, content = await Connection("POST", "/generate", b'{"model": "puppet", "inputs": [[3]]}').through(edge)
    assert content["code"] == "run_failed"
    [logged] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert logged.exc_info is not None
    assert "RuntimeError: told to fail" in logging.Formatter().formatException(logged.exc_info)


async def test_a_handshake_and_a_probe_that_are_refused_are_counted() -> None:
    house = House()
    async with edge_over(house) as edge:
        assert (await Connection("POST", "/readyz").through(edge))[0] == 405
        assert edge._streams.refuse(RunFailed("x"), NO_TAG).status == 500
    assert house.value('ostinato_rejected_total{reason="method_not_allowed"}') == 1
    assert house.value('ostinato_rejected_total{reason="run_failed"}') == 1


class Late:
    """A request of some age."""

    def __init__(
        self, arrived_at: float, *, is_streaming: bool = False, is_read: bool = True, caller: Any = None
    ) -> None:
        self.caller = caller
        self.arrived_at, self.is_streaming, self.is_read = arrived_at, is_streaming, is_read
        self.told: list[str] = []

    def expire(self) -> None:
        self.told.append("expire")

    def look_after(self) -> None:
        self.told.append("look after")

    def cut_off(self) -> None:
        self.told.append("cut off")


async def test_an_answer_under_way_does_not_outlive_its_key() -> None:
    class OneKey:
        def is_valid(self, caller: object) -> bool:
            return caller == "valid"

    house = House()
    desk = Desk(house.metrics, house.settings)
    desk.access = OneKey()  # type: ignore[assignment]
    requests = [Late(0, is_streaming=True, caller=caller) for caller in ("valid", "revoked", None)]
    requests.append(Late(0, caller="revoked"))  # which has its answer soon
    desk.under_way.update(dict.fromkeys(requests))
    desk.sweep_once(1.0)
    assert [each.told for each in requests] == [["look after"], ["cut off"], ["look after"], ["look after"]]


async def test_the_sweep_ends_what_is_too_old_and_watches_what_takes_long() -> None:
    house = House(deadline_seconds=10.0)
    desk = Desk(house.metrics, house.settings)
    too_old, streaming, slow, new = Late(0), Late(0, is_streaming=True), Late(5), Late(19.95)
    desk.under_way.update(dict.fromkeys((too_old, streaming, slow, new)))
    desk.sweep_once(20.0 - 5)
    assert [each.told for each in (too_old, streaming, slow, new)] == [["expire"], ["look after"], ["look after"], []]
    assert str(desk.too_late()).startswith("not answered within 10 s")


async def test_without_a_deadline_the_sweep_ends_only_those_whose_body_does_not_come() -> None:
    house = House(deadline_seconds=0, head_seconds=0.5)
    desk = Desk(house.metrics, house.settings)
    absent, coming, there = Late(0, is_read=False), Late(1, is_read=False), Late(0)
    desk.under_way.update(dict.fromkeys((absent, coming, there)))
    desk.sweep_once(30.5)
    assert [each.told for each in (absent, coming, there)] == [["expire"], ["look after"], ["look after"]]
    assert str(desk.too_slow()) == "the request's body was not there within 30 s"


async def test_a_request_that_cannot_be_looked_after_keeps_no_other_from_its_deadline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House(deadline_seconds=10.0)
    desk = Desk(house.metrics, house.settings)

    class Broken(Late):
        def expire(self) -> None:
            raise RuntimeError("told to fail")

    broken, behind = Broken(0), Late(1)
    desk.under_way.update(dict.fromkeys((broken, behind)))
    for now in (15.0, 15.05):
        desk.sweep_once(now)
    assert behind.told == ["expire", "expire"]
    # Once, not at each sweep.
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert broken not in desk.under_way
