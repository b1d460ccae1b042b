"""Networks for a device: layers of LSTM or GRU of any width, node by node and with drawn weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ostinato.service.artifact.manifest import GraphFile, Manifest
from ostinato.service.artifact.tensors import Input, Output, State

NUM_FEATURES = 8


class DeviceNetwork(NamedTuple):
    """A network of one kind of layer, and how it is run.

    Attributes:
        operator: ``LSTM`` or ``GRU``.
        num_rows: of every run.
        target: steps a second inside the engine; 0 = none is set.
    """

    operator: str
    num_layers: int
    hidden_size: int
    num_rows: int
    target: float = 0.0

    @property
    def name(self) -> str:
        """As a folder is called."""
        return f"{self.operator.lower()}-{self.num_layers}x{self.hidden_size}"

    def write(self, repository: Path) -> Path:
        """Lay it into a repository without golden answers; returns the version's directory."""
        directory = repository / self.name / "1"
        directory.mkdir(parents=True)
        content = self._model().SerializeToString()
        (directory / "model.onnx").write_bytes(content)
        features = tuple(f"x{index}" for index in range(NUM_FEATURES))
        Manifest(
            name=self.name,
            version="1",
            task="recurrent",
            graphs={"step": GraphFile(file="model.onnx", sha256=hashlib.sha256(content).hexdigest())},
            inputs=(Input(name="x", dtype="float32", shape=("B", "T", NUM_FEATURES), features=features),),
            outputs=(Output(name="y", dtype="float32", shape=("B", "T", 1), features=("y",)),),
            states=tuple(
                State(name=name, input=name, output=f"{name}_n", shape=(1, "B", self.hidden_size), dtype="float32")
                for name in self._states
            ),
        ).write(directory)
        return directory

    @property
    def _states(self) -> list[str]:
        kinds = "hc" if self.operator == "LSTM" else "h"
        return [f"{kind}{layer}" for layer in range(self.num_layers) for kind in kinds]

    def _model(self) -> onnx.ModelProto:
        generator, width = np.random.default_rng(0), self.hidden_size
        gates = width * (4 if self.operator == "LSTM" else 3)

        def drawn(*shape: int) -> NDArray[np.float32]:
            return generator.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)

        weights: dict[str, NDArray[np.generic]] = {"one": np.array([1], np.int64), "head": drawn(1, width).T.copy()}
        nodes = [helper.make_node("Transpose", ["x"], ["in0"], perm=[1, 0, 2])]
        for layer in range(self.num_layers):
            weights |= {
                f"w{layer}": drawn(1, gates, width if layer else NUM_FEATURES),
                f"r{layer}": drawn(1, gates, width),
                f"b{layer}": drawn(1, 2 * gates),
            }
            own = [name for name in self._states if name[1:] == str(layer)]
            given = [f"in{layer}", f"w{layer}", f"r{layer}", f"b{layer}", "", *own]
            made = [f"wide{layer}", *(f"{name}_n" for name in own)]
            # A GRU as PyTorch has it: cuDNN, which is a GPU's, knows no other.
            options: dict[str, Any] = {} if self.operator == "LSTM" else {"linear_before_reset": 1}
            nodes.append(helper.make_node(self.operator, given, made, hidden_size=width, **options))
            nodes.append(helper.make_node("Squeeze", [f"wide{layer}", "one"], [f"in{layer + 1}"]))
        nodes.append(helper.make_node("MatMul", [f"in{self.num_layers}", "head"], ["y_t"]))
        nodes.append(helper.make_node("Transpose", ["y_t"], ["y"], perm=[1, 0, 2]))

        def value(name: str, *shape: int | str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        graph = helper.make_graph(
            nodes,
            self.name,
            [value("x", "B", "T", NUM_FEATURES), *(value(name, 1, "B", width) for name in self._states)],
            [value("y", "B", "T", 1), *(value(f"{name}_n", 1, "B", width) for name in self._states)],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
