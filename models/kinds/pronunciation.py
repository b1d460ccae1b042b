"""Pronunciation, English spelling to phonemes, from a dictionary such as CMUdict (``kind = "pronunciation"``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ostinato.models.data.lexicon import Entries, Lexicon, load_lexicon
from ostinato.models.data.pairs import Pairs
from ostinato.models.data.parts import PARTS
from ostinato.models.networks.seq2seq import Seq2Seq, Seq2SeqRecipe
from ostinato.models.recipe import FileRecipe, RunRecipe
from ostinato.models.report import ScoreTable
from ostinato.models.run_files import Trained, read_run
from ostinato.models.scores.pronunciation import (
    NUM_BEAMS,
    Alphabet,
    PronunciationScores,
    error_rates,
    pronounce,
    score,
)
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.generation import GenerationTraining, fit_pairs
from ostinato.models.training.job import Job

START, STOP = "<start>", "<stop>"


class PronunciationData(FileRecipe):
    """The dictionary.

    ``file``: as CMUdict is written, plain or ``.xz``; a relative path starts at the recipe's own folder.
    ``stress``: whether the network writes the vowels' stress digits. Scores ignore them in any case.
    """

    stress: bool = False


class PronunciationRecipe(RunRecipe):
    """All that one training run depends on."""

    kind: Literal["pronunciation"]
    data: PronunciationData
    network: Seq2SeqRecipe = Seq2SeqRecipe()
    training: GenerationTraining = GenerationTraining()


RECIPE = PronunciationRecipe


@dataclass(frozen=True)
class PronunciationRun:
    """A trained network with what its codes stand for, and the content of ``run.json``."""

    network: Seq2Seq
    alphabet: Alphabet
    content: dict[str, Any]


def train(recipe: PronunciationRecipe, job: Job) -> Trained:
    """Train on the training words, stop by the validation words, score once on the test words.

    Raises:
        TrainingError: the dictionary cannot be used, or training fails.
    """
    lexicon = load_lexicon(recipe.data.file, recipe.data.stress)
    alphabet = alphabet_of(lexicon)
    network, fitted = fit(recipe, lexicon, alphabet, job)
    scores = score(network, lexicon.parts["test"], alphabet)
    return Trained(
        network,
        fitted,
        data=_data(lexicon),
        metrics={**asdict(scores), "num_beams": NUM_BEAMS, "validation_word_error": fitted.validation},
        sections=(_table(scores, fitted),),
        of_the_kind={
            "vocabularies": {
                "source": {"symbols": alphabet.letters, "separator": "", "special": (), "lowercase": True},
                "target": {"symbols": alphabet.phonemes, "separator": " ", "special": (START, STOP)},
            },
            "start": alphabet.start,
            "stop": alphabet.stop,
        },
    )


def fit(recipe: PronunciationRecipe, lexicon: Lexicon, alphabet: Alphabet, job: Job) -> tuple[Seq2Seq, Fitted]:
    """A network trained on the training words, with the weights of its best epoch by the validation words."""
    network = build_network(recipe.network, alphabet)
    held_out = lexicon.parts["validation"]

    def word_error(network: Seq2Seq) -> float:
        return error_rates(pronounce(network, list(held_out), alphabet), held_out, alphabet).word_error

    pairs = pairs_of(lexicon.parts["training"], alphabet)
    return network, fit_pairs(network, pairs, recipe.training, word_error, job, "validation word error")


def load_run(directory: Path) -> PronunciationRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def _build(content: dict[str, Any]) -> PronunciationRun:
    vocabularies = content["vocabularies"]
    alphabet = Alphabet(
        letters=tuple(vocabularies["source"]["symbols"]),
        phonemes=tuple(vocabularies["target"]["symbols"]),
        start=content["start"],
        stop=content["stop"],
    )
    recipe = PronunciationRecipe.model_validate(content["recipe"])
    return PronunciationRun(build_network(recipe.network, alphabet), alphabet, content)


def alphabet_of(lexicon: Lexicon) -> Alphabet:
    """Letters and phonemes of a dictionary, start and stop before these."""
    return Alphabet(lexicon.letters, (START, STOP, *lexicon.phonemes), 0, 1)


def build_network(recipe: Seq2SeqRecipe, alphabet: Alphabet) -> Seq2Seq:
    """The network that a recipe asks for, untrained."""
    letters = nn.Embedding(len(alphabet.letters), recipe.embedding_size)
    return Seq2Seq(letters, recipe.embedding_size, len(alphabet.phonemes), recipe)


def pairs_of(entries: Entries, alphabet: Alphabet) -> Pairs:
    """One pair for each pronunciation of each word."""
    spoken = [(alphabet.source(word), alphabet.target(phonemes)) for word, all_ in entries.items() for phonemes in all_]
    return Pairs.of([word for word, _ in spoken], [phonemes for _, phonemes in spoken], alphabet.start, alphabet.stop)


def _data(lexicon: Lexicon) -> dict[str, Any]:
    return {
        "sha256": lexicon.sha256,
        "num_words": {part: len(lexicon.parts[part]) for part in PARTS},
        "num_pronunciations": {part: sum(map(len, lexicon.parts[part].values())) for part in PARTS},
    }


def _table(scores: PronunciationScores, fitted: Fitted) -> ScoreTable:
    below = scores.num_beam_below_greedy
    return ScoreTable(
        title=f"{scores.num_words:,} held-out words, stress ignored",
        columns=("written", "word error", "phoneme error"),
        rows=tuple(
            (way, f"{rates.word_error:.2%}", f"{rates.phoneme_error:.2%}")
            for way, rates in (("greedily", scores.greedy), (f"by {NUM_BEAMS} beams", scores.beam))
        ),
        note=f"for {below} words ({below / scores.num_words:.2%}) beams found less probable outputs than greed; "
        f"{fitted.sentence()}",
    )
