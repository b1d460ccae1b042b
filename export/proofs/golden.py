"""Golden answers: what the trained network answers at every step for what it is fed.

Keys are ``<case>/<name>``, names as in the graphs; B rows, N decoding steps.

Recurrent: each input and context, the outputs for them, and the last states, from the initial states; arrays have the
graph's axes.

Encoder-decoder:

- ``<case>/<source>``: as the encoder's input, padded; ``<case>/<encoder_lengths>`` int64 ``[B]``, absent where the
  encoder takes none.
- ``<case>/<previous>`` ``[B, N]`` codes or ``[B, N, O]`` numbers: what stands for the step before; absent where the
  decoder takes nothing.
- ``<case>/<output>`` ``[B, N, ...]``; ``<case>/<attention>`` ``[B, N, S]``, 0 at and beyond the lengths.
- ``<case>/<output of a state>``: after the last step, axes as in the graph.

Each row is the network's answer for its source alone and without padding.

Generator: ``<case>/<previous>`` ``[B, N]``, ``<case>/<output>`` ``[B, N, V]``, ``<case>/<output of a state>``, from
the initial states.
"""

from __future__ import annotations

import numpy as np

from ostinato.export.contracts.axes import Array, from_axes, to_axes
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.decoder import attention_shape
from ostinato.export.contracts.encoder_decoder import EncoderDecoder
from ostinato.export.contracts.source_probes import draw_fed_codes
from ostinato.export.errors import ExportError
from ostinato.export.proofs.teacher_forcing import Written, write_from
from ostinato.service.artifact.decoder import Decoder

# (batch size, steps) of the cases of a recurrent module.
GOLDEN_CASES = {"first_step": (1, 1), "one_row": (1, 120), "batch": (5, 17), "wide": (33, 4)}
# Source lengths (the longest that there is for one that is longer), what they are padded to, and decoding steps.
_CASES = {"short": ((3,), 8, 5), "long": ((60,), 64, 40), "batch": ((16, 1, 7, 11, 4), 16, 9)}
# How often one step more is drawn of a network that gives NaN for most.
_NUM_TRIED = 32
# Rows and steps; no more of them, since a network that writes may be chaotic.
_TEXTS = {"first": (1, 1), "one_row": (1, 12), "batch": (5, 8)}


def golden_answers(contract: Contract) -> dict[str, Array]:
    """The cases of a recurrent module; a graph of one step has cases of one step."""
    generator = np.random.default_rng(1)
    golden: dict[str, Array] = {}
    for case, (batch_size, num_steps) in GOLDEN_CASES.items():
        steps = num_steps if contract.inputs.time_axis is not None else 1
        sequences = _draw_answered(contract, generator, batch_size, steps)
        tensors = contract.tensors(to_axes(sequences, contract.inputs))
        made = contract.run_module(tensors, contract.initial_states(len(sequences)))
        for part, array in zip((*contract.given, *contract.context), tensors, strict=True):
            golden[f"{case}/{part.name}"] = np.ascontiguousarray(array)
        for output, array in zip(contract.made, made, strict=False):
            golden[f"{case}/{output.name}"] = np.ascontiguousarray(array)
        states = made[len(contract.made) :]
        for state, after in zip(contract.states, states, strict=True):
            golden[f"{case}/{state.output}"] = np.ascontiguousarray(after)
    return golden


def _draw_answered(contract: Contract, generator: np.random.Generator, batch_size: int, num_steps: int) -> Array:
    """Sequences for which the network gives no NaN: fewer or shorter ones where it often does.

    Raises:
        ExportError: there are none.
    """
    for length in [num_steps >> halved for halved in range(num_steps.bit_length())] + [1] * _NUM_TRIED:
        sequences = contract.draw(generator, batch_size, length)
        y, _ = contract(to_axes(sequences, contract.inputs), contract.initial_states(batch_size))
        answered: Array = sequences[~contract.failed_rows(from_axes(y, contract.output))]
        if len(answered):
            return answered
    raise ExportError(
        "the network gives NaN for every probe: say by the input's statistics (minimum, maximum, mean, std) what it is "
        "sent"
    )


def golden_generation(contract: EncoderDecoder, decoder: Decoder) -> dict[str, Array]:
    """The cases of an encoder-decoder."""
    generator = np.random.default_rng(1)
    golden: dict[str, Array] = {}
    for case, (lengths, padded_length, num_steps) in _CASES.items():
        cut = np.minimum(np.asarray(lengths, np.int64), contract.probes.longest)
        sources = contract.probes.draw_padded(generator, cut, padded_length)
        codes = None
        if decoder.num_codes is not None:
            codes = draw_fed_codes(decoder.num_codes, decoder.start, generator, len(lengths), num_steps)
        rows = [
            write_from(
                contract,
                decoder,
                sources.without_padding(row),
                num_steps,
                None if codes is None else codes[row : row + 1],
            )
            for row in range(len(lengths))
        ]
        golden[f"{case}/{contract.source.name}"] = sources.source
        if sources.lengths is not None:
            golden[f"{case}/{contract.encoder_lengths}"] = sources.lengths
        golden |= {f"{case}/{name}": array for name, array in golden_rows(rows, decoder, padded_length).items()}
    return golden


def golden_rows(rows: list[Written], decoder: Decoder, padded_length: int) -> dict[str, Array]:
    """What rows wrote, each alone, side by side: fed, output, attention, last states."""
    golden = {decoder.output.name: np.concatenate([row.outputs for row in rows])}
    fed = [row.fed for row in rows if row.fed is not None]
    if decoder.previous is not None:
        golden[decoder.previous.name] = np.concatenate(fed)
    weights = [row.attention for row in rows if row.attention is not None]
    if decoder.attention:
        has_steps = "S" in attention_shape(decoder)
        widths = [padded_length - each.shape[2] if has_steps else 0 for each in weights]
        padded = [np.pad(each, ((0, 0), (0, 0), (0, width))) for each, width in zip(weights, widths, strict=True)]
        golden[decoder.attention] = np.concatenate(padded)
    for position, state in enumerate(decoder.states):
        last = np.concatenate([row.states[position][:, -1] for row in rows])
        golden[state.output] = np.ascontiguousarray(np.moveaxis(last, 0, state.batch_axis))
    return golden


def golden_text(contract: Contract, decoder: Decoder) -> dict[str, Array]:
    """The cases of a generator, from runs of the network over whole texts."""
    assert decoder.previous is not None
    assert decoder.num_codes is not None
    generator = np.random.default_rng(1)
    golden: dict[str, Array] = {}
    for case, (batch_size, num_steps) in _TEXTS.items():
        codes = draw_fed_codes(decoder.num_codes, decoder.start, generator, batch_size, num_steps)
        scores, states = contract(to_axes(codes, contract.inputs), contract.initial_states(batch_size))
        golden[f"{case}/{decoder.previous.name}"] = codes
        golden[f"{case}/{decoder.output.name}"] = np.ascontiguousarray(scores)
        for state, after in zip(decoder.states, states, strict=True):
            golden[f"{case}/{state.output}"] = np.ascontiguousarray(after)
    return golden
