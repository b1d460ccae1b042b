"""Scores of language models: perplexity, next to n-grams that learned from the same text."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from ostinato.models.data.text import Text
from ostinato.models.networks.language_model import LanguageModel
from ostinato.models.networks.ngram_table import MixedLanguageModel
from ostinato.models.report import ReportPart, ScoreTable
from ostinato.models.rivals.rival import answers_of
from ostinato.models.rivals.texts import NGRAMS, RIVALS, Perplexities
from ostinato.models.training.ngram import ngram_texts
from ostinato.models.training.text import continue_text, perplexity

_WRITTEN_STEPS = 120
_BEGUN_STEPS = 12


@dataclass(frozen=True)
class TextScores:
    """The network and models that need no training, all by the same texts and symbols.

    ``ngram``: of the order ``ngram_order``, learned from the same training part, or ``num_ngram_symbols`` of it
    where it is long; the validation part chose the order. None = it failed, and the report says by what.
    ``uniform``: all symbols are equally likely.
    ``num_texts``, ``num_symbols``: of the test part, the end of each text among its symbols.
    ``num_unknown``: those of them that the training part does not have; they are not scored.
    """

    network: Perplexities
    ngram: Perplexities | None
    ngram_order: int
    num_ngram_symbols: int
    uniform: float
    num_texts: int
    num_symbols: int
    num_unknown: int


def score(network: LanguageModel, text: Text) -> tuple[TextScores, str]:
    """The network and the best n-gram model, by the validation and by the test part, and a sentence where it failed."""
    theirs, missing = answers_of(RIVALS, text)
    order, ngram = theirs.get(NGRAMS, (0, None))
    test, unknown = text.parts["test"], text.symbols.unknown
    scores = TextScores(
        network=Perplexities(*(perplexity(network, text.parts[part], text) for part in ("validation", "test"))),
        ngram=ngram,
        ngram_order=order,
        num_ngram_symbols=sum(map(len, ngram_texts(text))),
        uniform=float(len(text.symbols)),
        num_texts=len(test),
        num_symbols=sum(len(codes) + 1 for codes in test),
        num_unknown=sum(code == unknown for codes in test for code in codes),
    )
    return scores, missing


def sections_of(network: LanguageModel, text: Text, scores: TextScores, sentence: str) -> list[ReportPart]:
    """What is shown: perplexities, and what the network writes.

    Args:
        sentence: how training went, and what failed.
    """
    name = "network and n-grams together" if isinstance(network, MixedLanguageModel) else "network"
    return [_table(name, text, scores, sentence), _written(network, text)]


def _table(name: str, text: Text, scores: TextScores, sentence: str) -> ScoreTable:
    is_whole = scores.num_ngram_symbols == sum(map(len, text.parts["training"]))
    unit = text.symbols.unit.replace("_", " ")
    of_part = "" if is_whole else f", of {scores.num_ngram_symbols:,} {unit}"
    rows = (
        (name, scores.network),
        (f"{scores.ngram_order}-gram, modified Kneser-Ney{of_part}", scores.ngram),
        ("all symbols equally likely", Perplexities(scores.uniform, scores.uniform)),
    )
    symbols = f"{scores.num_symbols:,} {unit} with their ends"
    held_out = f"{scores.num_texts:,} held-out lines, {symbols}"
    if text.is_running:
        held_out = f"{scores.num_symbols:,} held-out {unit}"
    if not text.held_out:
        held_out = f"{symbols}, the same that were learned from: there is too little text to hold any of it out"
    of_character = ""
    if text.symbols.unit == "byte_pairs":
        num_characters = sum(len(text.symbols.text(codes)) + 1 for codes in text.parts["test"])
        bits = math.log2(scores.network.test) * scores.num_symbols / num_characters
        of_character = f"{bits:.3f} bits of a character by the network; "
    unknown = f"{scores.num_unknown:,} that the training part does not have are not scored; " * (scores.num_unknown > 0)
    return ScoreTable(
        title=held_out,
        columns=("perplexity of a symbol", "validation", "held out", "bits"),
        rows=tuple(
            (name, f"{found.validation:.3f}", f"{found.test:.3f}", f"{math.log2(found.test):.3f}")
            for name, found in rows
            if found is not None
        ),
        note=of_character + unknown + sentence,
    )


def _written(network: LanguageModel, text: Text) -> ScoreTable:
    """What the network writes from nothing and from beginnings of the test part, the likeliest and drawn."""
    texts = itertools.islice(text.parts["test"], 3)
    beginnings = [[], *(codes[: min(_BEGUN_STEPS, max(1, len(codes) // 2))] for codes in texts)]
    rows = []
    torch.manual_seed(0)
    for begun in beginnings:
        for way, temperature in (("the likeliest", 0.0), ("drawn", 1.0)):
            written = continue_text(network, begun, _WRITTEN_STEPS, temperature)
            rows.append((text.symbols.text(begun), text.symbols.text(written), way))
    return ScoreTable("what it writes", ("begun", "written", "how"), tuple(rows), printed=False)
