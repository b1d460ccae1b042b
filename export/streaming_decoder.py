"""Decoders of recurrent models, by which sessions forecast: the graph ``decode`` next to ``step``.

In addition to the recurrent contract the module has ``decode(previous, states, memory, lengths) -> (output, states,
attention)``, and says by the names of its session's states what the decoder is given:

- ``decoder_begins``: state of the decoder -> state of the session that it begins with.
- ``decoder_memory``: memory of the decoder -> state of the session ``[B, M, ...]``, what it kept of its last M steps.
- ``decoder_lengths``: the state, int64 ``[B]``, that counts how many of the M are filled; empty where all always are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ostinato.export.contracts.axes import Array, States, StepFunction
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.decoder import LENGTHS_NAME, Decode, Decoded, DecoderOptions, find_decoder, find_states
from ostinato.export.contracts.module import Arrays, check_methods, run_decoder, to_arrays, to_tensor, to_tensors
from ostinato.export.contracts.symbols import PROBE_SIZES
from ostinato.export.errors import ExportError, first_line
from ostinato.export.graphs.generation import DecoderGraph, write_decoder
from ostinato.export.proofs.proof import TOLERANCE, Measured, identical, worst_place
from ostinato.export.proofs.rounding import Widened, in_doubles, tolerance_for, widened, written_difference
from ostinato.export.proofs.teacher_forcing import Written, decode_from
from ostinato.service.artifact.decoder import Decoder, Memory
from ostinato.service.artifact.numbers import largest_difference

DECODER_FILE = "decode.onnx"
BATCH_SIZES = (1, 2, 3, 5, 8, 17, 64)
# Steps that a session has seen before it decodes.
LENGTHS = (1, 2, 7, 60)
NUM_STEPS = 12
_GOLDEN_STEPS = 6
_ATTRIBUTES = ("decoder_begins", "decoder_memory", "decoder_lengths")


class StreamingDecoder:
    """``decode`` of the trained module (a ``Decode``)."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        """One step."""
        given = (to_tensor(previous), to_tensors(states), to_tensors(memory), to_tensor(lengths))
        with torch.no_grad():
            output, after, attention = run_decoder(self._module, *given)
        return Decoded(output.numpy(), to_arrays(after), None if attention is None else attention.numpy())


class SessionDecoder:
    """Decodes from a session's states, as the manifest's decoder says where they come from."""

    def __init__(self, contract: Contract, decoder: Decoder) -> None:
        self._contract = contract
        self._decoder = decoder
        self._place = {state.name: position for position, state in enumerate(contract.states)}

    def decode(self, network: Decode, session: States, num_steps: int, lengths_of: str) -> Written:
        """``num_steps`` from the states of a session; ``lengths_of`` names the state that holds the lengths."""
        decoder = self._decoder
        states = tuple(session[self._place[decoder.begun_by[state.name]]] for state in decoder.states)
        memory = tuple(session[self._place[part.made_by]] for part in decoder.memory)
        lengths = session[self._place[lengths_of]] if lengths_of else None
        return decode_from(network, decoder, states, memory, lengths, num_steps)


def begins_decoder(module: nn.Module) -> bool:
    """Whether a recurrent module decodes, too."""
    return any(hasattr(module, name) for name in _ATTRIBUTES)


def export_decoder(
    contract: Contract, step: StepFunction, options: DecoderOptions, path: Path, golden: Mapping[str, Array]
) -> tuple[Decoder, dict[str, Array], list[Measured], float]:
    """Write the graph ``decode`` and prove it.

    Args:
        golden: the golden answers of ``step``.

    Returns:
        the decoder as the manifest has it; its golden answers, for each case of ``step`` ``<case>/decode/<output>``
        ``[B, N, O]``, N steps of decoding after the whole sequence, each fed the one before it; the lines of the proof,
        and the tolerance they met.

    Raises:
        ExportError: the module breaks the contract, or the graph differs from it.
    """
    found = inspect_streaming_decoder(contract, options)
    decoder = write_decoder(contract.module, found, path)
    graph = DecoderGraph(path, decoder)
    tolerance = tolerance_for(_rounding(contract, decoder, found.lengths_made_by))
    lines = prove_streaming(contract, step, decoder, graph, tolerance=tolerance, lengths_of=found.lengths_made_by)
    sessions = SessionDecoder(contract, decoder)
    decoded = {}
    for case in sorted({key.partition("/")[0] for key in golden}):
        after = tuple(golden[f"{case}/{state.output}"] for state in contract.states)
        written = sessions.decode(StreamingDecoder(contract.module), after, _GOLDEN_STEPS, found.lengths_made_by)
        decoded[f"{case}/decode/{decoder.output.name}"] = written.outputs
    return decoder, decoded, lines, tolerance


def inspect_streaming_decoder(contract: Contract, options: DecoderOptions) -> Decoder:
    """Find the decoder's states, memory and output by running it on a few sizes.

    Raises:
        ExportError: an attribute is absent or names no state of the session, or a step of decoding fails.
    """
    module = contract.module
    check_methods(module, ("decode",))
    begins, kept = (_named_states(contract, attribute) for attribute in _ATTRIBUTES[:2])
    counted = getattr(module, "decoder_lengths", "")
    described = {state.name: state for state in contract.states}
    _check_counted(contract, counted)
    memory = []
    for name, made_by in kept.items():
        state = described[made_by]
        if state.batch_axis != 0 or len(state.shape) < 2:
            shape = list(state.shape)
            raise ExportError(f"decoder_memory {name!r}: state {made_by!r} has shape {shape}, not [B, M, ...]")
        memory.append(Memory(name=name, dtype=state.dtype, shape=state.shape, made_by=made_by))
    probes = [_session_states(contract, *sizes) for sizes in PROBE_SIZES]
    place = {state.name: position for position, state in enumerate(contract.states)}
    begun = [to_tensors(tuple(probe[place[state]] for state in begins.values())) for probe in probes]
    return find_decoder(
        module,
        [
            (
                first,
                to_tensors(tuple(probe[place[state]] for state in kept.values())),
                to_tensor(probe[place[counted]]) if counted else None,
            )
            for first, probe in zip(begun, probes, strict=True)
        ],
        options,
        states=find_states(begun, tuple(begins)),
        memory=tuple(memory),
        lengths=LENGTHS_NAME if counted else "",
        begun_by=begins,
        lengths_made_by=counted,
    )


def prove_streaming(
    contract: Contract,
    step: StepFunction,
    decoder: Decoder,
    graph: Decode,
    *,
    lengths_of: str,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> list[Measured]:
    """Decode from sessions that have seen some steps, in random chunks and any batch, and compare at every step.

    The reference is the network on whole sequences; invariance is to the graphs on each row alone and whole.

    Raises:
        ExportError: the graph fails or differs from the network, or places of the memory that are not filled count.
    """
    generator = np.random.default_rng(seed)
    sessions = SessionDecoder(contract, decoder)
    network = StreamingDecoder(contract.module)
    lines = []
    for length in LENGTHS:
        sequences = contract.draw(generator, max(BATCH_SIZES), length)
        wanted = sessions.decode(network, _after(contract, contract, sequences), NUM_STEPS, lengths_of)
        alone = [
            sessions.decode(graph, _after(contract, step, sequences[row : row + 1]), NUM_STEPS, lengths_of)
            for row in range(len(sequences))
        ]
        worst, same = 0.0, True
        for batch_size in BATCH_SIZES:
            num_cuts = int(generator.integers(length))
            cuts = sorted(generator.choice(np.arange(1, length), num_cuts, replace=False).tolist())
            after = _after(contract, step, sequences[:batch_size], cuts)
            made = _decode(sessions, graph, after, lengths_of)
            for row in range(batch_size):
                given = made.row(row, None, decoder)
                worst = max(worst, _compare(given, wanted.row(row, None, decoder), batch_size, length, tolerance))
                true = alone[row].row(0, None, decoder)
                same &= identical(given.values(), true.values())
        if lengths_of:
            _check_unfilled(contract, decoder, sequences[:3], generator, lengths_of)
        sizes = f"B 1 to {max(BATCH_SIZES)}, after T {length}, {NUM_STEPS} steps"
        lines.append(Measured("decoding", sizes, worst, same))
    return lines


def _decode(sessions: SessionDecoder, graph: Decode, after: States, lengths_of: str) -> Written:
    try:
        return sessions.decode(graph, after, NUM_STEPS, lengths_of)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise ExportError(
            f"axis B is secretly static: the graph 'decode' fails on another batch ({first_line(error)})"
        ) from error


def _rounding(contract: Contract, decoder: Decoder, lengths_of: str) -> float:
    """The network's own rounding error in decoding after each of ``LENGTHS``; 0 where it knows no float64.

    What decides is how near 0 an output comes to lie, so one length says little of another.
    """
    sequences = contract.draw(np.random.default_rng(0), max(BATCH_SIZES), max(LENGTHS))
    sessions = SessionDecoder(contract, decoder)
    begin = tuple(map(widened, contract.initial_states(len(sequences))))
    worst = 0.0
    try:
        wide = in_doubles(contract)
        for part in (sequences[:, :length] for length in LENGTHS):
            after, wide_after = _after(contract, contract, part), _after(contract, wide, widened(part), begin=begin)
            given = sessions.decode(StreamingDecoder(contract.module), after, NUM_STEPS, lengths_of)
            true = sessions.decode(Widened(StreamingDecoder(wide.module)), wide_after, NUM_STEPS, lengths_of)
            worst = max(worst, written_difference(given, true, decoder))
    except Exception:  # a user's module may raise anything where it meets another dtype
        return 0.0
    return worst


def _compare(
    given: dict[str, Array], wanted: dict[str, Array], batch_size: int, length: int, tolerance: float
) -> float:
    place, difference = worst_place(given, wanted)
    if not difference <= tolerance:
        raise ExportError(
            f"decoding differs from the trained network by {difference:.2g} in {place}, over {tolerance:.2g}, "
            f"for {batch_size} sessions of {length} steps"
        )
    return difference


def _check_unfilled(
    contract: Contract, decoder: Decoder, sequences: Array, generator: np.random.Generator, lengths_of: str
) -> None:
    """Sessions that begin with noise for a memory: once they have seen a step, it must not matter."""
    sessions, network = SessionDecoder(contract, decoder), StreamingDecoder(contract.module)
    kept = {part.made_by for part in decoder.memory}
    begin = contract.initial_states(len(sequences))
    noisy = tuple(
        generator.standard_normal(tensor.shape).astype(tensor.dtype)
        if state.name in kept and tensor.dtype.kind == "f"
        else tensor
        for state, tensor in zip(contract.states, begin, strict=True)
    )
    made = [
        sessions.decode(network, _after(contract, contract, sequences, begin=states), NUM_STEPS, lengths_of).outputs
        for states in (begin, noisy)
    ]
    difference = largest_difference(made[1], made[0])
    if not difference <= TOLERANCE:
        raise ExportError(
            f"after {sequences.shape[1]} steps, the content of the memory's places that are not filled changes the "
            f"decoder's output by {difference:.2g}: leave out of the attention what lies beyond {lengths_of!r}"
        )


def _after(
    contract: Contract, step: StepFunction, sequences: Array, cuts: list[int] | None = None, begin: States | None = None
) -> States:
    """The states after sequences ``[B, T, ...]``."""
    states = contract.initial_states(len(sequences)) if begin is None else begin
    return contract.run(step, sequences, states, cuts or ())[1]


def _session_states(contract: Contract, batch_size: int, num_steps: int) -> States:
    sequences = contract.draw(np.random.default_rng(0), batch_size, num_steps)
    return _after(contract, contract, sequences)


def _named_states(contract: Contract, attribute: str) -> dict[str, str]:
    names = getattr(contract.module, attribute, None)
    if not isinstance(names, Mapping):
        raise ExportError(f"{attribute} must say which of the session's states the decoder is given: a dict of names")
    known = {state.name for state in contract.states}
    if unknown := sorted(set(names.values()) - known):
        raise ExportError(f"{attribute}: the session has no state {unknown[0]!r}; it has {', '.join(sorted(known))}")
    return dict(names)


def _check_counted(contract: Contract, name: str) -> None:
    if not name:
        return
    state = next((state for state in contract.states if state.name == name), None)
    if state is None or (state.dtype, state.shape) != ("int64", ("B",)):
        raise ExportError(f"decoder_lengths {name!r} must name a state of dtype int64 and shape [B]")
