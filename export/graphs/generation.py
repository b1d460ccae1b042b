"""ONNX graphs of ``encode`` and ``decode``, with any ``B`` and ``S``; one decoding step a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.decoder import Decoded, attention_shape
from ostinato.export.contracts.encoder_decoder import EncoderDecoder
from ostinato.export.contracts.module import Arrays, run_decoder, run_encoder
from ostinato.export.contracts.source_probes import draw_source
from ostinato.export.contracts.symbols import Axes
from ostinato.export.graphs.layers import with_onnx_layers
from ostinato.export.graphs.ranges import MAY_BE_MISSING, Range
from ostinato.export.graphs.recurrent import TRACED_SIZES, Signature, open_exported, write_module
from ostinato.export.graphs.whole import write_whole
from ostinato.service.artifact.decoder import Decoder


class DecoderGraph:
    """The graph ``decode`` under onnxruntime on one thread, as a ``Decode``."""

    def __init__(self, path: Path, decoder: Decoder) -> None:
        self._session = open_exported(path)
        self.decoder = decoder
        self._fetches = [decoder.output.name, *(state.output for state in decoder.states)]
        self._fetches += [decoder.attention] if decoder.attention else []

    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        """One run of the graph."""
        decoder = self.decoder
        feeds = dict(zip((state.input for state in decoder.states), states, strict=True))
        feeds |= dict(zip((part.name for part in decoder.memory), memory, strict=True))
        if decoder.previous is not None:
            assert previous is not None
            feeds[decoder.previous.name] = previous
        if decoder.lengths:
            assert lengths is not None
            feeds[decoder.lengths] = lengths
        output, *rest = self._session.run(self._fetches, feeds)
        attention = rest.pop() if decoder.attention else None
        return Decoded(output, tuple(rest), attention)


class GenerationGraphs(DecoderGraph):
    """Both graphs, as an ``EncodeDecode``."""

    def __init__(self, encoder: Path, decoder: Path, contract: EncoderDecoder, described: Decoder) -> None:
        super().__init__(decoder, described)
        self._encoder = open_exported(encoder)
        self._contract = contract
        self._num_memory = len(described.memory)
        self._made = encoder_outputs(described)

    def encode(self, source: Array, lengths: Array | None) -> tuple[Arrays, Arrays]:
        """One run of the encoder's graph."""
        feeds = {self._contract.source.name: source}
        if self._contract.encoder_lengths:
            assert lengths is not None
            feeds[self._contract.encoder_lengths] = lengths
        made = self._encoder.run([name for name, _ in self._made], feeds)
        return tuple(made[: self._num_memory]), tuple(made[self._num_memory :])


def encoder_outputs(decoder: Decoder) -> list[tuple[str, Axes]]:
    """Names and shapes of what an encoder makes: the memory, then the decoder's first states."""
    made: list[tuple[str, Axes]] = [(part.made_by, part.shape) for part in decoder.memory]
    return made + [(decoder.begun_by[state.name], state.shape) for state in decoder.states]


def write_encoder(contract: EncoderDecoder, path: Path) -> Mapping[str, Range]:
    """Trace ``encode`` with ``B`` and ``S`` left open and write the ONNX file.

    Returns:
        name of an output -> what its numbers may be.

    Raises:
        ExportError: an axis is secretly static, or torch cannot trace or translate the module.
    """
    inputs: list[tuple[str, Axes]] = [(contract.source.name, contract.source.shape)]
    if contract.encoder_lengths:
        inputs.append((contract.encoder_lengths, ("B",)))

    def example(batch_size: int, num_steps: int) -> list[Tensor]:
        source = draw_source(contract.source, np.random.default_rng(0), batch_size, num_steps)
        tensors = [torch.from_numpy(source)]
        return [*tensors, _traced_lengths(batch_size, num_steps)] if contract.encoder_lengths else tensors

    ranges = {contract.source.name: MAY_BE_MISSING} if contract.source.missing else {}
    signature = Signature("encode", tuple(inputs), tuple(encoder_outputs(contract.decoder)), ranges)
    place = 1 if contract.encoder_lengths else None
    module = _Encode(with_onnx_layers(contract.module))
    if contract.source.source_axis is None:
        return write_module(module, example(*TRACED_SIZES), signature, path)
    return write_whole(module, example, signature, path, place)


def write_decoder(
    module: nn.Module, decoder: Decoder, path: Path, encoded: Mapping[str, Range] | None = None
) -> Decoder:
    """Trace ``decode`` with ``B`` and ``S`` left open and write the ONNX file.

    Args:
        encoded: what the numbers of the encoder's outputs may be; finite where they are not named.

    Returns:
        the decoder, without ``lengths`` where the graph has no use for them.

    Raises:
        ExportError: as ``write_encoder``.
    """
    inputs: list[tuple[str, Axes]] = [(state.input, state.shape) for state in decoder.states]
    inputs += [(part.name, part.shape) for part in decoder.memory]
    dtypes = [state.dtype for state in decoder.states] + [part.dtype for part in decoder.memory]
    batch_size, num_steps = TRACED_SIZES
    sizes = {"B": batch_size, "S": num_steps}
    example = [
        torch.zeros([axis if isinstance(axis, int) else sizes[axis] for axis in shape], dtype=getattr(torch, dtype))
        for (_, shape), dtype in zip(inputs, dtypes, strict=True)
    ]
    previous = decoder.previous
    if previous is not None:
        inputs.insert(0, (previous.name, previous.shape))
        rows = np.broadcast_to(np.asarray(decoder.start, previous.dtype), (batch_size, *previous.row_shape))
        example.insert(0, torch.from_numpy(rows.copy()))
    if decoder.lengths:
        inputs.append((decoder.lengths, ("B",)))
        example.append(_traced_lengths(*TRACED_SIZES))
    outputs: list[tuple[str, Axes]] = [(decoder.output.name, decoder.output.shape)]
    outputs += [(state.output, state.shape) for state in decoder.states]
    if decoder.attention:
        outputs.append((decoder.attention, attention_shape(decoder)))
    step = _Decode(with_onnx_layers(module), decoder)
    made_by = {part.name: part.made_by for part in decoder.memory}
    made_by |= {state.input: decoder.begun_by[state.name] for state in decoder.states if state.name in decoder.begun_by}
    ranges = {name: encoded[source] for name, source in made_by.items() if encoded and source in encoded}
    write_module(step, example, Signature("decode", tuple(inputs), tuple(outputs), ranges), path)
    return _without_unused_lengths(decoder, path)


def _traced_lengths(batch_size: int, num_steps: int) -> Tensor:
    return torch.full((batch_size,), num_steps, dtype=torch.int64)


def _without_unused_lengths(decoder: Decoder, path: Path) -> Decoder:
    model = ir.load(path)
    unused = [value for value in model.graph.inputs if value.name == decoder.lengths and not value.uses()]
    if not unused:
        return decoder
    model.graph.inputs.remove(unused[0])
    ir.save(model, path)
    return decoder.model_copy(update={"lengths": "", "lengths_made_by": ""})


class _Encode(nn.Module):
    """``encode`` as a ``forward`` from tensors to tensors."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        memory, states = run_encoder(self.module, source, lengths)
        return (*memory, *states)


class _Decode(nn.Module):
    """``decode`` as a ``forward`` from tensors to tensors: previous if any, states, memory, lengths if any."""

    def __init__(self, module: nn.Module, decoder: Decoder) -> None:
        super().__init__()
        self.module = module
        self.has_previous = decoder.previous is not None
        self.num_states = len(decoder.states)
        self.num_memory = len(decoder.memory)

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        given = list(arguments)
        previous = given.pop(0) if self.has_previous else None
        states, given = tuple(given[: self.num_states]), given[self.num_states :]
        memory, given = tuple(given[: self.num_memory]), given[self.num_memory :]
        output, after, attention = run_decoder(self.module, previous, states, memory, given[0] if given else None)
        return (output, *after) if attention is None else (output, *after, attention)
