from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.decoder import DecoderOptions
from ostinato.export.contracts.encoder_decoder import EncoderDecoder, inspect_encoder_decoder
from ostinato.export.contracts.module import Arrays
from ostinato.export.errors import ExportError
from ostinato.export.graphs.generation import DecoderGraph, GenerationGraphs, write_decoder, write_encoder
from ostinato.export.proofs.generation import prove_generation
from ostinato.export.proofs.proof import Proof
from ostinato.models.networks.attention import SCORES, Attention, ScoreFunction
from ostinato.service.artifact.tensors import Input
from tests.export.contracts.test_encoder_decoder import LOADS
from tests.export.writers import (
    LETTERS,
    PAIRS,
    PATCH,
    SIZE,
    SOUNDS,
    NumberWriter,
    PatchWriter,
    States,
    Writer,
)

pytestmark = pytest.mark.usefixtures("quick")


def write(
    module: torch.nn.Module, folder: Path, source: Input = LETTERS, options: DecoderOptions = SOUNDS
) -> tuple[EncoderDecoder, GenerationGraphs]:
    contract = inspect_encoder_decoder(module, source, options)
    write_encoder(contract, folder / "encode.onnx")
    decoder = write_decoder(contract.module, contract.decoder, folder / "decode.onnx")
    return contract, GenerationGraphs(folder / "encode.onnx", folder / "decode.onnx", contract, decoder)


def prove(contract: EncoderDecoder, graphs: GenerationGraphs | OnlyDecoder) -> Proof:
    return prove_generation(contract, graphs, graphs.decoder)


class OnlyDecoder(DecoderGraph):
    """The graph of the decoder behind the network's own encoder, a row at a time: torch rounds a batch otherwise."""

    def __init__(self, module: torch.nn.Module, folder: Path) -> None:
        self.contract = inspect_encoder_decoder(module, LETTERS, SOUNDS)
        decoder = write_decoder(self.contract.module, self.contract.decoder, folder / "decode.onnx")
        super().__init__(folder / "decode.onnx", decoder)

    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        assert lengths is not None
        rows = [self.contract.encode(source[[row]], lengths[[row]]) for row in range(len(source))]
        memory, states = (zip(*parts, strict=True) for parts in zip(*rows, strict=True))
        return tuple(map(np.concatenate, memory)), tuple(map(np.concatenate, states))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both graphs of ``Writer``."""
    folder: Path = tmp_path_factory.mktemp("writer")
    write(Writer(), folder)
    return folder


def written(folder: Path) -> tuple[EncoderDecoder, GenerationGraphs]:
    contract = inspect_encoder_decoder(Writer(), LETTERS, SOUNDS)
    return contract, GenerationGraphs(folder / "encode.onnx", folder / "decode.onnx", contract, contract.decoder)


def names(path: Path) -> tuple[list[str], list[str]]:
    graph = onnx.load(path).graph
    return [value.name for value in graph.input], [value.name for value in graph.output]


def test_both_graphs_have_the_manifest_s_names_and_open_axes(folder: Path) -> None:
    contract, graphs = written(folder)
    assert names(folder / "encode.onnx") == (["source", "lengths"], ["memory_0", "state_0"])
    assert names(folder / "decode.onnx") == (
        ["previous", "state_0", "memory_0", "lengths"],
        ["scores", "state_0_next", "attention"],
    )
    source = onnx.load(folder / "encode.onnx").graph.input[0]
    assert [axis.dim_param for axis in source.type.tensor_type.shape.dim] == ["B", "S"]
    assert prove(contract, graphs).batch_invariant


def test_a_decoder_that_has_no_use_for_lengths_is_given_none(tmp_path: Path) -> None:
    contract, graphs = write(NumberWriter(), tmp_path, PAIRS, LOADS)
    assert contract.decoder.lengths == "lengths"
    assert graphs.decoder.lengths == ""
    assert names(tmp_path / "decode.onnx")[0] == ["previous", "state_0"]
    assert prove(contract, graphs).batch_invariant


def test_a_source_of_a_fixed_size_has_a_graph_without_lengths(tmp_path: Path) -> None:
    contract, graphs = write(PatchWriter(), tmp_path, PATCH)
    assert names(tmp_path / "encode.onnx") == (["patch"], ["state_0"])
    assert prove(contract, graphs).parity.lengths == ()


def test_a_decoder_may_be_fed_nothing(tmp_path: Path) -> None:
    class Alone(NumberWriter):
        def decode(
            self, _previous: Tensor | None, states: States, memory: States, lengths: Tensor
        ) -> tuple[Tensor, States, Tensor | None]:
            return super().decode(torch.ones(1, 1), states, memory, lengths)

    contract, graphs = write(Alone(), tmp_path, PAIRS, DecoderOptions(output_features=("load",)))
    assert names(tmp_path / "decode.onnx")[0] == ["state_0"]
    assert prove(contract, graphs).batch_invariant


class Attentive(Writer):
    """``Writer`` with one of the project's scores."""

    def __init__(self, score: ScoreFunction) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = Attention(score, SIZE, SIZE)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
        (memory,), states = super().encode(source, lengths)
        return (memory, self.attention.keys(memory)), states

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        query = torch.tanh(states[0] + self.sounds[previous])
        context, weights = self.attention(query, *memory, lengths)
        return torch.matmul(torch.cat([query, context], dim=1), self.scores), (query,), weights


@pytest.mark.parametrize("score", SCORES)
def test_each_score_of_attention_can_be_exported(score: ScoreFunction, tmp_path: Path) -> None:
    graphs = OnlyDecoder(Attentive(score), tmp_path)
    proof = prove(graphs.contract, graphs)
    assert proof.batch_invariant
    assert proof.parity.tolerance < 5e-5


@pytest.mark.parametrize(("graph", "weight"), [("encode", (5, SIZE)), ("decode", (2 * SIZE, 6))])
def test_one_weight_that_is_off_by_a_hundredth_is_found(
    graph: str, weight: tuple[int, int], folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    path = tmp_path / f"{graph}.onnx"
    model = onnx.load(path)
    [tensor] = [each for each in model.graph.initializer if tuple(each.dims) == weight]
    numbers = numpy_helper.to_array(tensor).copy()
    numbers[1, 2] *= 1.01
    tensor.CopyFrom(numpy_helper.from_array(numbers, tensor.name))
    onnx.save(model, path)
    with pytest.raises(ExportError, match="the graphs differ from the trained network by"):
        prove(*written(tmp_path))


class FixedSteps(Writer):
    """A Python loop over every second step of the source."""

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[States, States]:
        memory, _ = super().encode(source, lengths)
        total = torch.zeros(source.shape[0], SIZE, dtype=memory[0].dtype)
        for step in range(0, source.shape[1], 2):
            total = total + memory[0][:, step] * (lengths > step).unsqueeze(1)
        return memory, (torch.tanh(total),)


class FixedRows(Writer):
    """Reads the size of the batch as a number."""

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        output, after, weights = super().decode(previous, states, memory, lengths)
        return torch.stack([output[row] for row in range(len(output))]), after, weights


class FixedPlaces(Writer):
    """Memory of a fixed number of steps is added to that of the source."""

    def decode(
        self, previous: Tensor, states: States, memory: States, lengths: Tensor
    ) -> tuple[Tensor, States, Tensor | None]:
        padded = torch.stack([memory[0][:, step] for step in range(memory[0].shape[1])], dim=1)
        return super().decode(previous, states, (padded,), lengths)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            FixedSteps,
            r"axis S is secretly static \(test_generation\.py, line \d+: .*\): .*length only\. .* a Python loop",
        ),
        (FixedRows, r"axis B is secretly static.*: its graph would take that many sequences only"),
        (FixedPlaces, r"axis S is secretly static"),
    ],
)
def test_an_axis_that_is_secretly_static_is_found(module: type[Writer], message: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=message):
        write(module(), tmp_path)


def test_a_branch_that_tracing_decides_is_found_by_the_proof(tmp_path: Path) -> None:
    class Branching(Writer):
        def attend(self, query: Tensor, memory: Tensor, lengths: Tensor) -> Tensor:
            return super().attend(query * (1.0 if torch.compiler.is_exporting() else 1.5), memory, lengths)

    graphs = OnlyDecoder(Branching(), tmp_path)
    with pytest.raises(ExportError, match="a training-time behaviour that tracing fixed"):
        prove(graphs.contract, graphs)


def test_the_decoder_s_graph_answers_as_a_decoder(folder: Path) -> None:
    contract, graphs = written(folder)
    memory, states = graphs.encode(np.array([[0, 1, 2]]), np.array([3]))
    given = (np.array([0]), states, memory, np.array([3]))
    made, true = DecoderGraph(folder / "decode.onnx", graphs.decoder).decode(*given), contract.decode(*given)
    np.testing.assert_allclose(made.output, true.output, atol=1e-6)
    assert made.attention is not None
    assert made.attention.shape == (1, 3)
