"""A live session that was found: its id, its engine, and its place in memory."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError, SessionClosed
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Address, facts_of
from ostinato.service.state.base import Facts as Facts
from ostinato.service.state.endings import no_session_error, session_error
from ostinato.service.state.names import session_id_of as session_id_of
from ostinato.service.state.names import tenant_of as tenant_of

SESSION_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}\Z"
_SESSION_ID = re.compile(SESSION_ID_PATTERN)


class LiveSession(NamedTuple):
    """A live session that was found.

    Attributes:
        name: what it is called in the store; ``session_id`` is what its tenant calls it.
        engine: what runs its steps.
        arena, slot: where it is in memory.
        found_at: when it was asked for, in seconds since the epoch: what was opened later under its id is not meant.
    """

    name: str
    engine: Engine
    arena: Arena
    slot: int
    found_at: float = math.inf

    @property
    def session_id(self) -> str:
        """What its tenant calls it."""
        return session_id_of(self.name)

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

    def check_is_meant(self, opened_at: float) -> None:
        """Look whether the session that is there now, opened at ``opened_at``, is one that can have been meant.

        Raises:
            SessionClosed: it was opened after this one was asked for, and so after this one ended.
        """
        if opened_at > self.found_at:
            raise replaced_error(self.name)

    @property
    def has_ended(self) -> bool:
        """Whether it ended after it was found: its slot may be another's by now."""
        return self.arena.session_ids[self.slot] != self.name


def replaced_error(session_id: str) -> OstinatoError:
    """The error of a request whose session ended, and in whose place another was opened."""
    return session_error(session_id, SessionClosed)


def check_id(session_id: str) -> None:
    """Refuse what is to be an id and cannot be.

    Raises:
        InvalidInput.
    """
    if not _SESSION_ID.match(session_id):
        raise InvalidInput("an id is 1 to 128 characters of A-Z a-z 0-9 . _ : -", field="session_id")
    if session_id in (".", ".."):  # clients take these out of a path
        raise InvalidInput("an id is neither . nor ..", field="session_id")


def check_may_exist(session_id: str) -> None:
    """Refuse what is no id before a store is asked for it.

    Raises:
        UnknownSession.
    """
    if not _SESSION_ID.match(session_id):
        raise no_session_error(session_id[:128])
