"""Symbols of axes: a module is run on a few sizes, and each axis is called by what it follows."""

from __future__ import annotations

from typing import TypeAlias, cast, get_args

from torch import Tensor

from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Dtype

Axes: TypeAlias = tuple[int | str, ...]

# (batch size, steps) of three runs: what follows the batch has sizes (3, 4, 3), what follows the steps (5, 5, 7).
PROBE_SIZES = ((3, 5), (4, 5), (3, 7))


def symbolic_shape(place: str, shapes: list[tuple[int, ...]], steps: str = "T") -> Axes:
    """The shape with symbols, from the shapes of the runs of ``PROBE_SIZES``; ``steps`` is the symbol of the steps.

    Raises:
        ExportError: an axis follows neither, or not exactly one follows the batch.
    """
    if len({len(shape) for shape in shapes}) != 1:
        raise ExportError(f"{place} has another number of axes for another size of the input: {shapes}")
    axes = tuple(_symbol(place, sizes, steps) for sizes in zip(*shapes, strict=True))
    if axes.count("B") != 1:
        raise ExportError(
            f"{place} has shapes {shapes} for batches of {[batch for batch, _ in PROBE_SIZES]}: exactly one axis must "
            "have the size of the batch"
        )
    return axes


def dtype_name(place: str, tensor: Tensor) -> Dtype:
    """The dtype in the manifest's words.

    Raises:
        ExportError: the service does not know it.
    """
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in get_args(Dtype):
        raise ExportError(
            f"{place} has dtype {name}; the service knows {', '.join(get_args(Dtype))}: convert it, as by .float()"
        )
    return cast("Dtype", name)


def _symbol(place: str, sizes: tuple[int, ...], steps: str) -> int | str:
    if len(set(sizes)) == 1:
        return sizes[0]
    batches, lengths = zip(*PROBE_SIZES, strict=True)
    symbols = {batches: "B", lengths: steps}
    if sizes not in symbols:
        raise ExportError(
            f"{place} has an axis that is neither the batch nor the steps: sizes {sizes}"
            f"{_guess(sizes, batches, lengths)}"
        )
    return symbols[sizes]


def _guess(sizes: tuple[int, ...], batches: tuple[int, ...], lengths: tuple[int, ...]) -> str:
    """What such sizes come from, and what to do, to end the sentence with."""
    if all(size == batch * length for size, batch, length in zip(sizes, batches, lengths, strict=True)):
        return ", which are batch times steps: give each its own axis, as by reshape(B, T, -1)"
    surplus = {size - length for size, length in zip(sizes, lengths, strict=True)}
    if len(surplus) == 1:
        (number,) = surplus
        return (
            f" for inputs of {', '.join(map(str, lengths))} steps, {abs(number)} {'more' if number > 0 else 'fewer'} "
            "than the input has: give one answer for each step, or one for all; what looks at the step before, as "
            "x[:, 1:] and x[:, :-1] do, must take that from a state"
        )
    return f" for inputs of {', '.join(map(str, lengths))} steps: give one answer for each step, or one for all"
