"""onnxruntime: gather the state, run the graph, check the numbers, hand them back. Nothing else imports it."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# onnxruntime reports its use, and keeps a file for that under HOME, unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from numpy.typing import NDArray

from service.engine.batching import Iteration, Work
from service.engine.buffers import Buffers
from service.errors import ModelRejected, RunFailed
from service.manifest import Manifest
from service.sequences import is_finite
from service.state.arena import Arena, Rows, Slots

_DTYPES = {"float": "float32", "double": "float64", "bool": "bool"} | {
    name: name for name in ("float16", "int8", "int16", "int32", "int64", "uint8")
}


MAX_BOUND_SHAPES = 1024
"""Shapes of run whose buffers are kept bound; they share their memory, so that each costs a few KiB."""


class Result(NamedTuple):
    """What an iteration made.

    Attributes:
        outputs: ``[B, T, O]``, or ``[B, 1, O]`` of a graph that answers once a run.
        states: arrays ``[B, ...]``, one for each state of the manifest; valid until the next iteration.
        failed_rows: bool ``[B]``, rows with a number that is not finite; None where there are none.
        slots: where the states were read, int64 ``[B]``.
        inputs: what went in, ``[B x T, F]``; valid until the next iteration.
    """

    outputs: NDArray[Any]
    states: tuple[NDArray[Any], ...]
    failed_rows: NDArray[np.bool_] | None
    slots: Slots
    inputs: NDArray[Any]


class Runner:
    """One graph of one model version, run with the batch first and time second whatever axes the graph has.

    Args:
        manifest: names, dtypes and axes of the graph's inputs, outputs and states.
        directory: the version's directory.
        max_batch_size, max_iteration_steps: the largest iteration.

    Attributes:
        max_batch_size, max_iteration_steps: as given, or 1 where the graph takes no more; may be lowered.
        answers_every_step: see ``IterationRunner``.

    Raises:
        ModelRejected: onnxruntime cannot load the graph, or its inputs and outputs are not the manifest's.
    """

    def __init__(self, manifest: Manifest, directory: Path, *, max_batch_size: int, max_iteration_steps: int) -> None:
        self.manifest = manifest
        path = directory / manifest.graphs["step"].file
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ModelRejected(f"{path}: onnxruntime cannot load the graph: {error}") from error
        _check_signature(manifest, self._session, path)
        self.max_batch_size = max_batch_size
        self.max_iteration_steps = max_iteration_steps if manifest.inputs[0].time_axis is not None else 1
        if not manifest.batch_invariant:
            self.max_batch_size = self.max_iteration_steps = 1
        self.answers_every_step = manifest.outputs[0].time_axis is not None or manifest.inputs[0].time_axis is None
        self._memory: dict[str, NDArray[Any]] = {}
        self._buffers: dict[tuple[int, int], Buffers] = {}

    def __repr__(self) -> str:
        return f"<Runner {self.manifest.name}/{self.manifest.version}>"

    def initial_states(self, batch_size: int) -> tuple[NDArray[Any], ...]:
        """States of ``batch_size`` sequences that have not begun, arrays ``[B, ...]``."""
        return tuple(np.repeat(state.initial_row()[None], batch_size, axis=0) for state in self.manifest.states)

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
        return Result(outputs, buffers.new_states, _failed_rows(outputs), slots, buffers.inputs)

    def run(self, inputs: NDArray[Any], states: Rows) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """Run the graph once, as an iteration would.

        Args:
            inputs: ``[B, T, F]``.
            states: arrays ``[B, ...]``.

        Returns:
            outputs ``[B, T, O]`` (or ``[B, 1, O]``) and the new states ``[B, ...]``.

        Raises:
            RunFailed: onnxruntime failed.
        """
        batch_size, num_steps, _ = inputs.shape
        buffers = self._buffers_for(batch_size, num_steps)
        buffers.inputs[:] = inputs.reshape(buffers.inputs.shape)
        for rows, given in zip(buffers.states, states, strict=True):
            rows[:] = given
        outputs = self._run(buffers, batch_size, num_steps)
        return outputs, tuple(rows.copy() for rows in buffers.new_states)

    def _run(self, buffers: Buffers, batch_size: int, num_steps: int) -> NDArray[Any]:
        try:
            return buffers.run(self._session)
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
            found = Buffers(self.manifest, batch_size, num_steps, self._session.io_binding(), self._flat)
            self._buffers[batch_size, num_steps] = found
        return found

    def _flat(self, name: str, dtype: str, num_values: int) -> NDArray[Any]:
        flat = self._memory.get(name)
        if flat is None or flat.size < num_values:
            flat = self._memory[name] = np.empty(num_values, dtype)
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


def _failed_rows(outputs: NDArray[Any]) -> NDArray[np.bool_] | None:
    if outputs.dtype.kind != "f":
        return None
    if is_finite(outputs):
        return None
    sound: NDArray[np.bool_] = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    return None if sound.all() else ~sound


def _check_signature(manifest: Manifest, session: onnxruntime.InferenceSession, path: Path) -> None:
    """Compare names, dtypes and fixed sizes of the graph's inputs and outputs with the manifest's."""
    states = manifest.states
    given = {part.name: (part.dtype, part.shape) for part in manifest.inputs}
    given |= {state.input: (state.dtype, state.shape) for state in states}
    given |= {part.name: (part.dtype, part.array().shape) for part in manifest.constants}
    made = {part.name: (part.dtype, part.shape) for part in manifest.outputs}
    made |= {state.output: (state.dtype, state.shape) for state in states}
    graph_inputs, graph_outputs = session.get_inputs(), session.get_outputs()
    if missing := {node.name for node in graph_inputs} - set(given):
        raise ModelRejected(f"{path}: the graph wants inputs that the manifest does not name: {sorted(missing)}")
    for role, nodes, parts in (("input", graph_inputs, given), ("output", graph_outputs, made)):
        by_name = {node.name: node for node in nodes}
        for name, (dtype, shape) in parts.items():
            if name not in by_name:
                raise ModelRejected(f"{path}: the graph has no {role} {name!r}; it has {sorted(by_name)}")
            _check_tensor(f"{path}: {role} {name!r}", by_name[name], dtype, shape)


def _check_tensor(place: str, node: Any, dtype: str, shape: tuple[Any, ...]) -> None:
    graph_dtype = _DTYPES.get(str(node.type).removeprefix("tensor(").removesuffix(")"), str(node.type))
    if graph_dtype != dtype:
        raise ModelRejected(f"{place} is {graph_dtype} in the graph and {dtype} in the manifest")
    # An annotation without axes says nothing; one with names for axes says that they may vary.
    if node.shape and len(node.shape) != len(shape):
        raise ModelRejected(f"{place} has {len(node.shape)} axes in the graph and {len(shape)} in the manifest")
    for axis, (fixed, wanted) in enumerate(zip(node.shape, shape, strict=False)):
        if isinstance(fixed, int) and fixed != wanted:
            raise ModelRejected(f"{place}: axis {axis} is {fixed} in the graph and {wanted!r} in the manifest")
