"""Evacuation: what becomes of the sessions, of all tenants, of a version that is to be served no more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError, RecordUnreadable
from ostinato.service.inference.migration import migrate
from ostinato.service.sessions.checkpoints import GONE
from ostinato.service.sessions.refusals import apply
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.state.names import session_id_of, tenant_of

PAGE = 500
REST_SECONDS = 0.05
"""Before the next walk, where the last found some of which nothing became: others are at them."""

LATE_SECONDS = 120.0
"""What was opened before that was found by whoever walked over all."""


class Evacuation:
    """The sessions of a version, wherever they are, checkpoints among them.

    Args:
        sessions: of the default tenant, by which all others' are reached.
        target: what they continue with; None = they are closed.
    """

    def __init__(self, sessions: Sessions, engine: Engine, target: Engine | None = None) -> None:
        self._sessions = sessions
        self._engine, self._target = engine, target
        self._tenants: dict[str, Sessions] = {"": sessions}

    async def has_any(self) -> bool:
        """Whether there is one."""
        async for _ in self._names():
            return True
        return False

    async def of_all(self) -> int:
        """See to them until there is none; how many were closed or migrated. As long as some begin, there is one more.

        Raises:
            InvalidInput: one cannot continue with the other version; those before it do.
        """
        count, was_any = 0, True
        while was_any:
            was_any, before = False, count
            async for name in self._names():
                was_any = True
                count += await self._see_to(name, count)
            if was_any and count == before:
                await asyncio.sleep(REST_SECONDS)
        return count

    async def of_resident(self) -> int:
        """See to those that this process had begin last, and has in memory; raises as ``of_all``."""
        arena, count = self._engine.arena, 0
        late = (arena.opened_at[: arena.high_water] > time.time() - LATE_SECONDS).nonzero()[0].tolist()
        for name in [name for slot in late if (name := arena.session_ids[slot]) is not None]:
            count += await self._see_to(name, count)
        return count

    async def _see_to(self, name: str, count: int) -> bool:
        """Close or migrate one; False = it was none of the version any more. ``count``: of those before it."""
        tenant, session_id = tenant_of(name), session_id_of(name)
        if tenant not in self._tenants:
            self._tenants[tenant] = self._sessions.of_tenant(tenant)
        sessions = self._tenants[tenant]

        async def attempt(session: LiveSession) -> bool:
            if session.engine is not self._engine:
                return False
            if self._target is None:
                await sessions.close_found(session)
            else:
                await migrate(sessions, session, self._target)
            return True

        try:
            return await apply(sessions, session_id, attempt)
        except GONE:
            return False
        except OstinatoError as error:
            if self._target is None and isinstance(error, RecordUnreadable):
                await sessions.close(session_id)
                return True
            if self._target is None:
                raise
            raise InvalidInput(
                f"session {session_id!r} cannot continue with version {self._target.manifest.version!r}, and "
                f"{count} do: {error}",
                field="sessions",
            ) from error

    async def _names(self) -> AsyncIterator[str]:
        """What they are called in the store."""
        manifest, cursor = self._engine.manifest, None
        while True:
            page = await self._sessions.page_of_all(manifest.name, PAGE, cursor)
            for facts in page.sessions:
                if facts.version == manifest.version:
                    yield facts.session_id
            if (cursor := page.next_cursor) is None:
                return
