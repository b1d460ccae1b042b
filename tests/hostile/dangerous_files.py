"""Dangerous ONNX files, built here: each with the words by which whoever reads it must refuse it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Build = Callable[[Path], object]
FLOAT = TensorProto.FLOAT
HIDDEN, FEATURES = 4, 3


@dataclass(frozen=True)
class DangerousFile:
    """A file, written by ``build`` to the path that it is given, and what an error about it must say."""

    name: str
    build: Build
    says: str


def value(name: str, shape: Sequence[str | int] | None = ("B",), dtype: int = FLOAT) -> onnx.ValueInfoProto:
    """An input or output."""
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Sequence[onnx.NodeProto], initializers: Sequence[onnx.TensorProto] = (), **more: Any
) -> onnx.ModelProto:
    """``x`` to ``y`` by way of nodes."""
    given = more.pop("inputs", [value("x")])
    made = more.pop("outputs", [value("y")])
    graph = helper.make_graph(nodes, "graph", given, made, initializer=list(initializers))
    more.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    return helper.make_model(graph, ir_version=8, **more)


def identity() -> onnx.ModelProto:
    """The least that there is."""
    return model([helper.make_node("Identity", ["x"], ["y"])])


def tensor(name: str, array: np.ndarray[Any, Any]) -> onnx.TensorProto:
    """A tensor of a file."""
    return numpy_helper.from_array(array, name)


def multiplied(weight: onnx.TensorProto) -> onnx.ModelProto:
    """``y = x @ weight``, the weight in the file."""
    return model(
        [helper.make_node("MatMul", ["x", weight.name], ["y"])],
        [weight],
        inputs=[value("x", ("B", 2))],
        outputs=[value("y", ("B", 2))],
    )


def lstm_like() -> onnx.ModelProto:
    """A GRU whose weights are of float16 behind which onnxruntime folds a transpose: it dies of that."""
    gates = 3 * HIDDEN
    initializers = [
        tensor("w", np.zeros((1, gates, FEATURES), np.float16)),
        tensor("r", np.zeros((1, gates, HIDDEN), np.float16)),
        tensor("head", np.zeros((HIDDEN, 2), np.float16)),
        tensor("axes", np.array([1], np.int64)),
    ]
    nodes = [
        helper.make_node("GRU", ["x", "w", "r", "", "", "h"], ["all", "h_n"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["all", "axes"], ["steps"]),
        helper.make_node("Transpose", ["steps"], ["rows"], perm=[1, 0, 2]),
        helper.make_node("MatMul", ["rows", "head"], ["y"]),
    ]
    half = TensorProto.FLOAT16
    return model(
        nodes,
        initializers,
        inputs=[value("x", ("T", "B", FEATURES), half), value("h", (1, "B", HIDDEN), half)],
        outputs=[value("y", ("B", "T", 2), half), value("h_n", (1, "B", HIDDEN), half)],
    )


def endless() -> onnx.ModelProto:
    """A loop whose condition stays true."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [value("i", (), TensorProto.INT64), value("go", (), TensorProto.BOOL), value("v")],
        [value("go_on", (), TensorProto.BOOL), value("w")],
    )
    return model([helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)], [tensor("yes", np.array(True))])


def vast() -> onnx.ModelProto:
    """A hundred gigabytes of ones, added up."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=tensor("one", np.ones(1, np.float32))),
        helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return model(nodes, [tensor("shape", np.array([25, 10**9], np.int64))])


def in_one_another(depth: int) -> onnx.ModelProto:
    """Graphs in graphs, by ``If``."""

    def branch(name: str, nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
        return helper.make_graph(nodes, name, [], [value(nodes[-1].output[0])])

    inner = branch("innermost", [helper.make_node("Identity", ["x"], ["y_0"])])
    for level in range(1, depth):
        other = branch("other", [helper.make_node("Neg", ["x"], [f"n_{level}"])])
        inner = branch("inner", [helper.make_node("If", ["yes"], [f"y_{level}"], then_branch=inner, else_branch=other)])
    return model(list(inner.node), [tensor("yes", np.array(True))], outputs=[value(f"y_{depth - 1}")])


def saved(made: onnx.ModelProto) -> Build:
    """Writes a model as it is."""
    return lambda path: path.write_bytes(made.SerializeToString())


def content(text: bytes) -> Build:
    """Writes bytes."""
    return lambda path: path.write_bytes(text)


def changed(change: Callable[[onnx.ModelProto], object], base: Callable[[], onnx.ModelProto] = identity) -> Build:
    """Writes a model with something wrong."""

    def build(path: Path) -> None:
        made = base()
        change(made)
        path.write_bytes(made.SerializeToString())

    return build


def of_dims(*dims: int) -> Build:
    """A weight that claims a shape for its 16 bytes."""
    weight = tensor("w", np.eye(2, dtype=np.float32))
    del weight.dims[:]
    weight.dims.extend(dims)
    return saved(multiplied(weight))


def outside(location: str, lay: Callable[[Path], object] = lambda _: None, **entries: str) -> Build:
    """A weight in a file of its own, at a place that is named like that; ``lay`` puts something there."""

    def build(path: Path) -> None:
        weight = tensor("w", np.eye(2, dtype=np.float32))
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, word in {"location": location, **entries}.items():
            weight.external_data.add(key=key, value=word)
        lay(path.parent)
        path.write_bytes(multiplied(weight).SerializeToString())

    return build


def weights(folder: Path, name: str = "w.bin") -> None:
    """The 16 bytes of that weight, in a file of their own."""
    (folder / name).write_bytes(np.eye(2, dtype=np.float32).tobytes())


def link(folder: Path) -> None:
    """A link in the place of weights."""
    weights(folder, "elsewhere.bin")
    (folder / "w.bin").symlink_to("elsewhere.bin")


def pipe(folder: Path) -> None:
    """A pipe in the place of weights, at which whoever opened it would wait."""
    os.mkfifo(folder / "w.bin")


def of_number(number: float, place: tuple[int, int] = (1, 0)) -> Build:
    """A weight that holds a number that is none."""
    array = np.eye(2, dtype=np.float32)
    array[place] = number
    return saved(multiplied(tensor("w", array)))


def _sparse(made: onnx.ModelProto) -> None:
    numbers = tensor("s", np.ones(1, np.float32))
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(numbers, tensor("i", np.array([0])), [4]))


def _recursive(made: onnx.ModelProto) -> None:
    made.opset_import.append(helper.make_opsetid("own", 1))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for name, other in (("ping", "pong"), ("pong", "ping")):
        node = helper.make_node(other, ["a"], ["b"], domain="own")
        made.functions.append(helper.make_function("own", name, ["a"], ["b"], [node], opsets))
    made.graph.node[0].CopyFrom(helper.make_node("ping", ["x"], ["y"], domain="own"))


def _circle(made: onnx.ModelProto) -> None:
    del made.graph.node[:]
    made.graph.node.append(helper.make_node("Add", ["x", "b"], ["a"], name="first"))
    made.graph.node.append(helper.make_node("Neg", ["a"], ["b"], name="second"))
    made.graph.node.append(helper.make_node("Neg", ["b"], ["y"], name="third"))


def _node(**changes: str) -> Callable[[onnx.ModelProto], object]:
    def change(made: onnx.ModelProto) -> None:
        made.graph.node[0].CopyFrom(helper.make_node(changes.get("op", "Identity"), ["x"], ["y"], name="odd"))
        made.graph.node[0].domain = changes.get("domain", "")

    return change


def _words(made: onnx.ModelProto) -> None:
    made.graph.initializer.append(numpy_helper.from_array(np.array(["a"], object), "words"))


NO_ONNX = (
    DangerousFile("empty", content(b""), "the file is empty"),
    DangerousFile("text", content(b"weights follow\n" * 40), "text"),
    DangerousFile("page", content(b"<!DOCTYPE html><html><body>404</body></html>"), "a page"),
    DangerousFile("archive", content(b"PK\x03\x04" + bytes(200)), "TorchScript"),
    DangerousFile("hdf5", content(b"\x89HDF\r\n\x1a\n" + bytes(200)), "Keras"),
    DangerousFile("pickle", content(b"\x80\x02}q\x00." + bytes(50)), "a pickle"),
    DangerousFile("pointer", content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
    DangerousFile("lite", content(b"\x1c\x00\x00\x00TFL3" + bytes(90)), "TensorFlow Lite"),
    DangerousFile("safetensors", content((2).to_bytes(8, "little") + b'{"a":1}'), "safetensors"),
    DangerousFile("noise", content(np.random.default_rng(0).bytes(4000)), "no ONNX file"),
    DangerousFile("zeros", content(bytes(4000)), "no ONNX file"),
    DangerousFile("cut", lambda path: path.write_bytes(lstm_like().SerializeToString()[:-7]), "cut off"),
    DangerousFile("folder", lambda path: path.mkdir(), "a folder"),
    DangerousFile("pipe", lambda path: os.mkfifo(path), "a pipe"),
    DangerousFile("device", lambda path: path.symlink_to("/dev/zero"), "a device"),
    DangerousFile("absent", lambda _: None, "No such file"),
    DangerousFile("a tensor's file", content(tensor("w", np.ones(3, np.float32)).SerializeToString()), "no ONNX file"),
)
SIZES = (
    DangerousFile("negative axis", of_dims(-2, -2), "negative size"),
    DangerousFile("a product that overflows", of_dims(2**62, 4), "would take"),
    DangerousFile("a product that overflows to what is there", of_dims(2**33, 2**33, 2**33), "would take"),
    DangerousFile("more than is there", of_dims(1000, 1000), "asks for 4,000,000 bytes, and the file holds 16"),
    DangerousFile("less than is there", of_dims(1), "the file holds 16"),
    DangerousFile("many axes", of_dims(*[1] * 100), "100 axes"),
    DangerousFile(
        "an unknown type", changed(lambda m: setattr(m.graph.initializer[0], "data_type", 99), endless), "99"
    ),
    DangerousFile("words", changed(_words), "holds words"),
    DangerousFile("sparse", changed(_sparse), "is sparse"),
    DangerousFile("graphs in graphs", saved(in_one_another(18)), "deeper than"),
    DangerousFile("graphs in graphs without end", saved(in_one_another(25)), "deeper than"),
)
PLACES = (
    DangerousFile("above", outside("../w.bin", lambda folder: weights(folder.parent)), "out of its folder"),
    DangerousFile("above by way of below", outside("a/../../w.bin"), "out of its folder"),
    DangerousFile("absolute", outside("/etc/passwd"), "none of its folder's"),
    DangerousFile("absolute elsewhere", outside("C:\\w.bin"), "none of its folder's"),
    DangerousFile("shared folder elsewhere", outside("\\\\host\\w.bin"), "none of its folder's"),
    DangerousFile("memory", outside("*/_ORT_MEM_ADDR_/*", offset="0"), "none of its folder's"),
    DangerousFile("a link", outside("w.bin", link), "is a link"),
    DangerousFile("a folder that is a link", outside("in/w.bin", lambda f: (f / "in").symlink_to("/etc")), "is a link"),
    DangerousFile("a pipe of weights", outside("w.bin", pipe), "no regular file"),
    DangerousFile("no file", outside("w.bin"), "cannot be read"),
    DangerousFile("no name", outside(""), "no name"),
    DangerousFile("unseen name", outside("w\u200b.bin"), "nobody sees"),
    DangerousFile("a name with an end in it", outside("w.bin\0"), "nobody sees"),
    DangerousFile("behind its end", outside("w.bin", weights, offset="8"), "claims the bytes 8 to 24"),
    DangerousFile("negative offset", outside("w.bin", weights, offset="-8"), "no number of bytes"),
    DangerousFile("vast offset", outside("w.bin", weights, offset=str(2**62)), "no number of bytes"),
    DangerousFile("another length", outside("w.bin", weights, length="12"), "claims 12"),
)
GRAPHS = (
    DangerousFile("no graph", changed(lambda m: m.ClearField("graph")), "no graph"),
    DangerousFile("no nodes", changed(lambda m: m.graph.ClearField("node")), "no nodes"),
    DangerousFile("no inputs", changed(lambda m: m.graph.ClearField("input")), "no inputs"),
    DangerousFile("no outputs", changed(lambda m: m.graph.ClearField("output")), "no outputs"),
    DangerousFile("no opset", changed(lambda m: m.ClearField("opset_import")), "no opset"),
    DangerousFile("a later opset", changed(lambda m: setattr(m.opset_import[0], "version", 9000)), "opset 9000"),
    DangerousFile("unknown operator", changed(_node(op="Frobnicate")), "'odd' (Frobnicate): there is no operator"),
    DangerousFile("unknown domain", changed(_node(op="Frob", domain="my.ops")), "domain 'my.ops'"),
    DangerousFile("operator of a later opset", changed(_node(op="Gelu")), "in opset 17"),
    DangerousFile("unknown operator of onnxruntime's", changed(_node(op="Frob", domain="com.microsoft")), "Frob"),
    DangerousFile("circle", changed(_circle), "has a circle"),
    DangerousFile("nothing makes it", changed(lambda m: m.graph.node[0].input.append("ghost")), "'ghost', which"),
    DangerousFile("no node makes it", changed(lambda m: m.graph.output.append(value("z"))), "output 'z' is made by no"),
    DangerousFile("made twice", changed(lambda m: m.graph.node.append(m.graph.node[0])), "'y' is made twice"),
    DangerousFile("input twice", changed(lambda m: m.graph.input.append(value("x"))), "input 'x' occurs twice"),
    DangerousFile("function of itself", changed(_recursive), "calls itself"),
    DangerousFile(
        "input of words", changed(lambda m: m.graph.input[0].CopyFrom(value("x", ("B",), TensorProto.STRING))), "words"
    ),
    DangerousFile("types that do not fit", changed(_node(op="Not")), "refuses it"),
)
NUMBERS = (
    DangerousFile("NaN among weights", of_number(np.nan), "initializer 'w' of shape [2, 2] holds nan at [1, 0]"),
    DangerousFile("infinity among weights", of_number(-np.inf, (0, 1)), "holds -inf at [0, 1]"),
)
UNREADABLE = (*NO_ONNX, *SIZES, *PLACES, *GRAPHS, *NUMBERS)
"""What the reader of foreign files refuses."""

DEADLY = (
    DangerousFile(
        "kills", saved(lstm_like()), "onnxruntime died while it was opened in a process of its own: killed by"
    ),
    DangerousFile("never ends", saved(endless()), "a loop without an end"),
    DangerousFile("takes all memory", saved(vast()), "it takes more than"),
)
"""What is ONNX and no process survives, or none should."""
