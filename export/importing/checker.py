"""ONNX' own checker, which a trial's child runs."""

from __future__ import annotations

import onnx

from ostinato.export.errors import first_line
from ostinato.service.catalogue.trial_of_graph import open_file
from ostinato.service.errors import ModelRejected

MOST_SHOWN = 400


def check(path: str) -> str:
    """What the checker finds wrong in a file, and onnxruntime, too; empty where either finds nothing.

    The checker refuses much that runs, as an output whose shape nobody wrote down.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        found = " ".join(str(error).split())[:MOST_SHOWN]
        try:
            open_file(path)
        except ModelRejected as refused:
            return (
                f"ONNX' checker refuses it ({found}), and {first_line(refused).removeprefix(f'{path}: ')[:MOST_SHOWN]}"
            )
    return ""
