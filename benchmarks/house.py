"""The service's own parts over a model, in this process and without HTTP."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.catalogue.recurrent_checks import LoadedModel, load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.metrics.series import Metrics, ModelMetrics
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.sessions.turns import Turns
from ostinato.service.state.address import open_store


class House:
    """Sessions and engine as a worker has them. Built within a running event loop.

    ``loaded``: what runs; None = what is in ``directory``, checked.
    """

    def __init__(self, directory: Path, loaded: LoadedModel | None = None, **settings: Any) -> None:
        self.settings = Settings(**{"repository": directory.parents[1], "state": "memory://", **settings})
        loaded = loaded or load_model(directory, self.settings)
        self.runner = loaded.runner
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
