"""Checkpoints: named copies of sessions, from which others may begin.

A checkpoint is a session of a tenant that nobody can be, ``~TENANT``: it lies in the store as sessions do, as durable,
for all workers and replicas, and never expires. No request reaches it but by these names, since no tenant's begins so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import (
    CheckpointExists,
    InvalidInput,
    OstinatoError,
    RateLimited,
    SessionClosed,
    SessionExists,
    SessionExpired,
    UnknownCheckpoint,
    UnknownSession,
)
from ostinato.service.sessions.refusals import apply
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.state.base import Facts, SessionPage, Snapshot
from ostinato.service.state.names import SHELF
from ostinato.service.state.reaches import NOWHERE

MAX_CHECKPOINTS = 1000
"""Of a tenant, inclusive: they are kept for ever."""

GONE = (UnknownSession, SessionExpired, SessionClosed)


class CheckpointShelf:
    """The checkpoints of a tenant.

    Args:
        sessions: the tenant's.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        shelf = f"{SHELF}{sessions.tenant}"
        self._shelf = sessions.of_tenant(shelf, MAX_CHECKPOINTS)

    async def save(self, session: LiveSession, name: str) -> Facts:
        """Keep a session as it is now, in its turn, by a name; what is known of the checkpoint.

        Raises:
            CheckpointExists: there is one of that name.
            InvalidInput: it is no name; one is as an id of a session.
            RateLimited: there are as many as may be.
            CopyOutdated, and as the store.
        """
        snapshot = await self._sessions.snapshot(session)
        try:
            return await self._shelf.begin_from(session.engine, snapshot, session_id=name, ttl_seconds=0)
        except SessionExists as error:
            raise CheckpointExists(f"there is a checkpoint {name!r}: delete it first, or take another name") from error
        except InvalidInput as error:
            raise InvalidInput(str(error), "name") from error
        except RateLimited as error:
            raise RateLimited(
                f"there are {MAX_CHECKPOINTS} checkpoints, and that is the most: delete one first",
                error.retry_after_seconds,
            ) from error

    async def look(self, name: str) -> Facts:
        """What is known of a checkpoint; raises UnknownCheckpoint."""
        try:
            return await self._shelf.look(name)
        except GONE as error:
            raise _unknown(name) from error

    async def page(self, limit: int, cursor: str | None) -> SessionPage:
        """Up to ``limit`` checkpoints behind ``cursor``; raises InvalidInput of one that is not ours."""
        return await self._shelf.page(None, limit, cursor)

    async def delete(self, name: str) -> None:
        """Forget a checkpoint; sessions that began from it stay. Raises UnknownCheckpoint."""
        try:
            await self._shelf.close(name)
        except GONE as error:
            raise _unknown(name) from error

    async def open(
        self,
        name: str,
        model: str,
        *,
        session_id: str | None = None,
        ttl_seconds: float | None = None,
        version: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Facts:
        """Begin a session from a checkpoint, with its steps and by its version; what it was opened as. Its readings are
        its own: how far the checkpoint's had come in their source is none of its.

        Raises:
            UnknownCheckpoint.
            InvalidInput: the checkpoint is of another model or version, or a context is given, which it has already.
            And as ``Sessions.open``.
        """
        try:
            engine, snapshot = await apply(self._shelf, name, self._copy)
        except GONE as error:
            raise _unknown(name) from error
        manifest = engine.manifest
        if manifest.name != model:
            raise InvalidInput(f"checkpoint {name!r} is of model {manifest.name!r}, not of {model!r}", field="from")
        if version is not None and self._sessions.version_of(model, version) != manifest.version:
            raise InvalidInput(
                f"checkpoint {name!r} is of version {manifest.version!r}: leave version out, or migrate the session",
                field="version",
            )
        if context:
            raise InvalidInput("a session from a checkpoint has the checkpoint's context", field="context")
        snapshot = snapshot._replace(reach=NOWHERE)
        return await self._sessions.begin_from(engine, snapshot, session_id=session_id, ttl_seconds=ttl_seconds)

    async def _copy(self, checkpoint: LiveSession) -> tuple[Engine, Snapshot]:
        return checkpoint.engine, await self._shelf.snapshot(checkpoint)


def _unknown(name: str) -> OstinatoError:
    return UnknownCheckpoint(f"there is no checkpoint {name[:128]!r}; POST /v1/sessions/<id>/checkpoint saves one")
