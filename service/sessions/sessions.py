"""Sessions: their life cycle. What is applied to them is in ``service/sessions/ledger.py``."""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import (
    InvalidInput,
    OstinatoError,
    RecordUnreadable,
    SessionClosed,
    Starting,
    UnknownModel,
    UnknownSession,
)
from ostinato.service.sessions.session import SESSION_ID_PATTERN, LiveSession
from ostinato.service.sessions.turns import Turns
from ostinato.service.state.arena import Slots
from ostinato.service.state.base import Facts, SessionPage, Snapshot, Store
from ostinato.service.state.endings import session_error
from ostinato.service.state.roster import Roster

_SESSION_ID = re.compile(SESSION_ID_PATTERN)


class Sessions:
    """The live sessions, wherever their store has them.

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
    ) -> LiveSession:
        """Begin a session of a model, in the initial state; ``ttl_seconds`` 0 = it never expires.

        Raises:
            InvalidInput: the id is not one.
            UnknownModel, SessionExists, Overloaded (as many sessions as there may be), Draining, and as the store.
        """
        return await self._open(self._catalogue.resolve(model, version), session_id, ttl_seconds)

    def use(self, session_id: str) -> LiveSession | None:
        """A live session that is in memory, and is used now; None says nothing about it, and ``find`` does."""
        address = self._store.use(session_id, self._clock())
        if address is None:
            return None
        arena, slot = address
        return LiveSession(session_id, self._catalogue.engine_of(arena), arena, slot)

    def use_all(self, engine: Engine, roster: Roster) -> Slots:
        """The slots of an engine's live sessions that are in memory, and are used now; see ``Store.use_all``."""
        return self._store.use_all(engine.arena, roster, self._clock())

    async def find(self, session_id: str) -> LiveSession:
        """A live session, brought to memory where it is not there.

        Raises:
            UnknownSession, SessionExpired, SessionClosed, and as the store.
            UnknownModel: its model version is not served.
            Starting: that cannot be said yet.
        """
        _check_may_exist(session_id)
        try:
            arena, slot = await self._store.find(session_id, self._clock())
        except UnknownModel as error:
            if not self._catalogue.complete:
                raise Starting("the models are still being checked; try again in a moment") from error
            raise
        return LiveSession(session_id, self._catalogue.engine_of(arena), arena, slot)

    async def look(self, session_id: str) -> Facts:
        """What is known of a live session, without bringing it to memory; raises as ``find``."""
        _check_may_exist(session_id)
        return await self._store.look(session_id, self._clock())

    @asynccontextmanager
    async def alone(self, session: LiveSession, *, is_ending: bool = False) -> AsyncIterator[None]:
        """Hold a session, in its turn, with nothing of it under way, and as its store has it; or, where it is ending,
        as it is: what the store has of it need not be readable for that.

        Raises:
            SessionClosed: it has ended already; entering raises it where it ended before the turn came.
            UnknownSession, SessionExpired: another process ended it.
        """
        if session.has_ended:
            raise SessionClosed(f"session {session.session_id!r} ended; open a new one")
        arena, slot = session.address
        async with self._turns.alone(arena, slot):
            try:
                waiting = None
                if not is_ending:
                    waiting = self._store.refresh(session.session_id, session.address, self._clock())
                if waiting is not None:
                    await waiting
                yield
            except OstinatoError as error:
                if arena.session_ids[slot] != session.session_id:  # it ended meanwhile
                    self._turns.refuse_rest(arena, slot, error)
                raise

    async def reset(self, session: LiveSession) -> Facts:
        """Set a session back to its initial state, in its turn; what is known of it then. Raises as ``alone``."""
        return await self.put(session, Snapshot.initial(session.arena))

    async def put(self, session: LiveSession, snapshot: Snapshot, *, keeps_steps: bool = False) -> Facts:
        """Set a session to ``snapshot``, in its turn; what is known of it then. Raises as ``alone``.

        ``keeps_steps``: whatever the snapshot says, the session has as many steps as before.
        """
        async with self.alone(session):
            session.engine.admit(0)
            if keeps_steps:
                snapshot = snapshot._replace(steps=session.steps)
            await self._store.replace(session.session_id, session.address, snapshot, self._clock())
            # Before the turn ends: behind it waits perhaps a chunk, or the session's end.
            return session.facts

    async def snapshot(self, session: LiveSession) -> Snapshot:
        """A copy of a session, taken in its turn; raises as ``alone``."""
        async with self.alone(session):
            return Snapshot.of(session.address)

    async def fork(
        self, session: LiveSession, *, session_id: str | None = None, ttl_seconds: float | None = None
    ) -> LiveSession:
        """Begin another session as a copy of this one, taken in its turn; raises as ``open`` and ``alone``.

        ``ttl_seconds``: None = as this one's.
        """
        snapshot = await self.snapshot(session)
        if ttl_seconds is None:
            ttl_seconds = (await self.look(session.session_id)).ttl_seconds
        return await self._open(session.engine, session_id, 0 if math.isinf(ttl_seconds) else ttl_seconds, snapshot)

    async def close(self, session_id: str) -> None:
        """End a session when its earlier requests are done; requests behind this one fail with ``SessionClosed``.

        Raises:
            SessionClosed: another request closed it first.
            UnknownSession, SessionExpired, and as the store.
        """
        session = self.use(session_id)
        if session is None:
            # It need not come to memory for that, nor its model be served.
            facts = await self._look_if_readable(session_id)
            await self._store.close(session_id, None, self._clock())
            if (
                facts
                and facts.model in self._catalogue.models
                and facts.version in self._catalogue.versions(facts.model)
            ):
                self._catalogue.resolve(facts.model, facts.version).metrics.closed.inc()
            return
        async with self.alone(session, is_ending=True):
            await self._store.close(session_id, session.address, self._clock())
            session.engine.metrics.closed.inc()
            self._turns.refuse_rest(
                session.arena,
                session.slot,
                SessionClosed(f"session {session_id!r} was closed before this request's turn came"),
            )

    def expire(self) -> int:
        """End the sessions whose time has come; returns how many."""
        expired = self._store.expire(self._clock())
        for arena in expired:
            self._catalogue.engine_of(arena).metrics.expired.inc()
        return len(expired)

    async def page(self, model: str | None, limit: int, cursor: str | None) -> SessionPage:
        """Up to ``limit`` live sessions behind ``cursor``, perhaps fewer.

        Raises:
            InvalidInput: the cursor is not one that this method gave.
            UnknownModel: no such model.
        """
        if model is not None:
            self._catalogue.versions(model)
        return await self._store.page(model, limit, cursor, self._clock())

    async def _look_if_readable(self, session_id: str) -> Facts | None:
        try:
            return await self.look(session_id)
        except RecordUnreadable:
            return None

    async def _open(
        self, engine: Engine, session_id: str | None, ttl_seconds: float | None, snapshot: Snapshot | None = None
    ) -> LiveSession:
        if session_id is not None and not _SESSION_ID.match(session_id):
            raise InvalidInput("an id is 1 to 128 characters of A-Z a-z 0-9 . _ : -", field="session_id")
        engine.admit(0)
        session_id = session_id or secrets.token_urlsafe(16)
        ttl = self._default_ttl_seconds if ttl_seconds is None else ttl_seconds
        now = self._clock()
        arena, slot = await self._store.open(session_id, engine.arena, ttl_seconds=ttl, now=now, snapshot=snapshot)
        engine.metrics.opened.inc()
        return LiveSession(session_id, self._catalogue.engine_of(arena), arena, slot)


def _check_may_exist(session_id: str) -> None:
    """Refuse what is no id before a store is asked for it."""
    if not _SESSION_ID.match(session_id):
        raise session_error(session_id[:128], UnknownSession)
