"""Requests without a sequence by NVIDIA's client: whole sequences, states in and out, and what models generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.engine.sequence.runner import SequenceRunner, run_alone
from tests.networks import offline
from tests.server import ServerProcess
from tests.triton_client.clients import Array, TritonGrpc, TritonHttp, refusal, texts

pytestmark = pytest.mark.xdist_group("triton")

LENGTHS = (7, 2, 11, 1)


def drawn(seed: int, num_features: int = 3) -> list[Array]:
    """Sequences of different lengths."""
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(length, num_features)).astype(np.float32) for length in LENGTHS]


def together(sequences: list[Array]) -> dict[str, Array]:
    """The same as a batch ``[B, T, F]``, with what means nothing behind their ends, and their lengths."""
    batch = np.full((len(sequences), max(map(len, sequences)), sequences[0].shape[1]), 9, np.float32)
    for row, sequence in zip(batch, sequences, strict=True):
        row[: len(sequence)] = sequence
    return {"inputs": batch, "lengths": np.array([len(each) for each in sequences], np.int64)}


def check(made: Array, sequences: list[Array], golden: list[Array]) -> None:
    """Hold a batch to offline runs, with zeros behind the ends."""
    for row, sequence, wanted in zip(made, sequences, golden, strict=True):
        assert row[: len(sequence)].tobytes() == wanted.tobytes()
        assert not row[len(sequence) :].any()


def test_whole_sequences_of_a_recurrent_model_equal_their_offline_runs(
    way: TritonHttp | TritonGrpc, triton_repository: Path
) -> None:
    sequences = drawn(1)
    made = way.infer("lstm", together(sequences), request_id="whole")
    assert (made.model, made.version, made.id) == ("lstm", "1", "whole")
    check(made.outputs["outputs"], sequences, [offline(triton_repository / "lstm" / "1", each) for each in sequences])
    last = way.infer("lstm", together(sequences), return_sequences=False).outputs["outputs"]
    ends = [row[length - 1] for row, length in zip(made.outputs["outputs"], LENGTHS, strict=True)]
    assert last.tobytes() == np.stack(ends).tobytes()


def test_whole_sequences_of_a_model_of_such_equal_their_offline_runs(
    way: TritonHttp | TritonGrpc, triton_repository: Path
) -> None:
    sequences = drawn(2, 1)
    directory = triton_repository / "planted-nothing" / "1"
    runner = SequenceRunner(Manifest.read(directory), directory, max_batch_size=16)
    made = way.infer("planted-nothing", together(sequences)).outputs["outputs"]
    check(made, sequences, [run_alone(runner, each) for each in sequences])


def test_last_states_begin_the_next_request(way: TritonHttp | TritonGrpc, triton_repository: Path) -> None:
    manifest = Manifest.read(triton_repository / "lstm" / "1")
    given, last = [each.input for each in manifest.states], [each.output for each in manifest.states]
    whole = np.random.default_rng(3).normal(size=(2, 9, 3)).astype(np.float32)
    first = way.infer("lstm", {"inputs": whole[:, :4]}, outputs=["outputs", *last]).outputs
    behind = {name: first[name_of_last] for name, name_of_last in zip(given, last, strict=True)}
    second = way.infer("lstm", {"inputs": whole[:, 4:], **behind}).outputs
    assert set(second) == {"outputs"}
    for row, sequence in enumerate(whole):
        made = first["outputs"][row].tobytes() + second["outputs"][row].tobytes()
        assert made == offline(triton_repository / "lstm" / "1", sequence).tobytes()


def generated(server: ServerProcess, model: str, **body: Any) -> dict[str, Any]:
    """What the route under ``/v1`` generates."""
    answer = server.post(f"/v1/models/{model}/generate", body)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def words(tensor: Array) -> list[str]:
    """BYTES as texts, which they are already where they came in JSON."""
    return [each.decode() if isinstance(each, bytes) else each for each in tensor]


@pytest.mark.parametrize(
    "options", [{}, {"method": "beam", "num_beams": 3}, {"method": "sample", "seed": 5, "temperature": 1.5}]
)
def test_text_becomes_text_as_under_v1(
    options: dict[str, Any], way: TritonHttp | TritonGrpc, triton_server: ServerProcess
) -> None:
    inputs = ["abc", "hello", "rhythm"]
    wanted = generated(triton_server, "speller", inputs=inputs, max_steps=9, **options)
    made = way.infer("speller", {"source": texts(*inputs)}, max_steps=9, **options).outputs
    assert words(made["outputs"]) == wanted["outputs"]
    assert made["scores"].tolist() == wanted["scores"]
    assert words(made["finish_reasons"]) == wanted["finish_reasons"]


def test_codes_become_codes(way: TritonHttp | TritonGrpc, triton_server: ServerProcess) -> None:
    codes = np.array([[0, 1, 2, 0], [7, 4, 11, 14]], np.int64)
    lengths = np.array([3, 4], np.int64)
    wanted = generated(triton_server, "speller", inputs=[[0, 1, 2], [7, 4, 11, 14]])["outputs"]
    made = way.infer("speller", {"source": codes, "lengths": lengths}, outputs=["outputs", "lengths"]).outputs
    assert made["outputs"].dtype == np.int64
    rows = zip(made["outputs"], made["lengths"], strict=True)
    assert [row[:length].tolist() for row, length in rows] == wanted
    assert set(made) == {"outputs", "lengths"}
    _, sentence = refusal(lambda: way.infer("speller", {"source": texts("abc"), "lengths": np.array([1], np.int64)}))
    assert sentence.startswith("lengths: they are of codes")


def test_a_generator_writes_from_nothing_and_from_a_prompt(
    way: TritonHttp | TritonGrpc, triton_server: ServerProcess
) -> None:
    wanted = generated(triton_server, "letters", inputs=["abc", "de"], max_steps=12)
    made = way.infer("letters", {"inputs": texts("abc", "de")}, max_steps=12).outputs
    assert words(made["outputs"]) == wanted["outputs"]
    assert made["scores"].tolist() == wanted["scores"]
    alone = way.infer("letters", {}, max_steps=12, method="sample", seed=3).outputs["outputs"]
    wanted = generated(triton_server, "letters", max_steps=12, method="sample", seed=3)
    assert words(alone) == wanted["outputs"]


def test_what_is_no_option_is_refused_with_those_there_are(way: TritonHttp | TritonGrpc) -> None:
    for model, inputs in (
        ("lstm", {"inputs": np.zeros((1, 1, 3), np.float32)}),
        ("speller", {"source": texts("abc")}),
    ):
        _, sentence = refusal(lambda model=model, inputs=inputs: way.infer(model, inputs, beams=3))  # type: ignore[misc]
        assert "'beams'" in sentence
        assert ("num_beams" if model == "speller" else "return_sequences") in sentence
