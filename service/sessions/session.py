"""A live session that was found: its id, its engine, and its place in memory."""

from __future__ import annotations

from typing import NamedTuple

from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Address, facts_of
from ostinato.service.state.base import Facts as Facts

SESSION_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}\Z"


class LiveSession(NamedTuple):
    """A live session that was found.

    Attributes:
        engine: what runs its steps.
        arena, slot: where it is in memory.
    """

    session_id: str
    engine: Engine
    arena: Arena
    slot: int

    @property
    def address(self) -> Address:
        """Where it is in memory."""
        return Address(self.arena, self.slot)

    @property
    def steps(self) -> int:
        """Steps applied so far."""
        return int(self.arena.steps[self.slot])

    @property
    def facts(self) -> Facts:
        """What is known of it, as far as this process knows."""
        return facts_of(self.session_id, self.address)

    @property
    def has_ended(self) -> bool:
        """Whether it ended after it was found: its slot may be another's by now."""
        return self.arena.session_ids[self.slot] != self.session_id
