"""Sessions: their life cycle. What is applied to them is in ``service/sessions/ledger.py``."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Unpack

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import (
    CopyOutdated,
    InvalidInput,
    OstinatoError,
    Starting,
    UnknownModel,
    UnknownSession,
)
from ostinato.service.metrics.families import Histogram
from ostinato.service.sessions.opening import Opened, Opening, check_time_to_live, initial_of
from ostinato.service.sessions.session import LiveSession, check_id, check_may_exist, replaced_error
from ostinato.service.sessions.turns import Turns
from ostinato.service.state.arena import Slots
from ostinato.service.state.base import Address, Facts, SessionPage, Snapshot, Store
from ostinato.service.state.endings import session_error
from ostinato.service.state.roster import Roster


class Sessions:
    """The live sessions, wherever their store has them.

    Args:
        turns: the order of each session's requests.
        clock: seconds since the epoch.
        default_ttl_seconds: for sessions that do not say; 0 = they never expire. Kept as an attribute.
        look_ups: has the seconds that looks into the store took; None = nobody asks.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        turns: Turns,
        *,
        default_ttl_seconds: float,
        clock: Callable[[], float] = time.time,
        look_ups: Histogram | None = None,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self.default_ttl_seconds = default_ttl_seconds
        self._clock = clock
        self._turns = turns
        self._look_ups = look_ups or Histogram(())

    def __repr__(self) -> str:
        return f"<Sessions {self._store!r}, {self._turns!r}>"

    async def open(self, model: str, **options: Unpack[Opening]) -> LiveSession:
        """Begin a session of a model, in the initial state.

        Raises:
            InvalidInput: the id is not one, the time to live is too short, or the context is not what the model needs.
            UnknownModel, SessionExists, Overloaded (as many sessions as there may be), Draining, and as the store.
        """
        return await self._live(await self._begin(model, **options))

    async def open_to_answer(self, model: str, **options: Unpack[Opening]) -> Facts:
        """``open``, for who asks what it was opened as, whatever others have done with it by now."""
        return (await self._begin(model, **options)).facts

    def engine_of(self, model: str) -> Engine:
        """What runs a session of a model that does not say a version.

        Raises:
            UnknownModel.
        """
        return self._catalogue.resolve(model)

    def use(self, session_id: str) -> LiveSession | None:
        """A live session that is in memory, and is used now; None says nothing about it, and ``find`` does."""
        now = self._clock()
        address = self._store.use(session_id, now)
        if address is None:
            return None
        arena, slot = address
        if arena.unborn and slot in arena.unborn:
            now = math.inf  # nobody's session was there: whoever's is there next is meant
        return LiveSession(session_id, self._catalogue.engine_of(arena), arena, slot, now)

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
        check_may_exist(session_id)
        now = self._clock()
        return await self._found(session_id, self._store.find(session_id, now), now)

    async def find_newest(self, session_id: str) -> LiveSession:
        """``find``, without believing what is in memory."""
        check_may_exist(session_id)
        now = self._clock()
        return await self._found(session_id, self._store.find_newest(session_id, now), now)

    async def find_or_begin(self, session_id: str, engine: Engine) -> LiveSession:
        """``find_newest``; or where the id is unknown, a session that is there as soon as its first chunk is.

        Who asked puts a chunk to it at once, or abandons it. Raises as ``find`` and ``open``, UnknownSession apart; a
        session that needs a context cannot begin so.
        """
        check_id(session_id)
        engine.admit(0)
        if engine.needs_context:
            try:
                return await self.find_newest(session_id)
            except UnknownSession as error:
                names = ", ".join(part.name for part in engine.manifest.context)
                raise InvalidInput(
                    f"{error}, and it cannot begin with a step: its model needs a context ({names}), which is given "
                    "when a session is opened",
                    field="session_id",
                ) from error
        now = self._clock()
        begun = self._store.find_or_begin(session_id, engine.arena, ttl_seconds=self.default_ttl_seconds, now=now)
        return await self._found(session_id, begun, now)

    async def begin(
        self, session_id: str, engine: Engine, ttl_seconds: float | None, context: Mapping[str, Any] | None
    ) -> LiveSession:
        """A session that is there as soon as its first chunk is, in its initial state: see ``find_or_begin``. The chunk
        is refused where another session is there by then.

        Raises as ``open``; a session that has begun is there for this, too.
        """
        check_id(session_id)
        engine.admit(0)
        snapshot, ttl = initial_of(engine, context), self._ttl_of(ttl_seconds)
        now = self._clock()
        address = await self._store.begin(session_id, engine.arena, ttl_seconds=ttl, now=now, snapshot=snapshot)
        return LiveSession(session_id, engine, *address, -math.inf)

    def abandon(self, session: LiveSession) -> None:
        """Give up a session that was begun so, if it is one, and no chunk was put to it."""
        arena, slot = session.address
        if slot in arena.unborn and not arena.busy[slot] and not session.has_ended:
            self._store.abandon(session.session_id, session.address)

    async def look(self, session_id: str) -> Facts:
        """What is known of a live session, without bringing it to memory; raises as ``find``."""
        check_may_exist(session_id)
        return await self._look_ups.observe_wait(self._store.look(session_id, self._clock()))

    @asynccontextmanager
    async def alone(self, session: LiveSession, *, is_ending: bool = False) -> AsyncIterator[None]:
        """Hold a session, in its turn, with nothing of it under way, and as its store has it; or, where it is ending,
        as it is: what the store has of it need not be readable for that.

        Raises:
            CopyOutdated: it has ended already, or before its turn came, as far as this copy tells.
            SessionClosed: it ended, and another was opened in its place since.
            UnknownSession, SessionExpired, SessionClosed: it ended in what is done with it.
        """
        if session.has_ended:
            raise session_error(session.session_id, CopyOutdated)
        arena, slot = session.address
        opened_at = arena.opened_at[slot]
        async with self._turns.alone(arena, slot):
            try:
                waiting = None
                if not is_ending:
                    waiting = self._store.refresh(session.session_id, session.address, self._clock())
                if waiting is not None:
                    await waiting
                if arena.opened_at[slot] != opened_at:
                    session.check_is_meant(arena.opened_at[slot])
                yield
            except OstinatoError:
                if arena.session_ids[slot] != session.session_id:  # it ended meanwhile
                    self._turns.refuse_rest(arena, slot, session_error(session.session_id, CopyOutdated))
                raise

    async def reset(self, session: LiveSession) -> Facts:
        """Set a session back to its initial state, in its turn; what is known of it then. Raises as ``alone``.

        Its context, which is who it is about, stays.
        """
        async with self.alone(session):
            arena, slot = session.address
            context = arena.read(slot)[arena.num_states : arena.num_run]
            return await self._replace(session, Snapshot.initial(arena, context), False)

    async def put(self, session: LiveSession, snapshot: Snapshot, *, keeps_steps: bool = False) -> Facts:
        """Set a session to ``snapshot``, in its turn; what is known of it then. Raises as ``alone``.

        ``keeps_steps``: whatever the snapshot says, the session has as many steps as before.
        """
        async with self.alone(session):
            return await self._replace(session, snapshot, keeps_steps)

    async def _replace(self, session: LiveSession, snapshot: Snapshot, keeps_steps: bool) -> Facts:
        session.engine.admit(0)
        return await self._store.replace(session.session_id, session.address, snapshot, self._clock(), keeps_steps)

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
        return await self._live(await self._fork(session, session_id, ttl_seconds))

    async def fork_to_answer(
        self, session: LiveSession, *, session_id: str | None = None, ttl_seconds: float | None = None
    ) -> Facts:
        """``fork``, for who asks what the copy was opened as, whatever others have done with it by now."""
        return (await self._fork(session, session_id, ttl_seconds)).facts

    async def close(self, session_id: str) -> None:
        """End a session when its earlier requests are done; requests behind this one fail with ``SessionClosed``.

        Raises:
            SessionClosed: another request closed it first.
            UnknownSession, SessionExpired, and as the store.
        """
        check_may_exist(session_id)
        session = self.use(session_id)
        is_copy = session is not None
        try:
            facts = None if session is None else await self._close(session)
        except CopyOutdated:
            assert session is not None
            session.check_is_meant((await self.look(session_id)).opened_at)
            is_copy = False
        if not is_copy:
            # It need not come to memory for that, nor its model be served.
            facts = await self._store.close(session_id, None, self._clock())
        if facts is None:  # nobody could read what it was
            return
        if facts.model in self._catalogue.models and facts.version in self._catalogue.versions(facts.model):
            self._catalogue.resolve(facts.model, facts.version).metrics.closed.inc()

    async def close_opened(self, session_id: str, opened_at: float) -> None:
        """``close`` of the session that was opened then, and of none that another process has put in its place."""
        session = self.use(session_id) or await self.find(session_id)
        if session.arena.opened_at[session.slot] != opened_at:
            session = await self.find_newest(session_id)
            if session.arena.opened_at[session.slot] != opened_at:
                raise replaced_error(session_id)
        await self._close(session._replace(found_at=-math.inf))
        session.engine.metrics.closed.inc()

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

    async def _begin(self, model: str, **options: Unpack[Opening]) -> Opened:
        engine = self._catalogue.resolve(model, options.get("version"))
        snapshot = initial_of(engine, options.get("context"))
        return await self._open(engine, options.get("session_id"), options.get("ttl_seconds"), snapshot)

    async def _open(
        self, engine: Engine, session_id: str | None, ttl_seconds: float | None, snapshot: Snapshot | None = None
    ) -> Opened:
        if session_id is not None:
            check_id(session_id)
        ttl = self._ttl_of(ttl_seconds)
        engine.admit(0)
        session_id = session_id or secrets.token_urlsafe(16)
        now = self._clock()
        try:
            address = await self._store.open(session_id, engine.arena, ttl_seconds=ttl, now=now, snapshot=snapshot)
        except CopyOutdated:
            address = None
        engine.metrics.opened.inc()
        name, version, steps = engine.manifest.name, engine.manifest.version, 0 if snapshot is None else snapshot.steps
        life = ttl or math.inf
        return Opened(Facts(session_id, name, version, steps, now, life, now + life), address)

    def _ttl_of(self, seconds: float | None) -> float:
        ttl = self.default_ttl_seconds if seconds is None else seconds
        check_time_to_live(ttl)
        return ttl

    async def _fork(self, session: LiveSession, session_id: str | None, ttl_seconds: float | None) -> Opened:
        async with self.alone(session):
            snapshot = Snapshot.of(session.address)
            if ttl_seconds is None:
                ttl_seconds = float(session.arena.ttl_seconds[session.slot])
        return await self._open(session.engine, session_id, 0 if math.isinf(ttl_seconds) else ttl_seconds, snapshot)

    async def _live(self, opened: Opened) -> LiveSession:
        """A session that was opened, as something to be stepped."""
        if opened.address is None:
            return await self.find(opened.facts.session_id)
        arena, slot = opened.address
        return LiveSession(opened.facts.session_id, self._catalogue.engine_of(arena), arena, slot, self._clock())

    async def _found(self, session_id: str, finding: Awaitable[Address], now: float) -> LiveSession:
        """What a store found that was asked at ``now``."""
        try:
            arena, slot = await self._look_ups.observe_wait(finding)
        except UnknownModel as error:
            if not self._catalogue.complete:
                raise Starting("the models are still being checked; try again in a moment") from error
            raise
        # It may have been opened while the store was asked; or where a clock is ahead of this one.
        found_at = math.inf if slot in arena.unborn else max(now, float(arena.opened_at[slot]))
        return LiveSession(session_id, self._catalogue.engine_of(arena), arena, slot, found_at)

    async def _close(self, session: LiveSession) -> Facts | None:
        session_id, arena, slot = session.session_id, session.arena, session.slot
        async with self.alone(session, is_ending=True):
            facts = await self._store.close(session_id, session.address, self._clock())
            refusal = CopyOutdated(f"session {session_id!r} was closed before this request's turn came")
            self._turns.refuse_rest(arena, slot, refusal)
            return facts
