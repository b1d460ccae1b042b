"""What one session sent, and what was acknowledged of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tests.faults.chunk import Answer, Chunk, Steps


@dataclass
class Ledger:
    """One session's account.

    Attributes:
        inputs, outputs: of the chunks that were acknowledged, in their order.
        num_answers_again: answers to a chunk that had been acknowledged already.
    """

    session_id: str
    is_open: bool = False
    inputs: list[Steps] = field(default_factory=list)
    outputs: list[Steps] = field(default_factory=list)
    steps: int = 0
    num_answers_again: int = 0

    @property
    def num_chunks(self) -> int:
        """How many were acknowledged."""
        return len(self.inputs)

    def next(self, inputs: Steps) -> Chunk:
        """A chunk of these inputs, after all that was acknowledged."""
        return Chunk(self.session_id, self.steps, inputs)

    def acknowledge(self, chunk: Chunk, answer: Answer) -> None:
        """Take in a chunk and its answer."""
        assert chunk.seq == self.steps, "a chunk was acknowledged out of its order"
        self.inputs.append(chunk.inputs)
        self.outputs.append(answer.outputs)
        self.steps = chunk.end

    def whole(self) -> tuple[Steps, Steps]:
        """All inputs ``[T, F]`` and all outputs ``[T, O]``."""
        return np.concatenate(self.inputs), np.concatenate(self.outputs)
