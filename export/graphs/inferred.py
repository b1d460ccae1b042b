"""Inferred types and sizes of a foreign graph's inner values: a file may say what is true no more."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from ostinato.export.graphs.sources import all_nodes
from ostinato.export.graphs.tidy import bodies_of

_SEQUENCES = {"SequenceEmpty", "SequenceConstruct", "SequenceInsert", "SequenceErase", "SplitToSequence", "SequenceMap"}


def infer_shapes(model: ir.Model) -> None:
    """Give inner values their types, and the sizes that are known, in place."""
    lists = _lists(model)
    for node, _ in all_nodes(model.graph):
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
        for value in (given for body in bodies_of(node) for given in body.inputs):
            if value.shape is not None:  # a Loop's number of the round must be known to have no axes
                value.shape = ir.Shape([None] * len(value.shape))
    log = logging.getLogger(ShapeInferencePass.__module__)
    level = log.level
    log.setLevel(logging.CRITICAL)  # what cannot be inferred stays unknown
    try:
        ShapeInferencePass()(model)
    finally:
        log.setLevel(level)
    for value in lists:  # which the pass takes for tensors of what is in them
        value.type, value.shape = None, None


def _lists(model: ir.Model) -> list[ir.Value]:
    """Values that are sequences of tensors."""
    found: dict[int, ir.Value] = {}
    for node, _ in all_nodes(model.graph):
        if node.op_type in _SEQUENCES:
            found |= {id(value): value for value in node.outputs}
        if node.op_type == "Loop":
            begun = enumerate(node.inputs[2:])
            found |= {id(node.outputs[place]): node.outputs[place] for place, value in begun if id(value) in found}
        if node.op_type == "Identity" and id(node.inputs[0]) in found:
            found[id(node.outputs[0])] = node.outputs[0]
    return list(found.values())
