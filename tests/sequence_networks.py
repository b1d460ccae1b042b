"""Networks of whole sequences whose answers depend on how they are run, in ways that are planted: twice what goes in,
and to that a little, or more, by the shape of the run, by the neighbours, or by the padding.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from ostinato.service.artifact.manifest import GOLDEN_FILE, GraphFile, Manifest, Parity, Promise
from ostinato.service.artifact.tensors import Input, Output

LITTLE = 2.0**-18
LENGTHS = (9, 4, 17, 1, 30)


def planted(
    folder: Path, what: str, *, takes_lengths: bool = True, promise: Promise | None = None, factor: float = 2.0
) -> Path:
    """A version's directory: ``nothing``, or what its answers depend on by a little: ``rows``, ``steps`` or ``place``;
    or by much: ``neighbours`` or ``padding``.
    """
    added: dict[str, list[NodeProto]] = {
        "nothing": [helper.make_node("Identity", ["zero"], ["more"])],
        "rows": [*_size("0"), helper.make_node("Mul", ["size", "little"], ["more"])],
        "steps": [*_size("1"), helper.make_node("Mul", ["size", "little"], ["more"])],
        "place": [
            helper.make_node("Shape", ["inputs"], ["sizes"]),
            helper.make_node("Gather", ["sizes", "0"], ["whole"]),
            helper.make_node("Range", ["0", "whole", "1"], ["places"]),
            helper.make_node("Unsqueeze", ["places", "inner"], ["places3"]),
            helper.make_node("Cast", ["places3"], ["size"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["size", "little"], ["more"]),
        ],
        "neighbours": [
            helper.make_node("Gather", ["inputs", "0"], ["first"], axis=1),
            helper.make_node("ReduceMean", ["first"], ["mean"], keepdims=0),
            helper.make_node("Tanh", ["mean"], ["more"]),
        ],
        "padding": [helper.make_node("ReduceMax", ["inputs", "steps_axis"], ["more"])],
    }
    nodes = [
        *added[what],
        helper.make_node("Mul", ["inputs", "factor"], ["twice"]),
        helper.make_node("Add", ["twice", "more"], ["sum"]),
        *([helper.make_node("Cast", ["lengths"], ["told"], to=TensorProto.FLOAT)] if takes_lengths else []),
        helper.make_node("Identity", ["sum"], ["outputs"]),
    ]
    weights = {
        "zero": np.float32(0),
        "factor": np.float32(factor),
        "little": np.float32(LITTLE),
        "0": np.int64(0),
        "1": np.int64(1),
        "inner": np.array([1, 2], np.int64),
        "steps_axis": np.array([1], np.int64),
    }
    given = [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, ["B", "T", 1])]
    if takes_lengths:
        given.append(helper.make_tensor_value_info("lengths", TensorProto.INT64, ["B"]))
    graph = helper.make_graph(
        nodes,
        "sequence",
        given,
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["B", "T", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9).SerializeToString()
    onnx.checker.check_model(content)
    directory = folder / f"planted-{what}" / "1"
    directory.mkdir(parents=True)
    (directory / "sequence.onnx").write_bytes(content)
    Manifest(
        name=f"planted-{what}",
        version="1",
        task="sequence",
        graphs={"sequence": GraphFile(file="sequence.onnx", sha256=hashlib.sha256(content).hexdigest())},
        inputs=(Input(name="inputs", dtype="float32", shape=("B", "T", 1), features=("x",)),),
        outputs=(Output(name="outputs", dtype="float32", shape=("B", "T", 1), features=("y",)),),
        lengths="lengths" if takes_lengths else "",
        parity=Parity(max_difference=0, tolerance=1e-2, batch_sizes=(), lengths=(), num_chunkings=0),
        promise=promise,
    ).write(directory)
    save_file(_golden(what, takes_lengths), directory / GOLDEN_FILE)
    return directory


def _size(axis: str) -> list[NodeProto]:
    return [
        helper.make_node("Shape", ["inputs"], ["sizes"]),
        helper.make_node("Gather", ["sizes", axis], ["whole"]),
        helper.make_node("Cast", ["whole"], ["size"], to=TensorProto.FLOAT),
    ]


def _golden(what: str, takes_lengths: bool) -> dict[str, np.ndarray]:
    """What a network answers that doubles each step, and adds what it sees by itself."""
    generator = np.random.default_rng(0)
    case: dict[str, np.ndarray] = {}
    lengths = LENGTHS if takes_lengths else (12,) * 3
    inputs = np.zeros((len(lengths), max(lengths), 1), np.float32)
    outputs = np.zeros_like(inputs)
    for row, length in enumerate(lengths):
        steps = generator.normal(size=(length, 1)).astype(np.float32)
        inputs[row, :length] = steps
        more = {"neighbours": np.tanh(steps[0]), "padding": steps.max()}.get(what, 0.0)
        outputs[row, :length] = 2 * steps + more
    case["0/inputs"], case["0/outputs"] = inputs, outputs
    if takes_lengths:
        case["0/lengths"] = np.array(lengths, np.int64)
    return case
