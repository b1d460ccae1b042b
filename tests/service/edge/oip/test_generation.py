from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.oip.generation import infer_outputs
from ostinato.service.edge.oip.messages import InferRequest, NamedTensor, RequestedOutput
from ostinato.service.edge.v1.generate import generate_content
from ostinato.service.edge.v1.schemas import GenerateBody
from ostinato.service.errors import InvalidInput, TooLarge
from tests.service.puppet_generator import puppet_engine

SOURCES = [[3, 1], [4, 0], [5, 2]]


async def answered(inputs: dict[str, Any], *outputs: str, **parameters: Any) -> dict[str, Any]:
    engine = puppet_engine()
    catalogue = Catalogue()
    catalogue.add(engine)
    catalogue.complete = True
    types = {"int64": "INT64", "int32": "INT32", "object": "BYTES"}
    tensors = [NamedTensor(name, types[each.dtype.name], each.shape, each) for name, each in inputs.items()]
    request = InferRequest("puppet", None, "", parameters, tensors, [RequestedOutput(name) for name in outputs])
    response = await infer_outputs(catalogue, engine, request)
    found = {tensor.name: tensor.data for tensor in response.outputs}
    assert all(tensor.shape == tensor.data.shape for tensor in response.outputs)
    return {**found, **response.parameters}


async def as_v1(inputs: list[Any], **options: Any) -> dict[str, Any]:
    catalogue = Catalogue()
    catalogue.add(puppet_engine())
    catalogue.complete = True
    return await generate_content(catalogue, "puppet", GenerateBody(inputs=inputs, **options))


@pytest.mark.parametrize(
    "options",
    [{}, {"max_steps": 3}, {"method": "beam", "num_beams": 3}, {"method": "sample", "seed": 5, "temperature": 2.0}],
)
async def test_outputs_are_those_of_v1_with_zeros_behind_them(options: dict[str, Any]) -> None:
    expected = await as_v1([[3, 1], [4], [5, 2]], **options)
    lengths = np.array([2, 1, 2])
    made = await answered({"source": np.array(SOURCES), "lengths": lengths}, **options)
    for row, codes in enumerate(expected["outputs"]):
        length = int(made["lengths"][row])
        assert made["outputs"][row].tolist() == [*codes, *[0] * (made["outputs"].shape[1] - length)]
    assert made["scores"].tolist() == expected["scores"]
    assert [reason.decode() for reason in made["finish_reasons"]] == expected["finish_reasons"]
    assert made.get("seed") == expected.get("seed")


async def test_several_outputs_of_each_input_are_an_axis_and_more_is_told_where_it_is_asked_for() -> None:
    options: dict[str, Any] = {"method": "beam", "num_return": 2, "max_steps": 4}
    told = {"return_log_probs": True, "return_attention": True}
    expected = await as_v1(SOURCES, **options, **told)
    made = await answered({"source": np.array(SOURCES)}, **options, **told)
    assert made["outputs"].shape[:2] == made["scores"].shape == (3, 2)
    for row in range(3):
        for place in range(2):
            logs = expected["log_probs"][row][place]
            assert made["log_probs"][row, place, : len(logs)].tolist() == logs
            weights = np.asarray(expected["attention"][row][place])
            np.testing.assert_array_equal(
                made["attention"][row, place, : weights.shape[0], : weights.shape[1]], weights
            )
    assert list(await answered({"source": np.array(SOURCES)}, "scores")) == ["scores"]
    named = await answered({"source": np.array(SOURCES)}, "attention", "log_probs", **options)
    assert named.keys() == {"attention", "log_probs"}
    np.testing.assert_array_equal(named["attention"], made["attention"])
    np.testing.assert_array_equal(named["log_probs"], made["log_probs"])


@pytest.mark.parametrize(
    ("inputs", "outputs", "parameters", "sentence"),
    [
        ({}, (), {}, "expected input 'source'"),
        ({"source": np.array([[99]])}, (), {}, "99 is no code"),
        ({"source": np.array([[3]], np.int32)}, (), {}, "has datatype INT32; the model takes INT64"),
        ({"source": np.array([b"ab"], object)}, (), {}, "has datatype BYTES; the model takes INT64"),
        ({"source": np.zeros((0, 2), np.int64)}, (), {}, "no input in it"),
        ({"source": np.zeros((1, 0), np.int64)}, (), {}, "empty input"),
        ({"source": np.zeros((1, 2, 2), np.int64)}, (), {}, "shape"),
        ({"source": np.array([[3]]), "lengths": np.array([2])}, (), {}, "2 steps of 1"),
        ({"source": np.array([[3]]), "lengths": np.array([1, 1])}, (), {}, "lengths are 1 whole numbers"),
        ({"source": np.array([[3]]), "x": np.array([1])}, (), {}, "unexpected inference input 'x'"),
        ({"source": np.array([[3]])}, ("text",), {}, "unexpected inference output 'text'"),
        ({"source": np.array([[3]])}, (), {"temperature": 1.0}, "is for method 'sample'"),
        ({"source": np.array([[3]])}, (), {"stream": True}, "unknown parameter 'stream'"),
    ],
)
async def test_what_cannot_be_written_from_is_refused(
    inputs: dict[str, Any], outputs: tuple[str, ...], parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInput, match=sentence):
        await answered(inputs, *outputs, **parameters)


async def test_a_source_that_is_too_long_is_too_large() -> None:
    with pytest.raises(TooLarge, match="source has 1001 steps; the most is 1000"):
        await answered({"source": np.zeros((1, 1001), np.int64)})
