"""A repository of Triton with one model in it, an accumulator, which Triton's own tests have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from tests.foreign.building import BOOL, FLOAT, INT64, GraphBuilder

UINT64 = onnx.TensorProto.UINT64
START = 'control_input [ { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] } ] } ]'
STATE = 'state [ { input_name: "INPUT_STATE" output_name: "OUTPUT_STATE" data_type: TYPE_FP32 dims: [ 2 ] %s } ]'
TENSORS = """
    input [ { name: "INPUT" data_type: TYPE_FP32 dims: [ 2 ] } ]
    output [ { name: "OUTPUT" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""


def accumulator(start: int | None = FLOAT, ready: int | None = None, corrid: str = "") -> onnx.ModelProto:
    """The sum of what came since START, as Triton's own tests have one; READY gates it, CORRID is ignored, repeated or
    added.
    """
    builder = GraphBuilder(13)
    x, state = builder.input("INPUT", [None, 2]), builder.input("INPUT_STATE", [None, 2])
    kept = state
    if start is not None:
        begins = builder.node("Cast", [builder.input("START", [None, 1], start)], to=BOOL)
        kept = builder.node("Where", [begins, builder.weight(np.zeros(2)), state])
    total = builder.node("Add", [x, kept])
    if ready is not None:
        gate = builder.node("Cast", [builder.input("READY", [None, 1], ready)], to=FLOAT)
        total = builder.node("Mul", [total, gate])
    if corrid:
        number = builder.input("CORRID", [None, 1], UINT64)
        if corrid == "repeated":
            builder.node("Cast", [builder.node("Identity", [number])], "ID", to=INT64)
            builder.output("ID", [None, 1], INT64)
        if corrid == "added":
            total = builder.node("Add", [total, builder.node("Cast", [number], "as_number", to=FLOAT)])
    builder.node("Identity", [total], "OUTPUT")
    builder.node("Identity", [total], "OUTPUT_STATE")
    builder.output("OUTPUT", [None, 2])
    builder.output("OUTPUT_STATE", [None, 2])
    return builder.model("triton")


def control(kind: str, values: str) -> str:
    return f'control_input [ {{ name: "{kind}" control [ {{ kind: CONTROL_SEQUENCE_{kind} {values} }} ] }} ]'


def put(
    repository: Path, config: str, model: onnx.ModelProto | None = None, name: str = "sums", version: str = "1"
) -> Path:
    """A model in a repository; its folder."""
    folder = repository / name
    (folder / version).mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config)
    (folder / version / "model.onnx").write_bytes((model or accumulator()).SerializeToString())
    return folder


def sequence(parts: str, batch: int = 8) -> str:
    return f'platform: "onnxruntime_onnx" max_batch_size: {batch} {TENSORS} sequence_batching {{ {parts} }}'
