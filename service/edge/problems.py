"""Domain errors to HTTP: the one table of statuses and machine words, and the body of RFC 9457."""

from __future__ import annotations

from typing import Any

import orjson

from ostinato.service import errors
from ostinato.service.edge.message import Response

PROBLEMS: dict[type[errors.OstinatoError], tuple[int, str]] = {
    errors.UnknownModel: (404, "unknown_model"),
    errors.UnknownSession: (404, "unknown_session"),
    errors.UnknownRoute: (404, "unknown_route"),
    errors.MethodNotAllowed: (405, "method_not_allowed"),
    errors.SeqConflict: (409, "seq_conflict"),
    errors.SessionExists: (409, "session_exists"),
    errors.SessionExpired: (410, "session_expired"),
    errors.SessionClosed: (410, "session_closed"),
    errors.TooLarge: (413, "too_large"),
    errors.UnsupportedMediaType: (415, "unsupported_media_type"),
    errors.InvalidInput: (422, "invalid_input"),
    errors.UpgradeRequired: (426, "upgrade_required"),
    errors.Overloaded: (429, "overloaded"),
    errors.RunFailed: (500, "run_failed"),
    errors.RecordUnreadable: (500, "record_unreadable"),
    errors.Starting: (503, "starting"),
    errors.Draining: (503, "draining"),
    errors.StateStoreUnavailable: (503, "state_store_unavailable"),
    errors.DeadlineExceeded: (504, "deadline_exceeded"),
}
INTERNAL = (500, "internal")
MAX_DETAIL_LENGTH = 1000
"""A detail may quote the request, and need not send all of it back."""

MEDIA_TYPE = "application/problem+json"


def status_and_code(error: BaseException) -> tuple[int, str]:
    """The row of the table for an error; a bug of ours where it has none."""
    return PROBLEMS.get(type(error), INTERNAL)  # type: ignore[arg-type]


def problem(error: BaseException) -> dict[str, Any]:
    """The members of the problem document; an unexpected error's own words stay in the log."""
    status, code = status_and_code(error)
    detail = str(error)[:MAX_DETAIL_LENGTH]
    if not isinstance(error, errors.OstinatoError):
        detail = "an unexpected error; the server's log has it"
    members: dict[str, Any] = {
        "type": f"urn:ostinato:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    }
    for extra in ("field", "expected_seq"):
        if (value := getattr(error, extra, None)) is not None:
            members[extra] = value
    return members


def problem_response(error: BaseException) -> Response:
    """The whole answer, with ``Retry-After``, ``Allow`` or ``Upgrade`` where the error calls for it."""
    status, _ = status_and_code(error)
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, errors.MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allowed).encode()))
    if isinstance(error, errors.UpgradeRequired):
        headers += [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
    if status in (429, 503):
        headers.append((b"retry-after", str(getattr(error, "retry_after_seconds", 1)).encode()))
    if isinstance(error, errors.Draining):
        headers.append((b"connection", b"close"))
    return Response(status, orjson.dumps(problem(error)), MEDIA_TYPE, tuple(headers))
