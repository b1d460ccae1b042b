"""Tallies: what lanes have written of which nobody looks at single steps, in arrays.

A step of all is a few array operations, however many they are; Python goes by single lanes only where one begins
or ends. An output is what ``Greedy`` makes of the same scores step by step, to the bit. Pure, as ``decoding`` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.generation.decoding import FinishedOutput, OutputPlan

_LEAST_STEPS = 16
_NO_STOP = -1


class Tallies:
    """Codes and log-probabilities of greedy outputs, by the rows of their lanes; ``R`` rows are reserved.

    Attributes:
        are_kept: bool ``[R]``, the rows that have an output here.
        num_steps: int64 ``[R]``, steps made so far.
    """

    def __init__(self) -> None:
        self.are_kept = np.zeros(0, bool)
        self.num_steps = np.zeros(0, np.int64)
        self._num_left = np.zeros(0, np.int64)
        self._stops = np.zeros(0, np.int64)
        # [R, steps that there is room for]; float64 holds the log-probabilities of every float.
        self._codes = np.zeros((0, _LEAST_STEPS), np.int64)
        self._log_probabilities = np.zeros((0, _LEAST_STEPS))
        # No output has more steps.
        self._most_steps = 0

    def reserve(self, num_rows: int) -> None:
        """Have so many rows, at least as many as there are."""
        self.are_kept, self.num_steps = grown(self.are_kept, num_rows), grown(self.num_steps, num_rows)
        self._num_left, self._stops = grown(self._num_left, num_rows), grown(self._stops, num_rows)
        self._codes = grown(self._codes, num_rows)
        self._log_probabilities = grown(self._log_probabilities, num_rows)

    def begin(self, rows: list[int], plans: Sequence[OutputPlan]) -> None:
        """Keep an output at each of ``rows`` from its first step on."""
        self.are_kept[rows] = True
        self.num_steps[rows] = 0
        self._num_left[rows] = [plan.max_steps for plan in plans]
        self._stops[rows] = [_NO_STOP if plan.stop is None else plan.stop for plan in plans]

    def move(self, to: list[int], rows: list[int]) -> None:
        """Have what is at ``rows``, if anything, at other rows, which are free."""
        if not self.are_kept[rows].any():
            return
        parts = self.are_kept, self.num_steps, self._num_left, self._stops, self._codes, self._log_probabilities
        for part in parts:
            part[to] = part[rows]
        self.are_kept[rows] = False

    def end(self, row: int) -> None:
        """Keep nothing at ``row`` any more."""
        self.are_kept[row] = False

    def ends(self, codes: NDArray[np.int64], num_steps: int) -> NDArray[np.bool_]:
        """Which of the first ``B`` rows, all kept, end with a step that has yet to be taken in.

        Args:
            codes: of that step, ``[B]``.
            num_steps: steps not yet taken in, that one the last of them.
        """
        ends: NDArray[np.bool_] = codes == self._stops[: len(codes)]
        ends |= self._num_left[: len(codes)] <= num_steps
        return ends

    def take(
        self, codes: NDArray[np.int64], log_probabilities: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Take in what the first ``B`` rows wrote in ``n`` steps, ``[n, B]`` each.

        Returns:
            of each row how many of the steps are its output's, int64 ``[B]``: all, or those up to its end; and whether
            it has ended, bool ``[B]``.
        """
        num_steps, num_rows = codes.shape
        made, ended = np.full(num_rows, num_steps), np.zeros(num_rows, bool)
        rows = self.are_kept[:num_rows].nonzero()[0]
        if not len(rows):
            return made, ended
        if self._most_steps + num_steps > self._codes.shape[1]:
            self._most_steps = int(self.num_steps[rows].max())
            self._make_room(self._most_steps + num_steps)
        self._most_steps += num_steps
        own, numbers = codes[:, rows], np.arange(num_steps)[:, None]
        # What comes behind an end is written, too, and never read.
        places = self.num_steps[rows] + numbers
        self._codes[rows, places] = own
        self._log_probabilities[rows, places] = log_probabilities[:, rows]
        ends = own == self._stops[rows]
        ends |= self._num_left[rows] <= numbers + 1
        ended[rows] = own_ended = np.logical_or.reduce(ends)
        made[rows] = own_made = np.where(own_ended, ends.argmax(axis=0) + 1, num_steps)
        self.num_steps[rows] += own_made
        self._num_left[rows] -= own_made
        return made, ended

    def read(self, row: int) -> FinishedOutput:
        """The output that has ended at ``row``."""
        num_steps = int(self.num_steps[row])
        codes: list[int] = self._codes[row, :num_steps].tolist()
        log_probabilities: list[float] = self._log_probabilities[row, :num_steps].tolist()
        # One after the other, as steps are made; `sum` may add in another way.
        score = reduce(add, log_probabilities)
        if codes[-1] == self._stops[row]:
            return FinishedOutput(codes[:-1], score, log_probabilities, None, "stop")
        return FinishedOutput(codes, score, log_probabilities, None, "length")

    def _make_room(self, num_steps: int) -> None:
        """Have room for so many steps of each output."""
        if num_steps > self._codes.shape[1]:
            room = 1 << (num_steps - 1).bit_length()
            self._codes = grown(self._codes.T, room).T.copy()
            self._log_probabilities = grown(self._log_probabilities.T, room).T.copy()


def grown(rows: NDArray[Any], num_rows: int) -> NDArray[Any]:
    """An array with more rows: the same, and zeros behind."""
    longer = np.zeros((num_rows, *rows.shape[1:]), rows.dtype)
    longer[: len(rows)] = rows
    return longer
