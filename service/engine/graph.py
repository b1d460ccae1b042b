"""A graph of a model version, whose inputs and outputs are what the manifest says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from ostinato.service.artifact.devices import Device
from ostinato.service.artifact.graphs import giving_memory_back, open_graph
from ostinato.service.artifact.tensors import Constant
from ostinato.service.errors import ModelRejected

TensorTypes: TypeAlias = dict[str, tuple[str, tuple[Any, ...]]]
"""Name -> dtype and shape, of symbols and numbers."""

_DTYPES = {"float": "float32", "double": "float64", "bool": "bool"} | {
    name: name for name in ("float16", "int8", "int16", "int32", "int64", "uint8")
}


class Graph:
    """A graph on one thread of the CPU, or on a device.

    Args:
        path: the ONNX file.
        inputs, outputs: all that the manifest says of them; the graph may have outputs that are not named.
        constants: inputs that are the same in every run; those that the graph has are given to it.
        device: where it runs; None = on the CPU.

    Attributes:
        run_options: of each run; None, as nearly always, for onnxruntime's own.

    Raises:
        ModelRejected: onnxruntime cannot load the file, or it is not what the manifest says.
    """

    def __init__(
        self,
        path: Path,
        inputs: TensorTypes,
        outputs: TensorTypes,
        constants: Sequence[Constant] = (),
        device: Device | None = None,
    ) -> None:
        self.session = open_graph(path) if device is None else open_graph(path, device.providers)
        self.run_options: Any = None
        graph_inputs, graph_outputs = self.session.get_inputs(), self.session.get_outputs()
        taken = {node.name for node in graph_inputs}
        self._constants = {part.name: part.array() for part in constants if part.name in taken}
        inputs = inputs | {part.name: (part.dtype, part.array().shape) for part in constants if part.name in taken}
        if missing := taken - set(inputs):
            raise ModelRejected(f"{path}: the graph needs inputs that the manifest does not name: {sorted(missing)}")
        for role, nodes, parts in (("input", graph_inputs, inputs), ("output", graph_outputs, outputs)):
            by_name = {node.name: node for node in nodes}
            for name, (dtype, shape) in parts.items():
                if name not in by_name:
                    raise ModelRejected(f"{path}: the graph has no {role} {name!r}; it has {sorted(by_name)}")
                _check_tensor(f"{path}: {role} {name!r}", by_name[name], dtype, shape)

    def binding(self) -> Any:
        """Onnxruntime's ``IOBinding``."""
        return self.session.io_binding()

    def run(self, fetches: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs named, of the inputs by name; raises whatever onnxruntime does."""
        made: list[NDArray[Any]] = self.session.run(fetches, {**feeds, **self._constants}, self.run_options)
        return made

    @contextmanager
    def giving_memory_back(self) -> Iterator[None]:
        """Runs inside, which should be small, give back the memory that onnxruntime kept of the largest before them."""
        self.run_options = giving_memory_back()
        try:
            yield
        finally:
            self.run_options = None


def _check_tensor(place: str, node: Any, dtype: str, shape: tuple[Any, ...]) -> None:
    graph_dtype = _DTYPES.get(str(node.type).removeprefix("tensor(").removesuffix(")"), str(node.type))
    if graph_dtype != dtype:
        raise ModelRejected(f"{place} is {graph_dtype} in the graph and {dtype} in the manifest")
    # An annotation without axes says nothing; one with names for axes says that they may vary.
    if node.shape and len(node.shape) != len(shape):
        raise ModelRejected(f"{place} has {len(node.shape)} axes in the graph and {len(shape)} in the manifest")
    for axis, (fixed, wanted) in enumerate(zip(node.shape, shape, strict=False)):
        if isinstance(fixed, int) and fixed != wanted:
            raise ModelRejected(f"{place}: axis {axis} is {fixed} in the graph and {wanted!r} in the manifest")
