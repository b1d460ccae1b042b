"""A client of the service, ``Client`` or ``AsyncClient``, and the command line."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ostinato.client.async_client import AsyncClient
    from ostinato.client.client import Client

__all__ = ["AsyncClient", "Client"]

_HOMES = {"AsyncClient": "ostinato.client.async_client", "Client": "ostinato.client.client"}


_FOLDER = Path(__file__).parent
if not (_FOLDER / "service").is_dir() and (_FOLDER.parent / "service" / "app.py").is_file():
    # `bentoml build` leaves links out, so in a Bento the service lies next to this package.
    __path__.append(str(_FOLDER.parent))


def __getattr__(name: str) -> Any:
    # Imported at their first use: the command line starts without the libraries of the client.
    if name not in _HOMES:
        raise AttributeError(f"module 'ostinato' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
