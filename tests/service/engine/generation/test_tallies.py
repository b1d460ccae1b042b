"""What is tallied, against the same outputs made step by step."""

from __future__ import annotations

import numpy as np
import pytest

from ostinato.service.engine.generation.decoding import FinishedOutput, Greedy, OutputPlan, Scores
from ostinato.service.engine.generation.tallies import Tallies

NUM_CODES, STOP = 7, 0


def drawn(seed: int, num_steps: int, num_rows: int) -> np.ndarray:
    """Scores ``[T, B, V]`` of outputs of about ten steps."""
    scores = np.random.default_rng(seed).normal(size=(num_steps, num_rows, NUM_CODES)).astype(np.float32)
    scores[:, :, STOP] += 0.15
    return scores


def step_by_step(plan: OutputPlan, scores: np.ndarray) -> FinishedOutput:
    """What ``Greedy`` makes of the scores ``[T, V]`` of one lane."""
    greedy = Greedy(plan)
    for row in scores:
        if not greedy.advance(Scores(row[None], None, has_codes=True), [0]):
            break
    [output] = greedy.outputs
    return output


def take(tallies: Tallies, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    num_steps, num_rows, _ = scores.shape
    each = Scores(scores.reshape(-1, NUM_CODES), None, has_codes=True)
    return tallies.take(
        each.best_codes.reshape(num_steps, num_rows), each.best_log_probabilities.reshape(num_steps, num_rows)
    )


@pytest.mark.parametrize("num_together", [1, 2, 3, 5, 16])
def test_tallied_outputs_are_those_made_step_by_step_however_many_steps_come_together(num_together: int) -> None:
    num_rows = 40
    scores = drawn(3, 80, num_rows)
    # Some have no stop, some end by their length: at 1, where several steps come, and behind the first room.
    plans = [OutputPlan(1, None if row % 5 == 4 else STOP, (1, 2, 7, 40, 64)[row % 5]) for row in range(num_rows)]
    tallies = Tallies()
    tallies.reserve(num_rows)
    tallies.begin(list(range(num_rows)), plans)
    outputs: dict[int, FinishedOutput] = {}
    num_made = np.zeros(num_rows, int)
    for first in range(0, 80, num_together):
        made, ended = take(tallies, scores[first : first + num_together])
        num_made += np.where(tallies.are_kept, made, 0)
        for row in np.flatnonzero(ended).tolist():
            outputs[row] = tallies.read(row)
            tallies.end(row)
    assert outputs == {row: step_by_step(plan, scores[:, row]) for row, plan in enumerate(plans)}
    assert {output.finish_reason for output in outputs.values()} == {"stop", "length"}
    assert num_made.tolist() == [len(outputs[row].log_probabilities) for row in range(num_rows)]
    assert max(num_made) == 64


def test_an_output_takes_a_row_over_that_had_another_and_may_be_moved() -> None:
    scores, plan = drawn(4, 30, 6), OutputPlan(1, STOP, 30)
    scores[:2, :, STOP] = -9.0
    tallies = Tallies()
    tallies.reserve(6)
    tallies.begin([0, 1, 2], [OutputPlan(1, None, 3)] * 3)
    take(tallies, scores[:2])
    tallies.end(1)
    tallies.begin([1, 4, 5], [plan] * 3)
    take(tallies, scores[:2])
    tallies.end(0)
    tallies.move([0, 2], [5, 4])
    assert tallies.are_kept.tolist() == [True, True, True, False, False, False]
    for step in scores[2:, [5, 1, 4]]:
        _, ended = take(tallies, step[None])
        for row in np.flatnonzero(ended).tolist():
            assert tallies.read(row) == step_by_step(plan, scores[:, (5, 1, 4)[row]])
            tallies.end(row)
    assert not tallies.are_kept.any()


def test_ends_are_told_before_steps_are_taken_in() -> None:
    tallies = Tallies()
    tallies.reserve(4)
    tallies.begin([0, 1, 2], [OutputPlan(1, STOP, 9), OutputPlan(1, None, 2), OutputPlan(1, STOP, 3)])
    codes = np.array([STOP, STOP, 5])
    assert tallies.ends(codes, 1).tolist() == [True, False, False]
    assert tallies.ends(codes, 2).tolist() == [True, True, False]
    assert tallies.ends(codes, 3).tolist() == [True, True, True]
