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
        raise ExportError(f"{place} has dtype {name}; the service knows {', '.join(get_args(Dtype))}")
    return cast("Dtype", name)


def _symbol(place: str, sizes: tuple[int, ...], steps: str) -> int | str:
    if len(set(sizes)) == 1:
        return sizes[0]
    columns = zip(*PROBE_SIZES, strict=True)
    symbols = dict(zip(columns, ("B", steps), strict=True))
    if sizes not in symbols:
        raise ExportError(f"{place} has an axis that is neither the batch nor the steps: sizes {sizes}")
    return symbols[sizes]
