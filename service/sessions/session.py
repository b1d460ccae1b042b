"""A live session, found: who it is, and where its facts stand."""

from __future__ import annotations

from typing import NamedTuple

from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.state.base import Address, facts_of
from ostinato.service.state.base import Facts as Facts

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
    def facts(self) -> Facts:
        """What is known of it, as far as this process knows."""
        return facts_of(self.session_id, Address(self.engine.arena, self.slot))

    @property
    def has_ended(self) -> bool:
        """Whether it ended after it was found: its slot may be another's by now."""
        return self.engine.arena.session_ids[self.slot] != self.session_id
