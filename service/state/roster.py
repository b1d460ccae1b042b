"""Rosters: the ids of sessions that come in one message, and where a store last found them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ostinato.service.state.arena import Arena, Slots


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
        repeated: the rows whose id stood in a row before.
        found: where a store last found them; the store's to use.
    """

    def __init__(self, session_ids: Sequence[str]) -> None:
        self.session_ids = session_ids
        self.repeated: list[int] = []
        self.found: Found | None = None
        if len(set(session_ids)) < len(session_ids):
            seen: set[str] = set()
            for row, session_id in enumerate(session_ids):
                if session_id in seen:
                    self.repeated.append(row)
                seen.add(session_id)
