"""NaN: where the trained network gives it for what the service lets through, and whether its graph then fails, too.

NaN must not become a number on its way through the graph: a step whose output is NaN is answered with ``run_failed``,
one whose output is a number with that number.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ostinato.export.contracts.axes import Array, StepFunction, failed_rows, from_axes, to_axes
from ostinato.export.contracts.contract import Contract
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input

EXTREMES = (0.0, -1.0, 1.0, -1e3, 1e3, -1e6, 1e6)
"""What each amount is set to, one at a time, whatever it was in training."""
_NUM_TRIED = 64
_NUM_NAMED = 3


def find_nan(contract: Contract, graph: StepFunction) -> tuple[str, ...]:
    """What to tell of the amounts for which the network gives NaN, if there are any.

    Raises:
        ExportError: the graph gives a number there.
    """
    parts = (*contract.given, *contract.context)
    given = [
        (place, index, value)
        for place, part in enumerate(parts)
        if part.dtype.startswith("float")
        for index in _amounts(part)
        for value in EXTREMES
    ]
    if not given:
        return ()
    whole = [part.model_copy(update={"missing": False}) for part in parts]
    count = len(contract.given)
    without_holes = replace(contract, given=tuple(whole[:count]), context=tuple(whole[count:]))
    likely = without_holes.draw(np.random.default_rng(0), _NUM_TRIED, 1)
    try:
        # Around a step that the network has an answer to, so that it is the number set that matters.
        answered = likely[~contract.failed_rows(_outputs(contract, contract, likely))]
        steps = np.repeat((answered if len(answered) else likely)[:1], len(given), axis=0)
        flat = contract.rows.flat(steps.reshape(len(given), -1))
        for row, (place, index, value) in enumerate(given):
            flat[place][row, index] = value
        wanted = _outputs(contract, contract, steps)
    except ExportError:  # a network may refuse what it was not made for, as a code out of a table
        return ()
    failed = contract.failed_rows(wanted)
    if not failed.any():
        return ()
    check_failed(contract.failed_rows(_outputs(contract, graph, steps)), failed)
    named = [
        f"{parts[place].features[index]} = {value:g}"
        for (place, index, value), is_nan in zip(given, failed, strict=True)
        if is_nan
    ]
    more = f" and {len(named) - _NUM_NAMED} more" if len(named) > _NUM_NAMED else ""
    return (
        f"the network gives NaN for {', '.join(named[:_NUM_NAMED])}{more}, and so does the graph: such a step is "
        "answered with run_failed, and its session stays as it was",
    )


def _amounts(part: Input) -> list[int]:
    codes = {*part.categories, *part.ranges}
    return [index for index, name in enumerate(part.features) if name not in codes][:_NUM_TRIED]


def check_fails(answer: Array, wanted: Array) -> None:
    """Refuse a graph that gives numbers in rows ``[B, ...]`` where the network gives NaN.

    Raises:
        ExportError: it does.
    """
    check_failed(failed_rows(answer), failed_rows(wanted))


def check_failed(failed: Array, wanted: Array) -> None:
    """The same of the rows that have failed, bool ``[B]`` each.

    Raises:
        ExportError: one that should have has not.
    """
    lost = wanted & ~failed
    if lost.any():
        raise ExportError(
            f"the network gives NaN for {int(lost.sum())} of {len(lost)} probes where the graph gives numbers: an "
            "operator of onnxruntime loses NaN there; keep NaN from arising (clamp what a logarithm or a division is "
            "given), or say by the input's statistics what it is sent"
        )


def _outputs(contract: Contract, step: StepFunction, steps: Array) -> Array:
    """Outputs ``[B, ...]`` of one step each, from the initial states."""
    y, _ = step(to_axes(steps, contract.inputs), contract.initial_states(len(steps)))
    return from_axes(y, contract.output)
