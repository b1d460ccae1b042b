"""Sessions: their life cycle. What is applied to them is in ``service/sessions/ledger.py``."""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Unpack

from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import CopyOutdated, InvalidInput, OstinatoError, UnknownSession
from ostinato.service.sessions.look_ups import LookUps, told
from ostinato.service.sessions.opening import Opened, Opening, check_time_to_live, initial_of
from ostinato.service.sessions.room import Room
from ostinato.service.sessions.session import LiveSession, check_id, replaced_error
from ostinato.service.state.base import Facts, Snapshot
from ostinato.service.state.endings import session_error
from ostinato.service.state.reaches import NOWHERE


class Sessions(LookUps):
    """The live sessions, wherever their store has them.

    Args:
        turns: the order of each session's requests.
        clock: seconds since the epoch.
        default_ttl_seconds: for sessions that do not say; 0 = they never expire. Kept as an attribute.
        look_ups: has the seconds that looks into the store took; None = nobody asks.
        tenant: whose sessions are named and seen; empty = the default one's. Kept as an attribute.
        rooms: know how many each tenant has, of which anybody asks; None = nobody does yet.
        max_sessions: below which one more may begin, besides what the store allows; None = however many there are.
    """

    def of_tenant(self, tenant: str, max_sessions: int | None = None) -> Sessions:
        """The sessions of a tenant, in the same store; for the arguments see the class. From the first limit on, what
        begins and ends of a tenant is counted, by whomever: a tenant has one room.
        """
        if max_sessions is not None and tenant not in self._rooms:
            self._rooms[tenant] = Room(partial(self._count, tenant), now=self._clock)
        options: dict[str, Any] = {"default_ttl_seconds": self.default_ttl_seconds, "clock": self._clock}
        options |= {"look_ups": self._look_ups, "tenant": tenant, "rooms": self._rooms, "max_sessions": max_sessions}
        return Sessions(self._store, self._catalogue, self._turns, **options)

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

    async def begin_from(
        self, engine: Engine, snapshot: Snapshot, *, session_id: str | None, ttl_seconds: float | None
    ) -> Facts:
        """Begin a session of a version as ``snapshot`` has it; what it was opened as. Raises as ``open``."""
        await self._confirm()
        return (await self._open(engine, session_id, ttl_seconds, snapshot)).facts

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
        await self._confirm()
        if self._room is not None or not self._catalogue.may_begin(engine):
            try:
                return await self.find_newest(session_id)
            except UnknownSession:
                await self._confirm()
        return await self._find_or_begin(self._name(session_id), engine)

    async def _find_or_begin(self, name: str, engine: Engine) -> LiveSession:
        engine = self._catalogue.canary_of(engine, name)
        async with self._one_more(name, engine):
            now = self._clock()
            begun = self._store.find_or_begin(name, engine.arena, ttl_seconds=self.default_ttl_seconds, now=now)
            return await self._found(name, begun, now)

    async def _confirm(self) -> None:
        """Know newly of which versions sessions may begin; to be awaited before one does."""
        if (waiting := self._catalogue.confirm()) is not None:
            await waiting

    @asynccontextmanager
    async def _one_more(self, name: str, engine: Engine) -> AsyncIterator[None]:
        """Where one more session begins, of a version; see ``Room.one_more``. Raises UnknownModel where none does."""
        with self._catalogue.beginning(engine):
            if self._room is None:
                yield
            else:
                async with self._room.one_more(name, self._max_sessions):
                    yield

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
        name = self._name(session_id)
        await self._confirm()
        async with self._one_more(name, engine):
            now = self._clock()
            address = await self._store.begin(name, engine.arena, ttl_seconds=ttl, now=now, snapshot=snapshot)
        return LiveSession(name, engine, *address, -math.inf)

    def abandon(self, session: LiveSession) -> None:
        """Give up a session that was begun so, if it is one, and no chunk was put to it."""
        arena, slot = session.address
        if slot in arena.unborn and not arena.busy[slot] and not session.has_ended:
            self._store.abandon(session.name, session.address)
            if self._room is not None:
                self._room.give_back(session.name)

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
            raise session_error(session.name, CopyOutdated)
        arena, slot = session.address
        opened_at = arena.opened_at[slot]
        async with self._turns.alone(arena, slot):
            try:
                waiting = None
                if not is_ending:
                    waiting = self._store.refresh(session.name, session.address, self._clock())
                if waiting is not None:
                    await waiting
                if arena.opened_at[slot] != opened_at:
                    session.check_is_meant(arena.opened_at[slot])
                yield
            except OstinatoError:
                if arena.session_ids[slot] != session.name:  # it ended meanwhile
                    self._turns.refuse_rest(arena, slot, session_error(session.name, CopyOutdated))
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
        whole = snapshot.whole(session.arena)
        put = self._store.replace(session.name, session.address, whole, self._clock(), keeps_steps)
        return told(await put)

    async def move(self, session: LiveSession, engine: Engine, snapshot: Snapshot) -> Facts:
        """Make a session one of another version, as ``snapshot`` has it; what is known of it then. Only who holds it
        (``alone``) may call it; anyone who waits for it finds it where it is then.

        Raises:
            UnknownModel: that version is being unloaded.
            CopyOutdated, Overloaded, Draining, and as the store.
        """
        engine.admit(0)
        whole = snapshot.whole(engine.arena)
        await self._confirm()
        with self._catalogue.beginning(engine):
            moved = await self._store.move(session.name, session.address, engine.arena, whole, self._clock())
        refusal = CopyOutdated(f"session {session.session_id!r} runs another version since this request came")
        self._turns.refuse_rest(*session.address, refusal)
        return told(moved)

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
        name, session = self._name(session_id), self.use(session_id)
        is_copy = session is not None
        try:
            facts = None if session is None else await self._close(session)
        except CopyOutdated:
            assert session is not None
            session.check_is_meant((await self.look(session_id)).opened_at)
            is_copy = False
        if not is_copy:
            # It need not come to memory for that, nor its model be served.
            facts = await self._store.close(name, None, self._clock())
        self._note_end(name, facts)

    async def close_found(self, session: LiveSession) -> None:
        """``close`` of just this session, of the version that it was found of.

        Raises:
            CopyOutdated: it has ended, or runs another version.
        """
        self._note_end(session.name, await self._close(session))

    def _note_end(self, name: str, facts: Facts | None) -> None:
        if self._room is not None:
            self._room.give_back(name, math.inf if facts is None else facts.opened_at)
        if facts is None:  # nobody could read what it was
            return
        engine = self._catalogue.engine_named(facts.model, facts.version)
        if isinstance(engine, Engine):
            engine.metrics.closed.inc()

    async def close_opened(self, session_id: str, opened_at: float) -> None:
        """``close`` of the session that was opened then, and of none that another process has put in its place."""
        session = self.use(session_id) or await self.find(session_id)
        if session.arena.opened_at[session.slot] != opened_at:
            session = await self.find_newest(session_id)
            if session.arena.opened_at[session.slot] != opened_at:
                raise replaced_error(session.name)
        await self._close(session._replace(found_at=-math.inf))
        if self._room is not None:
            self._room.give_back(session.name, opened_at)
        session.engine.metrics.closed.inc()

    def expire(self) -> int:
        """End the sessions whose time has come; returns how many."""
        expired = self._store.expire(self._clock())
        for arena in expired:
            self._catalogue.engine_of(arena).metrics.expired.inc()
        return len(expired)

    async def _begin(self, model: str, **options: Unpack[Opening]) -> Opened:
        session_id = options.get("session_id")
        session_id = _new_id() if session_id is None else session_id
        await self._confirm()
        engine = self._catalogue.resolve_new(model, options.get("version"), self.new_name(session_id))
        snapshot = initial_of(engine, options.get("context"))
        return await self._open(engine, session_id, options.get("ttl_seconds"), snapshot)

    async def _open(
        self, engine: Engine, session_id: str | None, ttl_seconds: float | None, snapshot: Snapshot | None = None
    ) -> Opened:
        if session_id is not None:
            check_id(session_id)
        ttl = self._ttl_of(ttl_seconds)
        engine.admit(0)
        session_id = _new_id() if session_id is None else session_id
        name = self._name(session_id)
        async with self._one_more(name, engine):
            now, life = self._clock(), ttl or math.inf
            try:
                address = await self._store.open(name, engine.arena, ttl_seconds=ttl, now=now, snapshot=snapshot)
            except CopyOutdated:
                address = None
        engine.metrics.opened.inc()
        steps, reach = (0, NOWHERE) if snapshot is None else (snapshot.steps, snapshot.reach)
        facts = Facts(session_id, engine.manifest.name, engine.manifest.version, steps, now, life, now + life, reach)
        return Opened(facts, address)

    def _ttl_of(self, seconds: float | None) -> float:
        ttl = self.default_ttl_seconds if seconds is None else seconds
        check_time_to_live(ttl)
        return ttl

    async def _fork(self, session: LiveSession, session_id: str | None, ttl_seconds: float | None) -> Opened:
        async with self.alone(session):
            snapshot = Snapshot.of(session.address)
            if ttl_seconds is None:
                ttl_seconds = float(session.arena.ttl_seconds[session.slot])
        await self._confirm()
        return await self._open(session.engine, session_id, 0 if math.isinf(ttl_seconds) else ttl_seconds, snapshot)

    async def _live(self, opened: Opened) -> LiveSession:
        """A session that was opened, as something to be stepped."""
        if opened.address is None:
            return await self.find(opened.facts.session_id)
        arena, slot = opened.address
        name = self._name(opened.facts.session_id)
        return LiveSession(name, self._catalogue.engine_of(arena), arena, slot, self._clock())

    async def _close(self, session: LiveSession) -> Facts | None:
        arena, slot = session.address
        async with self.alone(session, is_ending=True):
            facts = await self._store.close(session.name, session.address, self._clock())
            refusal = CopyOutdated(f"session {session.session_id!r} was closed before this request's turn came")
            self._turns.refuse_rest(arena, slot, refusal)
            return facts


def _new_id() -> str:
    return secrets.token_urlsafe(16)
