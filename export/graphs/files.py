"""Graph files: an ONNX file of its own, or, where its weights are more than one can hold, with a file of them."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnx_ir.external_data import load_to_model
from onnx_ir.passes.common import LiftConstantsToInitializersPass

MAX_GRAPH_BYTES = 2**31 - 2**26
"""Weights that an ONNX file holds itself: a protobuf message has at most 2 GiB, the rest is for the graph."""
DATA_SUFFIX = ".data"


def save_graph(model: ir.Model, path: Path) -> None:
    """Write an ONNX file, and next to it, under its name and ``.data``, weights that are too many for it."""
    if _num_bytes(model) <= MAX_GRAPH_BYTES:
        load_to_model(model)  # weights that lie next to the file that it was read from
        ir.save(model, path)
        return
    LiftConstantsToInitializersPass(lift_all_constants=False)(model)
    ir.save(model, path, external_data=path.name + DATA_SUFFIX)


def _num_bytes(model: ir.Model) -> int:
    total = 0
    for graph in model.graphs():
        total += sum(value.const_value.nbytes for value in graph.initializers.values() if value.const_value is not None)
        constants = (node.attributes.get("value") for node in graph if node.op_type == "Constant")
        total += sum(each.as_tensor().nbytes for each in constants if each is not None)
    return total
