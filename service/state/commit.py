"""A commit: what an iteration made of its sessions, as a store is to have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.state.arena import Arena, Rows, Slots
from ostinato.service.state.reaches import Reaches


@dataclass(slots=True)
class Commit:
    """What an iteration made of ``R`` sessions of one arena.

    Attributes:
        slots: int64 ``[R]``.
        states: their new states, arrays ``[R, ...]``; valid until ``Store.commit`` returns, or gives what is awaited.
        steps_before: the step counts that the chunks were applied to, int64 ``[R]``; a session whose count is another
            is not committed.
        steps_after: the step counts with the chunks, int64 ``[R]``.
        digests: checksum of each chunk, int64 ``[R]``.
        outputs: the last step's output of each chunk, ``[R, O]``.
        long_answers: index in ``slots`` -> all outputs ``[n, O]`` of a chunk with more than one.
        reaches: how far each has come in its source; None = as far as before.
        unknown: put there by a store that does not know of some rows whether it committed them, bool ``[R]``; None = it
            knows of all.
        trouble: put there with it: why; None = the answer was lost, and another change has followed.
    """

    arena: Arena
    slots: Slots
    states: Rows
    steps_before: Slots
    steps_after: Slots
    digests: Slots
    outputs: NDArray[Any]
    long_answers: dict[int, NDArray[Any]]
    reaches: Reaches | None = None
    unknown: NDArray[np.bool_] | None = None
    trouble: str | None = None

    def of(self, rows: NDArray[np.bool_]) -> Commit:
        """The part of it that is about ``rows``, bool ``[R]``."""
        if np.count_nonzero(rows) == len(rows):
            return self
        new_index = np.cumsum(rows) - 1
        return Commit(
            arena=self.arena,
            slots=self.slots[rows],
            states=[states[rows] for states in self.states],
            steps_before=self.steps_before[rows],
            steps_after=self.steps_after[rows],
            digests=self.digests[rows],
            outputs=self.outputs[rows],
            long_answers={int(new_index[row]): made for row, made in self.long_answers.items() if rows[row]},
            reaches=None if self.reaches is None else self.reaches.of(rows),
        )

    def apply(self, now: float) -> None:
        """Make it the sessions' own, in memory; their time to live begins anew."""
        arena, slots = self.arena, self.slots
        arena.scatter(slots, self.states)
        arena.last_seq[slots] = self.steps_before
        arena.steps[slots] = self.steps_after
        arena.last_digest[slots] = self.digests
        arena.keep_last_outputs(slots, self.outputs)
        if self.reaches is not None:
            arena.set_reaches(slots, self.reaches)
        if arena.unborn:
            arena.bear(slots.tolist())
        arena.expires_at[slots] = now + arena.ttl_seconds[slots]
        if arena.long_answers:
            arena.drop_long_answers(slots.tolist())
        for row, outputs in self.long_answers.items():
            arena.keep_long_answer(int(slots[row]), outputs)
