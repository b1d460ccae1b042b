"""onnxruntime: gather the state, run the graph, check the numbers, hand them back. Nothing else imports it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# onnxruntime reports its use, and keeps a file for that under HOME, unless it is told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from numpy.typing import NDArray

from service.engine.batching import Iteration, Work
from service.errors import ModelRejected, RunFailed
from service.manifest import Manifest, State, Tensor
from service.state.arena import Arena, Rows

_DTYPES = {"float": "float32", "double": "float64", "bool": "bool"} | {
    name: name for name in ("float16", "int8", "int16", "int32", "int64", "uint8")
}


class Result(NamedTuple):
    """What an iteration made.

    Attributes:
        outputs: ``[B, T, O]``, or ``[B, 1, O]`` of a graph that answers once a run.
        states: arrays ``[B, ...]``, one for each state of the manifest.
        failed_rows: bool ``[B]``, rows with a number that is not finite; None where there are none.
    """

    outputs: NDArray[Any]
    states: tuple[NDArray[Any], ...]
    failed_rows: NDArray[np.bool_] | None


class Runner:
    """One graph of one model version, run with the batch first and time second whatever axes the graph has.

    Args:
        manifest: names, dtypes and axes of the graph's inputs, outputs and states.
        directory: the version's directory.
        max_batch_size, max_iteration_steps: the largest iteration, for which buffers are kept.

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
        self._input, self._output = manifest.inputs[0], manifest.outputs[0]
        self.max_batch_size = max_batch_size
        self.max_iteration_steps = max_iteration_steps if self._input.time_axis is not None else 1
        if not manifest.batch_invariant:
            self.max_batch_size = self.max_iteration_steps = 1
        num_values = self.max_batch_size * self.max_iteration_steps * self._input.num_features
        self._input_buffer = np.empty(num_values, self._input.dtype)
        self._state_buffers = tuple(
            np.empty((self.max_batch_size, *state.row_shape), state.dtype) for state in manifest.states
        )
        self._constants = {constant.name: constant.array() for constant in manifest.constants}
        self._fetches = [self._output.name, *(state.output for state in manifest.states)]
        self._num_features, self._row_shape = self._input.num_features, self._input.row_shape
        self._permutation = _permutation(self._input)
        self._inverse = np.argsort(_permutation(self._output))
        self._num_outputs = self._output.num_features
        self._has_output_steps = self._output.time_axis is not None
        self.answers_every_step = self._has_output_steps or self._input.time_axis is None

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
        return self.run(self._stack_inputs(iteration), self._gather_states(iteration, arena))

    def run(self, inputs: NDArray[Any], states: Rows) -> Result:
        """Run the graph once.

        Args:
            inputs: ``[B, T, F]``.
            states: arrays ``[B, ...]``.

        Raises:
            RunFailed: onnxruntime failed.
        """
        batch_size, num_steps, _ = inputs.shape
        feeds = {self._input.name: self._to_graph(inputs), **self._constants}
        for state, rows in zip(self.manifest.states, states, strict=True):
            feeds[state.input] = _batch_to_axis(rows, state)
        try:
            fetched = self._session.run(self._fetches, feeds)
        except Exception as error:
            raise RunFailed(
                f"model {self.manifest.name}/{self.manifest.version}: the graph failed on {batch_size} rows of "
                f"{num_steps} steps: {error}"
            ) from error
        outputs = self._from_graph(fetched[0])
        expected_steps = num_steps if self.answers_every_step else 1
        if outputs.shape != (batch_size, expected_steps, self._num_outputs):
            raise RunFailed(f"output {self._output.name!r} has shape {fetched[0].shape} for {num_steps} steps")
        new_states = tuple(
            np.moveaxis(rows, state.batch_axis, 0) if state.batch_axis else rows
            for state, rows in zip(self.manifest.states, fetched[1:], strict=True)
        )
        for state, before, after in zip(self.manifest.states, states, new_states, strict=True):
            if after.shape != before.shape:
                raise RunFailed(f"state {state.name!r} went in with shape {before.shape} and came out {after.shape}")
        return Result(outputs, new_states, _failed_rows(outputs))

    def _stack_inputs(self, iteration: Iteration) -> NDArray[Any]:
        works, num_rows, num_steps = iteration
        shape = (num_rows, num_steps, self._num_features)
        assert num_rows <= self.max_batch_size
        assert num_steps <= self.max_iteration_steps
        buffer = self._input_buffer[: num_rows * num_steps * shape[2]].reshape(shape)
        np.concatenate([_next_steps(work, num_steps) for work in works], out=buffer)
        return buffer

    def _gather_states(self, iteration: Iteration, arena: Arena) -> Rows:
        slots = np.concatenate([work.scratch if work.num_done else work.slots for work in iteration.works])
        buffers = tuple(buffer[: iteration.num_rows] for buffer in self._state_buffers)
        arena.gather(slots, out=buffers)
        return buffers

    def _to_graph(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """``[B, T, F]`` in the axes of the graph's input."""
        num_leading = len(self._permutation) - len(self._row_shape)
        shaped = inputs.reshape(*inputs.shape[:num_leading], *self._row_shape)
        return np.ascontiguousarray(shaped.transpose(self._permutation))

    def _from_graph(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """The graph's output as ``[B, T, O]``, or ``[B, 1, O]`` where it has no time axis. Undoes ``_to_graph``."""
        shaped = outputs.transpose(self._inverse)
        num_steps = shaped.shape[1] if self._has_output_steps else 1
        return shaped.reshape(shaped.shape[0], num_steps, -1)


def _next_steps(work: Work, num_steps: int) -> Any:
    """The steps ``[R, T, F]`` that this iteration runs of a work; most often all that it has."""
    return work.inputs if work.num_steps == num_steps else work.inputs[:, work.num_done : work.num_done + num_steps]


def _batch_to_axis(rows: NDArray[Any], state: State) -> NDArray[Any]:
    return rows if state.batch_axis == 0 else np.ascontiguousarray(np.moveaxis(rows, 0, state.batch_axis))


def _permutation(tensor: Tensor) -> tuple[int, ...]:
    """The axes of ``[B, T, ...]`` (or ``[B, ...]`` without T) in the order in which the graph wants them."""
    sizes = iter(range(1 + (tensor.time_axis is not None), len(tensor.shape)))
    return tuple({"B": 0, "T": 1}[axis] if isinstance(axis, str) else next(sizes) for axis in tensor.shape)


def _failed_rows(outputs: NDArray[Any]) -> NDArray[np.bool_] | None:
    if outputs.dtype.kind != "f" or np.isfinite(outputs).all():
        return None
    sound: NDArray[np.bool_] = np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    return ~sound


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
