from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.errors import CommandError, WrongAnswer
from ostinato.tools.connection import PlainAnswer
from ostinato.tools.sequences.course import Course
from ostinato.tools.sequences.drawn import draw_sequences
from ostinato.tools.sequences.oip import InputShape, OipProtocol, infer_request
from tests.ostinato.fake_triton import FakeTriton

ROWS = [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]


def shape(axes: list[int], *, is_batched: bool = True) -> InputShape:
    return InputShape.of({"name": "x", "datatype": "FP32", "shape": axes}, is_batched=is_batched)


@pytest.mark.parametrize(
    ("axes", "is_batched", "num_steps", "sent"),
    [
        ([-1, 6], True, 1, [1, 6]),
        ([-1, -1, 6], True, 2, [1, 2, 6]),
        ([-1, 2, -1, 3], True, 2, [1, 2, 2, 3]),
        ([-1, 6], False, 2, [2, 6]),
        ([-1, -1, 6], False, 2, [1, 2, 6]),
        ([1, -1, 6], False, 2, [1, 2, 6]),
        ([2, 3], False, 1, [2, 3]),
    ],
)
def test_a_request_has_the_axes_that_the_model_tells(
    axes: list[int], is_batched: bool, num_steps: int, sent: list[int]
) -> None:
    made = shape(axes, is_batched=is_batched).tensor(ROWS * num_steps)
    assert list(made.shape) == sent
    assert made.dtype == np.float32
    assert made.reshape(-1).sum() == num_steps * sum(ROWS[0])


def test_the_steps_stand_where_their_axis_is() -> None:
    made = shape([-1, 2, -1]).tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert made.tolist() == [[[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]]


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(CommandError, match="more than one axis of any length"):
        shape([-1, -1, -1, 3])
    with pytest.raises(CommandError, match="bench draws numbers"):
        InputShape.of({"name": "x", "datatype": "BYTES", "shape": [-1, 1]}, is_batched=True)


def test_a_request_says_where_its_json_ends() -> None:
    tensors: dict[str, NDArray[Any]] = {"x": np.array([[1.5, -2.0]], np.float32), "n": np.array([7], np.int64)}
    request = infer_request("/v2/models/m/infer", {"sequence_id": 5}, tensors, is_binary=True)
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(line.split(b": ") for line in head.split(b"\r\n")[1:])
    length = int(headers[b"Inference-Header-Content-Length"])
    assert json.loads(body[:length]) == {
        "parameters": {"sequence_id": 5, "binary_data_output": True},
        "inputs": [
            {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            {"name": "n", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}},
        ],
    }
    assert body[length:] == np.array([1.5, -2.0], "<f4").tobytes() + np.array([7], "<i8").tobytes()
    assert int(headers[b"Content-Length"]) == len(body)


def test_in_json_numbers_have_as_few_digits_as_give_them_back() -> None:
    request = infer_request("/", {}, {"x": np.array([[0.1, 3.0]], np.float32)}, is_binary=False)
    assert json.loads(request.partition(b"\r\n\r\n")[2])["inputs"][0]["data"] == [0.1, 3.0]


def test_a_context_goes_with_the_first_request_alone() -> None:
    with FakeTriton(context="BIAS").running() as fake:
        protocol = OipProtocol(fake.url, "totals", tensors="json")
    [sequence] = draw_sequences(protocol.model, 1)
    script = protocol.script(0, sequence, Course.of(1, 2))
    sent = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in script.requests]
    assert [[part["name"] for part in request["inputs"]] for request in sent] == [["IN", "BIAS"], ["IN"]]
    assert sent[0]["inputs"][1]["shape"] == [1, 3]


def test_answers_are_read_in_both_forms_even_mixed() -> None:
    with FakeTriton().running() as fake:
        protocol = OipProtocol(fake.url, "totals")
    head: dict[str, Any] = {
        "outputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
            {"name": "b", "datatype": "INT32", "shape": [2], "data": [3, 4]},
            {"name": "c", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}},
        ],
        "parameters": {"steps": 9, "ö": "{"},
    }
    tail = np.array([0.5, 1.5], "<f4").tobytes() + np.array([0.1], "<f8").tobytes()
    read = protocol.read(PlainAnswer(200, json.dumps(head, ensure_ascii=False).encode() + tail))
    assert read.steps == 9
    assert {name: made.tolist() for name, made in read.outputs.items()} == {"a": [0.5, 1.5], "b": [3, 4], "c": [0.1]}
    with pytest.raises(WrongAnswer, match="not an answer to steps"):
        protocol.read(PlainAnswer(200, b"<html>"))
