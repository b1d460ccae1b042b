"""Rosters: the ids of sessions that come in one message, and where a store last found them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ostinato.service.state.arena import Arena, Slots
from ostinato.service.state.names import stored_name

NO_NAME = ""
"""What no session is called."""


class Found(NamedTuple):
    """Where the sessions of a roster were: ``slots`` [R], -1 of those not in memory, and ``held``, those that were.

    ``as_of`` is when, in the store's own count.
    """

    arena: Arena
    as_of: int
    slots: Slots
    held: Slots


class Roster:
    """The ids of sessions that come in one message, perhaps again and again.

    Attributes:
        session_ids: R ids.
        repeated: the rows whose id was in a row before.
        names: what they are called in the store: of the default tenant the ids; see ``of_tenant``.
        found: where a store last found them; the store's to use.
    """

    def __init__(self, session_ids: Sequence[str]) -> None:
        self.session_ids = session_ids
        self.names = _own_names(session_ids)
        self._tenant = ""
        self.repeated: list[int] = []
        self.found: Found | None = None
        if len(set(session_ids)) < len(session_ids):
            seen: set[str] = set()
            for row, session_id in enumerate(session_ids):
                if session_id in seen:
                    self.repeated.append(row)
                seen.add(session_id)

    def of_tenant(self, tenant: str) -> Roster:
        """Itself, as the ids of a tenant's sessions."""
        if tenant != self._tenant:
            self._tenant, self.found = tenant, None
            if tenant:
                self.names = [stored_name(tenant, session_id) for session_id in self.session_ids]
            else:
                self.names = _own_names(self.session_ids)
        return self


def _own_names(session_ids: Sequence[str]) -> Sequence[str]:
    """What sessions of the default tenant are called: by ids that it can have, and none that is another tenant's
    session's name.
    """
    if "/" not in "".join(session_ids):
        return session_ids
    return [NO_NAME if "/" in session_id else session_id for session_id in session_ids]
