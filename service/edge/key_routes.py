"""The routes of each key: to its tenant's sessions, within its limits."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from ostinato.service.access.key import Key, Right
from ostinato.service.access.keys import Keys
from ostinato.service.access.meter import Meters
from ostinato.service.access.shared_keys import SharedKeys
from ostinato.service.edge.access import Access
from ostinato.service.edge.routes import Routes
from ostinato.service.sessions.named_locks import NamedLocks


def access_by(keys: Keys, meters: Meters, routes: Routes) -> Access[Routes]:
    """Who may ask, each with routes of its own, made of those to all: past a tenant's, no session can be named."""
    locks: defaultdict[str, NamedLocks] = defaultdict(NamedLocks)

    def serve(key: Key) -> Routes:
        meter = meters.meter_of(key)
        return Routes(
            routes.catalogue,
            routes.sessions.of_tenant(key.tenant, key.sessions),
            routes.ledger if key.rate is None else routes.ledger.metered(meter),
            routes.desk,
            locks[key.tenant],
            meter,
            sees_all=Right.ADMIN in key.rights,
            live=routes.live,
            departures=routes.departures,
        )

    return Access(keys, serve)


def access_of(path: Path | None, descriptor: int | None, routes: Routes) -> Access[Routes] | None:
    """Who may ask, by a file of keys; None = anyone who reaches the server. ``descriptor``: of the
    memory that the workers share.

    Raises:
        KeysUnreadable: it is no such file.
    """
    return None if path is None else access_by(Keys(path, SharedKeys(descriptor)), Meters(descriptor), routes)
