"""ONNX' own checker, which a trial's child runs."""

from __future__ import annotations

import onnx

from ostinato.export.errors import first_line


def check(path: str) -> str:
    """What the checker finds wrong in a file; empty where it finds nothing."""
    try:
        onnx.checker.check_model(path)
    except onnx.checker.ValidationError as error:
        return f"ONNX' checker refuses it: {' '.join(str(error).split())[:400] or first_line(error)}"
    return ""
