"""Progress: what a run's result means for the works of its iteration, and for the slots where their states wait.

No asyncio, clock, lock or graph: the scheduler hands in what a run made and how long it took, and hands back to their
owner the works that are over.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.service.engine.recurrent.batching import Iteration, Line, Work
from ostinato.service.engine.recurrent.protocols import Finished, IterationRunner
from ostinato.service.engine.recurrent.runner import Result
from ostinato.service.errors import RunFailed
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.state.arena import Arena

Over: TypeAlias = tuple[list[Work], Finished | None]
"""The works of an iteration that need no other one: private works, and works that failed, with their ``error``; and
works of sessions, to be committed, or None where there are none.
"""


class Progress:
    """Takes what iterations made into their works, and puts what is not over into the line again.

    Args:
        runner: whose results these are.
        arena: where states wait between two iterations of a work.
    """

    def __init__(self, runner: IterationRunner, arena: Arena, line: Line, metrics: ModelMetrics) -> None:
        self._runner = runner
        self._arena = arena
        self._line = line
        self._metrics = metrics

    def keep(self, iteration: Iteration, result: Result) -> None:
        """Put the states of private work, and of work that has more steps to run, where they wait.

        Changes no work's outputs or steps, so that an iteration whose result turns out to be unusable may run again.
        """
        if iteration.is_private:
            self._arena.scatter(result.slots, result.states)
            return
        if iteration.is_whole:
            # Read, so that a runner of too few rows fails here, before anything was changed.
            assert all(len(states) == iteration.num_rows for states in result.states)
            return
        rows: list[int] = []
        targets: list[int] = []
        row = 0
        for work in iteration.works:
            is_unfinished = work.num_done + iteration.num_steps < work.num_steps
            if is_unfinished and work.scratch is None:
                work.scratch = [self._arena.allocate() for _ in range(work.num_rows)]
            if is_unfinished or work.private:
                assert work.scratch is not None
                rows += range(row, row + work.num_rows)
                targets += work.scratch
            row += work.num_rows
        if len(rows) < iteration.num_rows:
            self._arena.scatter(np.array(targets, np.int64), tuple(states[rows] for states in result.states))
        else:
            self._arena.scatter(np.array(targets, np.int64), result.states)

    def take(self, iteration: Iteration, result: Result, seconds: float) -> Over:
        """Take a result whose states were kept into the works; those that have more steps go to the back of the line.

        Args:
            seconds: how long the run took.
        """
        works, num_rows, num_steps, is_whole, is_private = iteration
        outputs, failed_rows = result.outputs, result.failed_rows
        self._observe(num_rows, num_steps, seconds)
        if failed_rows is not None:
            return self._take_mixed(iteration, result)
        if is_whole:
            _give_outputs(works, outputs)
            return [], Finished(works, result.slots, result.states, outputs[:, -1], result.inputs)
        if is_private:
            return self._take_private(works, outputs, num_steps), None
        return self._take_mixed(iteration, result)

    def release(self, work: Work) -> None:
        """Give back the slots where a session's work had its states between iterations."""
        if work.scratch is not None and not work.private:
            for slot in work.scratch:
                self._arena.release(slot)
            work.scratch = None

    def _take_mixed(self, iteration: Iteration, result: Result) -> Over:
        """``take`` for any works, each looked at by itself."""
        outputs, failed_rows, num_steps = result.outputs, result.failed_rows, iteration.num_steps
        handed_back: list[Work] = []
        finished: list[Work] = []
        finished_rows: list[int] = []
        end = 0
        for work in iteration.works:
            start, end = end, end + work.num_rows
            if failed_rows is not None and failed_rows[start:end].any():
                work.error = _failure(outputs[start:end], self._arena.manifest.made, work)
            elif not self._advance(work, outputs[start:end].reshape(-1, outputs.shape[2]), num_steps):
                self._line.append(work)
                continue
            if work.error is not None or work.private:
                handed_back.append(work)
            else:
                finished.append(work)
                finished_rows.extend(range(start, end))
            self.release(work)
        if failed_rows is not None:
            self._metrics.run_failures.inc()
        if not finished:
            return handed_back, None
        slots = np.fromiter(chain.from_iterable(work.slots for work in finished), np.int64, len(finished_rows))
        states = tuple(rows_of_state[finished_rows] for rows_of_state in result.states)
        return handed_back, Finished(finished, slots, states, outputs[finished_rows, -1], None)

    def _take_private(self, works: list[Work], outputs: NDArray[Any], num_steps: int) -> list[Work]:
        """``take`` for private work, of which there may be much: one row each, and nothing to commit."""
        line, advance = self._line, self._advance
        over = [work for work, made in zip(works, outputs, strict=True) if advance(work, made, num_steps)]
        if len(over) < len(works):
            for work in works:
                if work.num_done < work.num_steps:
                    line.append(work)
        return over

    def _advance(self, work: Work, made: NDArray[Any], num_steps: int) -> bool:
        """Take the outputs [R x T, O] (or [R, O]) of a run into the work; True when that was the last of it."""
        done = work.num_done + num_steps
        if num_steps == work.num_steps or not self._runner.answers_every_step:
            work.outputs = made
        else:
            if work.outputs is None:
                work.outputs = np.empty((work.num_steps, made.shape[1]), made.dtype)
            work.outputs[work.num_done : done] = made
        work.num_done = done
        return done == work.num_steps

    def _observe(self, num_rows: int, num_steps: int, seconds: float) -> None:
        metrics = self._metrics
        metrics.run_seconds.observe(seconds)
        metrics.batch_size.observe(num_rows)
        metrics.iteration_steps.observe(num_steps)
        metrics.steps.inc(num_rows * num_steps)


def _failure(outputs: NDArray[Any], made: RowLayout[Output], work: Work) -> RunFailed:
    """Why a work with these outputs, rows of ``made``, failed: what may not be in them, or what they led to."""
    what = "the state that it leads to is not finite, and no step could be made from it"
    for part, numbers in zip(made.parts, made.flat(outputs), strict=True):
        wrong = numbers[part.is_unsound(numbers)]
        if not len(wrong):
            continue
        name = "" if made.is_single else f" {part.name!r}"
        what = f"its output{name} is not finite: {'NaN' if np.isnan(wrong).any() else 'infinity'}"
        if (wrong == -np.inf).all():
            what += "; where minus infinity is meant, export the model with minus_infinity"
        break
    if work.private:
        return RunFailed(f"the model has no answer to a step of this sequence: {what}")
    return RunFailed(f"the model has no answer to this step: {what}; the session is as it was")


def _give_outputs(works: list[Work], outputs: NDArray[Any]) -> None:
    """Give each work its part of ``outputs`` [B, T, O], which is all of its own."""
    if len(works) == len(outputs):
        for work, made in zip(works, outputs, strict=True):
            work.outputs = made
        return
    end = 0
    for work in works:
        start, end = end, end + work.num_rows
        work.outputs = outputs[start:end].reshape(-1, outputs.shape[2])
