"""Narrowing of foreign graphs to float32: of what onnxruntime does not compute in float16 or float64."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

_OTHERS = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
_FLOAT = ir.DataType.FLOAT
_DTYPES = ("to", "dtype")
"""Attributes that name a dtype."""


def in_float32(model: ir.Model) -> tuple[ir.Model, str] | None:
    """A copy with all floats in float32, and what they were; None where they are already."""
    if not (found := _floats(model)):
        return None
    made = model.clone()
    for graph in made.graphs():
        for value in (*graph.inputs, *graph.initializers.values()):
            _narrow(value)
        for node in graph:
            for value in node.outputs:
                _narrow(value)
            for attribute in list(node.attributes.values()):
                _narrow_attribute(node, attribute)
    return made, " and ".join(sorted(dtype.name.lower().replace("double", "float64") for dtype in found))


def _floats(model: ir.Model) -> set[ir.DataType]:
    found = set()
    for graph in model.graphs():
        values = [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
        found |= {value.dtype for value in values if value.dtype is not None and value.dtype in _OTHERS}
    return found


def _narrow(value: ir.Value) -> None:
    if value.dtype in _OTHERS:
        value.type = ir.TensorType(_FLOAT)
    if value.const_value is not None and value.const_value.dtype in _OTHERS:
        value.const_value = _tensor(value.const_value)


def _narrow_attribute(node: ir.Node, attribute: ir.Attr) -> None:
    if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in _OTHERS:
        node.attributes[attribute.name] = ir.AttrTensor(attribute.name, _tensor(attribute.as_tensor()))
    if attribute.name in _DTYPES and attribute.type == ir.AttributeType.INT and attribute.as_int() in _OTHERS:
        node.attributes[attribute.name] = ir.AttrInt64(attribute.name, int(_FLOAT))


def _tensor(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)
