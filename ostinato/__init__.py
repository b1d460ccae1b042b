"""A client of the service, ``Client`` or ``AsyncClient``, what it raises, and the command line."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ostinato.errors import (
    CommandError,
    InputError,
    MissingExtra,
    PictureError,
    RowsFailed,
    SeqConflict,
    ServiceError,
    ServiceUnreachable,
    SettingsError,
    TableError,
    TimeConflict,
    UnexpectedAnswer,
    WrongAnswer,
)
from ostinato.missing import install as _install

if TYPE_CHECKING:
    from ostinato.client.async_client import AsyncClient
    from ostinato.client.client import Client

__version__ = "0.2.0"  # written here, since a Bento has no metadata of the package

__all__ = [
    "AsyncClient",
    "Client",
    "CommandError",
    "InputError",
    "MissingExtra",
    "PictureError",
    "RowsFailed",
    "SeqConflict",
    "ServiceError",
    "ServiceUnreachable",
    "SettingsError",
    "TableError",
    "TimeConflict",
    "UnexpectedAnswer",
    "WrongAnswer",
    "__version__",
]

_HOMES = {"AsyncClient": "ostinato.client.async_client", "Client": "ostinato.client.client"}

_install()

# onnxruntime reports its use, and keeps files for that under HOME from when it is imported, unless it is told not to
# before. Torch and a user's own code may import it, too, so it is told here, before any part of the package.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_FOLDER = Path(__file__).parent
if not (_FOLDER / "service").is_dir() and (_FOLDER.parent / "service" / "app.py").is_file():
    # `bentoml build` leaves links out, so in a Bento the service lies next to this package.
    __path__.append(str(_FOLDER.parent))


if not TYPE_CHECKING:  # a type checker that saw it would believe in every name

    def __getattr__(name: str) -> Any:
        # Imported at their first use: the command line starts without the libraries of the client.
        if name in _HOMES:
            return getattr(importlib.import_module(_HOMES[name]), name)
        raise AttributeError(f"module 'ostinato' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
