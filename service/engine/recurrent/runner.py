"""The runner of a recurrent graph: gather the states, run, check the numbers, hand them back."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.devices import aligned_memory
from ostinato.service.artifact.manifest import ANY, Manifest, Promise
from ostinato.service.engine.graph import Graph, TensorTypes
from ostinato.service.engine.recurrent.batching import Iteration, Work
from ostinato.service.engine.recurrent.buffers import Buffers
from ostinato.service.errors import RunFailed
from ostinato.service.inputs.sequences import is_finite
from ostinato.service.state.arena import Arena, Rows, Slots

MAX_BOUND_SHAPES = 1024
"""Shapes of run whose buffers are kept bound; they share their memory, so that each costs a few KiB."""


class Result(NamedTuple):
    """What an iteration made.

    Attributes:
        outputs: rows ``[B, T, width]`` of the manifest's ``made``, or ``[B, 1, width]`` of a graph that answers once a
            run.
        states: arrays ``[B, ...]``, one for all that is carried; valid until the next iteration.
        failed_rows: bool ``[B]``, rows with an output or a state that may not be; None where there are none.
        slots: where the states were read, int64 ``[B]``.
        inputs: what went in, rows ``[B x T, width]``; valid until the next iteration.
    """

    outputs: NDArray[Any]
    states: tuple[NDArray[Any], ...]
    failed_rows: NDArray[np.bool_] | None
    slots: Slots
    inputs: NDArray[Any]


class Soundness:
    """What a model version may answer and keep: finite numbers, and what its manifest says beyond them.

    Attributes:
        doubtful_states: the states that need a look, each with its place among all.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._made = manifest.made
        self.doubtful_states = [
            (index, state)
            for index, state in enumerate(manifest.states)
            if state.dtype.startswith("float") and not (state.bounded or (state.missing and state.infinite))
        ]

    def failed_rows(self, outputs: NDArray[Any], states: Rows) -> NDArray[np.bool_] | None:
        """Rows, bool ``[B]``, with a number that may not be in an answer, or in a state; None where there are none."""
        failed: NDArray[np.bool_] | None = None
        for part, numbers in zip(self._made.parts, self._made.flat(outputs), strict=True):
            if numbers.dtype.kind == "f" and not is_finite(numbers):
                unsound = _any_of_row(part.is_unsound(numbers))
                failed = unsound if failed is None else failed | unsound
        for index, state in self.doubtful_states:
            if not is_finite(states[index]):
                unsound = _any_of_row(state.is_unsound(states[index]))
                failed = unsound if failed is None else failed | unsound
        return None if failed is None or not failed.any() else failed


class Runner:
    """One graph of one model version, run with the batch first and time second whatever axes the graph has.

    Args:
        manifest: names, dtypes and axes of the graph's inputs, outputs and states.
        directory: the version's directory.
        max_batch_size, max_iteration_steps: the largest iteration.

    Attributes:
        promise: in which shapes the graph is run, see ``Promise``; runs that have too few rows are filled up.
        max_batch_size, max_iteration_steps: as given, or less where the promise asks for it; may be lowered.
        takes_many_steps: whether the graph has ``T``.
        answers_every_step: see ``IterationRunner``.
        graph: what is run.

    Raises:
        ModelRejected: onnxruntime cannot load the graph, or its inputs and outputs are not the manifest's.
    """

    def __init__(
        self,
        manifest: Manifest,
        directory: Path,
        *,
        max_batch_size: int,
        max_iteration_steps: int,
        graph: Graph | None = None,
    ) -> None:
        self.manifest = manifest
        self._directory = directory
        self._largest = max_batch_size, max_iteration_steps
        self.graph = graph or Graph(directory / manifest.graphs["step"].file, *signature(manifest))
        self.promise = promise = manifest.promise or ANY
        self.takes_many_steps = manifest.inputs[0].time_axis is not None
        is_made_by_step = any(part.time_axis is not None for part in manifest.outputs)
        self.answers_every_step = is_made_by_step or not self.takes_many_steps
        self.max_batch_size = max_batch_size if promise.holds == "any" else min(max_batch_size, promise.rows)
        self.max_iteration_steps = max_iteration_steps if self.takes_many_steps else 1
        if promise.holds != "any":
            self.max_iteration_steps = promise.steps
        self._failed_rows = Soundness(manifest).failed_rows
        self._memory: dict[str, NDArray[Any]] = {}
        self._buffers: dict[tuple[int, int], Buffers] = {}

    def __repr__(self) -> str:
        return f"<Runner {self.manifest.name}/{self.manifest.version} {self.promise}>"

    def promising(self, promise: Promise) -> Runner:
        """A runner of the same graph in other shapes."""
        manifest = self.manifest.model_copy(update={"promise": promise})
        max_batch_size, max_iteration_steps = self._largest
        return Runner(
            manifest,
            self._directory,
            max_batch_size=max_batch_size,
            max_iteration_steps=max_iteration_steps,
            graph=self.graph,
        )

    def initial_states(self, batch_size: int) -> tuple[NDArray[Any], ...]:
        """What sequences carry that have not begun, arrays ``[batch_size, ...]``; their context is not known."""
        return tuple(np.repeat(state.initial_row()[None], batch_size, axis=0) for state in self.manifest.carried)

    def run_iteration(self, iteration: Iteration, arena: Arena) -> Result:
        """Run an iteration on the states that the arena holds for it; the arena is only read.

        Raises:
            RunFailed: onnxruntime failed.
        """
        works, num_rows, num_steps = iteration.works, iteration.num_rows, iteration.num_steps
        assert num_rows <= self.max_batch_size
        assert num_steps <= self.max_iteration_steps
        buffers = self._buffers_for(num_rows, num_steps)
        slots = slots_of(iteration)
        buffers.input_bytes[:] = b"".join([steps_of(work, num_steps) for work in works])
        arena.gather(slots, out=buffers.states)
        outputs = self._run(buffers, num_rows, num_steps)
        failed_rows = self._failed_rows(outputs, buffers.new_states)
        return Result(outputs, buffers.new_states, failed_rows, slots, buffers.inputs)

    def run(self, inputs: NDArray[Any], states: Rows) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Run the graph once, as an iteration would.

        Args:
            inputs: rows ``[B, T, width]`` of the manifest's ``given``.
            states: arrays ``[B, ...]``, one for all that is carried.

        Returns:
            outputs, rows ``[B, T, width]`` of ``made`` (or ``[B, 1, width]``), and the new states ``[B, ...]``.

        Raises:
            RunFailed: onnxruntime failed.
        """
        batch_size, num_steps, _ = inputs.shape
        assert self.promise.holds == "any" or (batch_size <= self.promise.rows and num_steps == self.promise.steps)
        buffers = self._buffers_for(batch_size, num_steps)
        buffers.inputs[:] = inputs.reshape(buffers.inputs.shape)
        for rows, given in zip(buffers.states, states, strict=True):
            rows[:] = given
        outputs = self._run(buffers, batch_size, num_steps)
        return outputs, tuple(rows.copy() for rows in buffers.new_states)

    def _run(self, buffers: Buffers, batch_size: int, num_steps: int) -> NDArray[Any]:
        try:
            return buffers.run(self.graph)
        except Exception as error:
            raise RunFailed(
                f"model {self.manifest.name}/{self.manifest.version}: the graph failed on {batch_size} rows of "
                f"{num_steps} steps: {error}"
            ) from error

    def _buffers_for(self, batch_size: int, num_steps: int) -> Buffers:
        found = self._buffers.get((batch_size, num_steps))
        if found is None:
            if len(self._buffers) >= MAX_BOUND_SHAPES:
                self._buffers.clear()
            binding, least_rows = self.graph.binding(), self.promise.rows
            found = Buffers(self.manifest, batch_size, num_steps, binding, self._flat, least_rows=least_rows)
            self._buffers[batch_size, num_steps] = found
        return found

    def _flat(self, name: str, dtype: str, num_values: int) -> NDArray[Any]:
        flat = self._memory.get(name)
        if flat is None or flat.size < num_values:
            flat = self._memory[name] = aligned_memory(num_values, dtype)
        return flat[:num_values]


def slots_of(iteration: Iteration) -> Slots:
    """Where the states of an iteration's rows stand, int64 ``[B]``."""
    works = iteration.works
    if len(works) == 1:
        return np.asarray(works[0].scratch if works[0].num_done else works[0].slots, np.int64)
    slots = chain.from_iterable([work.scratch if work.num_done else work.slots for work in works])  # type: ignore[misc]
    return np.fromiter(slots, np.int64, iteration.num_rows)


def steps_of(work: Work, num_steps: int) -> Any:
    """The steps ``[R x T, F]`` that an iteration of ``num_steps`` runs of a work; most often all that it has."""
    return work.inputs if work.num_steps == num_steps else work.inputs[work.num_done : work.num_done + num_steps]


def _any_of_row(wrong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows ``[B]`` of ``[B, ...]`` have any."""
    return np.asarray(wrong.reshape(len(wrong), -1).any(axis=1))


def signature(manifest: Manifest) -> tuple[TensorTypes, TensorTypes]:
    """What the graph takes and gives, as the manifest says."""
    states = manifest.states
    given: TensorTypes = {part.name: (part.dtype, part.shape) for part in manifest.inputs}
    given |= {state.input: (state.dtype, state.shape) for state in manifest.carried}
    given |= {part.name: (part.dtype, part.array().shape) for part in manifest.constants}
    made: TensorTypes = {part.name: (part.dtype, part.shape) for part in manifest.outputs}
    made |= {state.output: (state.dtype, state.shape) for state in states}
    return given, made
