"""The contract of a network that writes: ``encode`` and ``decode``.

- ``encode(source, lengths) -> (memory, states)``: what the decoder looks at, ``[B, S, ...]`` each, and what its states
  begin with. A source of a fixed size comes without ``lengths``.
- ``decode(previous, states, memory, lengths) -> (output, states, attention)``: one step.

As for the recurrent contract, a module is looked at by running it on a few sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.codes import check_declared, find_codes
from ostinato.export.contracts.decoder import (
    LENGTHS_NAME,
    Decode,
    Decoded,
    DecoderOptions,
    find_decoder,
    find_states,
    named,
)
from ostinato.export.contracts.module import (
    Arrays,
    Tensors,
    check_methods,
    run_decoder,
    run_encoder,
    to_arrays,
    to_tensor,
    to_tensors,
)
from ostinato.export.contracts.preparation import prepared
from ostinato.export.contracts.repeats import check_repeats
from ostinato.export.contracts.source_probes import SourceProbes, check_examples, draw_source
from ostinato.export.contracts.symbols import PROBE_SIZES, dtype_name, symbolic_shape
from ostinato.export.errors import ExportError
from ostinato.service.artifact.decoder import Decoder, Memory
from ostinato.service.artifact.tensors import Input


class EncodeDecode(Decode, Protocol):
    """An encoder-decoder: the trained network, or its two graphs."""

    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        """The memory of all rows, and the decoder's first states."""
        ...


@dataclass(frozen=True)
class EncoderDecoder:
    """A module in evaluation mode (an ``EncodeDecode``), and what was found of it.

    ``encoder_lengths``: the name of the encoder's input for the true lengths; empty for a source of a fixed size.
    ``decoder``: as the manifest has it. ``probes``: what to try it on.
    """

    module: nn.Module
    source: Input
    encoder_lengths: str
    decoder: Decoder
    probes: SourceProbes

    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        """One run of the encoder."""
        with torch.no_grad():
            memory, states = run_encoder(self.module, torch.from_numpy(source), to_tensor(lengths))
        return to_arrays(memory), to_arrays(states)

    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        """One step of the decoder."""
        given = (to_tensor(previous), to_tensors(states), to_tensors(memory), to_tensor(lengths))
        with torch.no_grad():
            output, after, attention = run_decoder(self.module, *given)
        return Decoded(output.numpy(), to_arrays(after), None if attention is None else attention.numpy())


def inspect_encoder_decoder(
    module: nn.Module,
    source: Input,
    options: DecoderOptions,
    examples: Sequence[ArrayLike] = (),
    max_source_steps: int = 0,
) -> EncoderDecoder:
    """Find names, dtypes and symbolic shapes of memory, states, output and attention, on a copy of the module.

    Args:
        examples, max_source_steps: see ``SourceProbes``.

    Raises:
        ExportError: the module breaks the contract; the message says where.
    """
    module = prepared(module)
    check_methods(module, ("encode", "decode"))
    if "T" in source.shape:
        raise ExportError(f"the source has shape {list(source.shape)}: its steps are called 'S'")
    if source.shape[0] != "B" or source.source_axis not in (None, 1):
        raise ExportError(f"the source has shape {list(source.shape)}: the batch comes first, then the steps 'S'")
    module = prepared(module)
    ask, likely = partial(_ask, module, source), _likely_step(source)
    check_repeats(module, lambda: sum(_probe_encoder(module, source, *PROBE_SIZES[0]), ()), "encode")
    check_declared(source, likely, ask)
    found = find_codes(source, likely, ask)
    encoded = _probe_encoder_all(module, source, found)
    memory = _find_memory([tensors for tensors, _ in encoded], options.memory_names)
    states = find_states([tensors for _, tensors in encoded], options.state_names)
    encoder_lengths = LENGTHS_NAME if source.source_axis is not None else ""
    lengths = [to_tensor(_full_lengths(source, *sizes)) for sizes in PROBE_SIZES]
    decoder = find_decoder(
        module,
        [(begin, kept, each) for (kept, begin), each in zip(encoded, lengths, strict=True)],
        options,
        states=states,
        memory=memory,
        lengths=encoder_lengths,
        begun_by={state.name: state.input for state in states},
    )
    if source.source_axis is None and any("S" in part.shape for part in memory):
        raise ExportError("the memory has steps, and the source has none: name its axis 'S'")
    _check_names(source, encoder_lengths, decoder)
    probes = SourceProbes(found, check_examples(found, examples), max_source_steps)
    return EncoderDecoder(module, found, encoder_lengths, decoder, probes)


def _probe_encoder_all(module: nn.Module, source: Input, found: Input) -> list[tuple[Tensors, Tensors]]:
    """Over a few sizes, of what is likely as far as it was declared; of what was found, where that fails."""
    try:
        return [_probe_encoder(module, source, *sizes) for sizes in PROBE_SIZES]
    except ExportError:
        if found == source:
            raise
        return [_probe_encoder(module, found, *sizes) for sizes in PROBE_SIZES]


def _probe_encoder(module: nn.Module, source: Input, batch_size: int, num_steps: int) -> tuple[Tensors, Tensors]:
    drawn = draw_source(source, np.random.default_rng(0), batch_size, num_steps)
    lengths = _full_lengths(source, batch_size, num_steps)
    try:
        with torch.no_grad():
            return run_encoder(module, torch.from_numpy(drawn), to_tensor(lengths))
    except ExportError:
        raise
    except Exception as error:  # a user's module may raise anything
        given = "" if lengths is None else f" and lengths [{batch_size}]"
        raise ExportError(
            f"{type(module).__name__}.encode fails on a source of shape {list(drawn.shape)} and dtype "
            f"{source.dtype}{given}: {type(error).__name__}: {error}"
        ) from error


def _likely_step(source: Input) -> Array:
    whole = source.model_copy(update={"missing": False})
    return draw_source(whole, np.random.default_rng(0), 1, 1).reshape(-1).astype(np.float64)


def _ask(module: nn.Module, source: Input, row: Array) -> list[bytes] | None:
    """What is encoded of a source of one step ``[F]``, as ``find_codes`` asks."""
    steps = (1,) * (source.source_axis is not None)
    given = torch.from_numpy(row.reshape(1, *steps, *source.row_shape).astype(source.dtype))
    try:
        with torch.no_grad():
            memory, states = run_encoder(module, given, to_tensor(_full_lengths(source, 1, 1)))
            return [part.tobytes() for part in (*to_arrays(memory), *to_arrays(states))]
    except Exception:  # a user's module may raise anything
        return None


def _full_lengths(source: Input, batch_size: int, num_steps: int) -> Array | None:
    """Of sources that fill their run; None for sources of a fixed size."""
    return np.full(batch_size, num_steps, np.int64) if source.source_axis is not None else None


def _find_memory(probes: Sequence[Tensors], names: Sequence[str]) -> tuple[Memory, ...]:
    memory = []
    for position, name in enumerate(named("memory tensors", names, "memory", len(probes[0]))):
        place = f"memory {name!r}"
        shape = symbolic_shape(place, [tuple(probe[position].shape) for probe in probes], "S")
        if shape[0] != "B" or ("S" in shape and shape[1] != "S"):
            raise ExportError(f"{place} has shape {list(shape)}: the batch comes first, then the source's steps")
        dtype = dtype_name(place, probes[0][position])
        memory.append(Memory.model_validate({"name": name, "dtype": dtype, "shape": shape, "made_by": name}))
    return tuple(memory)


def _check_names(source: Input, encoder_lengths: str, decoder: Decoder) -> None:
    names = [source.name, *[encoder_lengths] * bool(encoder_lengths)]
    names += [part.made_by for part in decoder.memory] + list(decoder.begun_by.values())
    if len(set(names)) != len(names):
        raise ExportError(f"an input or output of the encoder is named twice among {sorted(names)}")
