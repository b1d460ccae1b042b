"""Scores of a pronunciation network: phoneme and word error rates, greedy and by beam search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ostinato.models.data.lexicon import Entries, Phonemes, without_stress
from ostinato.models.data.pairs import padded
from ostinato.models.networks.beam import Hypothesis, write
from ostinato.models.networks.seq2seq import Seq2Seq

NUM_BEAMS = 5
_BATCH_SIZE = 256
# CMUdict's longest pronunciation has 28 phonemes.
_MAX_STEPS = 40


@dataclass(frozen=True)
class Alphabet:
    """What the codes stand for: letters of a source, phonemes of an output with start and stop among them."""

    letters: tuple[str, ...]
    phonemes: tuple[str, ...]
    start: int
    stop: int

    def source(self, word: str) -> list[int]:
        """The codes of a word's letters, every one of which is known."""
        return [self.letters.index(letter) for letter in word]

    def target(self, phonemes: Phonemes) -> list[int]:
        """The codes of phonemes, every one of which is known."""
        return [self.phonemes.index(phoneme) for phoneme in phonemes]

    def spoken(self, codes: Sequence[int]) -> Phonemes:
        """The phonemes of codes."""
        return tuple(self.phonemes[code] for code in codes)


@dataclass(frozen=True)
class ErrorRates:
    """Stress ignored; a word with several pronunciations is compared with the nearest.

    ``word_error``: the fraction of words of which no pronunciation was written.
    ``phoneme_error``: phonemes inserted, left out and changed, as a fraction of the phonemes that there are.
    """

    word_error: float
    phoneme_error: float


@dataclass(frozen=True)
class PronunciationScores:
    """Both ways of writing, over the same words.

    ``num_beam_below_greedy``: for how many words beam search found an output less probable than the greedy one.
    """

    num_words: int
    greedy: ErrorRates
    beam: ErrorRates
    num_beam_below_greedy: int


def score(network: Seq2Seq, entries: Entries, alphabet: Alphabet) -> PronunciationScores:
    """Greedy and by ``NUM_BEAMS`` beams, over all words given."""
    words = list(entries)
    greedy = pronounce(network, words, alphabet)
    beam = pronounce(network, words, alphabet, NUM_BEAMS)
    # The same output may come out another bit in its last place, as batches differ.
    below = (
        found.codes != first.codes and found.log_probability < first.log_probability
        for first, found in zip(greedy, beam, strict=True)
    )
    return PronunciationScores(
        len(words), error_rates(greedy, entries, alphabet), error_rates(beam, entries, alphabet), sum(below)
    )


def pronounce(network: Seq2Seq, words: Sequence[str], alphabet: Alphabet, num_beams: int = 1) -> list[Hypothesis]:
    """The output for each word, in the order given."""
    order = sorted(range(len(words)), key=lambda place: len(words[place]))
    written: dict[int, Hypothesis] = {}
    for first in range(0, len(order), _BATCH_SIZE):
        places = order[first : first + _BATCH_SIZE]
        source, lengths = padded([alphabet.source(words[place]) for place in places])
        outputs = write(network, source, lengths, alphabet.start, alphabet.stop, num_beams, _MAX_STEPS)
        written.update(zip(places, outputs, strict=True))
    return [written[place] for place in range(len(words))]


def error_rates(written: Sequence[Hypothesis], entries: Entries, alphabet: Alphabet) -> ErrorRates:
    """The error rates of outputs, one for each entry in order."""
    wrong_words, wrong_phonemes, num_phonemes = 0, 0, 0
    for output, references in zip(written, entries.values(), strict=True):
        spoken = without_stress(alphabet.spoken(output.codes))
        distances = [(edit_distance(spoken, true), len(true)) for true in map(without_stress, references)]
        distance, length = min(distances)
        wrong_words += distance > 0
        wrong_phonemes += distance
        num_phonemes += length
    return ErrorRates(wrong_words / len(entries), wrong_phonemes / num_phonemes)


def edit_distance(given: Phonemes, true: Phonemes) -> int:
    """The least number of insertions, deletions and changes from one to the other (Levenshtein, 1966)."""
    if given == true:
        return 0
    above = list(range(len(true) + 1))
    for row, phoneme in enumerate(given, start=1):
        line = [row]
        for column, other in enumerate(true, start=1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (phoneme != other)))
        above = line
    return above[-1]
