"""Memory of fixed addresses for one shape of run, bound to the graph once and used for every run of that shape.

With the arrays handed over again at each run, as ``InferenceSession.run`` does, one row of one step costs 11 us; bound,
it costs 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import State, Tensor
from ostinato.service.engine.graph import Graph

Allocate = Callable[[str, str, int], NDArray[Any]]
"""(name, dtype, number of values) -> a flat array, the same memory for each name as long as it is large enough."""


class Buffers:
    """The memory of a run of ``B`` rows and ``T`` steps, seen with the batch first and time second whatever axes the
    graph has.

    Args:
        binding: onnxruntime's ``IOBinding``, which is told the addresses.
        least_rows: that the graph is given; where ``B`` is less, the rows behind are copies of the first. A promise
            that holds for runs of two rows, or of 64 always, holds for copies as well as for anything else; and a copy
            is an input that the graph takes, as zeros may not be.

    Attributes:
        inputs: rows ``[B x T, width]`` of the manifest's ``given``, written before a run.
        input_bytes: the same memory, for works' bytes to be put one after another.
        states: arrays ``[B, ...]``, one for all that is carried, written before a run.
        new_states: arrays ``[B, ...]``, what a run made of ``states``; of what stays as it is, the same memory.
    """

    def __init__(
        self,
        manifest: Manifest,
        batch_size: int,
        num_steps: int,
        binding: Any,
        memory: Allocate,
        *,
        least_rows: int = 1,
    ) -> None:
        num_run = max(batch_size, least_rows)
        self._shape = num_run, num_steps
        self._manifest = manifest
        self._binding = binding
        self._memory = memory
        self._batch_size = batch_size
        given, made = manifest.given, manifest.made
        first = given.parts[0]
        graph_inputs = [self._bind(binding.bind_input, part.name, part) for part in given.parts]
        self._steps_of_graph = [in_steps(each, part) for each, part in zip(graph_inputs, given.parts, strict=True)]
        self._is_direct = given.is_single and permutation(first) == tuple(range(len(first.shape)))
        if self._is_direct:
            self.inputs = graph_inputs[0].reshape(num_run * num_steps, given.width)
        else:
            self.inputs = memory("inputs in rows", given.dtype.name, num_run * num_steps * given.width)
            self.inputs = self.inputs.reshape(num_run * num_steps, given.width)
        self._tensors = given.unpack(self.inputs.reshape(num_run, num_steps, given.width))
        self.input_bytes = bytes_of(self.inputs)
        carried = manifest.carried
        self.states = tuple(self._bind_state(binding.bind_input, state.input, state) for state in carried)
        for constant in manifest.constants:
            binding.bind_cpu_input(constant.name, constant.array())
        self._made = made
        self._outputs = [in_steps(self._bind(binding.bind_output, part.name, part), part) for part in made.parts]
        self._steps_made = max(rows.shape[1] for rows in self._outputs)
        self.new_states = tuple(
            self._bind_state(binding.bind_output, state.output, state) if state.output else rows
            for state, rows in zip(carried, self.states, strict=True)
        )
        self._filled: tuple[NDArray[Any], ...] = ()
        if num_run > batch_size:
            self._fill()

    def run(self, graph: Graph) -> NDArray[Any]:
        """Run the graph on what is in ``inputs`` and ``states``; returns rows ``[B, T, width]`` of the manifest's
        ``made``, or ``[B, 1, width]`` of a graph that answers once, as an array of the caller's own.
        """
        for rows in self._filled:
            rows[self._batch_size :] = rows[0]
        if not self._is_direct:
            for steps, tensor in zip(self._steps_of_graph, self._tensors, strict=True):
                steps[...] = tensor
        graph.session.run_with_iobinding(self._binding, graph.run_options)
        if self._made.is_single:
            return self._outputs[0].copy().reshape(self._batch_size, self._steps_made, self._made.width)
        rows = self._made.zeros(self._batch_size, self._steps_made)
        for tensor, outputs in zip(self._made.unpack(rows), self._outputs, strict=True):
            tensor[...] = outputs
        return self._made.settle(rows)

    def _bind(self, bind: Any, name: str, part: Tensor | State) -> NDArray[Any]:
        """Memory in the graph's own axes, its address told to the graph."""
        sizes = dict(zip("BT", self._shape, strict=True))
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in part.shape]
        flat = self._memory(name, part.dtype, int(np.prod(shape)))
        bind(name, "cpu", 0, np.dtype(part.dtype).type, shape, flat.ctypes.data)
        return flat.reshape(shape)

    def _bind_state(self, bind: Any, name: str, state: State) -> NDArray[Any]:
        return np.moveaxis(self._bind(bind, name, state), state.batch_axis, 0)

    def _fill(self) -> None:
        """Show the first rows only, and keep all of them to be filled before a run."""
        batch_size, (num_run, num_steps) = self._batch_size, self._shape
        self._filled = (self.inputs.reshape(num_run, -1), *self.states)
        self.inputs = self.inputs[: batch_size * num_steps]
        self.input_bytes = bytes_of(self.inputs)
        self.states = tuple(rows[:batch_size] for rows in self.states)
        self.new_states = tuple(rows[:batch_size] for rows in self.new_states)
        self._outputs = [rows[:batch_size] for rows in self._outputs]


def bytes_of(inputs: NDArray[Any]) -> memoryview:
    """The memory of an array, to be written."""
    return memoryview(inputs.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def in_steps(graph_memory: NDArray[Any], part: Tensor) -> NDArray[Any]:
    """Memory in the graph's own axes, seen as ``[B, T, ...]``; ``[B, 1, ...]`` where the graph has no ``T``."""
    first = graph_memory.transpose(np.argsort(permutation(part)))
    return first if part.time_axis is not None else first[:, None]


def permutation(tensor: Tensor) -> tuple[int, ...]:
    """The axes of ``[B, T, ...]`` (or ``[B, ...]`` without T) in the order in which the graph wants them."""
    sizes = iter(range(1 + (tensor.time_axis is not None), len(tensor.shape)))
    return tuple({"B": 0, "T": 1}[axis] if isinstance(axis, str) else next(sizes) for axis in tensor.shape)
