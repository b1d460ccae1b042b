"""Invariant form of a foreign graph: operators that round by the shape of a run, written as others that do not."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from ostinato.export.graphs.invariant import make_invariant

_LEAST_OPSET = 18


def invariant_form(model: ir.Model) -> ir.Model | None:
    """A copy in that form; None where the graph is of a release that lacks its operators."""
    made = model.clone()
    if made.opset_imports.get("", 1) < _LEAST_OPSET:
        converted = _converted(made)
        if converted is None:
            return None
        made = converted
    ShapeInferencePass()(made)
    make_invariant(made)
    return made


def _converted(model: ir.Model) -> ir.Model | None:
    from onnx.version_converter import convert_version

    try:
        return ir.from_proto(convert_version(ir.to_proto(model), 20))
    except Exception:  # the converter's errors share no base class; the graph then stays as it is
        return None
