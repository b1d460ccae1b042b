"""Report of a network that writes: its scores, examples, and where its attention was."""

from __future__ import annotations

import torch

from ostinato.models.data.written_pairs import WrittenPairs
from ostinato.models.networks.ensemble import first_of
from ostinato.models.networks.seq2seq import Seq2Seq
from ostinato.models.report import BarChart, Matrix, ReportPart, ScoreTable
from ostinato.models.scores.pairs import NUM_BEAMS, START_CODE, STOP_CODE, ErrorRates, PairsScores, write_for
from ostinato.models.training.fitting import Fitted

_NUM_EXAMPLES = 40
_NUM_ATTENTIONS = 3
# A longer source or output is no picture.
_MAX_DRAWN = 60
_NUM_LENGTHS = 6


def sections_of(network: Seq2Seq, data: WrittenPairs, scores: PairsScores, fitted: Fitted) -> list[ReportPart]:
    """What is shown: scores and rivals, errors by length, examples, attention."""
    written = [data.targets.units(one.codes) for one in write_for(network, list(data.parts["test"]), data)]
    right = [output in targets for output, targets in zip(written, data.parts["test"].values(), strict=True)]
    return [
        _table(data, scores, fitted),
        _by_length(data, right),
        _examples(data, written, right),
        *(attention(network, source, data) for source in _drawn(network, data)),
    ]


def _table(data: WrittenPairs, scores: PairsScores, fitted: Fitted) -> ScoreTable:
    below = scores.num_beam_below_greedy
    ways: list[tuple[str, ErrorRates]] = [
        ("network, greedily", scores.greedy),
        (f"network, by {NUM_BEAMS} beams", scores.beam),
        ("target of the nearest source", scores.nearest),
        ("always the most frequent target", scores.most_frequent),
        ("the source itself", scores.copy),
    ]
    title = f"{scores.num_sources:,} held-out sources"
    if not data.held_out:
        title = f"{scores.num_sources:,} sources, the same that were learned from: there are too few to hold any out"
    nearest = f"the nearest was sought for {scores.num_nearest:,} of them; " * (scores.num_nearest < scores.num_sources)
    return ScoreTable(
        title=title,
        columns=("written", "exact match", "wrong", "symbol error"),
        rows=tuple(
            (way, f"{1 - rates.wrong:.2%}", f"{rates.wrong:.2%}", f"{rates.symbol_error:.2%}") for way, rates in ways
        ),
        note=f"{nearest}for {below} sources ({below / scores.num_sources:.2%}) beams found less probable outputs than "
        f"greed; {fitted.sentence()}",
    )


def _by_length(data: WrittenPairs, right: list[bool]) -> BarChart:
    """Exact matches of sources from short to long, in groups of like size."""
    lengths = [len(data.source_units(source)) for source in data.parts["test"]]
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    num_groups = min(_NUM_LENGTHS, len(order))
    groups = [
        order[len(order) * group // num_groups : len(order) * (group + 1) // num_groups] for group in range(num_groups)
    ]
    return BarChart(
        "exact matches by the length of the source",
        f"{data.sources.unit} of the source",
        "right",
        [f"{lengths[group[0]]} to {lengths[group[-1]]}" for group in groups],
        {"network, greedily": [sum(right[row] for row in group) / len(group) for group in groups]},
    )


def _examples(data: WrittenPairs, written: list[tuple[str, ...]], right: list[bool]) -> ScoreTable:
    """Mistakes first, for there is more to see in them."""
    test = list(data.parts["test"].items())
    order = sorted(range(len(test)), key=right.__getitem__)
    separator = data.targets.separator
    rows = []
    for row in [*order[: _NUM_EXAMPLES // 2], *order[-_NUM_EXAMPLES // 2 :]][: len(test)]:
        source, targets = test[row]
        wanted = " or ".join(separator.join(target) for target in targets)
        rows.append((source, wanted, separator.join(written[row]), "right" if right[row] else "wrong"))
    return ScoreTable("examples", ("source", "target", "written", ""), tuple(dict.fromkeys(rows)), printed=False)


def _drawn(network: Seq2Seq, data: WrittenPairs) -> list[str]:
    if not first_of(network).attends:
        return []
    fitting = [source for source in data.parts["test"] if 1 < len(data.source_units(source)) <= _MAX_DRAWN]
    return fitting[:_NUM_ATTENTIONS]


@torch.no_grad()
def attention(network: Seq2Seq, source: str, data: WrittenPairs) -> Matrix:
    """Where each step of the greedy output looked."""
    network.eval()
    units = data.source_units(source)
    lengths = torch.tensor([len(units)])
    memory, states = network.encode(torch.tensor([data.sources.encode(units)]), lengths)
    previous = torch.tensor([START_CODE])
    names: list[str] = []
    rows: list[list[float]] = []
    while len(rows) < _MAX_DRAWN:
        scores, states, weights = network.decode(previous, states, memory, lengths)
        assert weights is not None, "only networks that attend are drawn"
        previous = scores.argmax(dim=-1)
        rows.append(weights[0].tolist())
        names.append(data.targets.names[int(previous)])
        if int(previous) == STOP_CODE:
            break
    return Matrix(f"attention: {source}", "source", "written", list(units), names, rows)
