"""The offline run: what a model answers for whole sequences, which is what every live session's answers equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.state.arena import Rows

Answers: TypeAlias = tuple[NDArray[Any], Rows]
"""Outputs, rows ``[B, T, width]`` (``[B, 1, width]`` of a graph that answers once a run), and what is carried behind
them, ``[B, ...]``.
"""


def run_offline(
    runner: Runner,
    inputs: NDArray[Any],
    report: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    begin: Rows | None = None,
) -> Answers:
    """Run whole sequences, rows ``[B, T, width]``, as the model's promise says.

    ``any``: each sequence by itself and in one run of the graph, or a step a run where the graph takes one, and where
    a step has no answer (NaN), which may leave the steps before it in the same run without theirs. ``fixed``:
    in runs of that shape, which are filled up. ``alone``: each by itself, a step a run.

    Args:
        report: called with the number of steps that have run, of all rows together, and the number of all.
        begin: what they begin with, arrays ``[B, ...]`` for all that is carried; None = the initial states.

    Raises:
        RunFailed: the graph failed.
    """
    num_rows, num_steps, _ = inputs.shape
    is_whole = runner.promise.holds == "any" and runner.takes_many_steps
    rows_at_once = runner.promise.rows if runner.promise.holds == "fixed" else 1
    begin = runner.initial_states(num_rows) if begin is None else begin
    parts = []
    for first in range(0, num_rows, rows_at_once):
        rows = inputs[first : first + rows_at_once]
        begun = tuple(each[first : first + rows_at_once] for each in begin)

        def report_rows(done: int, before: int = first, together: int = len(rows)) -> None:
            report(before * num_steps + done * together, num_rows * num_steps)

        made = run_sequence(runner, rows, num_steps if is_whole else 1, report_rows, begin=begun)
        if is_whole and num_steps > 1 and _lacks_answers(runner, made[0]):
            made = run_sequence(runner, rows, 1, begin=begun)
        parts.append(made)
    outputs = np.concatenate([answered for answered, _ in parts])
    states = zip(*(behind for _, behind in parts), strict=True)
    return outputs, tuple(np.concatenate(rows) for rows in states)


def _lacks_answers(runner: Runner, outputs: NDArray[Any]) -> bool:
    layout = runner.manifest.made
    return any(part.is_unsound(each).any() for part, each in zip(layout.parts, layout.flat(outputs), strict=True))


def run_sequence(
    runner: Runner,
    inputs: NDArray[Any],
    chunk_steps: int,
    report: Callable[[int], None] = lambda _done: None,
    *,
    begin: Rows | None = None,
) -> Answers:
    """Run sequences, rows ``[B, T, width]``, together, ``chunk_steps`` at a time, one where the graph takes no more. B
    is at most the rows of a fixed shape; ``begin`` as for ``run_offline``.
    """
    if not runner.takes_many_steps:
        chunk_steps = 1
    states: Rows = runner.initial_states(len(inputs)) if begin is None else begin
    outputs = []
    for start in range(0, inputs.shape[1], chunk_steps):
        made, states = runner.run(inputs[:, start : start + chunk_steps], states)
        outputs.append(made)
        report(min(start + chunk_steps, inputs.shape[1]))
    made_of_all = np.concatenate(outputs if runner.answers_every_step else outputs[-1:], axis=1)
    return runner.manifest.made.settle(made_of_all), states
