"""Endings: what is said of sessions that were closed, have expired, or never were; and of one that lives already."""

from __future__ import annotations

from ostinato.service.errors import (
    CopyOutdated,
    OstinatoError,
    SessionClosed,
    SessionExists,
    SessionExpired,
    UnknownSession,
)
from ostinato.service.state.names import session_id_of

_WORDS: dict[type[OstinatoError], str] = {
    UnknownSession: "no session {!r}; open it with POST /v1/models/<model>/sessions",
    SessionExpired: "session {!r} was idle for longer than its ttl_seconds; open a new one",
    SessionClosed: "session {!r} was closed; open a new one",
    CopyOutdated: "session {!r} ended while this request waited; open a new one",
    SessionExists: "session {!r} is live; close it first, or use it as it is",
}


def session_error(session_id: str, error: type[OstinatoError]) -> OstinatoError:
    """The error of a session that is not live; or, of ``SessionExists``, one that is. ``session_id``: of a store's, its
    name there.
    """
    return error(_WORDS[error].format(session_id_of(session_id)))


def no_session_error(session_id: str) -> OstinatoError:
    """The error of what can be no session's id, in the words of one that there is not."""
    return UnknownSession(_WORDS[UnknownSession].format(session_id))
