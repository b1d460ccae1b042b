"""Where the stores of the tests have their sessions; stores opened at one place share them."""

from __future__ import annotations

from collections.abc import Callable

from ostinato.service.state.base import Store

STORES = ("memory", "lmdb", "redis", "redis cluster")
SHARED = STORES[1:]
"""Those that several processes may use at once."""

Place = Callable[..., Store]
"""Opens a store; takes ``memory_budget``, ``tombstone_seconds``, ``max_sessions`` and ``record_schema``."""

PlaceOf = Callable[[str], Place]
"""From the name of a store to an empty place for it."""
