"""What was read in one form and is put to a model of another: words for codes, and other versions with other inputs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.asgi import Edge
from ostinato.service.edge.message import Request
from ostinato.service.edge.v1.columns import read_columns
from ostinato.service.edge.v1.schemas import NestedColumnsBody
from ostinato.service.edge.v1.steps import STEP, check_chunk, chunk_inputs, prepare_inputs
from ostinato.service.inputs.turns import SLICE_NUMBERS
from tests.service.edge.test_asgi import edge_over
from tests.service.edge.v1.test_columns import add_model, edge_with, post
from tests.service.edge.websocket.test_stream import Line
from tests.service.puppet import House
from tests.service.state.places import PlaceOf

NUMERALS = ("1", "2", "0")
"""Words that read as numbers, and stand for others: "1" is code 0."""

WORDS = Input(name="inputs", dtype="float32", shape=("B", "T", 1), features=("x",), categories={"x": NUMERALS})
PAIR = (
    Input(name="load", dtype="float32", shape=("B", "T", 2), features=("load", "price")),
    Input(name="day", dtype="int64", shape=("B", "T"), features=("day",), num_codes=7),
)
MANY = 20_000
"""Of these numbers go by other ways than few do."""

NO_ROWS = [
    (5, "inputs"),
    (None, "inputs"),
    ({"a": 1}, "inputs"),
    ([5], "inputs[0]"),
    ([None], "inputs[0]"),
    ([[True]], "inputs[0][0]"),
    ([[1], [[1]]], "inputs[1][0]"),
    ([[1, 2]], "inputs[0]"),
    ([[True]] * MANY, "inputs[0][0]"),
    ([["?"]], "inputs[0][0]"),
]


@asynccontextmanager
async def edge_of_words() -> AsyncIterator[tuple[House, Edge]]:
    async with edge_with(max_chunk_steps=MANY, max_queue_rows=MANY) as (house, edge):
        add_model(house, name="words", inputs=(WORDS,))
        await house.sessions.open("words", session_id="w")
        yield house, edge


@asynccontextmanager
async def edge_of_two(other: str) -> AsyncIterator[tuple[House, Edge]]:
    """A model with version "1" of one flat input and ``other`` of two inputs; sessions ``flat`` and ``pair``."""
    async with edge_with("flat", max_chunk_steps=MANY) as (house, edge):
        add_model(house, inputs=PAIR, version=other)
        await house.sessions.open("sum", session_id="pair", version=other)
        yield house, edge


async def asked(edge: Edge, path: str, **content: Any) -> tuple[int, Any, Any]:
    """Status, outputs and the field of the error."""
    status, members, _ = await post(edge, path, json.dumps(content).encode())
    return status, members.get("outputs"), members.get("field")


async def streamed(house: House, session_id: str, inputs: Any, model: str = "sum") -> tuple[int, Any, Any]:
    """The same of a frame."""
    line = Line(house, model)
    line.say({"session_id": session_id, "inputs": inputs})
    (answer,) = await line.recorder.until(1)
    line.stream.end()
    error = answer.get("error", {})
    return error.get("status", 200), answer.get("outputs"), error.get("field")


@pytest.mark.parametrize("num_steps", [1, 3, MANY])
async def test_words_that_read_as_numbers_are_codes_however_many_there_are(num_steps: int) -> None:
    async with edge_of_words() as (house, edge):
        # "2" is code 1, and "1" is code 0.
        status, outputs, _ = await asked(edge, "/v1/sessions/w/step", inputs=[["2"]] * num_steps)
        assert (status, outputs[-1]) == (200, [num_steps])
        status, outputs, _ = await streamed(house, "w", [["1"]] * num_steps, "words")
        assert (status, outputs[-1]) == (200, [num_steps])


@pytest.mark.parametrize("num_steps", [1, MANY])
async def test_true_and_false_are_what_an_input_of_these_takes(num_steps: int) -> None:
    flag = Input(name="inputs", dtype="bool", shape=("B", "T", 1), features=("x",))
    async with edge_of_words() as (house, _):
        add_model(house, name="flags", inputs=(flag,))
        engine = house.sessions.engine_of("flags")
        for inputs in ([[True]] * num_steps, [[1]] * num_steps):
            request = Request("", b"", "application/json", json.dumps({"inputs": inputs}).encode())
            body = await STEP.read(request, engine.given, lambda _: check_chunk(None))
            await prepare_inputs(body, house.sessions, "nobody", engine)
            chunk = chunk_inputs(engine, body)
            assert isinstance(chunk, np.ndarray)
            assert chunk.dtype == np.bool_
            assert chunk.tolist() == [[True]] * num_steps


async def test_words_that_read_as_numbers_are_codes_in_a_message_of_many_sessions() -> None:
    async with edge_of_words() as (house, _):
        body = NestedColumnsBody(session_ids=["w"] * MANY, inputs=[["2"]] * MANY)
        columns = await read_columns(body, house.sessions.engine_of("words"))
        assert (columns.inputs == 1).all()
        assert not columns.errors


@pytest.mark.parametrize(("inputs", "field"), NO_ROWS)
async def test_what_is_no_row_of_a_model_with_words_is_refused_by_its_place(inputs: Any, field: str) -> None:
    async with edge_of_words() as (house, edge):
        assert await asked(edge, "/v1/sessions/w/step", inputs=inputs) == (422, None, field)
        assert await streamed(house, "w", inputs, "words") == (422, None, field)
        if not isinstance(inputs, list):
            content = {"session_ids": ["w"], "inputs": inputs}
            assert await asked(edge, "/v1/models/words/step", **content) == (422, None, field)


@pytest.mark.parametrize(("inputs", "field"), NO_ROWS)
@pytest.mark.parametrize("other", ["0", "2"])
async def test_a_frame_for_a_session_of_another_version_is_held_to_that_one_s_inputs(
    other: str, inputs: Any, field: str
) -> None:
    async with edge_of_two(other) as (house, _):
        assert await streamed(house, "flat", inputs) == (422, None, field)
        assert await streamed(house, "flat", [[2]]) == (200, [[2.0]], None)


@pytest.mark.parametrize("num_steps", [1, MANY])
@pytest.mark.parametrize("other", ["0", "2"])
async def test_a_frame_by_name_is_read_for_its_session_s_version_wherever_that_is(other: str, num_steps: int) -> None:
    async with edge_of_two(other) as (house, _):
        inputs = {"load": [[1, 2]] * num_steps, "day": [1] * (num_steps - 1) + [7]}
        place = f"inputs.day[{num_steps - 1}][0]"
        assert await streamed(house, "pair", inputs) == (422, None, place)
        house.sessions.use = lambda _: None  # type: ignore[assignment,method-assign]  # it is not in memory
        assert await streamed(house, "pair", inputs) == (422, None, place)


@pytest.mark.parametrize("other", ["0", "2"])
async def test_sequences_for_another_version_are_held_to_that_one_s_inputs(other: str) -> None:
    async with edge_of_two(other) as (_, edge):
        path = "/v1/models/sum/predict"
        for rows, field in NO_ROWS:
            place = field.replace("inputs", "sequences[0]")
            assert await asked(edge, path, version="1", sequences=[rows]) == (422, None, place)
        assert await asked(edge, path, version="1", sequences=[[[1], [2]]]) == (200, [[[1.0], [3.0]]], None)
        pair = {"load": [[1, 2]], "day": [7]}
        assert await asked(edge, path, version=other, sequences=[pair]) == (422, None, "sequences[0].day[0][0]")


async def test_rows_by_name_are_read_in_slices_between_which_others_have_their_turn() -> None:
    async with edge_of_two("2") as (house, _):
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(count())
        await asyncio.sleep(0)
        before = turns
        inputs = {"load": [[1, 2]] * MANY, "day": [6] * MANY}
        body = NestedColumnsBody(session_ids=["pair"] * MANY, inputs=inputs)
        columns = await read_columns(body, house.sessions.engine_of("sum"))
        counting.cancel()
        assert len(columns.inputs) == MANY
        assert turns - before >= MANY * 3 // SLICE_NUMBERS


@pytest.mark.parametrize("num_steps", [1, MANY])
async def test_a_chunk_is_read_for_the_version_that_another_process_opened_the_session_with(
    num_steps: int, place_of: PlaceOf
) -> None:
    place = place_of("lmdb")
    one, other = (House(store=place(), max_chunk_steps=MANY) for _ in range(2))
    for house in (one, other):
        add_model(house, inputs=PAIR, version="2")
    await one.sessions.open("sum", session_id="a", version="1")
    await other.sessions.find("a")
    await one.sessions.close("a")
    await one.sessions.open("sum", session_id="a", version="2")
    inputs = {"load": [[1, 2]] * num_steps, "day": [1] * (num_steps - 1) + [7]}
    async with edge_over(one), edge_over(other) as edge:
        place_of_day = f"inputs.day[{num_steps - 1}][0]"
        assert await asked(edge, "/v1/sessions/a/step", inputs=inputs) == (422, None, place_of_day)
