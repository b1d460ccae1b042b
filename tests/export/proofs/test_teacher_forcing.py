from __future__ import annotations

import numpy as np

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.decoder import Decoded, DecoderOptions, valid_decoder
from ostinato.export.contracts.module import Arrays
from ostinato.export.contracts.source_probes import Sources
from ostinato.export.proofs.teacher_forcing import decode_from, write_from
from ostinato.service.artifact.decoder import Decoder, Memory
from ostinato.service.artifact.tensors import State

NUMBERS = {"name": "outputs", "dtype": "float32", "shape": ("B", 1), "features": ("load",)}


class Adder:
    """Memory is the source; a state ``[1, B]`` adds up what it is fed; the output is the state doubled."""

    def __init__(self) -> None:
        self.memory: list[Array] = []

    def encode(self, source: Array, _lengths: Array | None) -> tuple[Arrays, Arrays]:
        return (source.astype(np.float32)[..., None],), (np.zeros((1, len(source)), np.float32),)

    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, _lengths: Array | None) -> Decoded:
        self.memory.append(memory[0])
        fed = 1.0 if previous is None else previous.reshape(-1).astype(np.float32)
        total = (states[0] + fed).astype(np.float32)
        return Decoded(2 * total[0][:, None], (total,), np.ones(memory[0].shape[:2], np.float32))


def adder(options: DecoderOptions) -> Decoder:
    output = {**NUMBERS, "shape": ("B", options.num_codes or 1)}
    output["features"] = tuple(str(index) for index in range(options.num_codes or 1))
    return valid_decoder(
        previous=options.previous,
        start=options.start,
        output=output,
        states=(State(name="total", input="total", output="total_next", shape=(1, "B"), dtype="float32"),),
        begun_by={"total": "total"},
        memory=(Memory(name="memory", dtype="float32", shape=("B", "S", 1), made_by="memory"),),
        attention="attention",
    )


SOURCES = Sources(np.array([[1, 2, 3], [4, 5, 6]]), np.array([3, 1]))


def test_what_is_fed_stands_before_each_step() -> None:
    decoder = adder(DecoderOptions(num_codes=9, start=0))
    fed = np.array([[0, 1, 2], [0, 3, 4]])
    written = write_from(Adder(), decoder, SOURCES, 3, fed)
    # Sums of what was fed, doubled: 0, 0+1, 0+1+2 and 0, 0+3, 0+3+4.
    assert written.outputs[..., 0].tolist() == [[0, 2, 6], [0, 6, 14]]
    assert written.states[0][..., 0].tolist() == [[0, 1, 3], [0, 3, 7]]
    assert written.fed is not None
    assert written.fed.tolist() == fed.tolist()


def test_numbers_are_fed_back_from_the_start_on() -> None:
    decoder = adder(DecoderOptions(feedback=True, output_features=("load",), start=1.0))
    written = write_from(Adder(), decoder, SOURCES, 3)
    # The state: 1, 1 + 2, 3 + 6; the output twice that.
    assert written.outputs[0, :, 0].tolist() == [2, 6, 18]
    assert written.fed is not None
    assert written.fed[0, :, 0].tolist() == [1, 2, 6]


def test_a_decoder_that_is_fed_nothing_goes_on_by_its_states() -> None:
    written = decode_from(
        Adder(), adder(DecoderOptions()), (np.zeros((1, 2), np.float32),), (np.zeros((2, 4, 1)),), None, 2
    )
    assert written.fed is None
    assert written.outputs[0, :, 0].tolist() == [2, 4]


def test_noise_stands_where_the_padding_does_and_is_not_kept() -> None:
    network = Adder()
    written = write_from(
        network, adder(DecoderOptions(num_codes=9)), SOURCES, 1, np.zeros((2, 1), np.int64), np.random.default_rng(0)
    )
    assert written.memory[0][..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    [seen] = network.memory
    assert seen[0, :, 0].tolist() == [1, 2, 3]
    assert seen[1, 0, 0] == 4
    assert (seen[1, 1:, 0] != [5, 6]).all()


def test_only_what_counts_of_a_row_is_compared() -> None:
    decoder = adder(DecoderOptions(num_codes=9))
    row = write_from(Adder(), decoder, SOURCES, 2, np.zeros((2, 2), np.int64)).row(1, 1, decoder)
    assert row["memory 'memory'"].tolist() == [[4]]
    assert row["the attention"].tolist() == [[1], [1]]
    assert row["the first of state 'total'"].tolist() == [0]
    assert row["state 'total'"].tolist() == [[0], [0]]
    assert row["outputs"].shape == (2, 1)
