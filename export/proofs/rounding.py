"""Rounding errors: how far a trained network is from itself in float64, and so how near its graph can come.

A score is a sum of hundreds of products and often near 0 where its neighbours are near 10, so that float32 alone puts
it off by more than 1e-5. The network in float64, with the same weights and fed the same, is the truth that both it and
its graph are rounded from. Where the network cannot run in float64, ``TOLERANCE`` holds.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import NamedTuple, TypeVar, cast

import numpy as np

from ostinato.export.contracts.axes import Array, StepFunction
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.decoder import Decode, Decoded
from ostinato.export.contracts.encoder_decoder import EncoderDecoder
from ostinato.export.contracts.module import Arrays
from ostinato.export.contracts.source_probes import Sources
from ostinato.export.proofs.proof import TOLERANCE, worst_place
from ostinato.export.proofs.sizes import num_rows, num_steps
from ostinato.export.proofs.teacher_forcing import Written, write_from
from ostinato.service.artifact.decoder import Decoder
from ostinato.service.artifact.numbers import largest_difference, largest_of

AnyContract = TypeVar("AnyContract", Contract, EncoderDecoder)

MAX_TOLERANCE = 1e-4
MAX_PROVED_TOLERANCE = 1e-3
"""Of a graph that was seen to be as near to the network in float64 as the network itself is."""
# The graph and the network are rounded each on its own, and what was measured is not the worst that there is.
_MARGIN = 5.0
_PROVED_MARGIN, _AS_NEAR = 20.0, 2.0
# Rows and steps over which the rounding of a recurrent network is measured.
_SIZES = ((64, 200), (16, 1000))
# Steps over which a chaotic network is compared.
_STRETCH = 16


class Widened:
    """A decoder of a network in float64 (a ``Decode``), given what is float32."""

    def __init__(self, wide: Decode) -> None:
        self._wide = wide

    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        """One step."""
        given = None if previous is None else widened(previous)
        return self._wide.decode(given, tuple(map(widened, states)), tuple(map(widened, memory)), lengths)


def tolerance_for(rounding: float) -> float:
    """What a graph may differ by from a network whose own rounding error is ``rounding``, to two digits.

    Five times that error, but at least ``TOLERANCE`` and at most ``MAX_TOLERANCE``.
    """
    return min(max(float(f"{_MARGIN * rounding:.1e}"), TOLERANCE), MAX_TOLERANCE)


def encoder_decoder_rounding(
    contract: EncoderDecoder, decoder: Decoder, sources: Sources, written: Sequence[Written]
) -> float:
    """The largest relative difference of what the network wrote from each source alone to what it writes in float64.

    0 where it cannot run in float64.
    """
    worst = 0.0
    try:
        wide = in_doubles(contract)
        for row, given in enumerate(written):
            alone = sources.without_padding(row)
            source = Sources(widened(alone.source), alone.lengths)
            fed = None if given.fed is None else widened(given.fed)
            true = write_from(wide, decoder, source, given.outputs.shape[1], fed)
            worst = max(worst, written_difference(given, true, decoder))
    except Exception:  # a user's module may raise anything where it meets another dtype
        return 0.0
    return worst


class OwnRounding(NamedTuple):
    """How a recurrent network rounds, over sequences as wide and as long as the proof's.

    ``tolerance``: what its graph may differ by. ``carried_steps``: after so many steps graph and network are to
    continue from the same states, 0 = never. ``note``: why, where they are.
    """

    tolerance: float
    carried_steps: int = 0
    note: str = ""


def own_rounding(contract: Contract) -> OwnRounding:
    """How a recurrent network rounds.

    A trained network may be chaotic over inputs at random: errors grow from step to step until rounding alone decides
    what it answers. Nothing can be compared over many of its steps then, so it is in stretches.
    """
    generator = np.random.default_rng(0)
    drawn = [contract.draw(generator, num_rows(contract, rows), num_steps(contract, steps)) for rows, steps in _SIZES]
    whole = max(recurrent_rounding(contract, sequences) for sequences in drawn)
    return OwnRounding(tolerance_for(whole)) if _MARGIN * whole <= MAX_TOLERANCE else stretched_rounding(contract)


def stretched_rounding(contract: Contract) -> OwnRounding:
    """How a recurrent network rounds over a few steps at a time, each time from its own states."""
    generator = np.random.default_rng(0)
    drawn = [contract.draw(generator, num_rows(contract, rows), num_steps(contract, steps)) for rows, steps in _SIZES]
    stretch = max(recurrent_rounding(contract, sequences, _STRETCH) for sequences in drawn)
    note = (
        "what is rounded off grows from step to step: graph and network were compared over inputs at random for "
        f"{_STRETCH} steps at a time, each from the same states"
    )
    return OwnRounding(tolerance_for(stretch), _STRETCH, note)


def proved_tolerance(contract: Contract, graph: StepFunction) -> float:
    """What a graph may differ by where it is as near to the network in float64 as the network itself: neither is wrong
    then, however far the two are apart.

    0 where it is not as near. A network that is rounded much, as normalisation within a cell and sums over thousands of
    steps are, is that far from itself.
    """
    generator = np.random.default_rng(0)
    drawn = [contract.draw(generator, num_rows(contract, rows), num_steps(contract, steps)) for rows, steps in _SIZES]
    own = max(recurrent_rounding(contract, sequences) for sequences in drawn)
    graphs = max(recurrent_rounding(contract, sequences, step=graph) for sequences in drawn)
    # Of answers in the tens of thousands, as pixels of 16 bits are, the least are rounded as the largest are.
    most = max(MAX_PROVED_TOLERANCE, TOLERANCE * largest_answer(contract, drawn[0]))
    return as_near(graphs, own, most)


def as_near(graphs: float, own: float, most: float = MAX_PROVED_TOLERANCE, times: float = _AS_NEAR) -> float:
    """What a graph may differ by whose rounding error is ``graphs``, and the network's ``own``; 0 = it is wrong."""
    return min(float(f"{_PROVED_MARGIN * own:.1e}"), most) if 0.0 < graphs <= times * own else 0.0


def largest_answer(contract: Contract, sequences: Array) -> float:
    """The largest number that a network answers to sequences ``[B, T, ...]``, or carries behind them."""
    made, after = contract.run(contract, sequences, contract.initial_states(len(sequences)))
    return largest_of([*contract.named(made).values(), *after])


def recurrent_rounding(
    contract: Contract, sequences: Array, carried_steps: int = 0, step: StepFunction | None = None
) -> float:
    """The same for a recurrent network, over whole sequences ``[B, T, ...]``: its output and last states.

    After each ``carried_steps`` steps both continue from the network's own states; 0 = never.

    Args:
        step: is measured in place of the network itself.
    """
    num_steps = carried_steps or sequences.shape[1]
    worst, states = 0.0, contract.initial_states(len(sequences))
    try:
        wide = in_doubles(contract)
        for start in range(0, sequences.shape[1], num_steps):
            part = sequences[:, start : start + num_steps]
            given, after = contract.run(step or contract, part, states)
            wide_states = tuple(map(widened, states))
            true, true_after = wide.run(wide, part, wide_states)
            outputs = zip(contract.named(given).values(), contract.named(true).values(), strict=True)
            pairs = [*outputs, *zip(after, true_after, strict=True)]
            worst = max([worst, *(largest_difference(ours, theirs) for ours, theirs in pairs)])
            states = after
    except Exception:  # a user's module may raise anything where it meets another dtype
        return 0.0
    return worst


def written_difference(given: Written, true: Written, decoder: Decoder) -> float:
    """The largest relative difference in anything that was written, of sources without padding."""
    worst = 0.0
    for row in range(len(true.outputs)):
        _, difference = worst_place(given.row(row, None, decoder), true.row(row, None, decoder))
        worst = max(worst, difference)
    return worst


def in_doubles(contract: AnyContract) -> AnyContract:
    """The same network in float64; a recurrent one still takes rows as they are."""
    wide = replace(contract, module=copy.deepcopy(contract.module).double())
    if isinstance(wide, Contract):
        return cast("AnyContract", _WideContract(**{part.name: getattr(wide, part.name) for part in fields(wide)}))
    return wide


class _WideContract(Contract):
    """A contract with a network in float64, whose inputs and contexts are widened where they leave their rows."""

    def tensors(self, x: Array) -> tuple[Array, ...]:
        return tuple(map(widened, super().tensors(x)))


def widened(array: Array) -> Array:
    """What is float32 in float64."""
    return array.astype(np.float64) if array.dtype == np.float32 else array
