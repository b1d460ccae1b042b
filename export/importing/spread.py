"""The rounding of a foreign file itself: how far its own answers to the same rows lie apart in runs of other shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.sequence import SequenceContract
from ostinato.export.errors import ExportError
from ostinato.export.proofs.proof import TOLERANCE, Proof
from ostinato.export.proofs.sizes import num_steps
from ostinato.service.artifact.numbers import largest_difference

_ROWS, _STEPS = 5, 70
_CUTS = ((1, 2, 3, 10, 11), (23,))
# Over more rows and steps than are looked at here a file's runs lie further apart.
_FURTHER = 10
_MOST = 1e-3


def proved_to_rounding(prove: Callable[[float], Proof], spread: Callable[[], float]) -> Proof:
    """A proof, over the usual tolerance only as far as the file's own runs lie apart.

    Args:
        prove: makes a proof that lets so much pass.
        spread: the file's own, measured where it is needed.

    Raises:
        ExportError: the graph differs from the file by more than that.
    """
    try:
        return prove(TOLERANCE)
    except ExportError:
        own = spread()
        if (tolerance := allowed(own)) <= TOLERANCE:
            raise
        proof = prove(tolerance)
    note = (
        f"it answers as the file to {proof.parity.max_difference:.2g}: with what else is in its run, the file's own "
        f"answers to a row differ by {own:.2g}"
    )
    return Proof(proof.lines, proof.parity, (*proof.notes, note))


def allowed(spread: float) -> float:
    """How far a graph may be from a file whose own runs lie so far apart."""
    return max(TOLERANCE, float(f"{min(_MOST, _FURTHER * spread):.1e}"))


def spread_of_steps(contract: Contract) -> float:
    """The largest relative difference between runs of the file: rows together, each alone, and in chunks."""
    length = num_steps(contract, _STEPS) if contract.inputs.time_axis is not None else _STEPS
    x = contract.draw(np.random.default_rng(0), _ROWS, length)
    whole = _answers(contract, x, range(_ROWS))
    worst = 0.0
    for cuts in _CUTS:
        worst = max(worst, _apart(_answers(contract, x, range(_ROWS), [cut for cut in cuts if cut < length]), whole))
    for row in range(_ROWS):
        alone = _answers(contract, x, [row])
        worst = max(worst, _apart(alone, [each[row : row + 1] for each in whole]))
    return worst


def spread_of_sequences(contract: SequenceContract) -> float:
    """The largest relative difference between runs of the file: sequences of one length together, and each alone."""
    drawn = contract.draw(np.random.default_rng(0), (_STEPS,) * _ROWS)
    rows, contexts = [each for each, _ in drawn], [context for _, context in drawn]
    together = contract.answer(rows, contexts)
    flat = contract.made.flat
    return max(
        _apart(flat(contract.answer([each], [context])[0]), flat(made))
        for each, context, made in zip(rows, contexts, together, strict=True)
    )


def _answers(contract: Contract, x: Array, rows: Sequence[int], cuts: Sequence[int] = ()) -> list[Array]:
    """Outputs and states ``[B, ...]`` of some rows in one run, or in pieces."""
    part = x[list(rows)]
    y, states = contract.run(contract, part, contract.initial_states(len(part)), cuts)
    moved = [np.moveaxis(each, state.batch_axis, 0) for each, state in zip(states, contract.states, strict=True)]
    return [*(np.asarray(each) for each in contract.named(y).values()), *moved]


def _apart(some: Sequence[Array], others: Sequence[Array]) -> float:
    return max(largest_difference(one, other) for one, other in zip(some, others, strict=True))
