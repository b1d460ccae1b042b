"""Memory for runs of one shape on a device, bound to the graph once; what goes in and comes out passes the host."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.device_rows import DeviceRows
from ostinato.service.artifact.devices import Device, DeviceNumbers
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import State, Tensor
from ostinato.service.engine.graph import Graph
from ostinato.service.engine.recurrent.buffers import bytes_of, in_steps


class DeviceBuffers:
    """The memory of a run of ``B`` rows and one step, seen with the batch first whatever axes the graph has.

    Args:
        graph: one on the device.

    Attributes:
        inputs: rows ``[B, width]`` of the manifest's ``given``, on the host, written before a run.
        input_bytes: the same memory, for works' bytes to be put one after another.
        states: ``DeviceRows`` ``[B, ...]``, one for all that is carried, written before a run.
        new_states: ``[B, ...]`` in the same way, what a run made of ``states``; of what stays as it is, the same
        memory.
    """

    def __init__(self, manifest: Manifest, num_rows: int, graph: Graph, device: Device) -> None:
        self._num_rows, self._graph, self._device = num_rows, graph, device
        self._binding = binding = graph.binding()
        given, made = manifest.given, manifest.made
        self._given = [self._bind(binding.bind_input, part.name, part) for part in given.parts]
        # In the graph's own axes, so that a copy to the device, or from it, is of one piece.
        staged = [device.pinned(each.shape, part.dtype) for each, part in zip(self._given, given.parts, strict=True)]
        self._staged = staged
        in_graph = [in_steps(each, part) for each, part in zip(staged, given.parts, strict=True)]
        self._moves: list[tuple[NDArray[Any], NDArray[Any]]] = []
        if given.is_single and in_graph[0].flags.c_contiguous:  # of one step, rows lie so whether T or B is the first
            self.inputs = in_graph[0].reshape(num_rows, given.width)
        else:
            self.inputs = device.pinned((num_rows, given.width), given.dtype)
            self._moves = list(zip(in_graph, given.unpack(self.inputs[:, None]), strict=True))
        self.input_bytes = bytes_of(self.inputs)
        carried = manifest.carried
        self.states = tuple(self._bind_state(binding.bind_input, state.input, state) for state in carried)
        for constant in manifest.constants:
            binding.bind_cpu_input(constant.name, constant.array())
        self._made = made
        self._answers = [self._bind(binding.bind_output, part.name, part) for part in made.parts]
        self._fetched = [device.pinned(each.shape, p.dtype) for each, p in zip(self._answers, made.parts, strict=True)]
        self._outputs = [in_steps(each, part) for each, part in zip(self._fetched, made.parts, strict=True)]
        self.new_states = tuple(
            self._bind_state(binding.bind_output, state.output, state) if state.output else rows
            for state, rows in zip(carried, self.states, strict=True)
        )

    def run(self, num_rows: int) -> NDArray[Any]:
        """Run the graph on the first ``num_rows`` of ``inputs`` and on all ``states``; returns rows ``[num_rows, 1,
        width]`` of the manifest's ``made``, an array of the caller's own. The rows behind are given copies of the first
        inputs: what the graph takes, as zeros may not be.
        """
        device = self._device
        self.inputs[num_rows:] = self.inputs[0]
        for steps, tensor in self._moves:
            steps[...] = tensor
        for numbers, staged in zip(self._given, self._staged, strict=True):
            device.write(numbers, staged)
        device.synchronize()  # onnxruntime's stream waits for nobody's
        self._graph.session.run_with_iobinding(self._binding, self._graph.run_options)
        self._binding.synchronize_outputs()
        for numbers, fetched in zip(self._answers, self._fetched, strict=True):
            device.read(numbers, fetched)
        rows = self._made.zeros(num_rows, 1)
        for tensor, outputs in zip(self._made.unpack(rows), self._outputs, strict=True):
            tensor[...] = outputs[:num_rows]
        return self._made.settle(rows)

    def _bind(self, bind: Any, name: str, part: Tensor | State) -> DeviceNumbers:
        """Memory of the device in the graph's own axes, its address told to the graph."""
        sizes = {"B": self._num_rows, "T": 1}
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in part.shape]
        numbers = self._device.empty(shape, part.dtype)
        bind(name, self._device.memory, 0, np.dtype(part.dtype).type, shape, self._device.address(numbers))
        return numbers

    def _bind_state(self, bind: Any, name: str, state: State) -> DeviceRows:
        numbers = self._bind(bind, name, state)
        return DeviceRows(self._device.arrays.moveaxis(numbers, state.batch_axis, 0), self._device)
