"""An n-gram model, what a language model must beat or holds: interpolated modified Kneser-Ney smoothing.

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

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ostinato.models.data.text import Text

# For each context, how often each symbol follows it.
Counts: TypeAlias = dict[str, Counter[str]]
# Of what is counted once, twice, and three times or more.
Discounts: TypeAlias = tuple[float, float, float]
# N-grams learn from so much of a longer text: from the end of a running one, which is nearest to what is held out, and
# from the first lines. Each of their symbols takes kilobytes of memory, and more of them where lines differ.
_MAX_RUNNING_SYMBOLS = 400_000
_MAX_LINE_SYMBOLS = 1_000_000


@dataclass(frozen=True)
class NGramContext:
    """What is known of the symbols after a context.

    ``followers``: the probability of each symbol that came after it. ``rest``: that of any other is so much of what it
    is after the context without its first symbol; none has a context before the empty one.
    ``occurrences``: how often it stands before a symbol.
    """

    followers: dict[str, float]
    rest: float
    occurrences: int


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

    def contexts(self) -> dict[str, NGramContext]:
        """All contexts that occur, the empty one first, then by their lengths; all symbols follow the empty one."""
        occurrences = self._occurrences()
        shares = {chr(code): 1.0 / self._num_symbols for code in range(self._num_symbols)}
        found: dict[str, NGramContext] = {}
        for length, (contexts, discounts) in enumerate(zip(self._counts, self._discounts, strict=True)):
            for context, counts in sorted(contexts.items()):
                shorter = found[context[1:]].followers if length else shares
                total, taken = counts.total(), _taken(counts, discounts)
                probabilities = {
                    symbol: (_own(counts[symbol], discounts) + taken * shorter[symbol]) / total
                    for symbol in (counts if length else shares)
                }
                found[context] = NGramContext(probabilities, taken / total, occurrences[context])
        return found

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
            probability = (
                _own(followers[symbol], discounts) + _taken(followers, discounts) * probability
            ) / followers.total()
        return probability

    def _occurrences(self) -> Counter[str]:
        """How often each context stands before a symbol: after which symbols, or at the beginning of a text."""
        found: Counter[str] = Counter()
        longest = len(self._counts) - 1
        for length in range(longest, -1, -1):
            for context, followers in self._counts[length].items():
                if length == longest or context.startswith(self.EDGE):
                    found[context] += followers.total()
                if context:
                    found[context[1:]] += found[context]
        return found


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


def _own(count: int, discounts: Discounts) -> float:
    """What a symbol keeps of its count."""
    return max(count - discounts[min(count, 3) - 1], 0.0) if count else 0.0


def _taken(followers: Counter[str], discounts: Discounts) -> float:
    """What the discounts take from all that follow a context."""
    return sum(discounts[min(each, 3) - 1] for each in followers.values())


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
    # Of few n-grams the quotients may be anything; a discount is none that adds, or takes more than there is. One that
    # takes nothing leaves nothing for what never came after a context: its probability would be 0.
    return (first, second, third) if 0 < first <= 1 and 0 < second <= 2 and 0 < third <= 3 else (single,) * 3
