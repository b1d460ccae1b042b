"""Networks of several inputs, outputs and contexts, and of nested shapes; each an LSTM or a running total.

The golden answers come from ONNX's reference implementation, in numpy; what a live session is compared with is one run
of the graph by onnxruntime itself, which knows nothing of rows, buffers and sessions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import save_file

from ostinato.service.artifact.manifest import GraphFile, Manifest, Parity
from ostinato.service.artifact.tensors import Input, Output, State
from tests.live_sequences import draw

Array = NDArray[Any]
Arrays = Mapping[str, Array]

NUM_DAYS, NUM_KINDS, HIDDEN_SIZE = 7, 4, 8
FRAME = (2, 3, 4)


@dataclass(frozen=True)
class TensorNetwork:
    """A graph and its manifest without the file's checksum."""

    model: onnx.ModelProto
    manifest: dict[str, Any]

    def write(self, repository: Path, *, seed: int = 0) -> Path:
        """Lay the network into a repository with one golden case; returns the version's directory."""
        directory: Path = repository / self.manifest["name"] / self.manifest["version"]
        directory.mkdir(parents=True)
        content = self.model.SerializeToString()
        (directory / "model.onnx").write_bytes(content)
        graph = GraphFile(file="model.onnx", sha256=hashlib.sha256(content).hexdigest())
        manifest = Manifest(graphs={"step": graph}, **self.manifest)
        manifest.write(directory)
        inputs, context = draw(manifest, np.random.default_rng(seed), 3, 6)
        feeds = {**inputs, **context, **_initial(manifest, 3)}
        evaluator = ReferenceEvaluator(self.model)
        made = dict(zip(evaluator.output_names, evaluator.run(None, feeds), strict=True))
        case = {f"0/{name}": np.ascontiguousarray(array) for name, array in {**inputs, **context, **made}.items()}
        save_file(case, directory / "golden.safetensors")
        return directory


def offline(directory: Path, inputs: Arrays, context: Arrays) -> dict[str, Array]:
    """One plain onnxruntime run of one whole sequence, by itself: inputs ``[T, ...]`` and contexts by name; returns the
    outputs ``[T, ...]``, or ``[...]`` of those that are made once.
    """
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
    manifest = Manifest.read(directory)
    feeds = {**{name: array[None] for name, array in {**inputs, **context}.items()}, **_initial(manifest, 1)}
    names = [part.name for part in manifest.outputs]
    return {name: made[0] for name, made in zip(names, session.run(names, feeds), strict=True)}


def panel(seed: int = 3) -> TensorNetwork:
    """Load ``[B, T, 2]`` and codes of weekdays ``[B, T]``, with the customer ``[B, 3]`` and a region code ``[B]`` as
    context: levels ``[B, T, 2]``, a kind ``[B, T]`` (int64), and a summary once a run ``[B, 4]``.
    """
    generator = np.random.default_rng(seed)
    width = 2 + NUM_DAYS

    def weights(*shape: int) -> Array:
        return generator.normal(0, 0.4, shape).astype(np.float32)

    constants = {
        "w": weights(1, 4 * HIDDEN_SIZE, width),
        "r": weights(1, 4 * HIDDEN_SIZE, HIDDEN_SIZE),
        "b": weights(1, 8 * HIDDEN_SIZE),
        "days": np.eye(NUM_DAYS, dtype=np.float32),
        "regions": weights(5, 2),
        "of_customer": weights(3, 2),
        "to_level": weights(HIDDEN_SIZE, 2),
        "to_kind": weights(HIDDEN_SIZE, NUM_KINDS),
        "to_summary": weights(HIDDEN_SIZE, 4),
        "one": np.array([1], np.int64),
        "zero": np.array([0], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["days", "weekday"], ["day"], axis=0),
        helper.make_node("Concat", ["load", "day"], ["x"], axis=2),
        helper.make_node("Transpose", ["x"], ["x_t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["x_t", "w", "r", "b", "", "h", "c"], ["y4", "h_n", "c_n"], hidden_size=HIDDEN_SIZE),
        helper.make_node("Squeeze", ["y4", "one"], ["y3"]),
        helper.make_node("Transpose", ["y3"], ["y"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["y", "to_level"], ["bare"]),
        helper.make_node("MatMul", ["customer", "of_customer"], ["shift"]),
        helper.make_node("Gather", ["regions", "region"], ["place"], axis=0),
        helper.make_node("Add", ["shift", "place"], ["shifted"]),
        helper.make_node("Unsqueeze", ["shifted", "one"], ["shift3"]),
        helper.make_node("Add", ["bare", "shift3"], ["level"]),
        helper.make_node("MatMul", ["y", "to_kind"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["kind"], axis=2, keepdims=0),
        helper.make_node("Squeeze", ["h_n", "zero"], ["last"]),
        helper.make_node("MatMul", ["last", "to_summary"], ["summary"]),
    ]
    manifest = {
        "name": "panel",
        "inputs": (
            Input(name="load", dtype="float32", shape=("B", "T", 2), features=("load", "price")),
            Input(name="weekday", dtype="int64", shape=("B", "T"), features=("weekday",), num_codes=NUM_DAYS),
        ),
        "context": (
            Input(name="customer", dtype="float32", shape=("B", 3), features=("age", "size", "since")),
            Input(name="region", dtype="int64", shape=("B",), features=("region",), num_codes=5),
        ),
        "outputs": (
            Output(name="level", dtype="float32", shape=("B", "T", 2), features=("next", "after")),
            Output(name="kind", dtype="int64", shape=("B", "T"), features=("kind",)),
            Output(name="summary", dtype="float32", shape=("B", 4), features=tuple("abcd")),
        ),
        "states": tuple(
            State(name=name, input=name, output=f"{name}_n", shape=(1, "B", HIDDEN_SIZE), dtype="float32")
            for name in ("h", "c")
        ),
        "feedback": {"next": "load"},
    }
    return build(nodes, constants, manifest)


def frames() -> TensorNetwork:
    """Frames ``[B, T, 2, 3, 4]`` in, the running total of their whole parts out in the same shape, which is exact."""
    nodes = [
        helper.make_node("Mul", ["frames", "eight"], ["large"]),
        helper.make_node("Floor", ["large"], ["whole"]),
        helper.make_node("CumSum", ["whole", "axis"], ["sums"]),
        helper.make_node("Unsqueeze", ["total", "one"], ["before"]),
        helper.make_node("Add", ["sums", "before"], ["so_far"]),
        helper.make_node("ReduceSum", ["whole", "one"], ["added"], keepdims=0),
        helper.make_node("Add", ["total", "added"], ["total_n"]),
    ]
    names = tuple(f"pixel_{index}" for index in range(int(np.prod(FRAME))))
    manifest = {
        "name": "frames",
        "inputs": (Input(name="frames", dtype="float32", shape=("B", "T", *FRAME), features=names),),
        "outputs": (Output(name="so_far", dtype="float32", shape=("B", "T", *FRAME), features=names),),
        "states": (State(name="total", input="total", output="total_n", shape=("B", *FRAME), dtype="float32"),),
    }
    constants: dict[str, Array] = {
        "axis": np.array(1, np.int64),
        "one": np.array([1], np.int64),
        "eight": np.array(8, np.float32),
    }
    return build(nodes, constants, manifest)


def build(nodes: list[onnx.NodeProto], constants: Arrays, manifest: dict[str, Any]) -> TensorNetwork:
    """A network of one graph; ``manifest`` without what is the same for all."""

    def value(name: str, dtype: str, shape: tuple[Any, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    given = [*manifest["inputs"], *manifest.get("context", ())]
    states = manifest["states"]
    graph = helper.make_graph(
        nodes,
        manifest["name"],
        [value(each.name, each.dtype, each.shape) for each in given]
        + [value(each.input, each.dtype, each.shape) for each in states],
        [value(each.name, each.dtype, each.shape) for each in manifest["outputs"]]
        + [value(each.output, each.dtype, each.shape) for each in states],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    whole = {
        "version": "1",
        "task": "recurrent",
        "parity": Parity(max_difference=0.0, batch_sizes=(1,), lengths=(1,), num_chunkings=0),
        **manifest,
    }
    return TensorNetwork(model, whole)


def _initial(manifest: Manifest, batch_size: int) -> dict[str, Array]:
    return {
        state.input: np.repeat(np.expand_dims(state.initial_row(), state.batch_axis), batch_size, state.batch_axis)
        for state in manifest.states
    }
