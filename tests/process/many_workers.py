"""The service with models that take a while to load, as large ones do, for tests of many workers."""

from __future__ import annotations

import time
from pathlib import Path

from ostinato.service.catalogue import loading
from ostinato.service.catalogue.engine_maker import Loaded
from ostinato.service.catalogue.loading import load_version
from ostinato.service.config import Settings

LOAD_SECONDS = 0.2


def load_slowly(directory: Path, settings: Settings) -> Loaded:
    time.sleep(LOAD_SECONDS)
    return load_version(directory, settings)


vars(loading).update(load_version=load_slowly)

from ostinato.service.app import Ostinato  # noqa: E402

__all__ = ["Ostinato"]
