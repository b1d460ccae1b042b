from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.edge.arrow import doubts
from ostinato.service.edge.arrow.columns import ARROW
from ostinato.service.edge.arrow.templates import Templates
from ostinato.service.edge.asgi import Edge
from ostinato.service.edge.v1 import columns as columns_route
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.inputs import turns
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.sessions import rows as session_rows
from ostinato.service.sessions.blocks import RowAnswers
from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.puppet import MANIFEST, House, PuppetRunner, column, until
from tests.waiting import until_true

FLOATS = pa.list_(pa.float32(), 1)


class Reply(NamedTuple):
    """An answer; its ``content`` is JSON, or an Arrow table's columns."""

    status: int
    content: Any
    media_type: str


@asynccontextmanager
async def edge_with(*session_ids: str, **settings: Any) -> AsyncIterator[tuple[House, Edge]]:
    """An edge over a house with sessions; when the test is over, nothing may be under way in it."""
    house = House(**settings)
    for session_id in session_ids:
        await house.sessions.open("sum", session_id=session_id)
    async with edge_over(house) as edge:
        yield house, edge
    for engine in house.catalogue.engines:
        assert (engine.num_rows, int(engine.arena.busy.sum())) == (0, 0)
        assert engine.arena.num_used == engine.arena.num_sessions


def add_model(house: House, *, runner: PuppetRunner | None = None, **changes: Any) -> Engine:
    """Another model or version, which adds up its inputs as well."""
    manifest: Manifest = MANIFEST.model_copy(update=changes)
    metrics = ModelMetrics(house.metrics, manifest.name, manifest.version)
    engine = Engine(manifest, runner or PuppetRunner(), house.ledger, house.settings, metrics, max_resident=100)
    house.store.attach(engine.arena)
    house.catalogue.add(engine)
    return engine


def stream(columns: Mapping[str, Any]) -> bytes:
    """Columns as an Arrow IPC stream of one batch."""
    batch = pa.record_batch(dict(columns))
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


async def post(edge: Edge, path: str, body: bytes, media_type: str = "application/json", query: str = "") -> Reply:
    connection = Connection("POST", path, body, content_type=media_type)
    connection.scope["query_string"] = query.encode()
    status, content = await connection.through(edge)
    headers = dict(connection.sent[0]["headers"])
    made = headers[b"content-type"].decode()
    if made == ARROW:
        assert int(headers[b"content-length"]) == len(content)
        content = ipc.open_stream(content).read_all().to_pydict()
    return Reply(status, content, made)


async def post_json(edge: Edge, body: Any, *, model: str = "sum", query: str = "") -> Reply:
    return await post(edge, f"/v1/models/{model}/step", json.dumps(body).encode(), query=query)


async def post_arrow(
    edge: Edge, session_ids: Sequence[Any], inputs: Any, seq: Sequence[int | None] | None = None, *, query: str = ""
) -> Reply:
    columns = {"session_id": pa.array(session_ids, pa.utf8()), "inputs": pa.array(inputs, FLOATS)}
    if seq is not None:
        columns["seq"] = pa.array(seq, pa.int64())
    return await post(edge, "/v1/models/sum/step", stream(columns), ARROW, query)


async def steps_of(house: House, *session_ids: str) -> list[int]:
    return [(await house.sessions.find(session_id)).steps for session_id in session_ids]


async def test_a_message_in_json_is_answered_in_json() -> None:
    async with edge_with("a", "b") as (_, edge):
        body = {"session_ids": ["a", "b", "a"], "inputs": [[1], [2.5], [4]]}
        reply = await post_json(edge, body)
        assert (reply.status, reply.media_type) == (200, "application/json")
        # a: 1, 1 + 4; b: 2.5.
        assert reply.content == {
            "session_ids": ["a", "b", "a"],
            "seq": [0, 0, 1],
            "outputs": [[1.0], [2.5], [5.0]],
            "errors": [],
        }


async def test_a_message_in_arrow_is_answered_in_arrow() -> None:
    async with edge_with("a", "b") as (_, edge):
        reply = await post_arrow(edge, ["a", "b", "a"], [[1], [2.5], [4]])
        assert (reply.status, reply.media_type) == (200, ARROW)
        assert reply.content == {
            "session_id": ["a", "b", "a"],
            "seq": [0, 0, 1],
            "outputs": [[1.0], [2.5], [5.0]],
            "code": [None] * 3,
            "detail": [None] * 3,
        }


async def test_rows_that_fail_say_why_and_the_others_are_applied() -> None:
    async with edge_with("a", "b", "c") as (house, edge):
        await post_json(edge, {"session_ids": ["a", "b", "c"], "inputs": [[1], [1], [1]]})
        body = {
            "session_ids": ["a", "nobody", "b", "c", "a"],
            "inputs": [[2], [2], [2], [2], [2]],
            "seq": [1, 0, 5, None, None],
        }
        status, content, _ = await post_json(edge, body)
        assert status == 200
        assert content["seq"] == [1, None, None, 1, 2]
        assert content["outputs"] == [[3.0], None, None, [3.0], [5.0]]
        unknown, conflict = content["errors"]
        assert (unknown["row"], unknown["code"]) == (1, "unknown_session")
        assert (conflict["row"], conflict["code"], conflict["expected_seq"]) == (2, "seq_conflict", 1)
        assert "nobody" in unknown["detail"]
        assert await steps_of(house, "a", "b", "c") == [3, 1, 2]


async def test_rows_that_fail_are_null_in_arrow() -> None:
    async with edge_with("a", "b", "c") as (house, edge):
        await post_arrow(edge, ["a", "b", "c"], [[1], [1], [1]])
        reply = await post_arrow(edge, ["a", None, "b", "nobody", "c"], [[2], [2], [2], [2], [None]], [1, 0, 5, 0, 1])
        assert reply.status == 200
        assert reply.content["session_id"] == ["a", None, "b", "nobody", "c"]
        assert reply.content["seq"] == [1, None, None, None, None]
        assert reply.content["outputs"] == [[3.0], None, None, None, None]
        assert reply.content["code"] == [
            None,
            "invalid_input",
            "seq_conflict",
            "unknown_session",
            "invalid_input",
        ]
        assert "has applied 1 steps" in reply.content["detail"][2]
        assert await steps_of(house, "a", "b", "c") == [2, 1, 1]


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ([[1], [1, 2], [3]], "inputs[1]"),
        ([[1], [], [3]], "inputs[1]"),
        ([[1], [None], [3]], "inputs[1][0]"),
        ([[1], [1e39], [3]], "inputs[1][0]"),
    ],
    ids=["too many", "none", "null", "too large"],
)
async def test_numbers_that_cannot_be_used_fail_their_row_by_its_place(inputs: Any, field: str) -> None:
    async with edge_with("a", "b", "c") as (house, edge):
        status, content, _ = await post_json(edge, {"session_ids": ["a", "b", "c"], "inputs": inputs})
        assert status == 200
        assert content["outputs"] == [[1.0], None, [3.0]]
        (error,) = content["errors"]
        assert (error["row"], error["code"], error["field"]) == (1, "invalid_input", field)
        assert set(error) == {"row", "code", "detail", "field"}
        assert await steps_of(house, "a", "b", "c") == [1, 0, 1]


async def test_codes_out_of_range_fail_their_row() -> None:
    words = {"x": ("no", "yes")}
    part = MANIFEST.inputs[0].model_copy(update={"categories": words})
    async with edge_with() as (house, edge):
        add_model(house, name="coded", inputs=(part,))
        body = {"session_ids": ["a", "b", "c"], "inputs": [[1], [2], [0]], "create_missing": True}
        status, content, _ = await post_json(edge, body, model="coded")
        assert (status, content["outputs"]) == (200, [[1.0], None, [0.0]])
        assert [(error["row"], error["field"]) for error in content["errors"]] == [(1, "inputs[1][0]")]
        columns = {"session_id": pa.array(["a", "b", "c"]), "inputs": pa.array([[0], [7], [1]], FLOATS)}
        answer = await post(edge, "/v1/models/coded/step", stream(columns), ARROW, "create_missing=true")
        assert answer.content["outputs"] == [[1.0], None, [1.0]]
        assert answer.content["code"] == [None, "invalid_input", None]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "session_ids"),
        ({"session_ids": [], "inputs": []}, "session_ids"),
        ({"session_ids": ["a"], "inputs": []}, "inputs"),
        ({"session_ids": ["a"], "inputs": [[1], [2]]}, "inputs"),
        ({"session_ids": ["a"], "inputs": [[1]], "seq": []}, "seq"),
        ({"session_ids": ["a"], "inputs": [[1]], "seq": [0, 1]}, "seq"),
        ({"session_ids": ["a"], "inputs": [[1]], "seq": [-1]}, "seq[0]"),
        ({"session_ids": ["a"], "inputs": [[1]], "seq": [2**63]}, "seq[0]"),
        ({"session_ids": ["a"], "inputs": [[1]], "seq": [0.5]}, "seq[0]"),
        ({"session_ids": [1], "inputs": [[1]]}, "session_ids[0]"),
        ({"session_ids": [None], "inputs": [[1]]}, "session_ids[0]"),
        ({"session_ids": "a", "inputs": [[1]]}, "session_ids"),
        ({"session_ids": ["a"], "inputs": [1]}, "inputs[0]"),
        ({"session_ids": ["a"], "inputs": [["1"]]}, "inputs[0][0]"),
        ({"session_ids": ["a"], "inputs": [[True]]}, "inputs[0][0]"),
        ({"session_ids": ["a"], "inputs": [[1]], "create_missing": 1}, "create_missing"),
        ({"session_ids": ["a"], "inputs": [[1]], "session_id": "a"}, "session_id"),
        ([], None),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_message_that_cannot_be_read_is_refused_whole(body: Any, field: str | None) -> None:
    async with edge_with("a") as (house, edge):
        status, content, media_type = await post_json(edge, body)
        assert (status, content["code"], media_type) == (422, "invalid_input", "application/problem+json")
        assert content.get("field") == field
        assert await steps_of(house, "a") == [0]


@pytest.mark.parametrize(
    "body",
    [b"", b"no stream", b'{"session_ids": ["a"], "inputs": [[1]]}', stream({"session_id": pa.array(["a"])})],
    ids=["empty", "noise", "JSON", "no inputs"],
)
async def test_a_stream_that_cannot_be_read_is_refused_whole_in_json(body: bytes) -> None:
    async with edge_with("a") as (house, edge):
        status, content, media_type = await post(edge, "/v1/models/sum/step", body, ARROW)
        assert (status, content["code"], media_type) == (422, "invalid_input", "application/problem+json")
        assert await steps_of(house, "a") == [0]


@pytest.mark.parametrize("path", ["/v1/models/sum/step", "/v1/models/sum/predict"])
@pytest.mark.parametrize("media_type", ["text/csv", "application/vnd.apache.arrow.file", "application/octet-stream"])
async def test_other_media_types_are_refused(path: str, media_type: str) -> None:
    async with edge_with() as (_, edge):
        status, content, _ = await post(edge, path, b"{}", media_type)
        assert (status, content["code"]) == (415, "unsupported_media_type")


async def test_only_posts_of_models_that_are_served_are_answered() -> None:
    async with edge_with() as (_, edge):
        status, content = await Connection("GET", "/v1/models/sum/step").through(edge)
        assert (status, content["code"]) == (405, "method_not_allowed")
        reply = await post_json(edge, {"session_ids": ["a"], "inputs": [[1]]}, model="nothing")
        assert (reply.status, reply.content["code"]) == (404, "unknown_model")


async def test_missing_sessions_are_opened_where_the_body_or_the_query_says_so() -> None:
    async with edge_with() as (house, edge):
        body = {"session_ids": ["a", "b"], "inputs": [[1], [2]]}
        refused = await post_json(edge, body)
        assert [error["code"] for error in refused.content["errors"]] == ["unknown_session"] * 2
        opened = await post_json(edge, {**body, "create_missing": True})
        assert opened.content["outputs"] == [[1.0], [2.0]]
        opened = await post_json(edge, {**body, "session_ids": ["b", "c"]}, query="create_missing=true")
        assert opened.content["outputs"] == [[3.0], [2.0]]
        refused = await post_arrow(edge, ["c", "d"], [[1], [1]])
        assert refused.content["code"] == [None, "unknown_session"]
        made = await post_arrow(edge, ["c", "d", "no id", None], [[1]] * 4, query="create_missing=true")
        assert made.content["outputs"] == [[4.0], [1.0], None, None]
        assert made.content["code"] == [None, None, "invalid_input", "invalid_input"]
        unknown = await post_arrow(edge, ["e"], [[1]], query="create_mising=true")
        assert (unknown.status, "`create_mising`" in unknown.content["detail"]) == (422, True)
        wrong = await post_arrow(edge, ["e"], [[1]], query="create_missing=perhaps")
        assert (wrong.status, wrong.content["field"]) == (422, "create_missing")
        assert house.engine.arena.num_sessions == 4
        assert house.value('ostinato_sessions_total{event="opened",model="sum",version="1"}') == 4


@pytest.mark.parametrize("forms", ["json json", "json arrow", "arrow json", "single arrow", "arrow single"])
async def test_a_message_sent_again_in_whichever_form_is_applied_once(forms: str) -> None:
    values = {"a": 0.1, "b": -0.0, "c": 16777217.0}

    async def once(edge: Edge, form: str, seq: int) -> list[Any]:
        ids, inputs = list(values), [[value] for value in values.values()]
        if form == "json":
            return (await post_json(edge, {"session_ids": ids, "inputs": inputs, "seq": [seq] * 3})).content["outputs"]  # type: ignore[no-any-return]
        if form == "arrow":
            return (await post_arrow(edge, ids, inputs, [seq] * 3)).content["outputs"]  # type: ignore[no-any-return]
        singles = []
        for session_id, value in values.items():
            body = json.dumps({"inputs": [[value]], "seq": seq}).encode()
            singles.append((await post(edge, f"/v1/sessions/{session_id}/step", body)).content["outputs"][0])
        return singles

    async with edge_with(*values) as (house, edge):
        for seq in range(3):
            first, again = [await once(edge, form, seq) for form in forms.split()]
            assert np.array(first, np.float32).tobytes() == np.array(again, np.float32).tobytes()
        assert await steps_of(house, *values) == [3, 3, 3]
        assert house.value('ostinato_duplicates_total{model="sum",version="1"}') == 9


async def test_a_single_step_answers_with_numbers_where_it_shares_its_run_with_a_message() -> None:
    async with edge_with("a", "b", "c") as (house, edge):
        replies = await asyncio.gather(
            post_json(edge, {"session_ids": ["a", "b"], "inputs": [[1], [2]]}),
            post(edge, "/v1/sessions/c/step", b'{"inputs": [[4]]}'),
        )
        assert [len(slots) for slots, _ in house.runner.iterations] == [3]
        assert replies[0].content["outputs"] == [[1.0], [2.0]]
        assert replies[1].content == {"session_id": "c", "seq": 0, "steps": 1, "outputs": [[4.0]]}


@pytest.mark.parametrize("seed", range(3))
async def test_arrow_messages_that_differ_in_their_numbers_only_are_answered_as_in_json(seed: int) -> None:
    generator = random.Random(seed)
    ids = ["a0", "a1", "b0", "b1", "c0"]
    rosters = [generator.choices(ids, k=3) for _ in range(4)]  # of one length
    async with edge_with(*ids) as (one, arrow_edge), edge_with(*ids) as (other, json_edge):
        houses = one, other
        applied = dict.fromkeys(ids, 0)
        for _ in range(150):
            roster = generator.choice(rosters)
            if generator.random() < 0.05:
                session_id = generator.choice(ids)
                for house in houses:
                    await house.sessions.close(session_id)
                    await house.sessions.open("sum", session_id=session_id)
                applied[session_id] = 0
            inputs = [[generator.choices([float(generator.randint(-9, 9)), None], [30, 1])[0]] for _ in roster]
            seq = [applied[session_id] + (generator.random() < 0.05) for session_id in roster]
            made = await post_arrow(arrow_edge, roster, inputs, seq)
            expected = await post_json(json_edge, {"session_ids": roster, "inputs": inputs, "seq": seq})
            codes = {error["row"]: error["code"] for error in expected.content["errors"]}
            assert made.content["session_id"] == expected.content["session_ids"] == roster
            assert made.content["seq"] == expected.content["seq"]
            assert made.content["outputs"] == expected.content["outputs"]
            assert made.content["code"] == [codes.get(row) for row in range(3)]
            for session_id, said in zip(roster, expected.content["seq"], strict=True):
                if said is not None:
                    applied[session_id] = max(applied[session_id], said + 1)
        assert max(applied.values()) > 20


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "uint8", "bool"])
async def test_outputs_of_every_dtype_are_written_as_they_are(dtype: str) -> None:
    """Arrow keeps eight flags in a byte, numpy one."""
    made = np.array([0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 1])[:, None].astype(dtype)
    output = MANIFEST.outputs[0].model_copy(update={"dtype": dtype})
    ids = [f"s{row}" for row in range(11)]
    async with edge_with() as (house, _):
        engine = add_model(house, name="other", outputs=(output,))
        remembered = Templates()
        for seq in range(3):
            values = pa.FixedSizeListArray.from_arrays(pa.array(np.full(11, seq, np.float32)), 1)
            _, message = remembered.read(stream({"session_id": pa.array(ids), "inputs": values}), engine)
            answers = RowAnswers(11, engine, engine.new_future())
            answers.put(np.arange(11), np.full(11, seq), made)
            made = made[::-1]
            content = ipc.open_stream(message.answer(answers)).read_all().to_pydict()
            assert content["session_id"] == ids
            assert content["seq"] == [seq] * 11
            assert content["outputs"] == answers.outputs.tolist()


@pytest.mark.parametrize("form", ["json", "arrow"])
async def test_a_message_that_does_not_fit_is_refused_with_nothing_applied(form: str) -> None:
    async def message(edge: Edge, session_ids: Sequence[str]) -> Reply:
        inputs = [[1.0]] * len(session_ids)
        if form == "arrow":
            return await post_arrow(edge, session_ids, inputs)
        return await post_json(edge, {"session_ids": session_ids, "inputs": inputs})

    ids = ["a", "b", "c", "d"]
    async with edge_with(*ids, in_thread=True, max_queue_rows=3) as (house, edge):
        too_large = await message(edge, ids)
        assert (too_large.status, too_large.content["code"]) == (413, "too_large")
        house.runner.gate.clear()
        first = asyncio.ensure_future(house.ledger.step(await house.sessions.find("a"), column(1)))
        overloaded = await message(edge, ids[1:])
        assert (overloaded.status, overloaded.content["code"]) == (429, "overloaded")
        fits = asyncio.ensure_future(message(edge, ids[2:]))
        await until_true(lambda: house.engine.num_rows == 3)
        house.engine.drain()
        draining = await message(edge, ids[:1])
        assert (draining.status, draining.content["code"]) == (503, "draining")
        house.runner.gate.set()
        await first
        assert (await fits).content["outputs"] == [[1.0], [1.0]]
        assert await steps_of(house, *ids) == [1, 0, 1, 1]


async def test_a_message_past_its_deadline_gives_its_rows_back() -> None:
    async with edge_with("a", "b", in_thread=True, deadline_seconds=0.2) as (house, edge):
        house.runner.gate.clear()
        first = asyncio.ensure_future(house.ledger.step(await house.sessions.find("a"), column(1)))
        await until(lambda: house.runner.is_held)
        reply = await post_json(edge, {"session_ids": ["a", "b"], "inputs": [[2], [2]]})
        assert (reply.status, reply.content["code"]) == (504, "deadline_exceeded")
        house.runner.gate.set()
        await first
        while house.engine.num_rows:
            await asyncio.sleep(0)
        assert await steps_of(house, "a", "b") == [1, 0]


async def test_an_error_of_ours_in_one_row_keeps_its_words_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async with edge_with("a") as (house, edge):

        async def broken(_session_id: str) -> Any:
            raise KeyError("secret")

        monkeypatch.setattr(house.sessions, "find", broken)
        status, content, _ = await post_json(edge, {"session_ids": ["a", "b"], "inputs": [[1], [1]]})
        assert "secret" not in json.dumps(content)
        assert (status, content["code"]) == (500, "internal")
        for _ in range(3):
            await asyncio.sleep(0)


class TestPredictArrow:
    """Whole sequences, as ``POST /v1/models/sum/predict`` takes and gives them."""

    SEQUENCES = ([[1.0], [2.0], [4.0]], [[10.0]], [[3.0], [3.0]])

    async def predict(self, edge: Edge, inputs: Any = SEQUENCES, query: str = "", kind: Any = None) -> Reply:
        body = stream({"inputs": pa.array(list(inputs), kind or pa.list_(FLOATS))})
        return await post(edge, "/v1/models/sum/predict", body, ARROW, query)

    async def test_lengths_may_differ(self) -> None:
        async with edge_with() as (_, edge):
            reply = await self.predict(edge)
            assert (reply.status, reply.media_type) == (200, ARROW)
            # Running sums: 1, 1 + 2, 1 + 2 + 4; 10; 3, 3 + 3.
            assert reply.content == {"outputs": [[[1.0], [3.0], [7.0]], [[10.0]], [[3.0], [6.0]]]}

    async def test_last_steps_alone_and_backwards(self) -> None:
        async with edge_with() as (_, edge):
            last = await self.predict(edge, query="return_sequences=false")
            assert last.content == {"outputs": [[7.0], [10.0], [6.0]]}
            backwards = await self.predict(edge, query="go_backwards=true")
            # 4, 4 + 2, 4 + 2 + 1.
            assert backwards.content == {"outputs": [[[4.0], [6.0], [7.0]], [[10.0]], [[3.0], [6.0]]]}
            both = await self.predict(edge, query="go_backwards=1&return_sequences=0")
            assert both.content == {"outputs": [[7.0], [10.0], [6.0]]}

    async def test_the_version_is_the_latest_unless_one_is_named(self) -> None:
        async with edge_with() as (house, edge):
            newer = PuppetRunner()
            add_model(house, runner=newer, version="2")
            await self.predict(edge, query="version=1")
            assert (len(house.runner.iterations) > 0, newer.iterations) == (True, [])
            house.runner.iterations.clear()
            await self.predict(edge)
            assert (house.runner.iterations, len(newer.iterations) > 0) == ([], True)
            unknown = await self.predict(edge, query="version=3")
            assert (unknown.status, unknown.content["code"]) == (404, "unknown_model")

    @pytest.mark.parametrize(
        ("inputs", "status", "field"),
        [
            ([], 422, "inputs"),
            ([[[1.0]], []], 422, "inputs[1]"),
            ([[[1.0]], None], 422, "inputs[1]"),
            ([[[1.0]], [[1.0], None]], 422, "inputs[1][1]"),
            ([[[1.0], [None]]], 422, "inputs[0][1][0]"),
            ([[[1.0]] * 6], 413, None),
        ],
        ids=["no sequence", "no step", "null sequence", "null step", "null value", "too long"],
    )
    async def test_what_cannot_be_predicted_is_refused_by_its_place(
        self, inputs: Any, status: int, field: str | None
    ) -> None:
        async with edge_with(max_chunk_steps=5) as (house, edge):
            reply = await self.predict(edge, inputs)
            assert (reply.status, reply.content.get("field")) == (status, field)
            assert house.runner.iterations == []

    async def test_sequences_that_are_not_finite_fail_as_one(self) -> None:
        async with edge_with() as (house, edge):
            house.runner.fails = lambda _: True
            reply = await self.predict(edge)
            assert (reply.status, reply.content["code"]) == (500, "run_failed")
            await asyncio.sleep(0)
            assert house.engine.arena.num_used == 0

    @pytest.mark.parametrize(
        "query", ["go_backward=true", "return_state=true", "version=1&Version=1", "initial_state=1"]
    )
    async def test_an_option_that_arrow_does_not_have_is_refused_by_its_name(self, query: str) -> None:
        async with edge_with() as (house, edge):
            reply = await self.predict(edge, query=query)
            unknown = query.rpartition("&")[2].partition("=")[0]
            assert (reply.status, f"`{unknown}`" in reply.content["detail"]) == (422, True)
            assert house.runner.iterations == []

    async def test_options_of_a_body_in_json_are_not_looked_for_in_the_query(self) -> None:
        async with edge_with() as (house, edge):
            reply = await post(edge, "/v1/models/sum/predict", b'{"sequences": [[[1]]]}', query="go_backwards=true")
            assert reply.status == 422
            assert house.runner.iterations == []

    async def test_a_misspelt_flag_value_is_refused(self) -> None:
        async with edge_with() as (house, edge):
            reply = await self.predict(edge, query="return_sequences=no")
            assert (reply.status, reply.content["field"]) == (422, "return_sequences")
            assert house.runner.iterations == []


class Share:
    """What is done to single rows between two turns of the event loop, counted; each pause that may be made is made."""

    def __init__(self, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = self.total = 0
        self._now = 0
        monkeypatch.setattr(turns, "TURN_SECONDS", -1.0)
        for owner, name in (
            (doubts, "judge"),
            (columns_route, "to_sequence"),
            (session_rows, "_session_of"),
            (session_rows, "_step_anew"),
            (edge.desk, "refuse"),
        ):
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, call: Any) -> Any:
        def count(*given: Any, **named: Any) -> Any:
            self._now += 1
            self.total += 1
            self.most = max(self.most, self._now)
            return call(*given, **named)

        return count

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        async def turn() -> None:
            while True:
                self._now = 0
                await asyncio.sleep(0)

        watching = asyncio.create_task(turn())
        try:
            yield
        finally:
            watching.cancel()


@pytest.mark.parametrize("kind", ["unknown", "seq", "values", "again", "model", "new"])
@pytest.mark.parametrize("is_arrow", [False, True], ids=["json", "arrow"])
async def test_rows_that_need_a_look_of_their_own_are_looked_at_a_few_at_a_time(
    kind: str, is_arrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_rows = 300
    ids = [f"s{row}" for row in range(num_rows)]
    asked = {"unknown": [f"n{row}" for row in range(num_rows)], "new": ids, "again": ["s0"] * num_rows}.get(kind, ids)
    async with edge_with(max_sessions=num_rows) as (house, edge):
        other = "other" if kind == "model" else "sum"
        if kind == "model":
            add_model(house, name="other")
        for session_id in [] if kind == "new" else ids:
            await house.sessions.open(other, session_id=session_id)
        numbers = [[None if kind == "values" else 1.0]] * num_rows
        seq = [7] * num_rows if kind == "seq" else None
        query = "create_missing=true" if kind == "new" else ""
        share = Share(edge, monkeypatch)
        async with share.watched():
            if is_arrow:
                reply = await post_arrow(edge, asked, numbers, seq, query=query)
                failed = [code for code in reply.content["code"] if code]
            else:
                body = {"session_ids": asked, "inputs": numbers} | ({} if seq is None else {"seq": seq})
                reply = await post_json(edge, body, query=query)
                failed = reply.content["errors"]
        assert reply.status == 200
        assert len(failed) == (0 if kind in ("again", "new") else num_rows)
        assert share.total >= num_rows - 1
        assert share.most <= session_rows.MAX_AT_ONCE + 2


async def test_a_message_that_is_given_up_while_its_rows_are_looked_at_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", -1.0)
    async with edge_with("a", "b") as (house, _):
        engine = house.engine
        columns = session_rows.Columns.of(["a", *[f"n{row}" for row in range(50)]], column(*range(51)), None, {})
        stepping = asyncio.create_task(session_rows.step_columns(house.sessions, house.ledger, engine, columns))
        for _ in range(5):
            await asyncio.sleep(0)
        assert engine.num_rows > 40
        stepping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stepping
        await until(lambda: engine.num_rows == 0)
