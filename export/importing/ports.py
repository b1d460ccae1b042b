"""Ports: what a foreign graph takes and gives, as its file declares it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Dtype

AxisSize: TypeAlias = int | str
"""Of an axis: a number, or the name that the file has for one that is open; ``?...`` where it has none."""

_DTYPES = frozenset(get_args(Dtype))


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        dtype: numpy's name for it.
        sizes: of its axes; None where the file does not say how many it has.
        default: what an input is where it is not given.
    """

    name: str
    dtype: str
    sizes: tuple[AxisSize, ...] | None
    default: NDArray[Any] | None = None

    @property
    def known_sizes(self) -> tuple[AxisSize, ...]:
        """The sizes of a port whose axes are known."""
        assert self.sizes is not None
        return self.sizes

    @property
    def words(self) -> str:
        """Dtype and sizes."""
        if self.sizes is None:
            return f"{self.dtype} of unknown axes"
        return f"{self.dtype} [{', '.join('?' if is_nameless(size) else str(size) for size in self.sizes)}]"


def is_nameless(size: AxisSize) -> bool:
    """Whether an axis is open and the file has no name for it."""
    return isinstance(size, str) and size.startswith("?")


def ports_of(model: ir.Model) -> tuple[list[Port], list[Port]]:
    """The inputs and outputs of a graph; weights that the file also lists as inputs are inputs with a default.

    Raises:
        ExportError: one is no tensor, or of a dtype that cannot be served.
    """
    graph = model.graph
    return [_port(value, graph) for value in graph.inputs], [_port(value, graph) for value in graph.outputs]


def _port(value: ir.Value, graph: ir.Graph) -> Port:
    name = value.name or ""
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        raise ExportError(
            f"{name!r} is a {type(value.type).__name__}, and not a tensor: a sequence or an optional cannot be served"
        )
    dtype = "" if value.dtype is None else _dtype_name(value.dtype)
    if dtype not in _DTYPES:
        raise ExportError(
            f"{name!r} is of dtype {dtype or 'unknown'}, which cannot be served; there are {', '.join(sorted(_DTYPES))}"
        )
    weight = graph.initializers.get(name)
    default = None
    if weight is value and value.const_value is not None:
        default = value.const_value.numpy()
    return Port(name, dtype, _sizes(value), default)


def _dtype_name(dtype: ir.DataType) -> str:
    try:
        return np.dtype(dtype.numpy()).name
    except TypeError:
        return dtype.name.lower()


def _sizes(value: ir.Value) -> tuple[AxisSize, ...] | None:
    if value.shape is None:
        return None
    sizes: list[AxisSize] = []
    for axis, size in enumerate(value.shape):
        known = size if isinstance(size, int) else size.value
        if isinstance(known, int) and known <= 0:  # as some exporters write an axis that is open
            known = None
        sizes.append(known if known is not None and known != "" else f"?{value.name}.{axis}")
    return tuple(sizes)


def valid_names(names: Sequence[str], taken: Sequence[str] = ()) -> dict[str, str]:
    """A name for each that a client can say: letters, digits, ``_``, ``.`` and ``-``; those that already are stay."""
    found: dict[str, str] = {}
    used = set(taken)
    for name in names:
        bare = re.sub(r":\d+$", "", name)
        valid = re.sub(r"[^A-Za-z0-9_.-]+", "_", bare).strip("_.-") or "tensor"
        if not valid[0].isalpha():
            valid = f"t_{valid}"
        unique, count = valid, 1
        while unique in used:
            count += 1
            unique = f"{valid}_{count}"
        used.add(unique)
        found[name] = unique
    return found
