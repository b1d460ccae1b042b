"""The encoder's runs: what a source becomes follows from the source alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.engine.generation.graphs import EncoderRunner, encoded_length, padded_length

RELEASE = Path(__file__).resolve().parents[4] / "examples" / "cmudict" / "repository" / "g2p" / "1"
NUM_LETTERS = 29


@pytest.fixture(scope="module")
def encoder() -> EncoderRunner:
    return EncoderRunner(Manifest.read(RELEASE), RELEASE)


def test_sources_are_encoded_at_two_lengths_in_an_octave_and_attended_to_at_one() -> None:
    lengths = (1, 8, 9, 12, 13, 16, 17, 24, 25, 32, 33, 48, 49, 64, 65, 1000)
    assert [encoded_length(number) for number in lengths] == [
        *(8, 8, 12, 12, 16, 16, 24, 24, 32, 32, 48, 48, 64, 64, 96, 1024)
    ]
    assert [padded_length(number) for number in lengths] == [16] * 6 + [32] * 4 + [64] * 4 + [128, 1024]


def test_what_a_source_becomes_is_the_same_among_others_of_all_lengths(encoder: EncoderRunner) -> None:
    generator = np.random.default_rng(2)
    lengths = generator.integers(1, 17, size=50).tolist()
    sources = [generator.integers(NUM_LETTERS, size=length) for length in lengths]
    starts = encoder.run(sources)
    for source, start in zip(sources, starts, strict=True):
        [alone] = encoder.run([source])
        assert start.num_source_steps == alone.num_source_steps == len(source)
        for one, other in zip((*start.memory, *start.states), (*alone.memory, *alone.states), strict=True):
            assert one.tobytes() == other.tobytes()
        assert [part.shape for part in start.memory] == [(16, 256)] * 2
        assert not any(part[len(source) :].any() for part in start.memory)
        assert all(part[: len(source)].any(axis=1).all() for part in start.memory)


def test_sources_of_one_length_share_a_run_and_others_have_their_own(encoder: EncoderRunner) -> None:
    sizes: list[tuple[int, ...]] = []
    inner = encoder.graph.session

    class Watched:
        """A session that notes the shapes of the sources that it runs."""

        def run(self, fetches, feeds, options):  # type: ignore[no-untyped-def]
            sizes.append(feeds["source"].shape)
            return inner.run(fetches, feeds, options)

    encoder.graph.session = Watched()
    try:
        encoder.run([np.zeros(length, np.int64) for length in (3, 12, 8, 16, 9, 1)])
    finally:
        encoder.graph.session = inner
    assert sizes == [(3, 8), (2, 12), (1, 16)]
