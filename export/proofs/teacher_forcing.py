"""Runs of an encoder-decoder over whole sources, fed what it is told to have written: every step's numbers are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.decoder import Decode, Decoded, attention_shape, first_previous
from ostinato.export.contracts.encoder_decoder import EncodeDecode
from ostinato.export.contracts.module import Arrays
from ostinato.export.contracts.source_probes import Sources
from ostinato.service.artifact.decoder import Decoder


@dataclass(frozen=True)
class Written:
    """All numbers of a run, batch first.

    ``memory``: ``[B, S, ...]`` each. ``begun``: the first states, ``[B, ...]``. ``outputs``: ``[B, N, ...]`` for N
    steps. ``states``: after each step, ``[B, N, ...]``. ``attention``: ``[B, N, S]`` or None. ``fed``: what stood for
    the step before, ``[B, N, ...]``; None for a decoder that takes nothing.
    """

    memory: Arrays
    begun: Arrays
    outputs: Array
    states: Arrays
    attention: Array | None
    fed: Array | None

    def row(self, row: int, length: int | None, decoder: Decoder) -> dict[str, Array]:
        """The numbers of one row that count: nothing that stands at or beyond its length."""
        numbers = {decoder.output.name: self.outputs[row]}
        for part, tensor in zip(decoder.memory, self.memory, strict=True):
            numbers[f"memory {part.name!r}"] = tensor[row, :length] if "S" in part.shape else tensor[row]
        for state, first, after in zip(decoder.states, self.begun, self.states, strict=True):
            numbers[f"the first of state {state.name!r}"] = first[row]
            numbers[f"state {state.name!r}"] = after[row]
        if self.attention is not None:
            has_steps = "S" in attention_shape(decoder)
            numbers["the attention"] = self.attention[row, :, :length] if has_steps else self.attention[row]
        return numbers


def write_from(
    network: EncodeDecode,
    decoder: Decoder,
    sources: Sources,
    num_steps: int,
    fed: Array | None = None,
    noise: np.random.Generator | None = None,
) -> Written:
    """Encode sources and decode ``num_steps``.

    Args:
        fed: what stands for the step before each step, ``[B, N, ...]``; where None, numbers are fed back.
        noise: puts noise into the memory where the sources' padding is: it must not matter.
    """
    memory, states = network.encode(sources.source, sources.lengths)
    kept = memory
    if noise is not None:
        kept = tuple(
            _beyond(tensor, sources.lengths, noise) if "S" in part.shape else tensor
            for part, tensor in zip(decoder.memory, memory, strict=True)
        )
    written = decode_from(network, decoder, states, kept, sources.lengths, num_steps, fed)
    return replace(written, memory=memory)


def decode_from(
    network: Decode,
    decoder: Decoder,
    states: Arrays,
    memory: Arrays,
    lengths: Array | None,
    num_steps: int,
    fed: Array | None = None,
) -> Written:
    """Decode ``num_steps`` from states and memory, as ``write_from`` does."""
    begun = _batch_first(decoder, states)
    previous = None
    if decoder.previous is not None:
        first = first_previous(decoder.previous, decoder.start, len(begun[0]) if begun else len(memory[0]))
        assert first is not None
        previous = first.numpy()
    steps: list[Decoded] = []
    given: list[Array] = []
    for step in range(num_steps):
        if fed is not None:
            previous = np.ascontiguousarray(fed[:, step])
        decoded = network.decode(previous, states, memory, lengths)
        steps.append(decoded)
        states = decoded.states
        if previous is not None:
            given.append(previous)
            previous = decoded.output
    after = [_batch_first(decoder, step.states) for step in steps]
    weights = [step.attention for step in steps if step.attention is not None]
    return Written(
        memory=memory,
        begun=begun,
        outputs=np.stack([step.output for step in steps], axis=1),
        states=tuple(np.stack(tensors, axis=1) for tensors in zip(*after, strict=True)),
        attention=np.stack(weights, axis=1) if weights else None,
        fed=np.stack(given, axis=1) if given else None,
    )


def _batch_first(decoder: Decoder, states: Arrays) -> Arrays:
    return tuple(np.moveaxis(tensor, state.batch_axis, 0) for state, tensor in zip(decoder.states, states, strict=True))


def _beyond(memory: Array, lengths: Array | None, noise: np.random.Generator) -> Array:
    if lengths is None or memory.dtype.kind != "f":
        return memory
    noisy = memory.copy()
    for row, length in enumerate(lengths):
        noisy[row, length:] = noise.standard_normal(noisy[row, length:].shape)
    return noisy
