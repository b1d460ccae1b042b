"""The runner of a graph on a device: always at one shape, with the states there from one iteration to the next.

On a GPU a row's numbers depend on the shape of its run: the library takes another algorithm for another number of rows.
They depend on nothing else, as far as was seen. So there is one shape, live and offline, and short batches are filled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.device_rows import DeviceRows
from ostinato.service.artifact.devices import Device
from ostinato.service.artifact.manifest import Manifest, Promise
from ostinato.service.engine.graph import Graph
from ostinato.service.engine.recurrent.batching import Iteration
from ostinato.service.engine.recurrent.device_buffers import DeviceBuffers
from ostinato.service.engine.recurrent.runner import Result, Runner, Soundness, signature, slots_of, steps_of
from ostinato.service.errors import RunFailed
from ostinato.service.state.arena import Arena, Rows


class DeviceRunner(Runner):
    """See ``Runner``; its promise is ``fixed`` at ``num_rows`` x 1, and its arenas are the device's.

    Args:
        num_rows: of every run.
        graph: one on the device; None = it is opened.

    Attributes:
        device: where it runs.
        made_on: the device and the shape, by which states say where they were made.

    Raises:
        ModelRejected: onnxruntime cannot run the graph there.
    """

    def __init__(
        self, manifest: Manifest, directory: Path, device: Device, num_rows: int, *, graph: Graph | None = None
    ) -> None:
        if graph is None:
            graph = Graph(directory / manifest.graphs["step"].file, *signature(manifest), device=device)
        promise = Promise(holds="fixed", rows=num_rows, steps=1)
        manifest = manifest.model_copy(update={"promise": promise})
        super().__init__(manifest, directory, max_batch_size=num_rows, max_iteration_steps=1, graph=graph)
        self.device: Device = device
        self.made_on = f"{device.name}, {num_rows} x 1"
        self._memory_of_shape = DeviceBuffers(manifest, num_rows, graph, device)
        self._soundness = Soundness(manifest)
        self._soundness_of_outputs = Soundness(manifest.model_copy(update={"states": ()}))

    def __repr__(self) -> str:
        return f"<DeviceRunner {self.manifest.name}/{self.manifest.version} on {self.made_on}>"

    def promising(self, promise: Promise) -> DeviceRunner:
        """A runner of the same graph, of another number of rows."""
        assert promise.holds == "fixed"
        return DeviceRunner(self.manifest, self._directory, self.device, promise.rows, graph=self.graph)

    def run_iteration(self, iteration: Iteration, arena: Arena) -> Result:
        """See ``Runner.run_iteration``; of the arena's device. The result's states are ``DeviceRows``."""
        num_rows, buffers = iteration.num_rows, self._memory_of_shape
        slots = slots_of(iteration)
        inputs = b"".join([steps_of(work, 1) for work in iteration.works])
        buffers.input_bytes[: len(inputs)] = inputs
        places = np.full(self.max_batch_size, slots[0])
        places[:num_rows] = slots
        arena.gather(places, out=buffers.states)  # type: ignore[arg-type]
        outputs = self._run_rows(num_rows)
        states: Any = tuple(rows[:num_rows] for rows in buffers.new_states)
        return Result(outputs, states, self._failed(outputs, states), slots, buffers.inputs[:num_rows])

    def run(self, inputs: NDArray[Any], states: Rows) -> tuple[NDArray[Any], tuple[NDArray[Any], ...]]:
        """See ``Runner.run``; the new states are ``DeviceRows``, and so may those be that are given: a sequence's leave
        the device at its end.
        """
        num_rows, num_steps, _ = inputs.shape
        assert num_steps == 1
        buffers = self._memory_of_shape
        buffers.inputs[:num_rows] = inputs[:, 0]
        places = np.zeros(self.max_batch_size, np.int64)
        places[:num_rows] = np.arange(num_rows)
        filled = self.device.upload(places)
        for rows, given in zip(buffers.states, states, strict=True):
            DeviceRows.of(given, rows.dtype, self.device).gather(filled, rows)
        outputs = self._run_rows(num_rows)
        behind: Any = tuple(rows[:num_rows].copy() for rows in buffers.new_states)
        return outputs, behind

    def run_again(self) -> None:
        """Run on whatever is there, all rows: what an iteration takes except for the way of its states on the device.

        Raises:
            RunFailed: onnxruntime failed.
        """
        self._run_rows(self.max_batch_size)

    def _run_rows(self, num_rows: int) -> NDArray[Any]:
        try:
            return self._memory_of_shape.run(num_rows)
        except Exception as error:
            raise RunFailed(
                f"model {self.manifest.name}/{self.manifest.version}: the graph failed on {num_rows} rows "
                f"({self.made_on}): {error}"
            ) from error

    def _failed(self, outputs: NDArray[Any], states: Any) -> NDArray[np.bool_] | None:
        """See ``Soundness.failed_rows``; states come to the host only where one of them is not finite."""
        doubtful = [states[place].numbers for place, _ in self._soundness.doubtful_states]
        if self.device.are_finite(doubtful):
            return self._soundness_of_outputs.failed_rows(outputs, ())
        return self._soundness.failed_rows(outputs, [np.asarray(rows) for rows in states])
