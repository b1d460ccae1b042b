"""An encoder that makes nothing of what it reads: the source itself is what a puppet decoder attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ostinato.service.engine.generation.graphs import EncoderRunner, Start, padded_length
from tests.service.puppet_decoder import PuppetDecoder


class PuppetEncoder(EncoderRunner):
    """Pads as the real one does, and refuses a run of sources of several padded lengths, or with a bad step in one.

    Attributes:
        runs: the padded length of each run.
    """

    BAD_STEP = -99.0

    def __init__(self, decoder: PuppetDecoder) -> None:
        self._decoder = decoder
        self.runs: list[int] = []

    def padded_length(self, num_steps: int) -> int:
        """See ``EncoderRunner``."""
        return padded_length(num_steps)

    def run(self, sources: Sequence[NDArray[Any]]) -> list[Start]:
        """See ``EncoderRunner``."""
        [length] = {padded_length(len(source)) for source in sources}
        self.runs.append(length)
        if any((source == self.BAD_STEP).any() for source in sources):
            raise RuntimeError("one of the sources is bad")
        return [self._decoder.start_from(*source, num_padded=length) for source in sources]
