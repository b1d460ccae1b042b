"""Refusals, judged on the newest session: what a copy in memory that is old refuses, the session itself may take.

Another process may have closed a session and opened one of another model, or of another version, under its id. A copy
here does not know that, and what is taken finds out when it is committed. What is refused changes nothing and so would
never find out: it is asked again, with the session as the store has it. That costs those who are refused a look at the
store, and nobody else anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import CopyOutdated, InvalidInput, OstinatoError, SessionExists, UnknownModel
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions

Value = TypeVar("Value")

REFUSALS = (CopyOutdated, InvalidInput, SessionExists, UnknownModel)
"""What a copy that is old may lead to, and the newest session not."""


async def apply(sessions: Sessions, session_id: str, attempt: Callable[[LiveSession], Awaitable[Value]]) -> Value:
    """What ``attempt`` makes of a live session; of the newest, where it refused a copy of another.

    Raises as ``Sessions.find`` and ``attempt``.
    """
    session = sessions.use(session_id) or await sessions.find(session_id)
    try:
        return await attempt(session)
    except REFUSALS as error:
        return await apply_anew(sessions, session, error, attempt)


async def apply_anew(
    sessions: Sessions,
    session: LiveSession,
    error: OstinatoError,
    attempt: Callable[[LiveSession], Awaitable[Value]],
    missing: Engine | None = None,
) -> Value:
    """``apply``, where ``attempt`` has refused ``session`` with ``error``, which is one of ``REFUSALS``.

    Args:
        missing: what runs the session if it is unknown, and so begun; None = it is not.
    """
    while True:
        session = await _newest(sessions, session, error, missing)
        try:
            return await attempt(session)
        except REFUSALS as failure:
            error = failure
        finally:
            sessions.abandon(session)


async def _newest(
    sessions: Sessions, session: LiveSession, error: OstinatoError, missing: Engine | None
) -> LiveSession:
    """The session as its store has it, if ``session`` was a copy of another.

    Raises:
        SessionClosed: it was opened after the request came, which therefore is not meant for it; but one that might
            begin it itself is, as the second row of a message whose first has begun it.
        OstinatoError: ``error``, where the copy was of this session; and as ``Sessions.find``.
    """
    if missing is None:
        newest = await sessions.find_newest(session.session_id)
    else:
        newest = await sessions.find_or_begin(session.session_id, missing)
    if newest.arena is session.arena and not isinstance(error, CopyOutdated):
        sessions.abandon(newest)
        raise error
    if missing is not None:
        return newest
    session.check_is_meant(newest.arena.opened_at[newest.slot])
    return newest._replace(found_at=session.found_at)
