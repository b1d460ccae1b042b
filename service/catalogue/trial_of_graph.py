"""The trial of a graph file, as it runs in the child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ostinato.service.artifact.graphs import open_graph

SIZE_OF_OPEN_AXES = 2
_DTYPES = {"float": "float32", "double": "float64"}


def open_file(path: str) -> str:
    """Open a graph and run it once, over a little of nothing.

    Returns:
        why that run failed, which may be the inputs' fault; empty where it did not.
    """
    session = open_graph(Path(path))
    try:
        session.run(None, {node.name: _nothing(node) for node in session.get_inputs()})
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime's own exceptions share no base class
        if "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):
            raise
        return str(error)
    return ""


def _nothing(node: Any) -> np.ndarray[Any, Any]:
    """Zeros for an input; ones of whole numbers, which may be lengths."""
    shape = [size if isinstance(size, int) and size > 0 else SIZE_OF_OPEN_AXES for size in node.shape]
    name = str(node.type).removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype(_DTYPES.get(name, name))
    return np.ones(shape, dtype) if dtype.kind in "iu" else np.zeros(shape, dtype)
