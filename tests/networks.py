"""Small ONNX networks for the tests, written node by node, each with the same network in plain numpy.

The numpy side is the reference: it knows nothing of onnxruntime, of torch or of the service.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from ostinato.service.artifact.manifest import GraphFile, Manifest, Parity
from ostinato.service.artifact.regular_files import sha256_of
from ostinato.service.artifact.tensors import Axis, Constant, Input, Output, State
from ostinato.service.artifact.version_files import describe_others

Array = NDArray[Any]
# Whole sequences [B, T, F] from the initial state -> outputs [B, T, O] (or [B, 1, O]) and states [B, ...].
Reference = Callable[[Array], tuple[Array, dict[str, Array]]]


@dataclass(frozen=True)
class Network:
    """A graph, its manifest without the file's checksum, and the reference."""

    model: onnx.ModelProto
    manifest: dict[str, Any]
    reference: Reference

    def named(self, name: str, version: str = "1", **changes: Any) -> Network:
        """The same under another name, or with other members in its manifest."""
        return replace(self, manifest={**self.manifest, "name": name, "version": version, **changes})

    def write(self, repository: Path, golden_inputs: Array) -> Path:
        """Lay the network into a repository with one golden case per row count; return the version's directory."""
        directory: Path = repository / self.manifest["name"] / self.manifest["version"]
        directory.mkdir(parents=True)
        content = self.model.SerializeToString()
        (directory / "model.onnx").write_bytes(content)
        graph = GraphFile(file="model.onnx", sha256=hashlib.sha256(content).hexdigest())
        manifest = Manifest(graphs={"step": graph}, **self.manifest)
        manifest.write(directory)
        save_file(self.golden(manifest, golden_inputs), directory / "golden.safetensors")
        return directory

    def golden(self, manifest: Manifest, inputs: Array) -> dict[str, Array]:
        """A golden case in the graph's own axes, from the reference."""
        outputs, states = self.reference(inputs)
        case = {
            f"0/{manifest.inputs[0].name}": _to_graph(inputs, manifest.of_graph.inputs[0]),
            f"0/{manifest.outputs[0].name}": _to_graph(outputs, manifest.outputs[0]),
        }
        for state in manifest.states:
            case[f"0/{state.output}"] = np.moveaxis(states[state.name], 0, state.batch_axis)
        return {name: np.ascontiguousarray(array) for name, array in case.items()}


def relist(directory: Path) -> None:
    """Write the checksums of a version's files into its manifest, as they are now."""
    manifest = Manifest.read(directory)
    graphs = {
        role: graph.model_copy(update={"sha256": sha256_of(directory / graph.file)})
        for role, graph in manifest.graphs.items()
    }
    describe_others(manifest.model_copy(update={"graphs": graphs}), directory).write(directory)


def offline(directory: Path, inputs: Array) -> Array:
    """One plain onnxruntime run of one whole sequence ``[T, F]``, alone; returns ``[T, O]`` (or ``[1, O]``).

    For graphs with the batch first, time second, and every state zero at the start.
    """
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
    manifest = Manifest.read(directory)
    feeds: dict[str, Array] = {manifest.inputs[0].name: inputs[None]}
    for state in manifest.states:
        feeds[state.input] = np.moveaxis(state.initial_row()[None], 0, state.batch_axis)
    made: Array = session.run([manifest.outputs[0].name], feeds)[0][0]
    return made


def lstm(
    num_features: int = 3, hidden_size: int = 8, num_outputs: int = 1, *, seed: int = 0, time_first: bool = False
) -> Network:
    """An LSTM (ONNX operator, gate order i o f c) with a linear head; state axes as the operator's, ``[1, B, H]``.

    ``time_first`` leaves the operator's own axes, ``[T, B, F]``, and gives its tensors names that need care.
    """
    generator = np.random.default_rng(seed)
    gates = 4 * hidden_size
    weights = {
        "w": generator.normal(0, 0.4, (1, gates, num_features)),
        "r": generator.normal(0, 0.4, (1, gates, hidden_size)),
        "b": generator.normal(0, 0.2, (1, 2 * gates)),
        "head": generator.normal(0, 0.5, (hidden_size, num_outputs)),
    }
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    x, y, h, c = ("in/x:0", "out.y", "state h", "c") if time_first else ("inputs", "outputs", "h", "c")
    nodes = [
        helper.make_node("LSTM", ["x_t", "w", "r", "b", "", h, c], ["y4", f"{h}_n", f"{c}_n"], hidden_size=hidden_size),
        helper.make_node("Squeeze", ["y4", "one"], ["y3"]),
        helper.make_node("MatMul", ["y3", "head"], ["y_t"]),
    ]
    if time_first:
        nodes = [
            helper.make_node("Identity", [x], ["x_t"]),
            *nodes,
            helper.make_node("Identity", ["y_t"], [y]),
        ]
        axes: tuple[Axis, Axis] = ("T", "B")
    else:
        nodes = [
            helper.make_node("Transpose", [x], ["x_t"], perm=[1, 0, 2]),
            *nodes,
            helper.make_node("Transpose", ["y_t"], [y], perm=[1, 0, 2]),
        ]
        axes = ("B", "T")
    features = tuple(f"x{index}" for index in range(num_features))
    inputs = (Input(name=x, dtype="float32", shape=(*axes, num_features), features=features),)
    answers = tuple(f"y{index}" for index in range(num_outputs))
    outputs = (Output(name=y, dtype="float32", shape=(*axes, num_outputs), features=answers),)
    states = tuple(
        State(name=name, input=name, output=f"{name}_n", shape=(1, "B", hidden_size), dtype="float32")
        for name in (h, c)
    )
    constants = {**weights, "one": np.array([1], np.int64)}

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        made, hidden, cell = _lstm(sequences, weights)
        return made, {h: hidden[:, None], c: cell[:, None]}

    return build_network("lstm", nodes, inputs, outputs, states, constants, reference)


def one_step(num_features: int = 5, hidden_size: int = 4, *, seed: int = 1) -> Network:
    """A plain recurrent cell for one step at a time, with a scalar input next to it: ``h' = tanh(x W + h U) g / 2``.

    Input ``[B, F]`` without a time axis, state ``[2, B, H]`` (h, and h of the step before), scalar ``gain`` g = 2.
    """
    generator = np.random.default_rng(seed)
    weights = {
        "w": generator.normal(0, 0.5, (num_features, hidden_size)).astype(np.float32),
        "u": generator.normal(0, 0.5, (hidden_size, hidden_size)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Split", ["state"], ["h1", "before"], axis=0, num_outputs=2),
        helper.make_node("Squeeze", ["h1", "zero"], ["h"]),
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("MatMul", ["h", "u"], ["hu"]),
        helper.make_node("Add", ["xw", "hu"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["bare"]),
        helper.make_node("Cast", ["gain"], ["gain_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["bare", "gain_float"], ["twice"]),
        helper.make_node("Mul", ["twice", "half"], ["y"]),
        helper.make_node("Unsqueeze", ["y", "zero"], ["y1"]),
        helper.make_node("Concat", ["y1", "h1"], ["stateN"], axis=0),
    ]
    constants = {**weights, "zero": np.array([0], np.int64), "half": np.array(0.5, np.float32)}
    names = tuple(f"x{index}" for index in range(num_features))
    inputs = (Input(name="x", dtype="float32", shape=("B", num_features), features=names),)
    made_names = tuple(f"y{index}" for index in range(hidden_size))
    outputs = (Output(name="y", dtype="float32", shape=("B", hidden_size), features=made_names),)
    states = (State(name="state", input="state", output="stateN", shape=(2, "B", hidden_size), dtype="float32"),)

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        h = before = np.zeros((len(sequences), hidden_size))
        made = []
        for step in range(sequences.shape[1]):
            h, before = np.tanh(sequences[:, step] @ weights["w"] + h @ weights["u"]), h
            made.append(h)
        state = np.stack([h, before], axis=1).astype(np.float32)
        return np.stack(made, axis=1).astype(np.float32), {"state": state}

    gain = Constant(name="gain", dtype="int64", value=2)
    network = build_network("one-step", nodes, inputs, outputs, states, constants, reference, gain)
    return network.named("one-step", constants=(gain,))


def token_counter(num_words: int = 7, dtype: Literal["float32", "int64"] = "float32") -> Network:
    """Tokens ``[B, T]`` int64 to how often each of ``num_words`` words was seen, ``[B, V]``: many to one.

    A token outside the vocabulary makes the run fail, as an embedding's look-up does. ``dtype``: of state and output.
    """
    nodes = [
        helper.make_node("Gather", ["identity", "tokens"], ["one_hot"], axis=0),
        helper.make_node("ReduceSum", ["one_hot", "one"], ["seen"], keepdims=0),
        helper.make_node("Add", ["counts", "seen"], ["counts_n"]),
        helper.make_node("Identity", ["counts_n"], ["y"]),
    ]
    inputs = (Input(name="tokens", dtype="int64", shape=("B", "T"), features=("token",)),)
    words = tuple(f"word{index}" for index in range(num_words))
    outputs = (Output(name="y", dtype=dtype, shape=("B", num_words), features=words),)
    states = (State(name="counts", input="counts", output="counts_n", shape=("B", num_words), dtype=dtype),)
    constants = {"identity": np.eye(num_words, dtype=dtype), "one": np.array([1], np.int64)}

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        tokens = sequences[:, :, 0]
        counts = np.stack([np.bincount(row, minlength=num_words) for row in tokens]).astype(dtype)
        return counts[:, None], {"counts": counts}

    return build_network("tokens", nodes, inputs, outputs, states, constants, reference)


def identifiers() -> Network:
    """Whole numbers ``[B, T, 2]`` int64 to themselves, as a look-up by a hash begins; the state is the last of them."""
    nodes = [
        helper.make_node("Identity", ["ids"], ["y"]),
        helper.make_node("Gather", ["ids", "end"], ["last_n"], axis=1),
    ]
    inputs = (Input(name="ids", dtype="int64", shape=("B", "T", 2), features=("user", "item")),)
    outputs = (Output(name="y", dtype="int64", shape=("B", "T", 2), features=("user", "item")),)
    states = (State(name="last", input="last", output="last_n", shape=("B", 2), dtype="int64"),)

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        return sequences, {"last": sequences[:, -1]}

    return build_network("ids", nodes, inputs, outputs, states, {"end": np.array(-1, np.int64)}, reference)


def batch_mean(num_features: int = 2) -> Network:
    """A network that breaks the promise: each row's state takes the mean of the whole batch into account."""
    nodes = [
        helper.make_node("ReduceSum", ["inputs", "one"], ["sum"], keepdims=0),
        helper.make_node("ReduceMean", ["sum", "zero"], ["mean"], keepdims=1),
        helper.make_node("Add", ["h", "sum"], ["bare"]),
        helper.make_node("Add", ["bare", "mean"], ["h_n"]),
        helper.make_node("Identity", ["h_n"], ["outputs"]),
    ]
    names = tuple(f"x{index}" for index in range(num_features))
    inputs = (Input(name="inputs", dtype="float32", shape=("B", "T", num_features), features=names),)
    made = tuple(f"y{index}" for index in range(num_features))
    outputs = (Output(name="outputs", dtype="float32", shape=("B", num_features), features=made),)
    states = (State(name="h", input="h", output="h_n", shape=("B", num_features), dtype="float32"),)
    constants = {"one": np.array([1], np.int64), "zero": np.array([0], np.int64)}

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        total = sequences.sum(axis=1)
        made_sum = (total + total.mean(axis=0, keepdims=True)).astype(np.float32)
        return made_sum[:, None], {"h": made_sum}

    return build_network("batch-mean", nodes, inputs, outputs, states, constants, reference)


def accumulator() -> Network:
    """One feature in, the running total of its whole parts out, ``[B, T, 1]``; one over 1e30 makes the output infinite.

    With whole numbers every sum is exact, so a test can say what a session must answer.
    """
    nodes = [
        helper.make_node("Floor", ["inputs"], ["whole"]),
        helper.make_node("CumSum", ["whole", "axis"], ["sums"]),
        helper.make_node("Unsqueeze", ["total", "one"], ["total3"]),
        helper.make_node("Add", ["sums", "total3"], ["so_far"]),
        helper.make_node("Mul", ["so_far", "huge"], ["scaled"]),
        helper.make_node("Div", ["scaled", "huge"], ["outputs"]),
        helper.make_node("ReduceSum", ["whole", "one"], ["added"], keepdims=0),
        helper.make_node("Add", ["total", "added"], ["total_n"]),
    ]
    inputs = (Input(name="inputs", dtype="float32", shape=("B", "T", 1), features=("x",)),)
    outputs = (Output(name="outputs", dtype="float32", shape=("B", "T", 1), features=("total",)),)
    states = (State(name="total", input="total", output="total_n", shape=("B", 1), dtype="float32"),)
    constants = {
        "axis": np.array(1, np.int64),
        "one": np.array([1], np.int64),
        "huge": np.array(2.0**27, np.float32),
    }

    def reference(sequences: Array) -> tuple[Array, dict[str, Array]]:
        whole = np.floor(sequences)
        return np.cumsum(whole, axis=1), {"total": whole.sum(axis=1)}

    network = build_network("accumulator", nodes, inputs, outputs, states, constants, reference)
    return network.named("accumulator", feedback={"total": "x"})


def _lstm(sequences: Array, weights: Mapping[str, Array]) -> tuple[Array, Array, Array]:
    """Equations of the ONNX operator in float64: i, o, f = sigmoid; c = f c + i tanh(.); h = o tanh(c)."""
    w, r, head = (weights[name].astype(np.float64) for name in ("w", "r", "head"))
    input_bias, recurrent_bias = np.split(weights["b"][0].astype(np.float64), 2)
    hidden_size = r.shape[2]
    h = c = np.zeros((len(sequences), hidden_size))
    made = []
    for step in range(sequences.shape[1]):
        gates = sequences[:, step] @ w[0].T + h @ r[0].T + input_bias + recurrent_bias
        i, o, f, g = np.split(gates, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        made.append(h @ head)
    return np.stack(made, axis=1).astype(np.float32), h.astype(np.float32), c.astype(np.float32)


def _sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def build_network(
    name: str,
    nodes: list[onnx.NodeProto],
    inputs: tuple[Input, ...],
    outputs: tuple[Output, ...],
    states: tuple[State, ...],
    initializers: Mapping[str, Any],
    reference: Reference,
    *constants: Constant,
) -> Network:
    def value(tensor_name: str, dtype: str, shape: tuple[Any, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(tensor_name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    graph = helper.make_graph(
        nodes,
        name,
        [
            *(value(part.name, part.dtype, part.shape) for part in inputs),
            *(value(state.input, state.dtype, state.shape) for state in states),
            *(value(constant.name, constant.dtype, constant.array().shape) for constant in constants),
        ],
        [
            *(value(part.name, part.dtype, part.shape) for part in outputs),
            *(value(state.output, state.dtype, state.shape) for state in states),
        ],
        [numpy_helper.from_array(array, initializer) for initializer, array in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    manifest = {
        "name": name,
        "version": "1",
        "task": "recurrent",
        "inputs": inputs,
        "outputs": outputs,
        "states": states,
        "parity": Parity(max_difference=0.0, batch_sizes=(1,), lengths=(1,), num_chunkings=0),
    }
    return Network(model, manifest, reference)


def _to_graph(array: Array, part: Input | Output) -> Array:
    """``[B, T, F]`` in the axes that the manifest gives the graph."""
    shaped = array.reshape(*array.shape[:2], *part.row_shape)
    if part.time_axis is None:
        return np.moveaxis(shaped[:, -1], 0, part.batch_axis)
    sizes = iter(range(2, shaped.ndim))
    order = [{"B": 0, "T": 1}[axis] if isinstance(axis, str) else next(sizes) for axis in part.shape]
    return shaped.transpose(order)
