"""The rival of a language model: the n-gram model of the order that predicts the validation part best."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ostinato.models.data.text import Text
from ostinato.models.rivals.rival import Rival
from ostinato.models.training.ngram import NGram, as_characters, ngram_texts

# Orders of n-gram models are tried upwards until the validation part is predicted worse, from here to there.
FIRST_ORDER, LAST_ORDER = 2, 10


@dataclass(frozen=True)
class Perplexities:
    """``exp`` of the mean surprise of a symbol, the end of each text among them, in both held-out parts."""

    validation: float
    test: float


def best_ngram(text: Text) -> tuple[int, Perplexities]:
    """The order that predicts the validation part best, and how well both held-out parts are predicted with it."""
    training = ngram_texts(text)
    validation, test = (list(map(as_characters, text.parts[part])) for part in ("validation", "test"))
    unknown = "" if text.symbols.unknown is None else chr(text.symbols.unknown)
    best_order, best = 0, Perplexities(math.inf, math.inf)
    for order in range(FIRST_ORDER, LAST_ORDER + 1):
        model = NGram(order, training, len(text.symbols))
        found = model.perplexity(validation, unknown)
        if found >= best.validation:
            break
        best_order, best = order, Perplexities(found, model.perplexity(test, unknown))
    return best_order, best


NGRAMS = "n-grams"
RIVALS: tuple[Rival[Text, tuple[int, Perplexities]], ...] = (Rival(NGRAMS, best_ngram),)
