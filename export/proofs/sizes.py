"""Sizes of a proof: how many rows and steps a network is run over, the fewer the larger each step of it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ostinato.export.contracts.contract import Contract

# Numbers of a row's step and states beyond which a proof is made smaller: that of 64 x 64 pixels took many minutes.
_WHOLE = 1024
_LEAST_ROWS, _LEAST_STEPS = 5, 24
# So many weights cost about what a number of a step does.
_WEIGHTS = 64


def share(contract: Contract) -> float:
    """What part of rows and of steps a proof goes over: 1 but for networks whose steps are large, as frames."""
    parts = sum(part.num_features for part in (*contract.given, *contract.context))
    states = sum(math.prod(state.row_shape) for state in contract.states)
    return min(1.0, _WHOLE / max(1, parts + states + contract.num_weights // _WEIGHTS))


def num_rows(contract: Contract, usual: int) -> int:
    """How many rows are run in place of so many."""
    return min(usual, max(_LEAST_ROWS, int(usual * share(contract))))


def num_steps(contract: Contract, usual: int) -> int:
    """How many steps are run in place of so many."""
    return min(usual, max(_LEAST_STEPS, int(usual * share(contract))))


def up_to(usual: Sequence[int], most: int) -> tuple[int, ...]:
    """The sizes that are not larger."""
    return tuple(size for size in usual if size <= most)
