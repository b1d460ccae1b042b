from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array, States, StepFunction
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.decoder import Decode, Decoded, DecoderOptions
from ostinato.export.contracts.module import Arrays
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import TOLERANCE, Measured
from ostinato.export.streaming_decoder import (
    SessionDecoder,
    StreamingDecoder,
    begins_decoder,
    inspect_streaming_decoder,
    prove_streaming,
)
from ostinato.service.artifact.decoder import Decoder
from ostinato.service.artifact.tensors import Input

LOADS = Input(name="inputs", dtype="float32", shape=("B", "T", 1), features=("load",))
OPTIONS = DecoderOptions(output_features=("load",))
NUM_PLACES = 3


class Streamer(nn.Module):
    """Keeps its last three inputs, newest last, and the last alone; forecasts their mean, which is then the last."""

    decoder_begins: Any = {"last": "newest"}  # noqa: RUF012 - tests set others
    decoder_memory: Any = {"kept": "seen"}  # noqa: RUF012 - tests set others
    decoder_lengths: Any = "num_seen"

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        seen = torch.zeros(batch_size, NUM_PLACES, 1)
        return seen, torch.zeros(batch_size, dtype=torch.int64), torch.zeros(batch_size, 1)

    def forward(self, x: Tensor, seen: Tensor, num_seen: Tensor, newest: Tensor) -> tuple[Tensor, ...]:
        kept = torch.cat([seen, x], dim=1)[:, -NUM_PLACES:]
        return x + 0.0 * newest.unsqueeze(1), kept, torch.clamp(num_seen + x.shape[1], max=NUM_PLACES), x[:, -1]

    def decode(
        self, _previous: Tensor | None, states: tuple[Tensor, ...], memory: tuple[Tensor, ...], lengths: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        filled = torch.arange(NUM_PLACES) >= NUM_PLACES - lengths.unsqueeze(1)
        weights = filled.to(states[0].dtype) / lengths.unsqueeze(1)
        mean = torch.matmul(weights.unsqueeze(1), memory[0]).squeeze(1)
        output = 0.5 * mean + 0.5 * states[0]
        return output, (output,), weights


def with_attributes(**attributes: Any) -> Streamer:
    module = Streamer()
    for name, value in attributes.items():
        setattr(module, name, value)
    return module


def inspect(module: nn.Module) -> tuple[Contract, Decoder]:
    contract = inspect_module(module, LOADS, ("load",))
    return contract, inspect_streaming_decoder(contract, OPTIONS)


def prove(contract: Contract, decoder: Decoder, step: StepFunction, graph: Decode) -> list[Measured]:
    return prove_streaming(contract, step, decoder, graph, lengths_of=decoder.lengths_made_by)


def test_the_decoder_is_described_by_the_session_s_states() -> None:
    _, decoder = inspect(Streamer())
    assert decoder.begun_by == {"last": "newest"}
    assert [(part.name, part.made_by, part.shape) for part in decoder.memory] == [
        ("kept", "seen", ("B", NUM_PLACES, 1))
    ]
    assert (decoder.lengths, decoder.lengths_made_by, decoder.attention) == ("lengths", "num_seen", "attention")
    assert decoder.previous is None


def test_only_a_module_that_says_what_begins_its_decoder_has_one() -> None:
    assert begins_decoder(Streamer())
    assert not begins_decoder(nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"decoder_begins": ("newest",)}, "decoder_begins must say which of the session's states"),
        ({"decoder_memory": None}, "decoder_memory must say which of the session's states"),
        (
            {"decoder_begins": {"last": "old"}},
            "decoder_begins: the session has no state 'old'; it has newest, num_seen",
        ),
        ({"decoder_memory": {"kept": "gone"}}, "decoder_memory: the session has no state 'gone'"),
        ({"decoder_lengths": "count"}, "decoder_lengths 'count' must name a state of dtype int64"),
        ({"decoder_lengths": "newest"}, "decoder_lengths 'newest' must name a state of dtype int64"),
        ({"decoder_memory": {"kept": "num_seen"}}, r"state 'num_seen' has shape \['B'\], not \[B, M, ...\]"),
        ({"decoder_lengths": ""}, "Streamer.decode fails on previous None"),
        ({"decode": None}, r"Streamer has no decode\(...\)"),
    ],
)
def test_attributes_that_lead_nowhere_are_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        inspect(with_attributes(**attributes))


def test_decoding_goes_on_from_a_session_s_states() -> None:
    contract, decoder = inspect(Streamer())
    session = (np.array([[[0], [2], [4]]], np.float32), np.array([2]), np.array([[4]], np.float32))
    written = SessionDecoder(contract, decoder).decode(StreamingDecoder(contract.module), session, 2, "num_seen")
    # The mean of 2 and 4 is 3; (3 + 4) / 2 = 3.5, then (3 + 3.5) / 2 = 3.25.
    assert written.outputs.tolist() == [[[3.5], [3.25]]]
    assert written.attention is not None
    assert written.attention.tolist() == [[[0.0, 0.5, 0.5]] * 2]


@pytest.mark.usefixtures("quick")
def test_the_network_is_its_own_graph() -> None:
    contract, decoder = inspect(Streamer())
    lines = prove(contract, decoder, contract, StreamingDecoder(contract.module))
    assert [line.sizes for line in lines] == [f"B 1 to 5, after T {length}, 12 steps" for length in (1, 7)]
    assert all(line.bit_identical and line.max_difference <= TOLERANCE for line in lines)


class Puppet(StreamingDecoder):
    """The network as its own graph; what a subclass changes is a fault of the export."""


class OutputOff(Puppet):
    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        made = super().decode(previous, states, memory, lengths)
        return made._replace(output=made.output + np.float32(1e-3)) if len(made.output) == 5 else made


class FixedBatch(Puppet):
    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        if len(states[0]) == 2:
            raise RuntimeError("Got: 2 Expected: 1")
        return super().decode(previous, states, memory, lengths)


class LastBit(Puppet):
    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        made = super().decode(previous, states, memory, lengths)
        return made._replace(output=np.nextafter(made.output, np.float32(9))) if len(made.output) == 5 else made


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            OutputOff,
            r"decoding differs from the trained network by 0\.001 in outputs, over 1e-05, for 5 sessions of 1 ",
        ),
        (FixedBatch, r"axis B is secretly static: the graph 'decode' fails on another batch \(Got: 2 Expected: 1\)"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_a_graph_that_is_not_the_network_is_refused(graph: type[Puppet], message: str) -> None:
    contract, decoder = inspect(Streamer())
    with pytest.raises(ExportError, match=message):
        prove(contract, decoder, contract, graph(contract.module))


@pytest.mark.usefixtures("quick")
def test_a_step_that_keeps_another_memory_is_found_by_what_it_decodes() -> None:
    contract, decoder = inspect(Streamer())

    def step(x: Array, states: States) -> tuple[Array, States]:
        y, (seen, num_seen, newest) = contract(x, states)
        return y, (seen + np.float32(1e-2), num_seen, newest)

    with pytest.raises(ExportError, match="decoding differs from the trained network"):
        prove(contract, decoder, step, StreamingDecoder(contract.module))


@pytest.mark.usefixtures("quick")
def test_a_last_bit_that_depends_on_the_batch_is_found_and_tolerated() -> None:
    contract, decoder = inspect(Streamer())
    lines = prove(contract, decoder, contract, LastBit(contract.module))
    assert not any(line.bit_identical for line in lines)


@pytest.mark.usefixtures("quick")
def test_places_that_are_not_filled_must_not_count() -> None:
    class Greedy(Streamer):
        """Looks at all three places from the first step on."""

        def decode(
            self, previous: Tensor | None, states: tuple[Tensor, ...], memory: tuple[Tensor, ...], lengths: Tensor
        ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
            return super().decode(previous, states, memory, torch.full_like(lengths, NUM_PLACES))

    contract, decoder = inspect(Greedy())
    with pytest.raises(ExportError, match="after 1 steps, the content of the memory's places that are not filled"):
        prove(contract, decoder, contract, StreamingDecoder(contract.module))


@pytest.mark.usefixtures("quick")
def test_what_is_exported_carries_decoded_answers(tmp_path: Path) -> None:
    exported = export_module(Streamer(), LOADS, tmp_path, name="streamer", output_features=("load",))
    assert list(exported.manifest.graphs) == ["step", "decode"]
    golden = load_file(exported.directory / "golden.safetensors")
    assert golden["batch/decode/outputs"].shape == (5, 6, 1)
    assert exported.manifest.parity is not None
    assert exported.manifest.parity.tolerance == TOLERANCE


@pytest.mark.usefixtures("quick")
def test_a_decoder_that_knows_no_float64_is_held_to_the_plain_tolerance(tmp_path: Path) -> None:
    class Single(Streamer):
        decoder_lengths = ""

        def decode(
            self,
            previous: Tensor | None,
            states: tuple[Tensor, ...],
            memory: tuple[Tensor, ...],
            lengths: Tensor | None,
        ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
            assert states[0].dtype == torch.float32
            full = torch.full((memory[0].shape[0],), NUM_PLACES) if lengths is None else lengths
            output, after, _ = super().decode(previous, states, memory, full)
            return output, after, None

    exported = export_module(Single(), LOADS, tmp_path, name="single", output_features=("load",))
    assert exported.manifest.decoder is not None
    assert (exported.manifest.decoder.lengths, exported.manifest.decoder.attention) == ("", "")
    assert exported.proof.parity.tolerance == TOLERANCE


@pytest.mark.usefixtures("quick")
def test_a_session_s_decoder_may_take_what_it_wrote(tmp_path: Path) -> None:
    class Fed(Streamer):
        decoder_begins: Any = {}  # noqa: RUF012 - as above

        def decode(
            self, previous: Tensor | None, states: tuple[Tensor, ...], memory: tuple[Tensor, ...], lengths: Tensor
        ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
            assert previous is not None
            output, _, weights = super().decode(None, (previous,), memory, lengths)
            return output, states, weights

    options = DecoderOptions(feedback=True, output_features=("load",), start=1.0)
    exported = export_module(Fed(), LOADS, tmp_path, name="fed", output_features=("load",), decoder=options)
    assert exported.manifest.decoder is not None
    assert exported.manifest.decoder.previous is not None
    assert exported.manifest.decoder.start == 1.0
