"""Rows that are chunks, and rows with offsets, in JSON and in Arrow."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.service.edge.arrow.answers import write_chunks
from ostinato.service.edge.arrow.columns import ARROW
from ostinato.service.edge.asgi import Edge
from ostinato.service.edge.v1.chunk_rows import chunk_answers
from ostinato.service.edge.v1.large import LARGE_BYTES
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.sessions.blocks import RowAnswers
from ostinato.service.sessions.chunk import StepAnswer
from tests.service.edge.test_asgi import Connection
from tests.service.edge.v1.test_columns import Reply, edge_with, post, post_json, steps_of, stream

CHUNKS = pa.list_(pa.list_(pa.float32(), 1))
DUPLICATES = 'ostinato_duplicates_total{model="sum",version="1"}'


async def ask(edge: Edge, method: str, path: str, body: Any = None) -> Reply:
    connection = Connection(method, path, b"" if body is None else json.dumps(body).encode())
    status, content = await connection.through(edge)
    return Reply(status, content, "")


async def post_chunks(
    edge: Edge, names: list[str], inputs: Any, kind: pa.DataType = CHUNKS, query: str = "", **columns: pa.Array
) -> Reply:
    message = {"session_id": pa.array(names, pa.utf8()), "inputs": pa.array(inputs, kind), **columns}
    return await post(edge, "/v1/models/sum/step", stream(message), ARROW, query)


def whole(*values: int | None) -> pa.Array:
    return pa.array(values, pa.int64())


KINDS = [
    CHUNKS,
    pa.large_list(pa.large_list(pa.float64())),
    pa.list_(pa.list_(pa.int16())),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_a_row_of_several_steps_is_a_chunk_and_answered_by_a_list(kind: pa.DataType) -> None:
    async with edge_with("a", "b", "c") as (house, edge):
        reply = await post_chunks(edge, ["a", "b", "c"], [[[1], [2], [4]], [[8]], [[1], [1]]], kind)
        assert (reply.status, reply.content["outputs"]) == (200, [[[1], [3], [7]], [[8]], [[1], [2]]])
        assert (reply.content["seq"], reply.content["code"]) == ([0, 0, 0], [None] * 3)
        assert await steps_of(house, "a", "b", "c") == [3, 1, 2]
        body = {"session_ids": ["a", "b", "c"], "inputs": [[[1]], [[2], [3]], [[0]]], "seq": [3, 1, 2]}
        for _ in range(2):  # and again, unchanged
            reply = await post_json(edge, body)
            assert reply.content == {
                "session_ids": ["a", "b", "c"],
                "seq": [3, 1, 2],
                "outputs": [[[8]], [[10], [13]], [[2]]],
                "errors": [],
            }
        assert house.value(DUPLICATES) == 3


async def test_chunks_of_one_length_may_be_lists_of_a_fixed_size() -> None:
    async with edge_with("a", "b") as (_, edge):
        kind = pa.list_(pa.list_(pa.float32(), 1), 2)
        message = pa.array([[[9], [9]], [[1], [2]], [[3], [4]]], kind)[1:]  # which do not begin where their values do
        reply = await post_chunks(edge, ["a", "b"], message, kind)
        assert reply.content["outputs"] == [[[1], [3]], [[3], [7]]]


async def test_rows_of_one_step_run_as_a_block_beside_the_chunks() -> None:
    async with edge_with("a", "b", "c", "d") as (house, edge):
        house.runner.iterations.clear()
        await post_chunks(edge, ["a", "b", "c", "d"], [[[1]], [[1], [2]], [[3]], [[4]]])
        # All four rows have one step to run at first, and b has another one behind it.
        assert sorted((len(slots), steps) for slots, steps in house.runner.iterations) == [(1, 1), (4, 1)]


async def test_chunks_that_cannot_be_fail_alone() -> None:
    async with edge_with(*"abcdef", max_chunk_steps=3) as (house, edge):
        inputs: list[Any] = [[[1]], None, [], [[1], [None]], [[1]] * 4, [[1], None]]
        reply = await post_chunks(edge, list("abcdef"), inputs)
        assert reply.content["outputs"] == [[[1]], *[None] * 5]
        assert reply.content["seq"] == [0, *[None] * 5]
        assert reply.content["code"] == [None, *["invalid_input"] * 3, "too_large", "invalid_input"]
        assert reply.content["detail"][4] == "inputs[4] has 4 steps; the most is 3"
        body = {"session_ids": list("abcdef"), "inputs": [[[1]], None, [], [[1], [None]], [[1]] * 4, [[1], ["x"]]]}
        reply = await post_json(edge, body)
        assert reply.content["outputs"] == [[[2]], *[None] * 5]
        codes = [(error["row"], error["code"], error.get("field")) for error in reply.content["errors"]]
        assert codes == [
            (1, "invalid_input", "inputs[1]"),
            (2, "invalid_input", "inputs[2]"),
            (3, "invalid_input", "inputs[3][1][0]"),
            (4, "too_large", None),
            (5, "invalid_input", "inputs[5][1][0]"),
        ]
        assert await steps_of(house, *"abcdef") == [2, 0, 0, 0, 0, 0]


async def test_a_row_that_is_no_chunk_where_others_are_fails_alone_and_numbers_are_still_refused_as_a_whole() -> None:
    async with edge_with("a", "b") as (_, edge):
        reply = await post_json(edge, {"session_ids": ["a", "b"], "inputs": [[[1]], [1]]})
        assert reply.content["outputs"] == [[[1]], None]
        for inputs in ([["x"], [1]], [[1], 2], "x"):
            reply = await post_json(edge, {"session_ids": ["a", "b"], "inputs": inputs})
            assert (reply.status, reply.content["code"]) == (422, "invalid_input")


async def test_a_message_without_any_step_is_answered_row_by_row() -> None:
    async with edge_with("a", "b") as (_, edge):
        reply = await post_chunks(edge, ["a", "b"], [[], None])
        assert (reply.content["outputs"], reply.content["code"]) == ([None, None], ["invalid_input"] * 2)


async def test_a_large_message_of_chunks_is_read_in_slices() -> None:
    async with edge_with("a", "b") as (_, edge):
        long = [[0.125 * (number % 8)] for number in range(LARGE_BYTES // 8)]
        body = {"session_ids": ["a", "b"], "inputs": [long, [[1]]]}
        reply = await post_json(edge, body)
        assert reply.content["outputs"][0][-1] == [sum(value for (value,) in long)]
        assert reply.content["outputs"][1] == [[1]]


async def test_several_outputs_are_by_name_row_by_row() -> None:
    names = ("level", "flag")
    parts = tuple(
        Output(name=name, dtype="float32", shape=("B", "T", width), features=tuple("xy"[:width]))
        for name, width in zip(names, (2, 1), strict=True)
    )
    made = RowLayout(parts)
    answers = RowAnswers(
        3,
        cast(Engine, SimpleNamespace(made=made, watch=None)),
        asyncio.get_running_loop().create_future(),
        of_chunks=True,
    )
    rows = made.pack([np.array([[1, 2], [3, 4]], np.float32), np.array([[5], [6]], np.float32)])
    answers.put_chunk(0, StepAnswer("a", 4, 6, rows, made))
    answers.put(np.array([2]), 8, rows[1:])
    answers.fail([1], ValueError())
    lengths = np.array([2, 1, 1])
    content = chunk_answers(answers, lengths, {1: "failed"}, made)["outputs"]
    told = {name: [None if row is None else row.tolist() for row in content[name]] for name in names}
    assert told == {"level": [[[1, 2], [3, 4]], None, [[3, 4]]], "flag": [[[5], [6]], None, [[6]]]}
    written = write_chunks(pa.array(["a", "b", "c"]), answers, lengths, {1: ("word", "why")}, made)
    columns = pa.ipc.open_stream(written).read_all().to_pydict()
    assert columns["outputs"] == [
        {"level": [[1, 2], [3, 4]], "flag": [[5], [6]]},
        None,
        {"level": [[3, 4]], "flag": [[6]]},
    ]
    assert (columns["seq"], columns["code"]) == ([4, None, 8], [None, "word", None])


async def test_frames_that_a_chunk_completes_are_answered_with_their_steps() -> None:
    async with edge_with("a", "b", "c", hop=3) as (_, edge):
        reply = await post_chunks(edge, ["a", "b", "c"], [[[1]] * 7, [[1]], [[1]] * 2])
        assert reply.content["outputs"] == [[[3], [6]], [], []]
        assert reply.content["output_steps"] == [[3, 6], [], []]
        body = {"session_ids": ["a", "b", "c"], "inputs": [[[1]] * 2, [[1]], [[1]]]}
        reply = await post_json(edge, body)
        assert reply.content["outputs"] == [[[9]], [], [[3]]]
        assert reply.content["output_steps"] == [[9], [], [3]]


async def test_offsets_in_arrow_make_a_message_safe_to_send_again() -> None:
    """With a source for all in the schema's metadata, with one a row, and without any."""
    async with edge_with("a", "b", "c") as (house, edge):
        text = pa.array(["p/0", "p/1", None]).dictionary_encode()
        columns: dict[str, pa.Array] = {"offset": whole(7, 2**63 - 1, None), "source": text}
        for _ in range(2):
            reply = await post_chunks(edge, ["a", "b", "c"], [[[1], [2]], [[3]], [[4]]], **columns)
            assert reply.content["code"] == [None] * 3
        assert reply.content["outputs"] == [[[1], [3]], [[3]], [[8]]]
        assert [reply.content[name] for name in ("expected_seq", "source", "offset", "last_seq")] == [[None] * 3] * 4
        assert house.value(DUPLICATES) == 2
        columns |= {"offset": whole(6, 2**63 - 1, 0)}
        reply = await post_chunks(edge, ["a", "b", "c"], [[[1], [2]], [[4]], [[1]]], **columns)
        assert reply.content["code"] == ["seq_conflict", "seq_conflict", None]
        assert reply.content["expected_seq"] == [2, 1, None]
        assert reply.content["source"] == ["p/0", "p/1", None]
        assert reply.content["offset"] == [7, 2**63 - 1, None]
        assert reply.content["last_seq"] == [0, 0, None]
        batch = pa.record_batch({"session_id": ["a"], "inputs": pa.array([[[5]]], CHUNKS), "offset": whole(8)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema.with_metadata({"source": "p/0"})) as writer:
            writer.write_batch(batch)
        for _ in range(2):
            reply = await post(edge, "/v1/models/sum/step", bytes(sink.getvalue()), ARROW)
            assert (reply.content["outputs"], reply.content["seq"]) == ([[[8]]], [2])
        shown = (await ask(edge, "GET", "/v1/sessions/a")).content
        assert (shown["steps"], shown["source"], shown["offset"]) == (3, "p/0", 8)
        listed = (await ask(edge, "GET", "/v1/sessions")).content["sessions"]
        assert {each["session_id"]: each.get("offset") for each in listed} == {"a": 8, "b": 2**63 - 1, "c": 0}


async def test_a_message_like_the_last_with_other_offsets_is_read_from_its_template() -> None:
    async with edge_with("a", "b") as (house, edge):
        kind = pa.list_(pa.float32(), 1)
        for number in range(4):
            placed = {"offset": whole(number, 10 + number), "source": pa.array(["s", "t"])}
            for _ in range(2):
                reply = await post_chunks(edge, ["a", "b"], [[1], [2]], kind, **placed)
                assert reply.content["outputs"] == [[number + 1], [2 * number + 2]]
                assert reply.content["offset"] == [None, None]
        assert house.value(DUPLICATES) == 8
        reply = await post_chunks(edge, ["a", "b"], [[1], [2]], kind, offset=whole(0, 14), source=pa.array(["s", "t"]))
        assert (reply.content["code"], reply.content["offset"]) == (["seq_conflict", None], [3, None])
        reply = await post_chunks(edge, ["a", "b"], [[1], [2]], kind, offset=whole(-1, 15), source=pa.array(["s", "t"]))
        assert reply.content["code"] == ["invalid_input", None]
        assert reply.content["detail"][0] == "-1 is no offset"


async def test_offsets_in_json_do_so_too_and_a_row_that_says_none_is_applied_as_it_comes() -> None:
    async with edge_with("a", "b", "c") as (house, edge):
        body = {
            "session_ids": ["a", "b", "c"],
            "inputs": [[1], [2], [3]],
            "source": "readings/3",
            "offset": [5, 0, None],
            "first_offset": [5, None, None],
        }
        for _ in range(2):
            reply = await post_json(edge, body)
            assert reply.content["errors"] == []
        assert reply.content["outputs"] == [[1], [2], [6]]
        assert house.value(DUPLICATES) == 2
        reply = await post_json(edge, body | {"inputs": [[2], [2], [3]], "first_offset": [5, 1, None]})
        (conflict, invalid) = reply.content["errors"]
        members = {name: conflict[name] for name in ("row", "expected_seq", "source", "offset", "last_seq")}
        assert members == {"row": 0, "expected_seq": 1, "source": "readings/3", "offset": 5, "last_seq": 0}
        assert (invalid["row"], invalid["field"]) == (1, "first_offset[1]")


async def test_a_chunk_of_one_session_has_an_offset_by_its_route_and_by_the_typed_one() -> None:
    async with edge_with("a") as (house, edge):
        body = {"inputs": [[1], [2]], "source": "s", "first_offset": 3, "offset": 4}
        for path, named in (("/v1/sessions/a/step", {}), ("/step", {"session_id": "a"})):
            reply = await ask(edge, "POST", path, {**body, **named})
            assert (reply.status, reply.content["outputs"], reply.content["steps"]) == (200, [[1], [3]], 2)
        assert house.value(DUPLICATES) == 1
        reply = await ask(edge, "POST", "/v1/sessions/a/step", body | {"inputs": [[1]]})
        told = {name: reply.content[name] for name in ("status", "expected_seq", "source", "offset", "last_seq")}
        assert told == {"status": 409, "expected_seq": 2, "source": "s", "offset": 4, "last_seq": 0}


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"source": "s"}, "offset"),
        ({"first_offset": 1}, "offset"),
        ({"first_offset": 2, "offset": 1}, "first_offset"),
        ({"offset": -1}, "offset"),
        ({"offset": 2**63}, "offset"),
        ({"offset": 1.5}, "offset"),
        ({"offset": 1, "source": "s" * 256}, "source"),
        ({"offset": 1, "source": "a\0b"}, "source"),
        ({"offset": 1, "source": None}, "source"),
    ],
    ids=str,
)
async def test_what_is_no_offset_is_refused_and_names_the_member(said: dict[str, Any], field: str) -> None:
    async with edge_with("a") as (house, edge):
        reply = await ask(edge, "POST", "/v1/sessions/a/step", {"inputs": [[1]], **said})
        assert (reply.status, reply.content["code"], reply.content["field"]) == (422, "invalid_input", field)
        assert await steps_of(house, "a") == [0]


async def test_half_a_character_is_no_source() -> None:
    async with edge_with("a") as (house, edge):
        body = b'{"inputs": [[1]], "offset": 1, "source": "\\ud800"}'
        reply = await post(edge, "/v1/sessions/a/step", body)
        assert reply.status == 422
        assert await steps_of(house, "a") == [0]


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"source": pa.array(["s"])}, "offset"),
        ({"first_offset": whole(1)}, "offset"),
        ({"offset": pa.array([0.5])}, "offset"),
        ({"offset": whole(1), "source": pa.array([1])}, "source"),
        ({"offset": whole(1), "source": pa.array(["s" * 256])}, "source"),
        ({"offset": whole(1), "source": pa.array(["a\0b"])}, "source"),
        ({"offset": whole(1), "source": pa.array(["s" * 5000])}, "source"),
    ],
    ids=range(7),
)
async def test_columns_that_are_no_offsets_are_refused_by_name(columns: dict[str, pa.Array], field: str) -> None:
    async with edge_with("a") as (house, edge):
        reply = await post_chunks(edge, ["a"], [[[1]]], **columns)
        assert (reply.status, reply.content["field"]) == (422, field)
        assert await steps_of(house, "a") == [0]


async def test_a_message_opens_the_sessions_of_its_keys() -> None:
    async with edge_with() as (house, edge):
        placed = {"offset": whole(*range(20)), "source": pa.array(["s"] * 20)}
        names = [f"k{number}" for number in range(20)]
        for _ in range(2):
            inputs = [[[float(number)]] * (1 + number % 3) for number in range(20)]
            reply = await post_chunks(edge, names, inputs, query="create_missing=true", **placed)
            assert reply.content["code"] == [None] * 20
        assert await steps_of(house, *names) == [1 + number % 3 for number in range(20)]
        expected = [np.cumsum([number] * (1 + number % 3))[:, None].tolist() for number in range(20)]
        assert reply.content["outputs"] == expected


AT = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("said", [{"seq": 0}, {"offset": 1}, {"source": "s", "offset": 1}], ids=str)
async def test_a_time_stands_beside_no_other_place(said: dict[str, Any]) -> None:
    async with edge_with("a") as (house, edge):
        of_rows = {name: value if name == "source" else [value] for name, value in said.items()}
        one = await ask(edge, "POST", "/v1/sessions/a/step", {"inputs": [[1]], "at": AT, **said})
        many = await post_json(edge, {"session_ids": ["a"], "inputs": [[1]], "at": [AT], **of_rows})
        for reply in (one, many):
            assert (reply.status, reply.content["field"]) == (422, "at")
            assert "without seq, source or offset" in reply.content["detail"]
        assert await steps_of(house, "a") == [0]


async def test_rows_that_are_chunks_have_no_times() -> None:
    async with edge_with("a") as (house, edge):
        in_json = await post_json(edge, {"session_ids": ["a"], "inputs": [[[1], [2]]], "at": [AT]})
        in_arrow = await post_chunks(edge, ["a"], [[[1], [2]]], at=pa.array([AT]))
        for reply in (in_json, in_arrow):
            assert (reply.status, reply.content["field"]) == (422, "at")
            assert "one step" in reply.content["detail"]
        assert await steps_of(house, "a") == [0]
