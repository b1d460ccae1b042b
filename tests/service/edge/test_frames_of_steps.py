from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc
from safetensors.numpy import load, save

from ostinato.service.edge.arrow.columns import ARROW
from ostinato.service.edge.asgi import Edge
from tests.service.edge.test_asgi import Connection
from tests.service.edge.v1.test_columns import edge_with, post, post_arrow, post_json, stream

STATE = "application/octet-stream"


async def step(edge: Edge, values: list[float], **members: Any) -> Any:
    body = {"inputs": [[value] for value in values], **members}
    return (await post(edge, "/v1/sessions/a/step", json.dumps(body).encode())).content


async def test_a_step_tells_of_each_output_after_how_many_steps_its_frame_was_complete() -> None:
    async with edge_with("a", hop=3) as (_, edge):
        assert await step(edge, [1, 1], seq=0) == {
            "session_id": "a",
            "seq": 0,
            "steps": 2,
            "outputs": [],
            "output_steps": [],
        }
        assert await step(edge, [1] * 8, seq=2) == {
            "session_id": "a",
            "seq": 2,
            "steps": 10,
            "outputs": [[3.0], [6.0], [9.0]],
            "output_steps": [3, 6, 9],
        }
        answer = await step(edge, [1] * 5, seq=10, return_sequences=False)
        assert (answer["outputs"], answer["output_steps"]) == ([[15.0]], [15])
        conflict = await step(edge, [1], seq=3)
        assert (conflict["code"], conflict["expected_seq"]) == ("seq_conflict", 15)


async def test_a_chunk_is_held_to_its_most_in_steps_of_the_session() -> None:
    async with edge_with("a", hop=3, max_chunk_steps=4) as (_, edge):
        assert (await step(edge, [1] * 4))["outputs"] == [[3.0]]
        assert (await step(edge, [1] * 5))["code"] == "too_large"


async def test_rows_of_a_message_have_outputs_where_they_complete_a_frame() -> None:
    async with edge_with("a", "b", "c", hop=2) as (_, edge):
        await step(edge, [7])
        reply = await post_json(edge, {"session_ids": ["a", "b", "x"], "inputs": [[1], [2], [3]]})
        assert reply.content["seq"] == [1, 0, None]
        assert reply.content["outputs"] == [[8.0], None, None]
        assert reply.content["output_steps"] == [2, None, None]
        assert [error["row"] for error in reply.content["errors"]] == [2]
        reply = await post_arrow(edge, ["a", "b", "x"], [[1], [2], [3]])
        assert reply.content["seq"] == [2, 1, None]
        assert reply.content["outputs"] == [None, [4.0], None]
        assert reply.content["output_steps"] == [None, 2, None]
        assert [bool(code) for code in reply.content["code"]] == [False, False, True]


async def test_a_message_like_the_one_before_is_answered_by_its_own_frames() -> None:
    async with edge_with("a", "b", hop=2) as (_, edge):
        for count in range(4):
            reply = await post_arrow(edge, ["a", "b"], [[1], [2]])
            expected = [None, None] if count % 2 == 0 else [[1.0 + count], [2.0 + 2 * count]]
            assert reply.content["outputs"] == expected
            assert reply.content["output_steps"] == ([None, None] if count % 2 == 0 else [count + 1] * 2)


async def test_whole_sequences_answer_once_a_frame() -> None:
    sequences = [[[1]] * 7, [[2]] * 2, [[3]] * 3]
    async with edge_with(hop=3) as (_, edge):
        body = json.dumps({"sequences": sequences}).encode()
        answer = (await post(edge, "/v1/models/sum/predict", body)).content
        assert answer["outputs"] == [[[3.0], [6.0]], [], [[9.0]]]
        assert answer["output_steps"] == [[3, 6], [], [3]]
        body = json.dumps({"sequences": sequences, "return_sequences": False}).encode()
        answer = (await post(edge, "/v1/models/sum/predict", body)).content
        assert answer["outputs"] == [[6.0], None, [9.0]]
        assert answer["output_steps"] == [[6], None, [3]]
        column = {"inputs": pa.array(sequences, pa.list_(pa.list_(pa.float32(), 1)))}
        answer = (await post(edge, "/v1/models/sum/predict", stream(column), ARROW)).content
        assert answer == {"outputs": [[[3.0], [6.0]], [], [[9.0]]], "output_steps": [[3, 6], [], [3]]}
        query = "return_sequences=false"
        answer = (await post(edge, "/v1/models/sum/predict", stream(column), ARROW, query)).content
        assert answer == {"outputs": [[6.0], None, [9.0]], "output_steps": [6, None, 3]}


async def test_a_sequence_has_a_state_behind_it_where_it_ends_with_a_frame() -> None:
    async with edge_with(hop=3) as (_, edge):
        body = {"sequences": [[[1]] * 6], "return_state": True}
        whole = (await post(edge, "/v1/models/sum/predict", json.dumps(body).encode())).content
        assert whole["states"] == [{"total": [6.0]}]
        body = {"sequences": [[[1]] * 3], "initial_state": whole["states"]}
        assert (await post(edge, "/v1/models/sum/predict", json.dumps(body).encode())).content["outputs"] == [[[9.0]]]
        body = {"sequences": [[[1]] * 6, [[1]] * 7], "return_state": True}
        refused = (await post(edge, "/v1/models/sum/predict", json.dumps(body).encode())).content
        assert refused["code"] == "invalid_input"
        assert "sequences[1]" in json.dumps(refused)


async def test_a_model_that_answers_frames_says_why_it_does_not_forecast() -> None:
    async with edge_with("a", hop=3) as (_, edge):
        await step(edge, [1] * 3)
        reply = await post(edge, "/v1/sessions/a/forecast", b'{"horizon": 2}')
        assert reply.status == 422
        assert "answers once in 3 steps" in reply.content["detail"]


async def file_of(edge: Edge, session_id: str) -> bytes:
    connection = Connection("GET", f"/v1/sessions/{session_id}/state")
    _, content = await connection.through(edge)
    assert isinstance(content, bytes)
    return content


async def put_file(edge: Edge, session_id: str, content: bytes) -> tuple[int, Any]:
    return await Connection("PUT", f"/v1/sessions/{session_id}/state", content, content_type=STATE).through(edge)


async def test_the_steps_of_an_incomplete_frame_are_in_a_sessions_file() -> None:
    async with edge_with("a", "b", hop=3) as (_, edge):
        await step(edge, [1, 1, 1, 5])
        file = await file_of(edge, "a")
        assert load(file)["inputs.left_over"].tolist() == [[5.0], [0.0]]
        status, content = await put_file(edge, "b", file)
        assert (status, content["steps"]) == (200, 4)
        assert (await step(edge, [1, 1]))["outputs"] == [[10.0]]
        body = json.dumps({"inputs": [[1], [1]], "seq": 4}).encode()
        assert (await post(edge, "/v1/sessions/b/step", body)).content["outputs"] == [[10.0]]


@pytest.mark.parametrize(
    ("tensors", "metadata", "why"),
    [
        ({}, {"steps": "4"}, "inputs.left_over"),
        ({"inputs.left_over": np.zeros((1, 1), np.float32)}, {"steps": "4"}, "inputs.left_over"),
        ({"inputs.left_over": np.full((2, 1), np.nan, np.float32)}, {"steps": "4"}, "inputs.left_over"),
        ({"inputs.left_over": np.zeros((2, 1), np.float32)}, {}, "the metadata lacks the steps"),
    ],
)
async def test_a_file_that_does_not_tell_the_incomplete_frame_is_refused(
    tensors: dict[str, Any], metadata: dict[str, str], why: str
) -> None:
    async with edge_with("a", hop=3) as (_, edge):
        content = save({"total": np.ones(1, np.float32), **tensors}, metadata)
        status, answer = await put_file(edge, "a", content)
        assert (status, answer["code"]) == (422, "invalid_input")
        assert why in json.dumps(answer)


async def test_what_a_file_has_behind_the_steps_of_its_frame_is_not_taken_over() -> None:
    async with edge_with("a", hop=3) as (_, edge):
        tensors = {"total": np.ones(1, np.float32), "inputs.left_over": np.full((2, 1), 9, np.float32)}
        assert (await put_file(edge, "a", save(tensors, {"steps": "4"})))[0] == 200
        assert load(await file_of(edge, "a"))["inputs.left_over"].tolist() == [[9.0], [0.0]]


async def test_a_message_of_no_row_that_completes_a_frame_has_the_columns_of_any_other() -> None:
    async with edge_with("a", "b", hop=2) as (_, edge):
        names = []
        for _ in range(2):
            columns = {"session_id": pa.array(["a", "b"]), "inputs": pa.array([[1], [2]], pa.list_(pa.float32(), 1))}
            _, content = await Connection("POST", "/v1/models/sum/step", stream(columns), content_type=ARROW).through(
                edge
            )
            names.append(ipc.open_stream(content).schema)
        assert names[0] == names[1]
