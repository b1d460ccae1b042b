"""Operator sets: a foreign graph of an older one, written in that of the graphs that are made here."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx import version_converter

OPSET_VERSION = 20


def with_new_operators(model: ir.Model) -> ir.Model:
    """The same graph in the operator set of the nodes that rewriting puts in; as it is, where it cannot be converted.

    What is written for a newer set stays. Functions must have been put in their places before.
    """
    if model.opset_imports.get("", OPSET_VERSION) >= OPSET_VERSION:
        return model
    try:
        converted = version_converter.convert_version(ir.to_proto(model), OPSET_VERSION)
        onnx.checker.check_model(converted)
    except Exception:  # the converter's exceptions share no base class; nor does a graph of more than 2 GiB fit in it
        return model
    made = ir.from_proto(converted)
    made.metadata_props.update(model.metadata_props)
    return made
