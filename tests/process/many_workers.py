"""The service with models that take a while to load, as large ones do, for tests of many workers."""

from __future__ import annotations

import time
from pathlib import Path

import service.application
from service.config import Settings
from service.repository import LoadedModel, load_model

LOAD_SECONDS = 0.2


def load_slowly(directory: Path, settings: Settings) -> LoadedModel:
    time.sleep(LOAD_SECONDS)
    return load_model(directory, settings)


vars(service.application).update(load_model=load_slowly)

from service.app import Ostinato  # noqa: E402

__all__ = ["Ostinato"]
