"""Scores of networks that write: exact matches and symbol errors, greedy and by beam search, next to simple rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.pairs import padded
from ostinato.models.data.symbols import Units
from ostinato.models.data.written_pairs import WrittenPairs
from ostinato.models.networks.beam import Hypothesis, write
from ostinato.models.networks.seq2seq import Seq2Seq

NUM_BEAMS = 5
START_CODE, STOP_CODE = 0, 1
_BATCH_SIZE = 256
# An output may be so much longer than the longest target; then it is cut off.
_MORE_STEPS = 12
# Cells of a table of edit distances that the search for nearest sources may fill: a few seconds.
_MAX_CELLS = 1_500_000_000
_LEAST_SOUGHT = 20


@dataclass(frozen=True)
class ErrorRates:
    """A source with several targets is compared with the nearest.

    ``wrong``: the fraction of sources for which none of the targets was written.
    ``symbol_error``: symbols inserted, left out and changed, as a fraction of the symbols that there are.
    """

    wrong: float
    symbol_error: float


@dataclass(frozen=True)
class PairsScores:
    """Both ways of writing, over the same held-out sources, and what simple rules write for them.

    ``num_beam_below_greedy``: for how many sources beam search found an output less probable than the greedy one.
    ``nearest``: the target of the training source with the least edit distance, for the first ``num_nearest``.
    ``most_frequent``: always the most frequent target. ``copy``: the source itself.
    """

    num_sources: int
    greedy: ErrorRates
    beam: ErrorRates
    num_beam_below_greedy: int
    nearest: ErrorRates
    num_nearest: int
    most_frequent: ErrorRates
    copy: ErrorRates


def score(network: Seq2Seq, data: WrittenPairs) -> PairsScores:
    """Greedy and by ``NUM_BEAMS`` beams, over all of the test part, and its rivals."""
    training, test = data.parts["training"], data.parts["test"]
    greedy, beam = (write_for(network, list(test), data, num_beams) for num_beams in (1, NUM_BEAMS))
    # The same output may come out another bit in its last place, as batches differ.
    below = (
        found.codes != first.codes and found.log_probability < first.log_probability
        for first, found in zip(greedy, beam, strict=True)
    )
    nearest = nearest_targets(data)
    frequent = Counter(target for targets in training.values() for target in targets).most_common(1)[0][0]
    return PairsScores(
        num_sources=len(test),
        greedy=error_rates([data.targets.units(one.codes) for one in greedy], test),
        beam=error_rates([data.targets.units(one.codes) for one in beam], test),
        num_beam_below_greedy=sum(below),
        nearest=error_rates(nearest, dict(list(test.items())[: len(nearest)])),
        num_nearest=len(nearest),
        most_frequent=error_rates([frequent] * len(test), test),
        copy=error_rates([_copy(source, data) for source in test], test),
    )


def write_for(network: Seq2Seq, sources: Sequence[str], data: WrittenPairs, num_beams: int = 1) -> list[Hypothesis]:
    """The output for each source, in the order given."""
    codes = [data.sources.encode(data.source_units(source)) for source in sources]
    order = sorted(range(len(sources)), key=lambda place: len(codes[place]))
    max_steps = data.longest[1] + _MORE_STEPS
    written: dict[int, Hypothesis] = {}
    for first in range(0, len(order), _BATCH_SIZE):
        places = order[first : first + _BATCH_SIZE]
        source, lengths = padded([codes[place] for place in places])
        device = next(network.parameters()).device
        outputs = write(network, source.to(device), lengths.to(device), START_CODE, STOP_CODE, num_beams, max_steps)
        written.update(zip(places, outputs, strict=True))
    return [written[place] for place in range(len(sources))]


def error_rates(written: Sequence[Units], entries: Mapping[str, Sequence[Units]]) -> ErrorRates:
    """The error rates of outputs, one for each entry in order."""
    wrong, wrong_symbols, num_symbols = 0, 0, 0
    for output, targets in zip(written, entries.values(), strict=True):
        distance, length = min((edit_distance(output, target), len(target)) for target in targets)
        wrong += distance > 0
        wrong_symbols += distance
        num_symbols += length
    return ErrorRates(wrong / len(entries), wrong_symbols / num_symbols)


def edit_distance(given: Units, true: Units) -> int:
    """The least number of insertions, deletions and changes from one to the other (Levenshtein, 1966)."""
    if given == true:
        return 0
    above = list(range(len(true) + 1))
    for row, symbol in enumerate(given, start=1):
        line = [row]
        for column, other in enumerate(true, start=1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (symbol != other)))
        above = line
    return above[-1]


def nearest_targets(data: WrittenPairs) -> list[Units]:
    """For test sources, as many as time allows, the first target of the nearest training source."""
    training, test = data.parts["training"], data.parts["test"]
    known = [data.sources.encode(data.source_units(source)) for source in training]
    asked = [data.sources.encode(data.source_units(source)) for source in test]
    longest = max(map(len, known))
    cells = len(known) * longest * max(1, sum(map(len, asked)) // len(asked))
    most = max(_LEAST_SOUGHT, _MAX_CELLS // cells)
    table = np.full((longest, len(known)), -1, np.int32)
    for row, codes in enumerate(known):
        table[: len(codes), row] = codes
    lengths = np.array([len(codes) for codes in known])
    targets = [own[0] for own in training.values()]
    return [targets[int(distances(codes, table, lengths).argmin())] for codes in asked[:most]]


def distances(codes: Sequence[int], table: NDArray[np.int32], lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    """The edit distances ``[N]`` from codes to those in the columns of ``table [longest, N]``."""
    longest, number = table.shape
    above = np.repeat(np.arange(longest + 1, dtype=np.int32)[:, None], number, axis=1)
    for row, code in enumerate(codes, start=1):
        line = np.empty_like(above)
        line[0] = row
        np.minimum(above[1:] + 1, above[:-1] + (table != code), out=line[1:])
        for column in range(1, longest + 1):
            np.minimum(line[column], line[column - 1] + 1, out=line[column])
        above = line
    found: NDArray[np.int32] = above[lengths, np.arange(number)]
    return found


def _copy(source: str, data: WrittenPairs) -> Units:
    """A source, cut as targets are."""
    units = source.split() if data.targets.unit == "words" else list(source)
    return tuple(one.lower() if data.targets.lowercase else one for one in units)
