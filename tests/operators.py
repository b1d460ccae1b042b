"""Torch's table of ONNX operators, read once in a process: each export would read it anew for itself, which takes half
of a small one's time. What is exported is the same.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

from torch.onnx._internal.exporter._registration import ONNXRegistry

_REGISTRY: Any = ONNXRegistry
_table = functools.cache(_REGISTRY.from_torchlib)


def read_once() -> None:
    """Give each export of this process, from now on, a copy of one table."""
    _REGISTRY.from_torchlib = staticmethod(_copy_of_table)


def _copy_of_table(*arguments: Any, **options: Any) -> Any:
    copied = copy.copy(_table(*arguments, **options))
    copied.functions = {name: list(functions) for name, functions in copied.functions.items()}
    return copied
