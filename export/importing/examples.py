"""Examples of a foreign graph's inputs: what they are like, and what states begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ostinato.export.errors import ExportError, first_line


def read_examples(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by the names of inputs, out of a file that ends in ``.npz`` or ``.safetensors``.

    Raises:
        ExportError: it is no such file, or cannot be read.
    """
    kind = path.suffix.lower()
    try:
        if kind == ".safetensors":
            return load_file(path)
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as loaded:
                return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, SafetensorError) as error:
        raise ExportError(f"{path}: {first_line(error)}") from error
    raise ExportError(f"{path}: examples are arrays by the names of inputs, in a file ending in .npz or .safetensors")
