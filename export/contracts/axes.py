"""Axes of sequences: ``[B, T, ...]`` all over ``export/``, others where a graph wants them; and runs in chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.tensors import Tensor

Array: TypeAlias = NDArray[Any]
States: TypeAlias = tuple[Array, ...]


class StepFunction(Protocol):
    """Something recurrent: the trained network, or its graph. Arrays have the axes that the manifest tells."""

    def __call__(self, x: Array, states: States) -> tuple[Array, States]:
        """One run over ``x``: the output, and the states after it."""
        ...


def to_axes(sequence: Array, tensor: Tensor) -> Array:
    """``[B, T, ...]`` in the axes of ``tensor``; without ``T`` there, ``sequence`` holds one step."""
    if tensor.time_axis is None:
        assert sequence.shape[1] == 1, "a tensor without T takes one step"
        return np.ascontiguousarray(np.moveaxis(sequence[:, 0], 0, tensor.batch_axis))
    return np.ascontiguousarray(sequence.transpose(_permutation(tensor)))


def from_axes(array: Array, tensor: Tensor) -> Array:
    """Undoes ``to_axes``: ``[B, T, ...]``, or ``[B, 1, ...]`` where ``tensor`` has no ``T``."""
    if tensor.time_axis is None:
        return np.moveaxis(array, tensor.batch_axis, 0)[:, None]
    return array.transpose(np.argsort(_permutation(tensor)))


def run_in_chunks(
    step: StepFunction, inputs: Tensor, outputs: Tensor, sequence: Array, states: States, cuts: Sequence[int] = ()
) -> tuple[Array, States]:
    """Run ``sequence [B, T, ...]`` in the chunks that begin at ``cuts``, the states carried from one to the next.

    A step without ``T`` in its input is given one step at a time whatever the cuts are.

    Returns:
        the output ``[B, T, ...]``, or ``[B, 1, ...]`` of the last run where many steps have one answer; the states.
    """
    num_steps = sequence.shape[1]
    starts = range(num_steps) if inputs.time_axis is None else [0, *cuts]
    answers = []
    for start, end in zip(starts, [*starts[1:], num_steps], strict=True):
        y, states = step(to_axes(sequence[:, start:end], inputs), states)
        answers.append(from_axes(y, outputs))
    many_to_one = outputs.time_axis is None and inputs.time_axis is not None
    return answers[-1] if many_to_one else np.concatenate(answers, axis=1), states


def failed_rows(outputs: Array) -> Array:
    """Rows of outputs ``[B, ...]`` with NaN, bool ``[B]``: the service does not answer such a row, but fails it."""
    if outputs.dtype.kind != "f":
        return np.zeros(len(outputs), bool)
    return np.asarray(np.isnan(outputs).reshape(len(outputs), -1).any(axis=1))


def _permutation(tensor: Tensor) -> tuple[int, ...]:
    sizes = iter(range(2, len(tensor.shape)))
    return tuple({"B": 0, "T": 1}[axis] if isinstance(axis, str) else next(sizes) for axis in tensor.shape)
