"""A live session, found: who it is, and where its facts stand."""

from __future__ import annotations

from typing import NamedTuple

from service.engine.engine import Engine

SESSION_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}\Z"


class Session(NamedTuple):
    """A live session, found."""

    session_id: str
    engine: Engine
    slot: int

    @property
    def steps(self) -> int:
        """Steps applied so far."""
        return int(self.engine.arena.steps[self.slot])

    @property
    def opened_at(self) -> float:
        """Seconds since the epoch."""
        return float(self.engine.arena.opened_at[self.slot])

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch; ``inf`` = never."""
        return float(self.engine.arena.expires_at[self.slot])

    @property
    def has_ended(self) -> bool:
        """Whether it ended after it was found: its slot may be another's by now."""
        return self.engine.arena.session_ids[self.slot] != self.session_id
