"""W4: words of CMUdict to phonemes, by the release of the examples; what its two graphs do without a service."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.graphs import open_graph
from ostinato.service.artifact.manifest import Manifest

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "cmudict"
SPELLER = "g2p"
RELEASE = EXAMPLE / "repository" / SPELLER / "1"
NUM_WORDS = 4_096
NUM_REQUESTS = 64
"""Requests under way at once, of one word each; and words in a static batch."""
LEAST_ENCODED_STEPS, LEAST_SOURCE_STEPS = 8, 16
MAX_STEPS = 128
"""Steps of an output that never stops."""

Floats = NDArray[np.float32]
Codes = NDArray[np.int64]


class Spelled(NamedTuple):
    """What a word came to: its phonemes, the output's log-probability, and its tokens: steps, the stop included."""

    phonemes: str
    score: float
    num_tokens: int


class Lanes(NamedTuple):
    """What a step of the decoder takes: memories ``[B, S, H]``, lengths ``[B]``, states ``[1, B, H]``."""

    memory: list[Floats]
    lengths: Codes
    states: list[Floats]


def draw_words(number: int = NUM_WORDS, seed: int = 17) -> list[str]:
    """Words of CMUdict in random order, none twice."""
    with lzma.open(EXAMPLE / "cmudict.dict.xz", "rt", encoding="utf-8") as lines:
        # A word's further pronunciations are numbered, as in "tomato(2)".
        words = sorted({line.split(maxsplit=1)[0].partition("(")[0] for line in lines if line.strip()})
    return [words[place] for place in np.random.default_rng(seed).permutation(len(words))[:number]]


def encoded_length(num_letters: int) -> int:
    """What the service pads a word to for the encoder: the least of 8, 12, 16, 24, ... that holds it."""
    octave = 1 << (num_letters - 1).bit_length()
    return max(LEAST_ENCODED_STEPS, octave if num_letters > octave * 3 // 4 else octave * 3 // 4)


def padded_length(num_letters: int) -> int:
    """How many steps the service has the decoder attend to: the least power of two that holds the word, from 16 on."""
    return max(LEAST_SOURCE_STEPS, 1 << (num_letters - 1).bit_length())


class Speller:
    """The release's graphs in plain onnxruntime with one thread: the reference for answers, and the limit for speed."""

    def __init__(self, directory: Path = RELEASE) -> None:
        manifest = Manifest.read(directory)
        decoder = manifest.decoder
        assert decoder is not None
        assert decoder.stop is not None
        self._letters, self._phonemes = manifest.vocabularies["source"], manifest.vocabularies["target"]
        self._start, self.stop = decoder.start, decoder.stop
        self._source, self._lengths = manifest.inputs[0].name, manifest.encoder_lengths
        self._memory = [part.name for part in decoder.memory]
        self._states = [state.input for state in decoder.states]
        self._decoder_lengths = decoder.lengths
        self._encoded = [*(part.made_by for part in decoder.memory), *decoder.begun_by.values()]
        self._stepped = [decoder.output.name, *(state.output for state in decoder.states)]
        self._encoder, self._decoder = (
            open_graph(directory / manifest.graphs[name].file) for name in ("encode", "decode")
        )

    def encode(self, words: Sequence[str], num_steps: int) -> Lanes:
        """Read words, padded to ``num_steps``."""
        sources = np.zeros((len(words), num_steps), np.int64)
        for row, word in enumerate(words):
            sources[row, : len(word)] = self._letters.encode(word, "word")
        lengths = np.array([len(word) for word in words], np.int64)
        made = self._encoder.run(self._encoded, {self._source: sources, self._lengths: lengths})
        return Lanes(made[: len(self._memory)], lengths, made[len(self._memory) :])

    def step(self, previous: Codes, lanes: Lanes) -> tuple[Floats, list[Floats]]:
        """A step of the decoder from codes ``[B]``: scores ``[B, V]`` and the next states."""
        feeds = dict(zip([*self._memory, *self._states], [*lanes.memory, *lanes.states], strict=True))
        scores, *states = self._decoder.run(
            self._stepped, {"previous": previous, self._decoder_lengths: lanes.lengths, **feeds}
        )
        return scores, states

    def batch(self, words: Sequence[str], num_steps: int, num_attended: int | None = None) -> list[Spelled]:
        """Spell words in one static batch: all of them go on until the last one stops.

        Args:
            num_steps: what they are padded to.
            num_attended: steps that the decoder attends to, those behind ``num_steps`` zeros; None = as many.
        """
        lanes = self.encode(words, num_steps)
        behind = ((0, 0), (0, (num_attended or num_steps) - num_steps), (0, 0))
        lanes = lanes._replace(memory=[np.pad(each, behind) for each in lanes.memory])
        rows = np.arange(len(words))
        previous = np.full(len(words), self._start, np.int64)
        num_tokens = np.full(len(words), MAX_STEPS)
        codes, scores = [], []
        for step in range(1, MAX_STEPS + 1):
            output, states = self.step(previous, lanes)
            lanes = lanes._replace(states=states)
            previous = output.argmax(axis=1)
            codes.append(previous)
            shifted = output - output.max(axis=1, keepdims=True)
            log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            scores.append(log_probabilities[rows, previous])
            num_tokens[(previous == self.stop) & (num_tokens == MAX_STEPS)] = step
            if num_tokens.max() <= step:
                break
        made, chances = np.stack(codes, axis=1).tolist(), np.stack(scores, axis=1).tolist()
        return [
            Spelled(self._phonemes.decode(made[row][:number]), sum(chances[row][:number]), number)
            for row, number in enumerate(num_tokens.tolist())
        ]

    def alone(self, word: str) -> Spelled:
        """Spell a word alone, padded as the service pads it: what every answer must be, to the bit."""
        return self.batch([word], encoded_length(len(word)), padded_length(len(word)))[0]
