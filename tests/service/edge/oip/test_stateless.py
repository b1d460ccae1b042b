from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.edge.oip.inference import Inference
from ostinato.service.edge.oip.messages import InferRequest, InferResponse, NamedTensor, RequestedOutput
from ostinato.service.errors import InvalidInput, TooLarge
from tests import networks, tensor_networks
from tests.live_sequences import draw
from tests.service.edge.oip.protocol import add
from tests.service.puppet import House

TYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "object": "BYTES"}


def asked(model: str, inputs: dict[str, Any], *outputs: str, **parameters: Any) -> InferRequest:
    tensors = [NamedTensor(name, TYPES[each.dtype.name], each.shape, each) for name, each in inputs.items()]
    return InferRequest(model, None, "", parameters, tensors, [RequestedOutput(name) for name in outputs])


def sums(*values: Any) -> dict[str, Any]:
    return {"inputs": np.array(values, np.float32)}


def named(response: InferResponse) -> dict[str, Any]:
    assert all(tensor.shape == tensor.data.shape for tensor in response.outputs)
    return {tensor.name: tensor.data for tensor in response.outputs}


@asynccontextmanager
async def inference(*directories: Path, **settings: Any) -> AsyncIterator[Inference]:
    house = House(**settings)
    for directory in directories:
        add(house, directory)
    try:
        yield Inference(house.catalogue, house.sessions, house.ledger)
    finally:
        house.engine.close()


async def test_sequences_end_where_their_lengths_say_and_zeros_are_behind_them() -> None:
    given = sums([[1], [2], [3]], [[4], [np.nan], [np.inf]])
    for dtype in (np.int32, np.int64):
        async with inference() as service:
            response = await service.infer(asked("sum", {**given, "lengths": np.array([3, 1], dtype)}))
        assert named(response)["outputs"].tolist() == [[[1], [3], [6]], [[4], [0], [0]]]


async def test_states_behind_one_run_begin_the_next() -> None:
    whole = sums([[1], [2], [3]], [[10], [20], [30]])["inputs"]
    async with inference() as service:
        first = named(await service.infer(asked("sum", {"inputs": whole[:, :2]}, "total_next", "outputs")))
        assert list(first) == ["total_next", "outputs"]
        second = await service.infer(
            asked("sum", {"inputs": whole[:, 2:], "total": first["total_next"]}, return_state=True)
        )
        assert {name: each.tolist() for name, each in named(second).items()} == {
            "outputs": [[[6]], [[60]]],
            "total_next": [[6], [60]],
        }


async def test_options_are_those_of_predict() -> None:
    given = sums([[1], [2], [4]])
    async with inference() as service:
        turned = await service.infer(asked("sum", given, go_backwards=True))
        assert named(turned)["outputs"].tolist() == [[[4], [6], [7]]]
        last = await service.infer(asked("sum", given, return_sequences=False))
        assert named(last)["outputs"].tolist() == [[7]]
        with pytest.raises(InvalidInput, match="align, go_backwards, return_sequences, return_state, version"):
            await service.infer(asked("sum", given, backwards=True))


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (sums([1], [2]), "sequences and steps"),
        ({"inputs": np.zeros((0, 1, 1), np.float32)}, "no sequence in it"),
        ({"inputs": np.zeros((1, 0, 1), np.float32)}, "no step in it"),
        (sums([[1], [np.nan]]), "a value is missing"),
        ({**sums([[1]]), "lengths": np.array([0])}, "1 to 1 of them"),
        ({**sums([[1]]), "lengths": np.array([2])}, "1 to 1 of them"),
        ({**sums([[1]]), "lengths": np.array([1, 1])}, "where there are 1 sequences"),
        ({**sums([[1]]), "lengths": np.array([1.0])}, "INT32 or INT64, not FP64"),
        ({**sums([[1]]), "total": np.ones((2, 1), np.float32)}, "where the states have"),
        ({**sums([[1]]), "total": np.ones((1, 1))}, "has datatype FP64"),
        ({**sums([[1]]), "total": np.full((1, 1), np.nan, np.float32)}, "no step could be made from it"),
    ],
)
async def test_what_cannot_be_run_is_refused(inputs: dict[str, Any], sentence: str) -> None:
    async with inference() as service:
        with pytest.raises(InvalidInput, match=sentence):
            await service.infer(asked("sum", inputs))


async def test_more_than_may_be_asked_for_is_too_large() -> None:
    async with inference(max_queue_rows=2, max_chunk_steps=3) as service:
        with pytest.raises(TooLarge, match="3 rows"):
            await service.infer(asked("sum", sums([[1]], [[1]], [[1]])))
        with pytest.raises(TooLarge, match="inputs has 4 steps"):
            await service.infer(asked("sum", sums([[1], [1], [1], [1]])))


async def test_frames_are_answered_and_their_steps_told() -> None:
    async with inference(hop=2) as service:
        response = await service.infer(asked("sum", {**sums([[1]] * 5, [[2]] * 5), "lengths": np.array([5, 3])}))
        assert named(response)["outputs"].tolist() == [[[2], [4]], [[4], [0]]]
        assert response.parameters == {"output_steps": "[[2,4],[2]]"}
        short = asked("sum", sums([[1]]), return_sequences=False)
        with pytest.raises(InvalidInput, match="has no answer"):
            await service.infer(short)


async def test_several_inputs_contexts_and_words_answer_as_one_offline_run_of_each(tmp_path: Path) -> None:
    panel = tensor_networks.panel().write(tmp_path)
    words = networks.token_counter(3, "int64")
    part = words.manifest["inputs"][0].model_copy(update={"num_codes": None})
    part = part.model_copy(update={"categories": {part.features[0]: ("dry", "wet", "snow")}})
    weather = words.named("weather", inputs=(part,)).write(tmp_path, np.array([[[0], [1], [2]]]))
    inputs, context = draw(Manifest.read(panel), np.random.default_rng(2), 3, 7)
    lengths = [7, 4, 1]
    async with inference(panel, weather) as service:
        response = await service.infer(asked("panel", {**inputs, **context, "lengths": np.array(lengths)}))
        made = named(response)
        for row, length in enumerate(lengths):
            alone = {name: each[row, :length] for name, each in inputs.items()}
            expected = tensor_networks.offline(panel, alone, {name: each[row] for name, each in context.items()})
            for name, each in made.items():
                once = expected[name].ndim == each.ndim - 2
                np.testing.assert_array_equal(each[row, 0] if once else each[row, :length], expected[name])
                assert once or not each[row, length:].any()
        with pytest.raises(InvalidInput, match="absent, which this model needs"):
            await service.infer(asked("panel", inputs))

        texts = np.array([[b"wet", b"wet", b"snow"]], object)
        codes = np.array([[1, 1, 2]])
        by_word = named(await service.infer(asked("weather", {"tokens": texts})))
        np.testing.assert_array_equal(
            by_word["y"], named(await service.infer(asked("weather", {"tokens": codes})))["y"]
        )
        step = asked("weather", {"tokens": np.array([[b"wet"]], object)}, sequence_id=1, sequence_start=True)
        assert named(await service.infer(step))["y"].tolist() == [[[0, 1, 0]]]
        many = np.array([[b"wet"] * 4500], object)
        long = asked("weather", {"tokens": many}, sequence_id=2, sequence_start=True)
        assert named(await service.infer(long))["y"][0, -1].tolist() == [0, 4500, 0]
        assert named(await service.infer(asked("weather", {"tokens": many}, sequence_id=2)))["y"][0, -1, 1] == 9000
        for word, sentence in ((b"hail", "'hail' is no word"), (b"\xff", "not UTF-8")):
            with pytest.raises(InvalidInput, match=sentence) as caught:
                await service.infer(asked("weather", {"tokens": np.array([[b"dry", word]], object)}))
            assert caught.value.field == "tokens[0][1]"
