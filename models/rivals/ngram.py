"""An n-gram model, what a language model must beat: interpolated modified Kneser-Ney smoothing.

With ``h`` the up to ``n - 1`` symbols before, ``h'`` those without the first of them, and the discounts ``D(1)``,
``D(2)`` and ``D(3)`` an order, the last for all that is counted three times or more::

    p(c | h) = max(count(h c) - D(count(h c)), 0) / count(h .)  +  g(h) p(c | h')
    g(h)     = (D(1) N1(h) + D(2) N2(h) + D(3) N3(h)) / count(h .)

``count`` counts occurrences where ``h`` has ``n - 1`` symbols, and below that how many different symbols stand before
``h c``; ``N1(h)``, ``N2(h)`` and ``N3(h)`` are how many different symbols follow ``h`` once, twice and more often. At
the end of the recursion all ``V`` symbols are equally likely. Kneser and Ney, 1995, "Improved Backing-off for M-gram
Language Modeling"; three discounts in place of one: Chen and Goodman, 1999, "An Empirical Study of Smoothing Techniques
for Language Modeling".
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TypeAlias

# For each context, how often each symbol follows it.
Counts: TypeAlias = dict[str, Counter[str]]
# Of what is counted once, twice, and three times or more.
Discounts: TypeAlias = tuple[float, float, float]


class NGram:
    """An n-gram model of texts, each by itself; a symbol is a character, whatever it stands for.

    Args:
        order: n, at least 1.
        words: the texts that it learns from.
        num_symbols: V, the symbols that may come next, the end of the text among them.
    """

    # Stands for what is before a text and for its end.
    EDGE = "\0"

    def __init__(self, order: int, words: Iterable[str], num_symbols: int) -> None:
        self._num_symbols = num_symbols
        # By length of the context, how often a symbol comes after it.
        ngrams: list[Counter[tuple[str, str]]] = [Counter() for _ in range(order)]
        for word in words:
            before = self.EDGE + word
            for place, symbol in enumerate(word + self.EDGE, start=1):
                length = min(place, order - 1)
                ngrams[length][before[place - length : place], symbol] += 1
        for length in reversed(range(order - 1)):
            # Each different n-gram counts once for the one that lacks its first symbol.
            ngrams[length].update((context[1:], symbol) for context, symbol in ngrams[length + 1])
        self._counts = [_grouped(each) for each in ngrams]
        self._discounts = [_discounts(each) for each in self._counts]

    def probability(self, symbol: str, context: str) -> float:
        """Of ``symbol`` (``EDGE``: the end of the text) after ``context``, all that came before it in the text."""
        return self._probability(symbol, self.EDGE + context)

    def perplexity(self, words: Iterable[str], unknown: str = "") -> float:
        """``exp`` of the mean of ``-log p`` over all symbols of the texts, the end of each text among them.

        Args:
            unknown: a symbol that counts for nothing.
        """
        reach = len(self._counts) - 1
        surprises = [
            -math.log(self._probability(symbol, before[max(0, place - reach) : place]))
            for word in words
            for before in (self.EDGE + word,)
            for place, symbol in enumerate(word + self.EDGE, start=1)
            if symbol != unknown
        ]
        return math.exp(math.fsum(surprises) / max(1, len(surprises)))

    def _probability(self, symbol: str, before: str) -> float:
        probability = 1.0 / self._num_symbols
        for length, (counts, discounts) in enumerate(zip(self._counts, self._discounts, strict=True)):
            followers = counts.get(before[len(before) - length :]) if length <= len(before) else None
            if followers is None:
                break
            count = followers[symbol]
            own = max(count - discounts[min(count, 3) - 1], 0.0) if count else 0.0
            taken = sum(discounts[min(each, 3) - 1] for each in followers.values())
            probability = (own + taken * probability) / followers.total()
        return probability


def _grouped(counts: Counter[tuple[str, str]]) -> Counts:
    grouped: Counts = defaultdict(Counter)
    for (context, symbol), count in counts.items():
        grouped[context][symbol] = count
    return dict(grouped)


def _discounts(counts: Counts) -> Discounts:
    """``D(k) = k - (k + 1) Y n(k + 1) / n(k)`` with ``Y = n1 / (n1 + 2 n2)``, of how many n-grams were counted k times.

    Where too few were for that, all three are ``Y``, as Kneser and Ney had it; a half where none was counted once.
    """
    how_often = Counter(count for followers in counts.values() for count in followers.values())
    n = [how_often[count] for count in range(1, 5)]
    single = n[0] / (n[0] + 2 * n[1]) if n[0] else 0.5
    if not all(n):
        return single, single, single
    first, second, third = (k - (k + 1) * single * n[k] / n[k - 1] for k in (1, 2, 3))
    # Of few n-grams the quotients may be anything; a discount is none that adds, or takes more than there is.
    return (first, second, third) if 0 <= first <= 1 and 0 <= second <= 2 and 0 <= third <= 3 else (single,) * 3
