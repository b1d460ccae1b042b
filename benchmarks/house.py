"""The service's own parts over W1's model, in this process and without HTTP."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.metrics.series import Metrics, ModelMetrics
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.sessions.turns import Turns
from ostinato.service.state.address import open_store


class House:
    """Sessions and engine as a worker has them. Built within a running event loop."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.settings = Settings(**{"repository": directory.parents[1], "state": "memory://", **settings})
        loaded = load_model(directory, self.settings)
        self.catalogue = Catalogue()
        self.store, turns = open_store(self.settings), Turns()
        self.ledger = Ledger(self.store, turns)
        self.sessions = Sessions(self.store, self.catalogue, turns, default_ttl_seconds=self.settings.ttl_seconds)
        self.engine = Engine(
            loaded.manifest,
            loaded.runner,
            self.ledger,
            self.settings,
            ModelMetrics(Metrics(), loaded.manifest.name, loaded.manifest.version),
            max_resident=self.store.num_slots(loaded.manifest),
        )
        self.store.attach(self.engine.arena)
        self.catalogue.add(self.engine)
        self.catalogue.complete = True
        gc.collect()
        gc.freeze()  # as the service does when it has loaded its models


class TimedRun:
    """An onnxruntime session that adds up the time of its runs."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.seconds = 0.0

    def io_binding(self) -> Any:
        """See onnxruntime."""
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any) -> None:
        """Run the graph."""
        began_at = time.perf_counter()
        self._session.run_with_iobinding(binding)
        self.seconds += time.perf_counter() - began_at


class IterationClock:
    """Times a scheduler's iterations, from decision to answers, and the graph's runs within them.

    It reaches into the engine, because the service has no use for such a clock in its hot path.
    """

    def __init__(self, engine: Engine) -> None:
        scheduler: Any = engine._scheduler
        self._runner: Any = scheduler._runner
        self.run = self._runner._session = TimedRun(self._runner._session)
        self._iterate = scheduler._iterate
        scheduler._iterate = self.iterate
        self.seconds = 0.0
        self.num_iterations = 0

    def iterate(self) -> None:
        """One iteration, timed."""
        began_at = time.perf_counter()
        self._iterate()
        self.seconds += time.perf_counter() - began_at
        self.num_iterations += 1

    def reset(self) -> None:
        """Begin to count anew."""
        self.seconds = self.run.seconds = 0.0
        self.num_iterations = 0
