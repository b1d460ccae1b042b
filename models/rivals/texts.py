"""The rival of a language model: the n-gram model of the order that predicts the validation part best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from ostinato.models.data.text import Text
from ostinato.models.rivals.ngram import NGram

# Orders of n-gram models are tried upwards until the validation part is predicted worse, from here to there.
FIRST_ORDER, LAST_ORDER = 2, 10
# N-grams learn from so much of a longer text: from the end of a running one, which is nearest to what is held out, and
# from the first lines. Each of their symbols takes kilobytes of memory, and more of them where lines differ.
_MAX_RUNNING_SYMBOLS = 400_000
_MAX_LINE_SYMBOLS = 1_000_000


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


def ngram_texts(text: Text) -> list[str]:
    """What n-gram models learn from."""
    texts = list(map(as_characters, text.parts["training"]))
    if text.is_running:
        return [characters[-_MAX_RUNNING_SYMBOLS:] for characters in texts]
    ends = itertools.accumulate(map(len, texts))
    return [characters for characters, end in zip(texts, ends, strict=True) if end <= _MAX_LINE_SYMBOLS] or texts[:1]


def as_characters(codes: Sequence[int]) -> str:
    """A character for each code, as n-gram models take symbols; that of the edge is theirs."""
    return "".join(map(chr, codes))
