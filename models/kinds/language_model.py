"""Language models of how words are spelled, learned from a dictionary (``kind = "language_model"``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ostinato.models.data.lexicon import Lexicon, load_lexicon
from ostinato.models.data.pairs import IGNORED
from ostinato.models.data.parts import PARTS
from ostinato.models.data.spellings import EDGE, EDGE_CODE, Spellings
from ostinato.models.networks.language_model import LanguageModel, LanguageModelRecipe
from ostinato.models.recipe import FileRecipe, RunRecipe, TrainingRecipe
from ostinato.models.report import ScoreTable
from ostinato.models.run_files import Trained, read_run
from ostinato.models.scores.ngram import NGram
from ostinato.models.training.fitting import Fitted, fit_rows
from ostinato.models.training.job import Job

# Of the n-gram models that are tried; the validation words choose the one that the network is compared with.
NGRAM_ORDERS = range(3, 11)
_SCORED_WORDS = 512
# Into how many parts of like length a batch is cut: nearly half of it would be padding otherwise. In batches that are
# of one length as a whole all words end at once, and the gradient of the ends would pull one way.
_PARTS_OF_BATCH = 2


class SpellingRecipe(RunRecipe):
    """All that one training run depends on; ``data.file`` is written as CMUdict is, plain or ``.xz``."""

    kind: Literal["language_model"]
    data: FileRecipe
    network: LanguageModelRecipe = LanguageModelRecipe()
    training: TrainingRecipe = TrainingRecipe()


RECIPE = SpellingRecipe


@dataclass(frozen=True)
class LanguageModelRun:
    """A trained language model with what its codes stand for, and the content of ``run.json``."""

    network: LanguageModel
    symbols: tuple[str, ...]
    content: dict[str, Any]


@dataclass(frozen=True)
class Perplexities:
    """``exp`` of the mean surprise of a symbol, the end of each word among them, in both held-out parts."""

    validation: float
    test: float


@dataclass(frozen=True)
class LanguageModelScores:
    """The network and models that need no training, all by the same words and symbols.

    ``ngram``: of the order ``ngram_order``, learned from the same training words; the validation words chose the order.
    ``uniform``: all symbols are equally likely.
    ``num_words``, ``num_symbols``: of the test part, the end of each word among its symbols.
    """

    network: Perplexities
    ngram: Perplexities
    ngram_order: int
    uniform: float
    num_words: int
    num_symbols: int


def train(recipe: SpellingRecipe, job: Job) -> Trained:
    """Train on the training words, choose by the validation words, score once on the test words.

    Raises:
        TrainingError: the dictionary cannot be used, or training fails.
    """
    lexicon = load_lexicon(recipe.data.file, stress=False)
    symbols = (EDGE, *lexicon.letters)
    network, fitted = fit(recipe, lexicon, symbols, job)
    scores = score(network, lexicon, symbols)
    return Trained(
        network,
        fitted,
        data={"sha256": lexicon.sha256, "num_words": {part: len(lexicon.parts[part]) for part in PARTS}},
        metrics=asdict(scores),
        sections=(_table(scores, fitted),),
        of_the_kind={
            "vocabularies": {"target": {"symbols": symbols, "separator": "", "special": (EDGE,), "lowercase": True}},
            "start": EDGE_CODE,
            "stop": EDGE_CODE,
        },
    )


def fit(recipe: SpellingRecipe, lexicon: Lexicon, symbols: Sequence[str], job: Job) -> tuple[LanguageModel, Fitted]:
    """A network with the weights of its best epoch by the perplexity of the validation words.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    network = LanguageModel(len(symbols), recipe.network)
    training = Spellings.of(list(lexicon.parts["training"]), symbols)
    validation = Spellings.of(list(lexicon.parts["validation"]), symbols)
    part_size = math.ceil(recipe.training.batch_size / _PARTS_OF_BATCH)

    def loss(rows: Tensor) -> Tensor:
        return surprise(network, training, rows, part_size) / training.lengths[rows].sum()

    fitted = fit_rows(
        network,
        len(training),
        recipe.training,
        loss,
        lambda: perplexity(network, validation),
        job,
        "validation perplexity",
    )
    return network, fitted


def load_run(directory: Path) -> LanguageModelRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def _build(content: dict[str, Any]) -> LanguageModelRun:
    recipe = SpellingRecipe.model_validate(content["recipe"])
    symbols = tuple(content["vocabularies"]["target"]["symbols"])
    return LanguageModelRun(LanguageModel(len(symbols), recipe.network), symbols, content)


def surprise(network: LanguageModel, spellings: Spellings, rows: Tensor, batch_size: int) -> Tensor:
    """The sum of ``-log p``, in nats, over all symbols of some words, the end of each word among them."""
    total = torch.zeros(())
    for given, wanted in spellings.batches(rows, batch_size):
        scores, *_ = network(given, *network.initial_state(len(given)))
        total = total + nn.functional.cross_entropy(
            scores.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
        )
    return total


@torch.no_grad()
def perplexity(network: LanguageModel, spellings: Spellings) -> float:
    """``exp`` of the mean of ``-log p`` over all symbols of the words, the end of each word among them."""
    network.eval()
    total = surprise(network, spellings, torch.arange(len(spellings)), _SCORED_WORDS)
    return math.exp(total.item() / spellings.num_symbols)


def score(network: LanguageModel, lexicon: Lexicon, symbols: Sequence[str]) -> LanguageModelScores:
    """The network and the best n-gram model, by the validation and by the test words."""
    training, validation, test = (list(lexicon.parts[part]) for part in PARTS)
    held_out = [Spellings.of(words, symbols) for words in (validation, test)]
    tried = {order: NGram(order, training, len(symbols)).perplexity(validation) for order in NGRAM_ORDERS}
    order = min(tried, key=tried.__getitem__)
    return LanguageModelScores(
        network=Perplexities(*(perplexity(network, spellings) for spellings in held_out)),
        ngram=Perplexities(tried[order], NGram(order, training, len(symbols)).perplexity(test)),
        ngram_order=order,
        uniform=float(len(symbols)),
        num_words=len(test),
        num_symbols=held_out[1].num_symbols,
    )


def _table(scores: LanguageModelScores, fitted: Fitted) -> ScoreTable:
    rows = (
        ("network", scores.network),
        (f"{scores.ngram_order}-gram, Kneser-Ney", scores.ngram),
        ("all symbols equally likely", Perplexities(scores.uniform, scores.uniform)),
    )
    return ScoreTable(
        title=f"{scores.num_words:,} held-out words, {scores.num_symbols:,} symbols with their ends",
        columns=("perplexity of a symbol", "validation", "held out"),
        rows=tuple((name, f"{found.validation:.3f}", f"{found.test:.3f}") for name, found in rows),
        note=fitted.sentence(),
    )
