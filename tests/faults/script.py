"""What a session shall be sent: chunks of random lengths with random numbers, the same for the same seed."""

from __future__ import annotations

import numpy as np

from tests.faults.chunk import Steps

CHUNK_STEPS = (1, 1, 2, 5, 13, 40)


class Script:
    """The endless sequence of one session, cut into chunks. Its numbers depend on nothing but seed and session."""

    def __init__(self, seed: int, number: int, num_features: int, chunk_steps: tuple[int, ...] = CHUNK_STEPS) -> None:
        self._generator = np.random.default_rng([seed, number])
        self._num_features = num_features
        self._chunk_steps = chunk_steps

    def next_chunk(self) -> Steps:
        """The next inputs ``[n, F]``."""
        num_steps = int(self._generator.choice(self._chunk_steps))
        return self._generator.normal(size=(num_steps, self._num_features)).astype(np.float32)
