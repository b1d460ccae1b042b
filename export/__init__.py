"""The exporters; ``Window`` is at hand here, since users write it into their own modules."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostinato.export.window import Window

__all__ = ["Window"]


if not TYPE_CHECKING:  # a type checker that saw it would believe in every name

    def __getattr__(name: str) -> Any:
        # Imported at its first use: it needs torch.
        if name == "Window":
            return importlib.import_module("ostinato.export.window").Window
        raise AttributeError(f"module 'ostinato.export' has no attribute {name!r}")
