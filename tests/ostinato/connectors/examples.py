"""Features and messages for the tests of connectors."""

from __future__ import annotations

from typing import Any

from ostinato.connectors.arrivals import Messages
from ostinato.connectors.features import ReadingFeatures


def features(*names: str, **changes: Any) -> ReadingFeatures:
    """A model of these features, x and y where there are none."""
    manifest: dict[str, Any] = {
        "name": "m",
        "version": "1",
        "task": "recurrent",
        "inputs": [
            {"name": "i", "dtype": "float32", "shape": ["B", "T", len(names) or 2], "features": names or ("x", "y")}
            | changes
        ],
        "outputs": [{"name": "o", "dtype": "float32", "shape": ["B", "T", 1], "features": ["z"]}],
    }
    return ReadingFeatures.of({"model": "m", "manifest": manifest})


def messages(*values: bytes | None, keys: list[bytes | None] | None = None, first: int = 0) -> Messages:
    """Messages of the partition ``t/0``."""
    offsets = list(range(first, first + len(values)))
    return Messages("t/0", offsets, keys or [b"k"] * len(values), list(values))
