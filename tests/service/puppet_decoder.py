"""A decoder in a few lines of arithmetic: every score follows from the whole output so far and from the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.decoder import Decoder as DecoderPart
from ostinato.service.artifact.decoder import Memory
from ostinato.service.artifact.tensors import Input, Output, State
from ostinato.service.engine.generation.graphs import DecoderRunner, DecoderStep, Start
from ostinato.service.errors import RunFailed

STOP = 0
START = 1


def part(num_codes: int) -> DecoderPart:
    """A decoder of codes with a state on its second axis, which names what was written, and a memory to attend to."""
    names = tuple(f"code_{code}" for code in range(num_codes))
    return DecoderPart(
        previous=Input(name="previous", dtype="int64", shape=("B",), features=("code",), num_codes=num_codes),
        start=START,
        stop=STOP,
        output=Output(name="scores", dtype="float32", shape=("B", num_codes), features=names),
        states=(State(name="written", input="written", output="written_next", shape=(2, "B"), dtype="float64"),),
        memory=(Memory(name="memory", made_by="memory", dtype="float64", shape=("B", "S")),),
        lengths="lengths",
        attention="attention",
    )


class PuppetDecoder(DecoderRunner):
    """Scores are drawn from a seed made of the source and of all codes before.

    Attributes:
        runs: with how many lanes it ran, each time.
        fails_at: a source whose presence in a run makes the run fail.
        spoils: a source whose scores are not numbers.
        spoils_behind: where not None, of that source only the lanes that are fed this code.
    """

    def __init__(self, num_codes: int, *, peak: float = 2.0) -> None:
        self.part = part(num_codes)
        self._peak = peak
        self.runs: list[int] = []
        self.fails_at: float | None = None
        self.spoils: float | None = None
        self.spoils_behind: int | None = None

    def run(
        self,
        previous: NDArray[Any],
        states: Sequence[NDArray[Any]],
        memory: Sequence[NDArray[Any]],
        lengths: NDArray[np.int64],
    ) -> DecoderStep:
        """See ``DecoderRunner``."""
        (written,), (sources,) = states, memory
        self.runs.append(len(previous))
        assert written.shape == (2, len(previous))
        assert len(sources) == len(lengths) == len(previous)
        if self.fails_at in sources[:, 0]:
            raise RunFailed("as told")
        output, attention, after = [], [], []
        for row, code in enumerate(previous.tolist()):
            source = sources[row, : lengths[row]]
            key = (written[0, row] * 31 + code + 1) % 1_000_003
            scores = np.random.default_rng([int(key), *source.astype(int)]).normal(size=self.part.output.num_features)
            output.append((scores * self._peak).astype(np.float32))
            if source[0] == self.spoils and self.spoils_behind in (None, code):
                output[-1][1] = np.nan
            weights = np.zeros(sources.shape[1], np.float32)
            weights[: lengths[row]] = 1 / lengths[row]
            attention.append(weights)
            after.append((key, written[1, row] + 1))
        return DecoderStep(np.stack(output), np.stack(attention), [np.array(after).T.copy()])

    def start_from(self, *source: float, num_padded: int = 8) -> Start:
        """What an output for these numbers starts from."""
        memory = np.zeros(num_padded)
        memory[: len(source)] = source
        return Start((memory,), (np.zeros(2),), len(source))

    def log_probabilities(self, source: Sequence[float], codes: Sequence[int]) -> NDArray[np.float64]:
        """Of each code behind ``codes``, worked out anew from the beginning, in float64."""
        key = 0.0
        for code in (START, *codes):
            key = (key * 31 + code + 1) % 1_000_003
        scores = np.random.default_rng([int(key), *np.array(source, int)]).normal(size=self.part.output.num_features)
        wide = (scores * self._peak).astype(np.float32).astype(np.float64)
        shifted = wide - wide.max()
        result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
        return result
