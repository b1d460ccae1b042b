"""A network of several tensors whose state is the same whole number as the others': two inputs, a context, three
outputs, two states; nested, of several dtypes and axes.

Each of its tensors says what the others say, so one that is another's, or of another moment, shows: the state is kept
in one number and in two halves, and the graph reckons with both; the outputs are the number, its halves, and once a run
the last number. The context is in every step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from onnx import TensorProto, helper
from pyarrow import ipc
from safetensors.numpy import save

from ostinato.service.artifact.tensors import Input, Output, State
from tests.networks import Array
from tests.tensor_networks import TensorNetwork, build

HALF = 4096
NUM_CODES = 1000
CONTEXT_FACTORS = (7, 104_729, 1_299_709)
"""Of the numbers of a context."""

NUMBER, HALVES = "panel-state", "halves"
CONTEXT_NAMES = ("who", "region")

Inputs = tuple[tuple[int, ...], ...]
Context = tuple[int, ...]


def network(factors: Sequence[int], factor: int, addend: int, modulus: int, version: str) -> TensorNetwork:
    """The graph: a ``Scan`` over the steps ``[T, B, ...]``; ``factors`` of the three numbers of a step."""
    constants: dict[str, Array] = {
        "row": np.array([factors], np.int64),
        "who_row": np.array([CONTEXT_FACTORS[:2]], np.int64),
        "region_factor": np.array(CONTEXT_FACTORS[2], np.int64),
        "addend": np.array(addend, np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "as_loads": np.array([0, 0, 2], np.int64),
    }
    nodes = [
        helper.make_node("Reshape", ["load", "as_loads"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["loads"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["code", "two"], ["codes"]),
        helper.make_node("Concat", ["loads", "codes"], ["numbers"], axis=2),
        helper.make_node("Mul", ["numbers", "row"], ["mixed"]),
        helper.make_node("ReduceSum", ["mixed", "two"], ["sums"], keepdims=1),
        helper.make_node("Cast", ["who"], ["whole_who"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whole_who", "who_row"], ["mixed_who"]),
        helper.make_node("ReduceSum", ["mixed_who", "one"], ["of_who"], keepdims=1),
        helper.make_node("Mul", ["region", "region_factor"], ["mixed_region"]),
        helper.make_node("Unsqueeze", ["mixed_region", "one"], ["of_region"]),
        helper.make_node("Add", ["of_who", "of_region"], ["of_context"]),
        helper.make_node("Add", ["of_context", "addend"], ["always"]),
        helper.make_node("Unsqueeze", ["always", "one"], ["always3"]),
        helper.make_node("Add", ["sums", "always3"], ["added"]),
        helper.make_node("Transpose", ["added"], ["added_t"], perm=[1, 0, 2]),
        helper.make_node(
            "Scan", [NUMBER, HALVES, "added_t"], [f"{NUMBER}_n", f"{HALVES}_n", "ys"], num_scan_inputs=1, body=_step()
        ),
        helper.make_node("Transpose", ["ys"], ["whole"], perm=[1, 0, 2]),
        helper.make_node("Cast", ["whole"], ["total"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["whole", "half"], ["high"]),
        helper.make_node("Mod", ["whole", "half"], ["low"]),
        helper.make_node("Concat", ["high", "low"], ["both"], axis=2),
        helper.make_node("Unsqueeze", ["both", "three"], ["parts"]),
        helper.make_node("Cast", [f"{NUMBER}_n"], ["last"], to=TensorProto.FLOAT),
    ]
    constants |= {"half": np.array(HALF, np.int64), "three": np.array([3], np.int64)}
    constants |= {"factor": np.array(factor, np.int64), "modulus": np.array(modulus, np.int64)}
    manifest = {
        "name": "panel",
        "version": version,
        "inputs": (
            Input(name="load", dtype="float32", shape=("B", "T", 2, 1), features=("x0", "x1")),
            Input(name="code", dtype="int64", shape=("B", "T"), features=("code",), num_codes=NUM_CODES),
        ),
        "context": (
            Input(name="who", dtype="float32", shape=("B", 2), features=("age", "size")),
            Input(name="region", dtype="int64", shape=("B",), features=("region",), num_codes=NUM_CODES),
        ),
        "outputs": (
            Output(name="total", dtype="float32", shape=("B", "T", 1), features=("y",)),
            Output(name="parts", dtype="int64", shape=("B", "T", 2, 1), features=("high", "low")),
            Output(name="last", dtype="float32", shape=("B", 1), features=("end",)),
        ),
        "states": (
            State(name=NUMBER, input=NUMBER, output=f"{NUMBER}_n", shape=("B", 1), dtype="int64"),
            State(name=HALVES, input=HALVES, output=f"{HALVES}_n", shape=(2, "B"), dtype="int64"),
        ),
        "feedback": {"y": "x0"},
    }
    return build(nodes, constants, manifest)


def _step() -> Any:
    """One step, in which halves that are not the number's would be noticed in what follows."""
    nodes = [
        helper.make_node("Mul", ["number", "factor"], ["scaled"]),
        helper.make_node("Add", ["scaled", "given"], ["all"]),
        helper.make_node("Mod", ["number", "half"], ["number_low"]),
        helper.make_node("Div", ["number", "half"], ["number_high"]),
        helper.make_node("Gather", ["pair", "zero"], ["high"], axis=0),
        helper.make_node("Gather", ["pair", "one"], ["low"], axis=0),
        helper.make_node("Transpose", ["high"], ["high_b"], perm=[1, 0]),
        helper.make_node("Transpose", ["low"], ["low_b"], perm=[1, 0]),
        helper.make_node("Sub", ["number_high", "high_b"], ["off_high"]),
        helper.make_node("Sub", ["number_low", "low_b"], ["off_low"]),
        helper.make_node("Add", ["off_high", "off_low"], ["off"]),
        helper.make_node("Add", ["all", "off"], ["checked"]),
        helper.make_node("Mod", ["checked", "modulus"], ["after"]),
        helper.make_node("Div", ["after", "half"], ["after_high"]),
        helper.make_node("Mod", ["after", "half"], ["after_low"]),
        helper.make_node("Concat", ["after_high", "after_low"], ["after_both"], axis=1),
        helper.make_node("Transpose", ["after_both"], ["pair_after"], perm=[1, 0]),
        helper.make_node("Identity", ["after"], ["y"]),
    ]

    def value(name: str, *shape: int | str | None) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.INT64, shape)

    given = [value("number", None, 1), value("pair", 2, None), value("given", None, 1)]
    return helper.make_graph(
        nodes, "step", given, [value("after", None, 1), value("pair_after", 2, None), value("y", None, 1)]
    )


def context_object(context: Context) -> dict[str, Any]:
    """A context as JSON has it."""
    return {"who": list(context[:2]), "region": context[2]}


def inputs_object(inputs: Inputs) -> dict[str, Any]:
    """A chunk, or a step for each of many sessions, as JSON has it."""
    return {"load": [[[x0], [x1]] for x0, x1, _ in inputs], "code": [code for _, _, code in inputs]}


def future_object(future: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """What is known of the steps ahead."""
    return {"x1": [x1 for x1, _ in future], "code": [code for _, code in future]}


def arrow_message(session_ids: Sequence[str], inputs: Inputs, seqs: Sequence[int | None]) -> bytes:
    """A step for each of many sessions as an Arrow IPC stream."""
    load = pa.list_(pa.list_(pa.float32(), 1), 2)
    columns = {
        "session_id": pa.array(session_ids),
        "inputs": pa.array(
            [{"load": [[x0], [x1]], "code": code} for x0, x1, code in inputs],
            pa.struct([("load", load), ("code", pa.int64())]),
        ),
        "seq": pa.array(seqs, pa.int64()),
    }
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def read_outputs(outputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The numbers of some steps; where the tensors do not say the same, all that they say."""
    total = [number for (number,) in outputs["total"]]
    parts = [HALF * high + low for ((high,), (low,)) in outputs["parts"]]
    if total == parts and outputs["last"] == [[total[-1]]]:
        return tuple(map(int, total))
    return ("torn", json.dumps(outputs))


def each_step(outputs: Mapping[str, Sequence[Any]]) -> list[dict[str, Any] | None]:
    """A message's outputs as one step's for each of its sessions; None = it failed."""
    rows = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    return [None if None in row.values() else {name: [value] for name, value in row.items()} for row in rows]


def read_tensors(tensors: Mapping[str, Array]) -> tuple[Any, Context]:
    """The state and the context that a file has; a state whose tensors differ from each other is told as it is."""
    (number,), halves = tensors[NUMBER].tolist(), tensors[HALVES].tolist()
    who, region = tensors["who"].tolist(), tensors["region"].tolist()
    state = number if halves == [*divmod(number, HALF)] else ("torn", number, *halves)
    return state, (*map(int, who), region)


def read_last_output(text: str) -> Any:
    """The last output that a file has."""
    flat = json.loads(text)
    (last,) = read_outputs(
        {"total": [flat["total"]], "parts": [[[each] for each in flat["parts"]]], "last": [flat["last"]]}
    )[-1:]
    return last


def file_of(state: int, context: Context | None) -> bytes:
    """A state as a file without metadata; without a context it lacks what every session of it has."""
    tensors: dict[str, Array] = {
        NUMBER: np.array([state], np.int64),
        HALVES: np.array(divmod(state, HALF), np.int64),
    }
    if context is not None:
        tensors |= {"who": np.array(context[:2], np.float32), "region": np.array(context[2], np.int64)}
    return save(tensors)
