from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.edge.oip.inference import Inference
from ostinato.service.edge.oip.messages import InferRequest, NamedTensor
from ostinato.service.state.lmdb.store import LmdbStore
from tests.service.edge.oip.protocol import ask, binary_request, json_request
from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.edge.test_http_connection import Client, Server, post, serving
from tests.service.puppet import Clock, House, until
from tests.service.puppet_generator import puppet_engine

ONE = {"inputs": np.ones((1, 1, 1), np.float32)}
INFER = "/v2/models/sum/infer"


@asynccontextmanager
async def asking(direct: bool = True, **settings: Any) -> AsyncIterator[tuple[House, Server, Client]]:
    house = House(**settings)
    house.catalogue.add(puppet_engine())
    async with serving(house, direct=direct) as server, Client.to(server) as client:
        yield house, server, client


def sequence(value: float, *, binary: bool = True, **parameters: Any) -> bytes:
    write = binary_request if binary else json_request
    return write("sum", {"inputs": np.full((1, 1, 1), value, np.float32)}, parameters={"sequence_id": 5, **parameters})


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/v2", "extensions"),
        ("/v2/health/live", "live"),
        ("/v2/health/ready", "ready"),
        ("/v2/models/sum", "inputs"),
        ("/v2/models/sum/versions/1", "outputs"),
        ("/v2/models/sum/ready", "ready"),
        ("/v2/models/sum/versions/1/ready", "ready"),
        ("/v2/models/sum/config", "sequence_batching"),
        ("/v2/models/sum/versions/1/config", "max_batch_size"),
        ("/v2/models/stats", "model_stats"),
        ("/v2/models/sum/stats", "model_stats"),
        ("/v2/models/s%75m/versions/1/stats", "model_stats"),
    ],
)
async def test_what_the_protocol_tells_is_told_to_get_and_head_and_nothing_else(path: str, member: str) -> None:
    async with asking() as (_, _server, client):
        reply = await ask(client, get(path))
        assert (reply.status, member in reply.content) == (200, True)
        assert reply.headers["content-type"] == "application/json"
        reply = await ask(client, post(path))
        assert (reply.status, set(reply.content)) == (405, {"error"})
        assert "GET" in reply.headers["allow"]
        assert (await ask(client, get(f"{path}/"))).status == 404
        await client.send(get(path, "HEAD"))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/none", 404),
        ("/v2/models/none/ready", 404),
        ("/v2/models/sum/versions/2", 404),
        ("/v2/models/sum/versions/2/ready", 404),
        ("/v2/models/sum/versions//ready", 404),
        ("/v2/models//ready", 404),
        ("/v2/models", 404),
        ("/v2/", 404),
        ("/v2/none", 404),
        ("/v2/health/other", 404),
        ("/v2/models/sum/versions", 404),
        ("/v2/models/a%2Fb/config", 404),
        ("/v2/logging", 400),
        ("/v2/trace/setting", 400),
        ("/v2/models/sum/trace/setting", 400),
        ("/v2/systemsharedmemory/status", 400),
        ("/v2/cudasharedmemory/region/r/status", 400),
    ],
)
async def test_an_error_is_one_sentence(path: str, status: int) -> None:
    async with asking() as (_, _server, client):
        reply = await ask(client, get(path))
        assert (reply.status, set(reply.content), reply.headers["content-type"]) == (
            status,
            {"error"},
            "application/json",
        )


@pytest.mark.parametrize("action", ["models/sum/load", "models/sum/unload"])
async def test_models_are_not_loaded_by_requests_and_the_index_has_them(action: str) -> None:
    async with asking() as (_, _server, client):
        assert (await ask(client, post(f"/v2/repository/{action}", "{}"))).status == 400
        for body in ("", '{"ready": true}'):
            entries = (await ask(client, post("/v2/repository/index", body))).content
            assert [(entry["name"], entry["state"]) for entry in entries] == [("puppet", "READY"), ("sum", "READY")]
        assert (await ask(client, post("/v2/repository/index", '{"ready": 1}'))).status == 400


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("direct", [False, True])
async def test_both_ways_answer_and_count_alike(direct: bool, binary: bool) -> None:
    async with asking(direct) as (house, _, client):
        assert (await ask(client, sequence(1, binary=binary))).status == 400
        replies = [await ask(client, sequence(1, binary=binary, sequence_start=True))]
        replies += [await ask(client, sequence(number, binary=binary)) for number in range(3)]
        replies.append(await ask(client, sequence(3, binary=binary, seq=4)))
        again = await ask(client, sequence(3, binary=binary, seq=4))
        assert again.content == replies[-1].content
        conflict = await ask(client, sequence(3, binary=binary, seq=1))
        assert (conflict.status, "(expected_seq 5)" in conflict.content["error"]) == (409, True)
        assert (await ask(client, sequence(1, binary=binary, sequence_end=True))).status == 200
        gone = await ask(client, sequence(1, binary=binary))
        assert (gone.status, "must specify the START flag" in gone.content["error"]) == (400, True)
        assert [reply.outputs["outputs"].tolist() for reply in replies] == [[[[n]]] for n in (1, 1, 2, 4, 7)]
        assert [reply.content["parameters"]["steps"] for reply in replies] == [1, 2, 3, 4, 5]
        for kind, count in (("2xx", 7), ("4xx", 3)):
            line = f'ostinato_request_seconds_count{{code_class="{kind}",route="/v2/models/{{name}}/infer"}}'
            assert house.value(line) == count


async def test_only_what_is_asked_for_is_answered_and_each_as_it_was_asked_for() -> None:
    source = {"source": np.array([[3], [4]])}
    outputs = [
        {"name": "scores", "parameters": {"binary_data": True}},
        {"name": "finish_reasons", "parameters": {"binary_data": False}},
        {"name": "lengths"},
    ]
    async with asking() as (_, _server, client):
        reply = await ask(client, json_request("puppet", source, outputs=outputs, id="42"))
        assert reply.content["id"] == "42"
        assert [entry["name"] for entry in reply.content["outputs"]] == ["scores", "finish_reasons", "lengths"]
        assert ["data" in entry for entry in reply.content["outputs"]] == [False, True, True]
        reply = await ask(client, binary_request("puppet", source, outputs=outputs))
        assert ["data" in entry for entry in reply.content["outputs"]] == [False, True, False]
        classes = [{"name": "scores", "parameters": {"classification": 2}}]
        refused = await ask(client, json_request("puppet", source, outputs=classes))
        assert (refused.status, "classes" in refused.content["error"]) == (400, True)


async def test_a_header_like_the_one_before_is_answered_by_its_own_numbers_and_its_own_sequence() -> None:
    async with asking() as (_, _server, client):
        for sequence_id in (5, 6):
            await ask(client, sequence(sequence_id, sequence_id=sequence_id, sequence_start=True))
        totals = {5: 5.0, 6: 6.0}
        for value in range(1, 9):
            for sequence_id in (5, 6):
                totals[sequence_id] += value * sequence_id
                reply = await ask(client, sequence(value * sequence_id, sequence_id=sequence_id))
                assert reply.outputs["outputs"].tolist() == [[[totals[sequence_id]]]]
        bad = sequence(1)[:-4] + np.float32(np.nan).tobytes()
        refused = await ask(client, bad)
        assert (refused.status, refused.content["error"]) == (
            400,
            "inputs[0][0][0]: a value is missing (null), and this model takes no missing values",
        )
        assert (await ask(client, sequence(1))).outputs["outputs"].tolist() == [[[totals[5] + 1]]]


async def test_what_is_told_of_models_is_not_coded_and_answers_are_where_that_is_asked_for() -> None:
    head = "GET /v2/models/sum/config HTTP/1.1\r\nhost: x\r\naccept-encoding: gzip, deflate\r\n\r\n"
    async with asking() as (_, _server, client):
        reply = await ask(client, head.encode())
        assert (reply.content["name"], "content-encoding" in reply.headers) == ("sum", False)
        many = json_request("sum", {"inputs": np.ones((1, 900, 1), np.float32)})
        await client.send(many.replace(b"host: x", b"host: x\r\naccept-encoding: gzip", 1))
        status, headers, _ = await client.answer()
        assert (status, dict(headers)["content-encoding"]) == (200, "gzip")


async def test_an_id_that_stands_for_something_here_is_answered_as_it_was_sent() -> None:
    async with asking() as (_, _server, client):
        for sequence_id in ("<seq>", "<steps>", '"<seq>"', "%d%b", "<seq><steps>"):
            await ask(client, sequence(1, sequence_id=sequence_id, sequence_start=True))
            for seq in (1, 2, 3):
                reply = await ask(client, sequence(1, sequence_id=sequence_id))
                told = {"sequence_id": sequence_id, "seq": seq, "steps": seq + 1}
                assert (reply.content["parameters"], reply.outputs["outputs"].tolist()) == (told, [[[seq + 1]]])


async def test_a_step_whose_sequence_another_process_starts_anew_under_way_is_told_to_start(tmp_path: Path) -> None:
    stores = [LmdbStore(tmp_path, tombstone_seconds=10, memory_budget=1e6, clock=Clock()) for _ in range(2)]
    far = House(store=stores[1])
    elsewhere = Inference(far.catalogue, far.sessions, far.ledger)
    inputs = [NamedTensor("inputs", "FP32", (1, 1, 1), np.full((1, 1, 1), 10, np.float32))]
    async with asking(store=stores[0], in_thread=True) as (house, _, client):
        await ask(client, sequence(1, sequence_start=True))
        house.runner.gate.clear()
        asked = asyncio.ensure_future(ask(client, sequence(2)))
        await until(lambda: house.runner.is_held)
        far.clock.now += 1
        await elsewhere.infer(InferRequest("sum", None, "", {"sequence_id": 5, "sequence_start": True}, inputs))
        house.runner.gate.set()
        reply = await asked
        assert reply.status == 400
        assert "must specify the START flag" in reply.content["error"]
        house.clock.now += 2
        assert (await ask(client, sequence(5))).outputs["outputs"].tolist() == [[[15]]]
    for store in stores:
        await store.stop()


async def test_a_step_that_waits_for_its_turn_is_answered_past_its_deadline_and_not_applied() -> None:
    async with asking(in_thread=True, deadline_seconds=0.3) as (house, server, client):
        await ask(client, sequence(1, sequence_start=True))
        house.runner.gate.clear()
        async with Client.to(server) as other:
            await other.send(sequence(2))
            await until(lambda: house.runner.is_held)
            late = await ask(client, sequence(4))
            assert (late.status, "not answered within 0.3 s" in late.content["error"]) == (504, True)
            house.runner.gate.set()
            await other.answer()
        assert (await ask(client, sequence(8))).outputs["outputs"].tolist() == [[[11]]]


@pytest.mark.parametrize(
    ("request_bytes", "status", "header"),
    [
        (post(INFER, b" " * 2001), 413, None),
        (post(INFER, b"{}", "content-type: text/plain"), 415, None),
        (get(INFER), 405, "allow"),
        (get(INFER, "DELETE"), 405, "allow"),
        (post(INFER, b"{}"), 400, None),
        (post("/v2/models/sum/versions/9/infer", json.dumps({"inputs": []})), 404, None),
    ],
)
async def test_what_is_refused_before_it_is_read_is_worded_alike(
    request_bytes: bytes, status: int, header: str | None
) -> None:
    async with asking(max_body_bytes=2000) as (_, _server, client):
        reply = await ask(client, request_bytes)
        assert (reply.status, set(reply.content)) == (status, {"error"})
        assert header is None or header in reply.headers


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (sequence(1)[:-1], 408),
        (f"POST {INFER} HTTP/1.1\r\na: ".encode(), 408),
        (f"POST {INFER} HTTP/1.1\r\n".encode() + b"a: b\r\n" * 120, 431),
        (f"POST {INFER} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nno size\r\n".encode(), 400),
        (f"POST {INFER} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: br\r\n\r\n".encode(), 400),
    ],
)
async def test_what_does_not_come_in_time_or_is_no_http_is_worded_alike(
    direct: bool, request_bytes: bytes, status: int
) -> None:
    async with asking(direct, deadline_seconds=0.2, head_seconds=0.2) as (_, _server, client):
        reply = await ask(client, request_bytes)
        assert (reply.status, set(reply.content)) == (status, {"error"})


async def test_a_server_that_is_full_starts_or_drains_says_when_to_come_back() -> None:
    async with asking(max_queue_rows=1, in_thread=True) as (house, server, client):
        await ask(client, sequence(1, sequence_start=True))
        house.runner.gate.clear()
        async with Client.to(server) as other:
            await other.send(sequence(2))
            await until(lambda: house.runner.is_held)
            full = await ask(client, sequence(4))
            assert (full.status, set(full.content), full.headers["retry-after"]) == (429, {"error"}, "1")
            house.runner.gate.set()
            await other.answer()
        house.catalogue.complete = False
        starting = await ask(client, json_request("later", ONE))
        assert (starting.status, set(starting.content), "retry-after" in starting.headers) == (503, {"error"}, True)
        house.catalogue.drain()
        draining = await ask(client, sequence(1))
        assert (draining.status, set(draining.content)) == (503, {"error"})
        assert (draining.headers["connection"], "retry-after" in draining.headers) == ("close", True)


async def test_a_large_message_leaves_others_their_turns_and_is_answered() -> None:
    rows = np.ones((40, 2000, 1), np.float32)
    house = House(max_queue_rows=1000)
    async with edge_over(house) as edge:
        for request in (json_request("sum", {"inputs": rows}), binary_request("sum", {"inputs": rows})):
            head, _, body = request.partition(b"\r\n\r\n")
            length = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"inference")]
            headers = {"inference_header_content_length": length[0].decode()} if length else {}
            connection = Connection("POST", INFER, body, **headers)
            turns = 0
            answering = asyncio.ensure_future(edge(connection.scope, connection.incoming.get, connection.send))
            while not answering.done():
                turns += 1
                await asyncio.sleep(0)
            await answering
            assert (connection.sent[0]["status"], turns > 20 or bool(length)) == (200, True)
            answer = connection.sent[1]["body"]
            made = (
                np.frombuffer(answer[-rows.nbytes :], np.float32)
                if length
                else json.loads(answer)["outputs"][0]["data"]
            )
            np.testing.assert_array_equal(np.reshape(made, (40, 2000)), np.cumsum(rows[:, :, 0], axis=1))
