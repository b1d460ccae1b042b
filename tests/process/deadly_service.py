"""The service with models at whose load the process dies: those named after a signal, as ``sigabrt``."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ostinato.service.catalogue import loading
from ostinato.service.catalogue.engine_maker import Loaded
from ostinato.service.catalogue.loading import load_version
from ostinato.service.config import Settings

SOUND_FILE = "sound"
"""In a version's directory: it is loaded like any other."""


def load_and_die(directory: Path, settings: Settings) -> Loaded:
    name = directory.parent.name.upper()
    if name in signal.Signals.__members__ and not (directory / SOUND_FILE).exists():
        os.kill(os.getpid(), signal.Signals[name])
    return load_version(directory, settings)


vars(loading).update(load_version=load_and_die)

from ostinato.service.app import Ostinato  # noqa: E402

__all__ = ["Ostinato"]
