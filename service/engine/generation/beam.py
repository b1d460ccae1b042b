"""Beam search: the few most likely outputs at once. Pure, as ``decoding`` is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.generation.decoding import (
    Decoding,
    FinishedOutput,
    Floats,
    Node,
    OutputPlan,
    Scores,
    extend,
    read,
)


class Beam(Decoding):
    """Keeps the ``num_beams`` most likely beginnings, each on a lane, until none of them can lead to a better output.

    Outputs are ranked by ``log-probability / num_steps ** length_penalty``, the stop counted as a step. At 0 that is
    the log-probability itself; above it longer outputs gain.

    Args:
        num_beams: beginnings kept, from 1.
        length_penalty: not negative.
        num_return: outputs to give, at most ``num_beams``.
    """

    def __init__(self, plan: OutputPlan, num_beams: int, length_penalty: float, num_return: int) -> None:
        super().__init__(plan)
        self.max_lanes = num_beams
        self._length_penalty = length_penalty
        self._num_return = num_return
        self._beams: list[Node | None] = [None]
        # The finished outputs kept, the best first, with their ranks.
        self._finished: list[tuple[float, FinishedOutput]] = []

    @property
    def num_steps_made(self) -> int:
        """See ``Decoding``: of the outputs that are given, or would be."""
        if self.outputs:
            return sum(len(output.codes) for output in self.outputs)
        return self._num_return * super().num_steps_made

    @property
    def is_streamed_as_it_goes(self) -> bool:
        """See ``Decoding``: the beginning that is best now may lose."""
        return False

    def advance(self, scores: Scores, lanes: Sequence[int]) -> list[int]:
        """See ``Decoding``."""
        if self._num_fed < len(self.plan.prompt):
            return super().advance(scores, lanes)
        totals = np.array([node.total if node else 0.0 for node in self._beams])
        candidates = totals[:, None] + scores.log_probabilities[list(lanes)]
        beams: list[Node | None] = []
        parents: list[int] = []
        num_codes = candidates.shape[1]
        # Each beginning has one way to stop, so among twice as many as are kept enough continue.
        for place, position in enumerate(best_positions(candidates.ravel(), 2 * self.max_lanes)):
            parent, code = divmod(position, num_codes)
            lane = lanes[parent]
            log_probability = float(scores.log_probabilities[lane, code])
            if log_probability == -np.inf:
                continue
            node = extend(self._beams[parent], code, log_probability, self._attention(scores, lane))
            reason = self.plan.finish_reason(code, node.num_steps)
            if reason is not None:
                # One that a beam of this width would not have kept does not count; so one beam is greedy.
                if place < self.max_lanes:
                    self._finish(node, read(node, reason))
            elif len(beams) < self.max_lanes:
                beams.append(node)
                parents.append(parent)
        self._beams = beams
        self.latest = max((node for node in beams if node), key=lambda node: node.total, default=self.latest)
        if not beams or self._is_decided():
            self.outputs = [output for _, output in self._finished[: self._num_return]]
            return []
        self.previous = [node.code for node in beams if node]
        return parents

    def _finish(self, node: Node, output: FinishedOutput) -> None:
        self._finished.append((self._rank(node.total, node.num_steps), output))
        # Stable: of equals the one found first stays the first.
        self._finished.sort(key=lambda entry: -entry[0])
        del self._finished[self.max_lanes :]

    def _is_decided(self) -> bool:
        """Whether no beginning can still lead to an output as good as the worst that is to be given."""
        if len(self._finished) < self._num_return:
            return False
        # A log-probability only falls; what is left to gain is the length.
        best = max(node.total for node in self._beams if node)
        return self._rank(best, self.plan.max_steps) < self._finished[self._num_return - 1][0]

    def _rank(self, total: float, num_steps: int) -> float:
        return float(total / num_steps**self._length_penalty)


def best_positions(values: Floats, num_wanted: int) -> list[int]:
    """The positions of the largest of ``values`` [n], falling; of equals the first comes first."""
    positions: NDArray[np.intp] = np.arange(len(values))
    if len(values) > 4 * num_wanted:
        least = np.partition(values, len(values) - num_wanted)[len(values) - num_wanted]
        positions = np.flatnonzero(values >= least)
    order = np.argsort(-values[positions], kind="stable")[:num_wanted]
    found: list[int] = positions[order].tolist()
    return found
