"""Open lengths: ``len(x)`` of a tensor in a user's code, while it is traced, as the open size that ``x.shape[0]`` is.

Python makes a number of what ``len`` gives, so a graph would take that many sequences only.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

_LIBRARIES = ("torch", "ostinato")


@contextlib.contextmanager
def open_lengths(module: nn.Module) -> Iterator[None]:
    """Put another ``len`` in the files from which the classes of a module are, where they have none of their own."""
    found: dict[int, dict[str, Any]] = {}
    for part in module.modules():
        for kind in type(part).__mro__:
            for member in vars(kind).values():
                names = getattr(member, "__globals__", None)
                if names is not None and names.get("__name__", "").partition(".")[0] not in _LIBRARIES:
                    found[id(names)] = names
    given = [names for names in found.values() if "len" not in names]
    for names in given:
        names["len"] = _open_length
    try:
        yield
    finally:
        for names in given:
            del names["len"]


def _open_length(value: Any) -> Any:
    return value.shape[0] if isinstance(value, Tensor) and value.dim() else builtins.len(value)
