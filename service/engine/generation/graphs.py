"""The two graphs that generate: the encoder's over whole sources, and the decoder's, one step at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Tensor
from ostinato.service.engine.graph import Graph, TensorTypes
from ostinato.service.errors import RunFailed

LEAST_SOURCE_STEPS = 16
"""Sources are padded to this at least: a matrix of one row is rounded otherwise than a row of many."""


class Start(NamedTuple):
    """What a decoder starts from, of one lane.

    Attributes:
        memory: an array for each of the decoder's memories, without ``B``; ``S`` is the padded length.
        states: an array for each of the decoder's states, without ``B``.
        num_source_steps: how many rows of the memory are the source's.
    """

    memory: tuple[NDArray[Any], ...]
    states: tuple[NDArray[Any], ...]
    num_source_steps: int


class DecoderStep(NamedTuple):
    """What a run of the decoder made: output ``[B, O]``, attention ``[B, S]`` or None, states in the graph's axes."""

    output: NDArray[Any]
    attention: NDArray[Any] | None
    states: list[NDArray[Any]]


def padded_length(num_steps: int) -> int:
    """The length that a source is padded to: the least power of two that holds it, from ``LEAST_SOURCE_STEPS`` on.

    It follows from the source alone, so that what shares its run does not change how its sums are rounded.
    """
    return max(LEAST_SOURCE_STEPS, 1 << (num_steps - 1).bit_length())


class EncoderRunner:
    """The graph ``encode``: sources to what the decoder starts from.

    Raises:
        ModelRejected: the graph cannot be loaded, or is not what the manifest says.
    """

    def __init__(self, manifest: Manifest, directory: Path) -> None:
        assert manifest.decoder is not None
        decoder = manifest.decoder
        self._name = f"{manifest.name}/{manifest.version}"
        self._source = manifest.inputs[0]
        self._lengths = manifest.encoder_lengths
        self._memory = decoder.memory
        self._states = [state for state in decoder.states if state.name in decoder.begun_by]
        self._begun_by = [decoder.begun_by[state.name] for state in self._states]
        self._initial = [None if state in self._states else state.initial_row() for state in decoder.states]
        given: TensorTypes = {self._source.name: (self._source.dtype, self._source.shape)}
        if self._lengths:
            given[self._lengths] = "int64", ("B",)
        made: TensorTypes = {part.made_by: (part.dtype, part.shape) for part in self._memory}
        made |= {name: (state.dtype, state.shape) for name, state in zip(self._begun_by, self._states, strict=True)}
        self._fetches = list(made)
        self.graph = Graph(directory / manifest.graphs["encode"].file, given, made, manifest.constants)

    def padded_length(self, num_steps: int) -> int:
        """How long a source is when it runs: sources of one such length share a run."""
        return padded_length(num_steps) if self._lengths else num_steps

    def run(self, sources: Sequence[NDArray[Any]]) -> list[Start]:
        """Encode sources ``[n, ...]`` of one padded length, or ``[...]`` where a source has no steps.

        Raises:
            RunFailed: the graph failed.
        """
        batch = self._batch(sources)
        feeds = {self._source.name: batch}
        if self._lengths:
            feeds[self._lengths] = np.array([len(source) for source in sources], np.int64)
        try:
            values = dict(zip(self._fetches, self.graph.run(self._fetches, feeds), strict=True))
        except Exception as error:
            raise RunFailed(f"model {self._name}: the encoder failed on {len(sources)} sources: {error}") from error
        memory = [_batch_first(values[part.made_by], part.batch_axis) for part in self._memory]
        begun = iter(
            _batch_first(values[name], state.batch_axis)
            for name, state in zip(self._begun_by, self._states, strict=True)
        )
        states = [next(begun) if initial is None else itertools.repeat(initial) for initial in self._initial]
        has_steps = self._source.source_axis is not None
        return [
            Start(own_memory, own_states, len(source) if has_steps else 1)
            for source, own_memory, own_states in zip(sources, _rows(memory), _rows(states), strict=False)
        ]

    def _batch(self, sources: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The sources in the graph's axes, with zeros behind those that are shorter than the padded length."""
        part = self._source
        if part.source_axis is None:
            return np.ascontiguousarray(np.moveaxis(np.stack(sources), 0, part.batch_axis))
        num_steps = self.padded_length(max(map(len, sources)))
        batch = np.zeros((len(sources), num_steps, *sources[0].shape[1:]), part.dtype)
        for row, source in enumerate(sources):
            batch[row, : len(source)] = source
        return np.ascontiguousarray(batch.transpose(_permutation(part)))


class DecoderRunner:
    """The graph ``decode``, of any number of lanes.

    Raises:
        ModelRejected: the graph cannot be loaded, or is not what the manifest says.
    """

    def __init__(self, manifest: Manifest, directory: Path) -> None:
        assert manifest.decoder is not None
        self.part = part = manifest.decoder
        self._name = f"{manifest.name}/{manifest.version}"
        given: TensorTypes = {state.input: (state.dtype, state.shape) for state in part.states}
        given |= {memory.name: (memory.dtype, memory.shape) for memory in part.memory}
        if part.previous is not None:
            given[part.previous.name] = part.previous.dtype, part.previous.shape
        if part.lengths:
            given[part.lengths] = "int64", ("B",)
        made: TensorTypes = {part.output.name: (part.output.dtype, part.output.shape)}
        made |= {state.output: (state.dtype, state.shape) for state in part.states}
        self._fetches = list(made)
        if part.attention:
            num_places = "S" if part.attends_to_steps else part.memory[0].row_shape[0]
            made[part.attention] = part.output.dtype, ("B", num_places)
            self._fetches.append(part.attention)
        self.graph = Graph(directory / manifest.graphs["decode"].file, given, made, manifest.constants)

    def run(
        self,
        previous: Sequence[Any],
        states: Sequence[NDArray[Any]],
        memory: Sequence[NDArray[Any]],
        lengths: NDArray[np.int64],
    ) -> DecoderStep:
        """Run one step.

        Args:
            previous: of each lane the code, or the numbers, of the step before.
            states: in the graph's own axes.
            memory: with the batch first, ``[B, ...]``.
            lengths: ``[B]``.

        Raises:
            RunFailed: the graph failed.
        """
        part = self.part
        feeds: dict[str, NDArray[Any]] = {state.input: value for state, value in zip(part.states, states, strict=True)}
        for each, rows in zip(part.memory, memory, strict=True):
            feeds[each.name] = rows if each.batch_axis == 0 else np.moveaxis(rows, 0, each.batch_axis)
        if part.previous is not None:
            rows = np.array(previous, part.previous.dtype).reshape(len(previous), *part.previous.row_shape)
            if part.previous.batch_axis != 0:
                rows = np.ascontiguousarray(np.moveaxis(rows, 0, part.previous.batch_axis))
            feeds[part.previous.name] = rows
        if part.lengths:
            feeds[part.lengths] = lengths
        try:
            output, *made = self.graph.run(self._fetches, feeds)
        except Exception as error:
            raise RunFailed(f"model {self._name}: the decoder failed on {len(previous)} lanes: {error}") from error
        attention = made.pop() if part.attention else None
        output = _batch_first(output, part.output.batch_axis).reshape(len(previous), part.output.num_features)
        return DecoderStep(output, attention, made)

    def start(self) -> Start:
        """What a generator starts from: nothing but its initial states."""
        return Start((), tuple(state.initial_row() for state in self.part.states), 0)

    def start_of_session(self, manifest: Manifest, states: Sequence[NDArray[Any]]) -> Start:
        """What a forecast of a session with ``states`` starts from: the session's states, by name."""
        part = self.part
        by_name = {state.name: value for state, value in zip(manifest.carried, states, strict=True)}
        return Start(
            tuple(by_name[memory.made_by] for memory in part.memory),
            tuple(
                by_name[part.begun_by[state.name]] if state.name in part.begun_by else state.initial_row()
                for state in part.states
            ),
            int(by_name[part.lengths_made_by]) if part.lengths_made_by else 1,
        )

    @property
    def start_value(self) -> Any:
        """What stands for the step before the first: a code, or numbers ``[O]``."""
        part = self.part
        if part.previous is None:
            return 0
        if part.num_codes is not None:
            return part.start
        return np.broadcast_to(np.asarray(part.start, part.previous.dtype), part.output.num_features)


def _batch_first(tensor: NDArray[Any], batch_axis: int) -> NDArray[Any]:
    return tensor if batch_axis == 0 else np.moveaxis(tensor, batch_axis, 0)


def _rows(parts: Sequence[Iterable[NDArray[Any]]]) -> Iterable[tuple[NDArray[Any], ...]]:
    """Of each row its part of every array."""
    return zip(*parts, strict=False) if parts else itertools.repeat(())


def _permutation(part: Tensor) -> tuple[int, ...]:
    """The axes of ``[B, S, ...]`` in the order in which the graph wants them."""
    sizes = iter(range(2, len(part.shape)))
    return tuple({"B": 0, "S": 1}[axis] if isinstance(axis, str) else next(sizes) for axis in part.shape)
