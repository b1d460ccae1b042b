"""Weights in an ONNX file, looked through for what is no number, where a version does not do what it should."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ostinato.service.artifact.regular_files import open_regular
from ostinato.service.artifact.wire import BrokenWire, WireTensor, tensors

_FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}
"""ONNX' number of a type -> the type, of which a tensor's bytes are numbers."""


def weights_with_nan(path: Path) -> str:
    """A sentence about the first tensor of a file that holds NaN among several numbers; empty where none does."""
    try:
        with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return next(_sentences(content), "")
    except (OSError, BrokenWire, ValueError):
        return ""


def _sentences(content: mmap.mmap) -> Iterator[str]:
    for tensor in tensors(content):
        dtype = _FLOATS.get(tensor.dtype)
        if dtype is None or tensor.raw is None:
            continue
        numbers = np.frombuffer(content[tensor.raw[0] : tensor.raw[1]], dtype)
        if numbers.size > 1 and np.isnan(numbers).any():
            yield f"its {tensor.place} holds NaN at {_place(numbers, tensor)}"


def _place(numbers: np.ndarray[tuple[int], np.dtype[np.floating]], tensor: WireTensor) -> list[int]:
    first = int(np.isnan(numbers).argmax())
    return [int(each) for each in np.unravel_index(first, tensor.dims)]
