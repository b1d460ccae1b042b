"""Numbers of a file that are none: NaN and infinity among the weights.

Not each is a fault. A single NaN may mark what is missing, and infinity bound a number or mask a score. Of a weight, by
which numbers are multiplied, either makes NaN of all that it touches.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.errors import ExportError

MULTIPLIED = frozenset(
    (
        *("MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "GRU", "RNN", "Einsum", "Gather", "Attention"),
        *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
        *("MatMulInteger", "QLinearMatMul", "ConvInteger", "QLinearConv"),
    )
)
"""Operators to which a tensor of numbers is weights."""
LAID_OUT = frozenset(
    (
        *("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Flatten", "Slice", "Concat", "Split"),
        "DequantizeLinear",
    )
)
"""Operators that hand on what they are given."""
CHUNK = 1 << 22


def check_numbers(model: ir.Model, path: Path) -> None:
    """That weights are numbers.

    Raises:
        ExportError: one is NaN or infinite; names the tensor and the place in it.
    """
    for value, tensor in _constants(model):
        if tensor.dtype not in _FLOATS or tensor.size == 0:
            continue
        try:
            numbers = tensor.numpy()
        except Exception as error:  # of a file of weights that changed just now, among others
            raise ExportError(f"{path}: initializer {value.name!r} cannot be read: {error}") from error
        found = _unsound(numbers, is_weight=_is_weight(value))
        if found is not None:
            place, number, count = found
            raise ExportError(
                f"{path}: initializer {value.name!r} of shape {list(tensor.shape)} holds {number} at {place}"
                f"{f' and at {count - 1:,} other places' if count > 1 else ''}: whatever it is multiplied by is lost"
            )


_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def _constants(model: ir.Model) -> Iterator[tuple[ir.Value, Any]]:
    """Initializers and constants, of graphs in graphs, too."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value
        for node in graph:
            if node.op_type == "Constant" and (given := node.attributes.get("value")) is not None:
                yield node.outputs[0], given.as_tensor()


def _is_weight(value: ir.Value) -> bool:
    seen: set[int] = set()
    ahead = [value]
    while ahead:
        each = ahead.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        for use in each.uses():
            if use.node.op_type in MULTIPLIED:
                return True
            if use.node.op_type in LAID_OUT:
                ahead += use.node.outputs
    return False


def _unsound(numbers: NDArray[Any], *, is_weight: bool) -> tuple[list[int], float, int] | None:
    """Where the first number is that should not be, which it is, and how many there are."""
    flat = numbers.reshape(-1)
    if flat.size == 1 and not is_weight:
        return None
    first, count = -1, 0
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK].astype(np.float32 if flat.dtype.itemsize < 4 else flat.dtype)
        wrong = ~np.isfinite(part) if is_weight else np.isnan(part)
        here = int(wrong.sum())
        if here and first < 0:
            first = start + int(wrong.argmax())
        count += here
    if first < 0:
        return None
    place = [int(each) for each in np.unravel_index(first, numbers.shape)]
    return place, float(flat[first]), count
