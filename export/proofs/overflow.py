"""Overflow: numbers of a network that leave float32 after many steps, in sessions that live long.

Its states add something up, or grow by a factor at each step. A few steps show nothing; later every step fails.
"""

from __future__ import annotations

import numpy as np

from ostinato.export.contracts.axes import Array, States
from ostinato.export.contracts.contract import Contract
from ostinato.export.errors import ExportError
from ostinato.export.proofs.sizes import num_steps

NUM_ROWS, NUM_STEPS = 2, 1000
# What is larger was on its way beyond float32, 3.4e38, when NaN came of it, as infinity less infinity is.
_HUGE = 1e18


def check_overflow(contract: Contract) -> None:
    """Refuse a network whose numbers stay finite for short sequences of likely inputs, and not for long ones.

    Raises:
        ExportError: says of the output or a state after how many steps.
    """
    sequences = contract.draw(np.random.default_rng(0), NUM_ROWS, num_steps(contract, NUM_STEPS))
    try:
        answer = _run(contract, sequences, contract.initial_states(NUM_ROWS))
    except ExportError:  # it fails at that size: the proof meets it, and says more of it
        return
    if _find_infinity(contract, answer) or _has_nan(contract, answer):
        _check_steps(contract, sequences)


def _check_steps(contract: Contract, sequences: Array) -> None:
    """One step at a time, until something is not finite."""
    largest, states = 0.0, contract.initial_states(NUM_ROWS)
    for step in range(sequences.shape[1]):
        answer = _run(contract, sequences[:, step : step + 1], states)
        place = _find_infinity(contract, answer)
        if not place and _has_nan(contract, answer):
            if largest < _HUGE:  # of another cause, as the logarithm of an input
                return
            place = "the output"
        if place:
            raise ExportError(
                f"{place} is no longer finite after {step + 1} steps of likely inputs: its numbers grow beyond "
                "float32; let what is carried decay or be bounded, as by tanh or clamp, or say by the input's "
                "statistics what the network is sent"
            )
        states = answer[1]
        numbers = [
            each for each in (*contract.named(answer[0]).values(), *states) if each.dtype.kind == "f" and each.size
        ]
        largest = max([largest, *(float(np.abs(each[np.isfinite(each)]).max(initial=0.0)) for each in numbers)])


def _run(contract: Contract, sequences: Array, states: States) -> tuple[Array, States]:
    return contract.run(contract, sequences, states)


def _find_infinity(contract: Contract, answer: tuple[Array, States]) -> str:
    """What is infinite, and was not found to be so for short sequences; empty = nothing."""
    for place, numbers in contract.named(answer[0]).items():
        if numbers.dtype.kind == "f" and np.isposinf(numbers).any():
            return place
    for state, after in zip(contract.states, answer[1], strict=True):
        if after.dtype.kind == "f" and not state.infinite and np.isinf(after).any():
            return f"state {state.name!r}"
    return ""


def _has_nan(contract: Contract, answer: tuple[Array, States]) -> bool:
    return bool(contract.failed_rows(answer[0]).any())
