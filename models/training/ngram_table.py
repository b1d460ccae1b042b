"""Training of the n-gram model of a language model, as tables, and of how much of the scores is its own.

Of all contexts that occur those stay whose loss would cost most: a context's worth is how often it occurs, times how
far its probabilities are from those of the context without its first symbol (Stolcke, 1998, "Entropy-based Pruning of
Backoff Language Models"). Where a context stays, so do the contexts without its first and without its last symbol: by
those the automaton falls back to shorter contexts, and comes to longer ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from ostinato.models.data.text import Text
from ostinato.models.errors import DataError
from ostinato.models.networks.ngram_table import (
    MOST_UNITS,
    UNITS_PER_NAT,
    MixedLanguageModel,
    NGramRecipe,
    NGramTable,
)
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.ngram import NGram, NGramContext, ngram_texts
from ostinato.models.training.text import perplexity, scored_windows, surprise

_WEIGHTS = tuple(place / 20 for place in range(21))
# 6 bytes each.
_MOST_ENTRIES = 4_000_000
# After so many free places that a row does not fit, others of its length begin further on.
_MANY_TRIES = 50


def with_ngram(network: nn.Module, fitted: Fitted, table: NGramTable, text: Text) -> tuple[MixedLanguageModel, Fitted]:
    """A trained language model, or an ensemble, together with an n-gram model, and the perplexity of both together."""
    both = MixedLanguageModel(network, table).eval()
    _weigh(both, text)
    return both, replace(fitted, validation=perplexity(both, text.parts["validation"], text))


def learned_table(text: Text, recipe: NGramRecipe) -> NGramTable:
    """An n-gram model that has learned from the training part.

    Raises:
        DataError: its tables would be too large.
    """
    num_codes = len(text.symbols)
    contexts = NGram(recipe.order, ngram_texts(text), num_codes).contexts()
    if text.is_running:
        # A stream begins anywhere in the text, and not as the text does.
        contexts = {name: context for name, context in contexts.items() if NGram.EDGE not in name}
    kept = kept_contexts(contexts, recipe.max_contexts)
    rows = list(_rows(kept, num_codes, recipe.order - 1))
    return _filled(rows, num_codes, text.symbols.unknown)


def kept_contexts(contexts: Mapping[str, NGramContext], most: int) -> dict[str, NGramContext]:
    """Those of most worth, the empty one first, shorter ones before longer ones.

    Args:
        contexts: shorter ones before longer ones.
    """
    worth = {name: _worth(name, contexts) for name in contexts}
    for name in reversed(worth):
        for shorter in (name[1:], name[:-1]) if name else ():
            worth[shorter] = max(worth[shorter], worth[name])
    best = sorted(worth, key=lambda name: (-worth[name], len(name), name))[:most]
    return {name: contexts[name] for name in sorted(best, key=lambda name: (len(name), name))}


def _worth(name: str, contexts: Mapping[str, NGramContext]) -> float:
    if not name:
        return math.inf
    context, shorter = contexts[name], contexts[name[1:]].followers
    gained = sum(own * math.log(own / shorter[symbol]) for symbol, own in context.followers.items())
    others = 1.0 - sum(context.followers.values())
    return context.occurrences * (gained + (others * math.log(context.rest) if context.rest > 0.0 else 0.0))


@dataclass(frozen=True)
class _Row:
    """A context as the tables have it.

    ``costs``, ``after``: ``-log p`` of the symbols that it has itself, and which context is next. ``base``: its number.
    """

    costs: dict[int, float]
    after: dict[int, int]
    base: int
    penalty: float


def _rows(kept: Mapping[str, NGramContext], num_codes: int, longest: int) -> Iterator[_Row]:
    """The rows of contexts, in their order.

    Raises:
        DataError: they are too large altogether.
    """
    numbers = {name: number for number, name in enumerate(kept)}
    # Which context each one has the symbols of, besides those of its base; of a base, None: it has all.
    told = _told_by(kept, num_codes)
    num_entries = sum(num_codes if teller is None else len(kept[teller].followers) for teller in told.values())
    if num_entries > _MOST_ENTRIES:
        raise DataError(
            f"ngram: {len(kept):,} contexts and {num_codes:,} symbols make tables of {num_entries:,} numbers, and "
            f"{_MOST_ENTRIES:,} is the most: lower ngram.max_contexts or ngram.order"
        )
    for name, teller in told.items():
        base = name if teller is None else teller[1:]
        symbols = map(chr, range(num_codes)) if teller is None else kept[teller].followers
        costs = {ord(symbol): _cost(kept, name, symbol) for symbol in sorted(symbols)}
        after = {code: numbers[_longest_kept(kept, (name + chr(code))[-longest:])] for code in costs}
        yield _Row(costs, after, numbers[base], _rests(kept, name, base))


def _told_by(kept: Mapping[str, NGramContext], num_codes: int) -> dict[str, str | None]:
    num_longer = Counter(name[start:] for name in kept for start in range(1, len(name) + 1))
    told: dict[str, str | None] = {}
    for name, context in kept.items():
        # A base has as many entries as there are symbols, and spares its own to each context that ends as it does.
        if not name or len(context.followers) * (1 + num_longer[name]) > num_codes:
            told[name] = None
        else:
            told[name] = told[name[1:]] or name
    return told


def _cost(kept: Mapping[str, NGramContext], name: str, symbol: str) -> float:
    """``-log p`` of a symbol."""
    end = name
    while symbol not in kept[end].followers:
        end = end[1:]
    return _rests(kept, name, end) + _surprise_of(kept[end].followers[symbol])


def _rests(kept: Mapping[str, NGramContext], name: str, end: str) -> float:
    """What a symbol costs in addition that follows neither ``name`` nor any context down to ``end``."""
    return sum(_surprise_of(kept[name[start:]].rest) for start in range(len(name) - len(end)))


def _surprise_of(probability: float) -> float:
    return -math.log(probability) if probability > 0.0 else math.inf


def _longest_kept(kept: Mapping[str, NGramContext], name: str) -> str:
    while name not in kept:
        name = name[1:]
    return name


def _filled(rows: Sequence[_Row], num_codes: int, unknown: int | None) -> NGramTable:
    offsets, num_entries = packed([list(row.costs) for row in rows], num_codes)
    table = NGramTable(num_codes, len(rows), num_entries)
    table.offset.copy_(torch.tensor(offsets))
    table.base.copy_(torch.tensor([offsets[row.base] for row in rows]))
    table.penalty.copy_(torch.tensor([_units(row.penalty) for row in rows]))
    codes = torch.tensor([code for row in rows for code in row.costs])
    entries = codes + torch.repeat_interleave(table.offset, torch.tensor([len(row.costs) for row in rows]))
    table.follows[entries] = codes.to(table.follows.dtype)
    # What is unknown is never to be written.
    costs = [MOST_UNITS if code == unknown else _units(cost) for row in rows for code, cost in row.costs.items()]
    table.cost[entries] = torch.tensor(costs, dtype=torch.uint8)
    after = [context for row in rows for context in row.after.values()]
    table.next_context[entries] = torch.tensor(after, dtype=torch.int32)
    return table


def _units(cost: float) -> int:
    return min(round(min(cost, MOST_UNITS) * UNITS_PER_NAT), MOST_UNITS)


def packed(rows: Sequence[Sequence[int]], num_codes: int) -> tuple[list[int], int]:
    """Where rows of codes begin that lie within each other, no two at one place, and how many entries all have.

    The longest are placed first, each at the first place where its entries are free; rows of one length are not tried
    again where many of them found none.
    """
    # At the end there is always room for one more row.
    taken, used = bytearray(2 * num_codes), set()
    offsets, begin_of = [0] * len(rows), Counter[int]()
    for number in sorted(range(len(rows)), key=lambda number: -len(rows[number])):
        row, tries, end = rows[number], 0, len(taken) - num_codes
        begin = place = min(taken.find(0, begin_of[len(row)]), end)
        while (offset := place - row[0]) < 0 or offset in used or any(taken[offset + code] for code in row):
            place, tries = min(taken.find(0, place + 1), end), tries + 1
        if tries > _MANY_TRIES:
            begin_of[len(row)] = (begin + place) // 2
        taken.extend(bytes(max(0, offset + 2 * num_codes - len(taken))))
        for code in row:
            taken[offset + code] = 1
        used.add(offset)
        offsets[number] = offset
    return offsets, max(offsets) + num_codes


@torch.no_grad()
def _weigh(both: MixedLanguageModel, text: Text) -> None:
    """Give the network the weight that is best in the validation part."""
    network, ngram = both.members
    totals = [0.0] * len(_WEIGHTS)
    validation = text.parts["validation"]
    pairs = zip(scored_windows(network, validation, text), scored_windows(ngram, validation, text), strict=True)
    for (scores, wanted), (log_probabilities, _) in pairs:
        for place, weight in enumerate(_WEIGHTS):
            totals[place] += float(surprise(both.mixed(scores, log_probabilities, weight), wanted))
    both.weight.fill_(_WEIGHTS[totals.index(min(totals))])
