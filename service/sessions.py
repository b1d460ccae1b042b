"""Sessions: their life cycle. What is applied to them is in ``service/chunks.py``."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from service.catalogue import Catalogue
from service.engine.engine import Engine
from service.errors import InvalidInput, Overloaded, SessionClosed, SessionExists
from service.session import SESSION_ID_PATTERN, Session
from service.state.arena import Arena, Slots
from service.state.base import Roster, Store
from service.turns import Turns

_SESSION_ID = re.compile(SESSION_ID_PATTERN)
_POSITION = re.compile("[0-9]{1,9}")


class Sessions:
    """The live sessions of this process.

    Args:
        turns: the order of each session's requests.
        clock: seconds since the epoch.
        default_ttl_seconds: for sessions that do not say; 0 = they never expire.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        turns: Turns,
        *,
        default_ttl_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._default_ttl_seconds = default_ttl_seconds
        self._clock = clock
        self._engines: dict[Arena, Engine] = {}
        self._turns = turns

    def __repr__(self) -> str:
        return f"<Sessions {self._store!r}, {self._turns!r}>"

    async def open(
        self,
        model: str,
        *,
        session_id: str | None = None,
        ttl_seconds: float | None = None,
        version: str | None = None,
    ) -> Session:
        """Begin a session of a model, in the initial state; ``ttl_seconds`` 0 = it never expires.

        Raises:
            InvalidInput: the id is not one.
            UnknownModel, SessionExists, Overloaded (as many sessions as there may be), Draining.
        """
        if session_id is not None and not _SESSION_ID.match(session_id):
            raise InvalidInput("an id is 1 to 128 characters of A-Z a-z 0-9 . _ : -", field="session_id")
        engine = self._catalogue.resolve(model, version)
        self._engines[engine.arena] = engine
        engine.scheduler.admit(0)
        if session_id is not None and self.resident(session_id) is not None:
            raise SessionExists(f"session {session_id!r} is live; close it first, or use it as it is")
        if engine.arena.num_sessions >= engine.max_sessions:
            raise Overloaded(f"{engine.max_sessions} sessions of this model are live, and that is the most allowed")
        session_id = session_id or secrets.token_urlsafe(16)
        ttl = self._default_ttl_seconds if ttl_seconds is None else ttl_seconds
        _, slot = await self._store.open(session_id, engine.arena, ttl_seconds=ttl, now=self._clock())
        engine.metrics.opened.inc()
        return Session(session_id, engine, slot)

    def resident(self, session_id: str) -> Session | None:
        """A live session that is in memory; None says nothing about it, and ``find`` does."""
        address = self._store.resident(session_id, self._clock())
        if address is None:
            return None
        arena, slot = address
        return Session(session_id, self._engines[arena], slot)

    def resident_slots(self, engine: Engine, roster: Roster) -> Slots:
        """The slots of an engine's live sessions that are in memory, int64 ``[R]``, read-only; -1 of any other id."""
        return self._store.resident_slots(engine.arena, roster, self._clock())

    async def find(self, session_id: str) -> Session:
        """A live session.

        Raises:
            UnknownSession, SessionExpired, SessionClosed.
        """
        address = await self._store.find(session_id, self._clock())
        return Session(session_id, self._engines[address.arena], address.slot)

    def alone(self, session: Session) -> AbstractAsyncContextManager[None]:
        """Hold a session, in its turn, with nothing of it under way.

        Raises:
            SessionClosed: it has ended already; entering raises it where it ended before the turn came.
        """
        if session.has_ended:
            raise SessionClosed(f"session {session.session_id!r} ended; open a new one")
        return self._turns.alone(session.engine.arena, session.slot)

    async def close(self, session: Session) -> None:
        """End a session when its earlier requests are done; requests behind this one fail with ``SessionClosed``.

        Raises:
            SessionClosed: another request closed it first.
        """
        async with self.alone(session):
            await self._store.close(session.session_id, self._clock())
            session.engine.metrics.closed.inc()
            self._turns.refuse_rest(
                session.engine.arena,
                session.slot,
                SessionClosed(f"session {session.session_id!r} was closed before this request's turn came"),
            )

    def expire(self) -> int:
        """End the sessions whose time has come; returns how many."""
        expired = self._store.expire(self._clock())
        for _, arena in expired:
            self._engines[arena].metrics.expired.inc()
        return len(expired)

    def page(self, model: str | None, limit: int, cursor: str | None) -> tuple[list[Session], str | None]:
        """Up to ``limit`` live sessions behind ``cursor``, and the cursor of the next page (None = that was all).

        Raises:
            InvalidInput: the cursor is not one that this method gave.
            UnknownModel: no such model.
        """
        engines = list(self._catalogue.versions(model).values()) if model else self._catalogue.engines
        at, start = _parse_cursor(cursor)
        sessions: list[Session] = []
        for index, engine in enumerate(engines[at:], at):
            for slot, session_id in self._store.scan(engine.arena, start, self._clock()):
                if len(sessions) == limit:
                    return sessions, f"{index}.{slot}"
                sessions.append(Session(session_id, engine, slot))
            start = 0
        return sessions, None


def _parse_cursor(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    index, _, slot = cursor.partition(".")
    if not (_POSITION.fullmatch(index) and _POSITION.fullmatch(slot)):
        raise InvalidInput("the cursor is not one that this server gave", field="cursor")
    return int(index), int(slot)
