"""A device of NumPy that counts what comes to the host, and a house whose sessions have their states on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.artifact import device_choice
from ostinato.service.artifact.devices import Device
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.catalogue.loading import Loader, load_version
from ostinato.service.catalogue.recurrent_checks import LoadedModel
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.device_runner import DeviceRunner
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.metrics.series import Metrics
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.sessions.turns import Turns
from ostinato.service.state.base import Store
from ostinato.service.state.memory import MemoryStore
from tests.service.puppet import Clock

Array = NDArray[Any]


class CountingDevice(Device):
    """Counts the arrays that come to the host by themselves, outputs of runs not among them."""

    name = "counted"

    def __init__(self) -> None:
        self.num_downloads = 0

    def download(self, numbers: Any) -> Array:
        self.num_downloads += 1
        return super().download(numbers)


def use_device(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    """Have ``--device cuda`` be this one."""
    monkeypatch.setitem(device_choice.OPENERS, "cuda", lambda: device)


class DeviceHouse:
    """Sessions over one version that was loaded as the service loads it, on a device. Built within an event loop,
    behind ``use_device``.
    """

    def __init__(self, directory: Path, store: Store | None = None, *, rows: int = 8, **settings: Any) -> None:
        self.settings = Settings(
            **{
                "repository": directory.parents[1],
                "device": "cuda",
                "device_rows": rows,
                "max_queue_rows": 200,
                **settings,
            }
        )
        self.clock, self.catalogue, self.metrics, turns = Clock(), Catalogue(), Metrics(), Turns()
        self.store = store or MemoryStore(tombstone_seconds=300, max_sessions=20)
        self.ledger = Ledger(self.store, turns, clock=self.clock)
        self.sessions = Sessions(self.store, self.catalogue, turns, default_ttl_seconds=0, clock=self.clock)
        loaded = load_version(directory, self.settings)
        assert isinstance(loaded, LoadedModel)
        assert isinstance(loaded.runner, DeviceRunner)
        self.runner = loaded.runner
        loader = Loader(self.settings, self.catalogue, self.store, self.ledger, self.metrics)
        loader.serve(loaded)
        self.catalogue.complete = True
        (engine,) = self.catalogue.served
        assert isinstance(engine, Engine)
        self.engine = engine
        self.model = engine.manifest.name

    async def open(self, session_id: str) -> LiveSession:
        return await self.sessions.open(self.model, session_id=session_id)

    def offline(self, inputs: Array) -> Array:
        """What the offline run at the same shape answers to one sequence ``[T, F]``: ``[T, O]``."""
        made: Array = run_offline(self.runner, inputs[None])[0][0]
        return made


def joined(parts: Sequence[Array]) -> Array:
    """The outputs of a session's chunks, behind each other."""
    return np.concatenate(parts)
