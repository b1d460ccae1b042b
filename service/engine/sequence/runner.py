"""The runner of a graph over whole sequences: padded side by side, run, and cut to their lengths again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.devices import aligned_memory
from ostinato.service.artifact.manifest import ANY, Manifest, Promise
from ostinato.service.artifact.tensors import Input, Tensor
from ostinato.service.engine.graph import Graph, TensorTypes
from ostinato.service.engine.recurrent.buffers import permutation
from ostinato.service.engine.recurrent.runner import Soundness
from ostinato.service.engine.sequence.batching import Company, SequenceWork
from ostinato.service.errors import RunFailed
from ostinato.service.state.arena import Rows

Fill = Callable[[Input, NDArray[Any]], None]
"""Puts something into the padding ``[steps, *row_shape]`` of one sequence's input."""


class SequenceRunner:
    """One graph of one model version of task ``sequence``, in the shapes that its promise asks for.

    Args:
        manifest: names, dtypes and axes of the graph's inputs and outputs.
        directory: the version's directory.
        max_batch_size: sequences of a run, inclusive.

    Attributes:
        promise: see ``Promise``; runs that have too few rows are filled up with copies of the first.
        company: which sequences may share a run.

    Raises:
        ModelRejected: onnxruntime cannot load the graph, or its inputs and outputs are not the manifest's.
    """

    def __init__(self, manifest: Manifest, directory: Path, *, max_batch_size: int, graph: Graph | None = None) -> None:
        self.manifest = manifest
        self.max_batch_size = max_batch_size
        self._directory = directory
        self.graph = graph or Graph(directory / manifest.graphs["sequence"].file, *_signature(manifest))
        self.promise = manifest.promise or ANY
        self.company = Company.of(manifest)
        self._given, self._made = manifest.given, manifest.made
        self._fetches = [part.name for part in manifest.outputs]
        self._failed_rows = Soundness(manifest).failed_rows

    def __repr__(self) -> str:
        return f"<SequenceRunner {self.manifest.name}/{self.manifest.version} {self.promise}>"

    def promising(self, promise: Promise) -> SequenceRunner:
        """A runner of the same graph in other shapes."""
        manifest = self.manifest.model_copy(update={"promise": promise})
        return SequenceRunner(manifest, self._directory, max_batch_size=self.max_batch_size, graph=self.graph)

    def run_works(self, works: Sequence[SequenceWork], num_steps: int) -> list[NDArray[Any] | None]:
        """Run works together, ``num_steps`` each; returns the rows of each, None where a number may not be answered.

        Raises:
            RunFailed: onnxruntime failed.
        """
        made = self.run([work.rows for work in works], [work.context for work in works], num_steps)
        return [None if self._failed_rows(rows[None], ()) is not None else rows for rows in made]

    def run(
        self,
        sequences: Sequence[NDArray[Any]],
        contexts: Sequence[Rows] | None = None,
        num_steps: int | None = None,
        fill: Fill | None = None,
    ) -> list[NDArray[Any]]:
        """Run sequences together.

        Args:
            sequences: rows ``[n, width]`` of the manifest's ``given``.
            contexts: of each sequence, an array for each context.
            num_steps: that they are padded to; as the promise says, where not given.
            fill: puts something into the padding, which else is zeros.

        Returns:
            of each sequence, rows ``[n, width]`` of the manifest's ``made``, or ``[1, width]`` of a graph that answers
            once a sequence.

        Raises:
            RunFailed: onnxruntime failed.
        """
        contexts = contexts or [()] * len(sequences)
        steps = max(self.company.padded_steps(len(rows)) for rows in sequences)
        num_steps = steps if num_steps is None else num_steps
        num_rows = max(len(sequences), self.promise.rows)
        feeds = self._feeds(sequences, num_rows, num_steps, fill)
        for index, part in enumerate(self.manifest.context):
            feeds[part.name], rows_of = _memory(part, num_rows, 0)
            for row in range(num_rows):
                rows_of[row] = contexts[row if row < len(contexts) else 0][index]
        if self.manifest.lengths:
            lengths = [len(rows) for rows in sequences]
            feeds[self.manifest.lengths] = np.array(lengths + lengths[:1] * (num_rows - len(lengths)), np.int64)
        try:
            made = self.graph.run(self._fetches, feeds)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise RunFailed(
                f"model {self.manifest.name}/{self.manifest.version}: the graph failed on {num_rows} sequences of "
                f"{num_steps} steps: {error}"
            ) from error
        return self._cut(made, [len(rows) for rows in sequences])

    def _feeds(
        self, sequences: Sequence[NDArray[Any]], num_rows: int, num_steps: int, fill: Fill | None
    ) -> dict[str, NDArray[Any]]:
        feeds: dict[str, NDArray[Any]] = {}
        tensors = [self._given.unpack(rows) for rows in sequences]
        for index, part in enumerate(self._given.parts):
            feeds[part.name], rows_of = _memory(part, num_rows, num_steps)
            for row, tensor in enumerate(tensors):
                end = len(tensor[index])
                rows_of[row, :end] = tensor[index]
                rows_of[row, end:] = 0
                if fill is not None and end < num_steps:
                    fill(part, rows_of[row, end:])
            rows_of[len(tensors) :] = rows_of[0]
        return feeds

    def _cut(self, made: Sequence[NDArray[Any]], lengths: Sequence[int]) -> list[NDArray[Any]]:
        """The rows of each sequence, out of what the graph made of all."""
        parts = self._made.parts
        for array, part in zip(made, parts, strict=True):
            if array.ndim != len(part.shape):
                raise RunFailed(
                    f"output {part.name!r} has {array.ndim} axes, and {len(part.shape)} in the manifest: a squeeze "
                    "that names no axis takes that of a batch of one, too (say squeeze(-1))"
                )
        outputs = [array.transpose(np.argsort(permutation(part))) for array, part in zip(made, parts, strict=True)]
        are_steps = [part.time_axis is not None for part in parts]
        answers = []
        for row, length in enumerate(lengths):
            num_rows = length if any(are_steps) else 1
            if self._made.is_single:
                rows = np.array(outputs[0][row, :length] if are_steps[0] else outputs[0][row])
                answers.append(rows.reshape(num_rows, self._made.width))
                continue
            packed = self._made.zeros(num_rows)
            for tensor, output, is_step in zip(self._made.unpack(packed), outputs, are_steps, strict=True):
                tensor[...] = output[row, :length] if is_step else output[row]
            answers.append(self._made.settle(packed))
        return answers


def run_alone(runner: SequenceRunner, rows: NDArray[Any], context: Rows = ()) -> NDArray[Any]:
    """The offline run of one sequence ``[n, width]``, which is what every answer for it equals: by itself, at its own
    length, or as the model's promise has it padded.

    Raises:
        RunFailed: the graph failed.
    """
    return runner.run([rows], [context])[0]


def _memory(part: Tensor, num_rows: int, num_steps: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """An array in the graph's own axes, and the same seen with the batch first and the steps second."""
    sizes = {"B": num_rows, "T": num_steps}
    shape = [sizes[axis] if isinstance(axis, str) else axis for axis in part.shape]
    array = aligned_memory(int(np.prod(shape)), part.dtype).reshape(shape)
    return array, array.transpose(np.argsort(permutation(part)))


def _signature(manifest: Manifest) -> tuple[TensorTypes, TensorTypes, Any]:
    """What the graph takes and gives, as the manifest says."""
    given: TensorTypes = {part.name: (part.dtype, part.shape) for part in (*manifest.inputs, *manifest.context)}
    if manifest.lengths:
        given[manifest.lengths] = ("int64", ("B",))
    made: TensorTypes = {part.name: (part.dtype, part.shape) for part in manifest.outputs}
    return given, made, manifest.constants
