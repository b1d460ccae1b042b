"""Graphs under onnxruntime while they are looked at: of a model in memory, by way of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir

from ostinato.export.errors import ExportError
from ostinato.export.graphs.files import save_graph
from ostinato.service.artifact.graphs import open_graph
from ostinato.service.catalogue.tried import try_graph
from ostinato.service.errors import ModelRejected


class Workbench:
    """A folder in which variants of a graph are written and opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def open(self, model: ir.Model) -> Any:
        """An ``InferenceSession`` of a model.

        Raises:
            ExportError: onnxruntime cannot load it.
        """
        self._count += 1
        path = self._folder / f"graph_{self._count}.onnx"
        save_graph(model, path)
        return open_file(path)


def open_file(path: Path) -> Any:
    """An ``InferenceSession`` of a file.

    Raises:
        ExportError: onnxruntime cannot load it; one line.
    """
    try:
        try_graph(path)
        return open_graph(path)
    except ModelRejected as error:
        said = " ".join(str(error).removeprefix(f"{path}: ").split())
        raise ExportError(said) from error
