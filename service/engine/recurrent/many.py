"""The offline run of many sequences of any lengths together: the numbers of ``run_offline``, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.recurrent.offline import run_sequence
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.state.arena import Rows

LONGEST_STRIDE = 64
"""Steps of a run at most, a power of two; a sequence is cut into strides as into the bits of its length."""

MAX_ROW_STEPS = 2048
"""Rows x steps of a run, inclusive: nobody waits for one, and more would leave the processor's caches."""


def run_many(runner: Runner, inputs: NDArray[Any], bounds: NDArray[np.int64], begin: Rows) -> tuple[NDArray[Any], Rows]:
    """Run sequences that lie one after another, each in the shapes that the model's promise asks for.

    Args:
        inputs: rows ``[S, width]`` of the manifest's ``given``, S the steps of all sequences.
        bounds: int64 ``[N + 1]``: sequence i is ``inputs[bounds[i]:bounds[i + 1]]``; it may have no step.
        begin: what they begin with, arrays ``[N, ...]`` for all that is carried; not changed.

    Returns:
        rows ``[S, width]`` of ``made`` (``[N, width]`` of a graph that answers once a run: the last answer of each,
        zeros where it has no step), and what is carried behind them, ``[N, ...]``.

    Raises:
        RunFailed: the graph failed.
    """
    states = tuple(np.array(each) for each in begin)
    lengths = np.diff(bounds)
    outputs = runner.manifest.made.zeros(len(inputs) if runner.answers_every_step else len(lengths))
    done = np.zeros(len(lengths), np.int64)
    stride = LONGEST_STRIDE if runner.promise.holds == "any" and runner.takes_many_steps else 1
    while stride:
        rows = np.flatnonzero(lengths - done >= stride)
        while len(rows):
            for first in range(0, len(rows), rows_of_run(runner, stride)):
                together = rows[first : first + rows_of_run(runner, stride)]
                places = (bounds[together] + done[together])[:, None] + np.arange(stride)
                made, behind = _run_sound(runner, inputs[places], tuple(each[together] for each in states))
                outputs[places if runner.answers_every_step else together[:, None]] = made
                for kept, new in zip(states, behind, strict=True):
                    kept[together] = new
            done[rows] += stride
            rows = rows[lengths[rows] - done[rows] >= stride]
        stride //= 2
    if runner.answers_every_step and any(part.time_axis is None for part in runner.manifest.outputs):
        for start, end in pairwise(bounds):
            runner.manifest.made.settle(outputs[start:end])
    return outputs, states


def rows_of_run(runner: Runner, stride: int) -> int:
    """How many sequences run together for so many steps."""
    if runner.promise.holds != "any":
        return runner.promise.rows
    return max(1, min(runner.max_batch_size, MAX_ROW_STEPS // stride))


def _run_sound(runner: Runner, inputs: NDArray[Any], states: Rows) -> tuple[NDArray[Any], Rows]:
    """A run of rows ``[B, T, width]``; where a step of a row has no answer, that row again a step at a time, as
    ``run_offline`` does it.
    """
    made, behind = runner.run(inputs, states)
    if runner.promise.holds != "any" or inputs.shape[1] == 1:
        return made, behind
    wrong = unsound_rows(runner, made)
    if len(wrong):
        again, states_again = run_sequence(runner, inputs[wrong], 1, begin=tuple(each[wrong] for each in states))
        made[wrong] = again
        for new, right in zip(behind, states_again, strict=True):
            new[wrong] = right
    return made, behind


def unsound_rows(runner: Runner, outputs: NDArray[Any]) -> Sequence[int] | NDArray[np.int64]:
    """Which rows of ``[B, T, width]`` have a step without an answer."""
    layout = runner.manifest.made
    found = np.zeros(len(outputs), bool)
    for part, numbers in zip(layout.parts, layout.flat(outputs), strict=True):
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            found |= part.is_unsound(numbers).reshape(len(numbers), -1).any(axis=1)
    return np.flatnonzero(found)
