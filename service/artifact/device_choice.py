"""The choice of a device: from what a setting says to the device, one for all of a process."""

from __future__ import annotations

import functools
from collections.abc import Callable

from ostinato.service.artifact.devices import Device


def _open_cuda() -> Device:
    from ostinato.service.artifact.cuda import CudaDevice  # and CuPy with it, which is an extra's

    return CudaDevice()


OPENERS: dict[str, Callable[[], Device]] = {"cuda": _open_cuda}
"""What ``--device`` may say besides ``cpu``."""


def open_device(name: str) -> Device | None:
    """The device that a setting names; None = the CPU, which needs none.

    Raises:
        ModuleNotFoundError: a library is missing.
        ValueError: there is no such device here; says what to do.
    """
    return None if name == "cpu" else _opened(OPENERS[name])


@functools.cache
def _opened(opener: Callable[[], Device]) -> Device:
    return opener()
