"""Look-ups of sessions: by id, in memory or in the store, and in lists."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from ostinato.service.artifact.series_time import NO_TIME
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import Starting, UnknownModel
from ostinato.service.inputs.series_clock import SeriesClock
from ostinato.service.metrics.families import Histogram
from ostinato.service.sessions.room import Room
from ostinato.service.sessions.session import LiveSession, check_id, check_may_exist
from ostinato.service.sessions.timed import last_number
from ostinato.service.sessions.turns import Turns
from ostinato.service.state.arena import Slots
from ostinato.service.state.base import Address, Facts, SessionPage, Store
from ostinato.service.state.names import SHELF, session_id_of, stored_name
from ostinato.service.state.roster import Roster

COUNTED = 1000
"""Sessions that are counted in one go."""


class LookUps:
    """The look-ups of sessions; see ``Sessions``, which has its arguments."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        turns: Turns,
        *,
        default_ttl_seconds: float,
        clock: Callable[[], float] = time.time,
        look_ups: Histogram | None = None,
        tenant: str = "",
        rooms: dict[str, Room] | None = None,
        max_sessions: int | None = None,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self.default_ttl_seconds = default_ttl_seconds
        self._clock = clock
        self._turns = turns
        self._look_ups = look_ups or Histogram(())
        self.tenant = self._tenant = tenant
        self._rooms: dict[str, Room] = {} if rooms is None else rooms
        self._max_sessions = max_sessions

    @property
    def _room(self) -> Room | None:
        """What knows how many the tenant has; None = nobody counts."""
        return self._rooms.get(self._tenant)

    @property
    def outlive_engines(self) -> bool:
        """Whether sessions have another place than the memory of what runs them."""
        return self._store.is_shared

    def __repr__(self) -> str:
        return f"<Sessions {self._store!r}, {self._turns!r}>"

    def engine_of(self, model: str) -> Engine:
        """What runs a session of a model that does not say a version.

        Raises:
            UnknownModel.
        """
        return self._catalogue.resolve(model)

    def version_of(self, model: str, name: str) -> str:
        """The version that a name means, which may be an alias; raises UnknownModel."""
        return self._catalogue.resolve(model, name).manifest.version

    def use(self, session_id: str) -> LiveSession | None:
        """A live session that is in memory, and is used now; None says nothing about it, and ``find`` does."""
        now = self._clock()
        if self._tenant:
            session_id = stored_name(self._tenant, session_id)
        elif "/" in session_id:
            return None  # no id of the default tenant's: what a store has by that name is another tenant's
        address = self._store.use(session_id, now)
        if address is None:
            return None
        arena, slot = address
        if arena.unborn and slot in arena.unborn:
            now = math.inf  # nobody's session was there: whoever's is there next is meant
        return LiveSession(session_id, self._catalogue.engine_of(arena), arena, slot, now)

    def use_all(self, engine: Engine, roster: Roster) -> Slots:
        """The slots of an engine's live sessions that are in memory, and are used now; see ``Store.use_all``."""
        return self._store.use_all(engine.arena, roster.of_tenant(self._tenant), self._clock())

    async def find(self, session_id: str) -> LiveSession:
        """A live session, brought to memory where it is not there.

        Raises:
            UnknownSession, SessionExpired, SessionClosed, and as the store.
            UnknownModel: its model version is not served.
            Starting: that cannot be said yet.
        """
        name, now = self._name(session_id), self._clock()
        return await self._found(name, self._store.find(name, now), now)

    async def find_newest(self, session_id: str) -> LiveSession:
        """``find``, without believing what is in memory."""
        name, now = self._name(session_id), self._clock()
        return await self._found(name, self._store.find_newest(name, now), now)

    async def look(self, session_id: str) -> Facts:
        """What is known of a live session, without bringing it to memory; raises as ``find``."""
        name = self._name(session_id)
        return told(await self._look_ups.observe_wait(self._store.look(name, self._clock())))

    async def look_closely(self, session_id: str) -> tuple[Facts, SeriesClock | None, int]:
        """``look``; and where its model has a time, the clock and the number of the last step, for which it comes to
        memory.
        """
        facts = await self.look(session_id)
        engine = self._catalogue.engine_named(facts.model, facts.version)
        if not isinstance(engine, Engine) or engine.series_clock is None:
            return facts, None, NO_TIME
        session = await self.find_newest(session_id)
        return session.facts, session.engine.series_clock, last_number(*session.address)

    async def page(self, model: str | None, limit: int, cursor: str | None, *, of_all: bool = False) -> SessionPage:
        """Up to ``limit`` live sessions behind ``cursor``, perhaps fewer; ``of_all``: of all tenants, by their names.

        Raises:
            InvalidInput: the cursor is not one that this method gave.
            UnknownModel: no such model.
        """
        if model is not None:
            self._catalogue.versions(model)
        if of_all:
            page = await self._store.page(model, limit, cursor, self._clock())
            return page._replace(sessions=[each for each in page.sessions if not each.session_id.startswith(SHELF)])
        page = await self._store.page(model, limit, cursor, self._clock(), self._tenant)
        return page._replace(sessions=[*map(told, page.sessions)])

    async def page_of_all(self, model: str, limit: int, cursor: str | None) -> SessionPage:
        """Live sessions of a model, of all tenants and by their names in the store, checkpoints among them."""
        return await self._store.page(model, limit, cursor, self._clock())

    async def _count(self, tenant: str) -> int:
        """The live sessions of a tenant, by a walk over all."""
        count, cursor = 0, None
        while True:
            page = await self._store.page(None, COUNTED, cursor, self._clock(), tenant)
            count, cursor = count + len(page.sessions), page.next_cursor
            if cursor is None:
                return count
            await asyncio.sleep(0)  # others have their turn

    async def _found(self, name: str, finding: Awaitable[Address], now: float) -> LiveSession:
        """What a store found that was asked at ``now``."""
        try:
            arena, slot = await self._look_ups.observe_wait(finding)
        except UnknownModel as error:
            if not self._catalogue.complete:
                raise Starting("the models are still being checked; try again in a moment") from error
            raise
        # It may have been opened while the store was asked; or where a clock is ahead of this one.
        found_at = math.inf if slot in arena.unborn else max(now, float(arena.opened_at[slot]))
        return LiveSession(name, self._catalogue.engine_of(arena), arena, slot, found_at)

    def new_name(self, session_id: str) -> str:
        """What a session that is to begin is called in the store; raises InvalidInput of what can be no id."""
        check_id(session_id)
        return stored_name(self._tenant, session_id)

    def _name(self, session_id: str) -> str:
        """What a session is called in the store; raises UnknownSession of what can be none's id."""
        check_may_exist(session_id)
        return stored_name(self._tenant, session_id)


def told(facts: Facts) -> Facts:
    """What is known of a session, by the id that its tenant calls it."""
    return facts._replace(session_id=session_id_of(facts.session_id)) if "/" in facts.session_id else facts
