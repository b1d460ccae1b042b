"""The two graphs that generate: the encoder's over whole sources, and the decoder's, one step at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.decoder import Memory
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Tensor
from ostinato.service.engine.graph import Graph, TensorTypes
from ostinato.service.errors import RunFailed

LEAST_ENCODED_STEPS = 8
"""Sources are padded to this at least: a matrix of one row is rounded differently than a row of many."""
LEAST_SOURCE_STEPS = 16
"""What lanes attend to has this many steps at least, so that most sources share the decoder's runs."""


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


def encoded_length(num_steps: int) -> int:
    """The length at which a source is encoded: the least of 8, 12, 16, 24, 32, 48, ... that holds it.

    It follows from the source alone, as ``padded_length`` does; two in an octave, since an encoder works on all steps.
    """
    octave = 1 << (num_steps - 1).bit_length()
    return max(LEAST_ENCODED_STEPS, octave if num_steps > octave * 3 // 4 else octave * 3 // 4)


def padded_length(num_steps: int) -> int:
    """The steps of what lanes attend to: the least power of two that holds the source, from ``LEAST_SOURCE_STEPS`` on.

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
        begun = [state for state in decoder.states if state.name in decoder.begun_by]
        self._begun_by = [(decoder.begun_by[state.name], state.batch_axis) for state in begun]
        self._initial = [None if state in begun else state.initial_row() for state in decoder.states]
        given: TensorTypes = {self._source.name: (self._source.dtype, self._source.shape)}
        if self._lengths:
            given[self._lengths] = "int64", ("B",)
        made: TensorTypes = {part.made_by: (part.dtype, part.shape) for part in self._memory}
        made |= {decoder.begun_by[state.name]: (state.dtype, state.shape) for state in begun}
        self._fetches = list(made)
        self.graph = Graph(directory / manifest.graphs["encode"].file, given, made, manifest.constants)

    def padded_length(self, num_steps: int) -> int:
        """How many steps what it makes of a source has: sources of one such length share the decoder's runs."""
        return padded_length(num_steps) if self._lengths else num_steps

    def run(self, sources: Sequence[NDArray[Any]]) -> list[Start]:
        """Encode sources ``[n, ...]`` of one padded length, or ``[...]`` where a source has no steps.

        Those of one length run together: the others would wait for the longest.

        Raises:
            RunFailed: the graph failed.
        """
        if not self._lengths or len(sources) == 1:
            return self._run_alike(sources)
        alike: dict[int, list[int]] = {}
        for place, source in enumerate(sources):
            alike.setdefault(encoded_length(len(source)), []).append(place)
        starts: dict[int, Start] = {}
        for places in alike.values():
            starts.update(zip(places, self._run_alike([sources[place] for place in places]), strict=True))
        return [starts[place] for place in range(len(sources))]

    def _run_alike(self, sources: Sequence[NDArray[Any]]) -> list[Start]:
        """Encode sources of one length in one run."""
        feeds = {self._source.name: self._batch(sources)}
        if self._lengths:
            feeds[self._lengths] = np.array([len(source) for source in sources], np.int64)
        try:
            values = dict(zip(self._fetches, self.graph.run(self._fetches, feeds), strict=True))
        except Exception as error:
            raise RunFailed(f"model {self._name}: the encoder failed on {len(sources)} sources: {error}") from error
        num_attended = self.padded_length(len(sources[0])) if self._lengths else None
        memory = [_lengthened(values[part.made_by], part, num_attended) for part in self._memory]
        begun = iter([batch_first(values[name], axis) for name, axis in self._begun_by])
        states = [next(begun) if initial is None else itertools.repeat(initial) for initial in self._initial]
        has_steps = self._source.source_axis is not None
        return [
            Start(own_memory, own_states, len(source) if has_steps else 1)
            for source, own_memory, own_states in zip(sources, _rows(memory), _rows(states), strict=False)
        ]

    def _batch(self, sources: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The sources in the graph's axes, with zeros behind those that are shorter than the others."""
        part = self._source
        if part.source_axis is None:
            return np.ascontiguousarray(np.moveaxis(np.stack(sources), 0, part.batch_axis))
        longest = max(map(len, sources))
        num_steps = encoded_length(longest) if self._lengths else longest
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
        # What is asked of the manifest in every run, once.
        self._memory_axes = [(memory.name, memory.batch_axis) for memory in part.memory]
        self._previous_axes = None if part.previous is None else (part.previous.row_shape, part.previous.batch_axis)
        self._output_axes = part.output.num_features, part.output.batch_axis
        self.graph = Graph(directory / manifest.graphs["decode"].file, given, made, manifest.constants)

    def run(
        self,
        previous: NDArray[Any],
        states: Sequence[NDArray[Any]],
        memory: Sequence[NDArray[Any]],
        lengths: NDArray[np.int64],
    ) -> DecoderStep:
        """Run one step.

        Args:
            previous: of each lane the code of the step before, ``[B]``, or its numbers, ``[B, O]``.
            states: in the graph's own axes.
            memory: with the batch first, ``[B, ...]``.
            lengths: ``[B]``.

        Raises:
            RunFailed: the graph failed.
        """
        part = self.part
        feeds: dict[str, NDArray[Any]] = {state.input: value for state, value in zip(part.states, states, strict=True)}
        for (name, axis), rows in zip(self._memory_axes, memory, strict=True):
            feeds[name] = rows if axis == 0 else np.moveaxis(rows, 0, axis)
        if part.previous is not None and self._previous_axes is not None:
            shape, axis = self._previous_axes
            rows = previous.astype(part.previous.dtype, copy=False)
            if shape:
                rows = rows.reshape(len(previous), *shape)
            if axis != 0:
                rows = np.ascontiguousarray(np.moveaxis(rows, 0, axis))
            feeds[part.previous.name] = rows
        if part.lengths:
            feeds[part.lengths] = lengths
        try:
            output, *made = self.graph.run(self._fetches, feeds)
        except Exception as error:
            raise RunFailed(f"model {self._name}: the decoder failed on {len(previous)} lanes: {error}") from error
        attention = made.pop() if part.attention else None
        num_features, axis = self._output_axes
        output = batch_first(output, axis).reshape(len(previous), num_features)
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

    def no_lanes_fed(self) -> NDArray[Any]:
        """What no lanes are fed: codes ``[0]``, or numbers ``[0, O]``."""
        part = self.part
        shape = () if part.num_codes is not None else (part.output.num_features,)
        return np.empty((0, *shape), part.previous.dtype if part.previous else part.output.dtype)

    @property
    def start_value(self) -> Any:
        """What stands for the step before the first: a code, or numbers ``[O]``."""
        part = self.part
        if part.previous is None:
            return 0
        if part.num_codes is not None:
            return part.start
        return np.broadcast_to(np.asarray(part.start, part.previous.dtype), part.output.num_features)


def batch_first(tensor: NDArray[Any], batch_axis: int) -> NDArray[Any]:
    """A view of a graph's tensor with its batch as the first axis."""
    if batch_axis == 0:
        return tensor
    # What `moveaxis` is, at a tenth of its time.
    return tensor.transpose(batch_axis, *(axis for axis in range(tensor.ndim) if axis != batch_axis))


def _lengthened(tensor: NDArray[Any], part: Memory, num_steps: int | None) -> NDArray[Any]:
    """What the encoder made, the batch first, with zeros behind its steps up to ``num_steps``."""
    axis = part.source_axis
    if num_steps is None or axis is None or tensor.shape[axis] == num_steps:
        return batch_first(tensor, part.batch_axis)
    longer = np.empty((*tensor.shape[:axis], num_steps, *tensor.shape[axis + 1 :]), tensor.dtype)
    before, num_own = (slice(None),) * axis, tensor.shape[axis]
    longer[(*before, slice(num_own))] = tensor
    longer[(*before, slice(num_own, None))] = 0
    return batch_first(longer, part.batch_axis)


def _rows(parts: Sequence[Iterable[NDArray[Any]]]) -> Iterable[tuple[NDArray[Any], ...]]:
    """Of each row its part of every array."""
    return zip(*parts, strict=False) if parts else itertools.repeat(())


def _permutation(part: Tensor) -> tuple[int, ...]:
    """The axes of ``[B, S, ...]`` in the order in which the graph wants them."""
    sizes = iter(range(2, len(part.shape)))
    return tuple({"B": 0, "S": 1}[axis] if isinstance(axis, str) else next(sizes) for axis in part.shape)
