"""Problems: the one table from domain errors to statuses and machine words, and the document of RFC 9457."""

from __future__ import annotations

from typing import Any

from ostinato.service import errors
from ostinato.service.edge.codings import CODINGS
from ostinato.service.edge.message import JSON, Response, json_line
from ostinato.service.public_words import PublicWords

PROBLEMS: dict[type[errors.OstinatoError], tuple[int, str]] = {
    errors.MalformedRequest: (400, "malformed_request"),
    errors.Unauthenticated: (401, "unauthenticated"),
    errors.Forbidden: (403, "forbidden"),
    errors.OriginRefused: (403, "origin_refused"),
    errors.HostRefused: (421, "host_refused"),
    errors.UnknownModel: (404, "unknown_model"),
    errors.UnknownSession: (404, "unknown_session"),
    errors.UnknownCheckpoint: (404, "unknown_checkpoint"),
    errors.UnknownRoute: (404, "unknown_route"),
    errors.MethodNotAllowed: (405, "method_not_allowed"),
    errors.RequestTimeout: (408, "request_timeout"),
    errors.SeqConflict: (409, "seq_conflict"),
    errors.TimeConflict: (409, "time_conflict"),
    errors.SessionExists: (409, "session_exists"),
    errors.CheckpointExists: (409, "checkpoint_exists"),
    errors.VersionInUse: (409, "version_in_use"),
    errors.SessionExpired: (410, "session_expired"),
    errors.SessionClosed: (410, "session_closed"),
    errors.CopyOutdated: (410, "session_closed"),
    errors.TooLarge: (413, "too_large"),
    errors.UnsupportedMediaType: (415, "unsupported_media_type"),
    errors.UnsupportedCoding: (415, "unsupported_media_type"),
    errors.InvalidInput: (422, "invalid_input"),
    errors.UpgradeRequired: (426, "upgrade_required"),
    errors.Overloaded: (429, "overloaded"),
    errors.RateLimited: (429, "rate_limited"),
    errors.HeadTooLarge: (431, "head_too_large"),
    errors.RunFailed: (500, "run_failed"),
    errors.RecordUnreadable: (500, "record_unreadable"),
    errors.TooManyConnections: (503, "too_many_connections"),
    errors.Starting: (503, "starting"),
    errors.Draining: (503, "draining"),
    errors.StateStoreUnavailable: (503, "state_store_unavailable"),
    errors.DeadlineExceeded: (504, "deadline_exceeded"),
}
INTERNAL = (500, "internal")
OIP_STATUSES = dict.fromkeys((422, 404, 410), 400)
"""What the Open Inference Protocol says otherwise, of inputs and of sequences that were not started."""
OIP_NOT_FOUND = (errors.UnknownModel, errors.UnknownRoute)
CODES = tuple(dict.fromkeys(code for _, code in (*PROBLEMS.values(), INTERNAL)))
MAX_DETAIL_LENGTH = 1000
"""A detail and a place may quote the request, and need not send all of it back."""

MEDIA_TYPE = "application/problem+json"

EXTRAS = ("field", "expected_seq", "source", "offset", "last_seq", "last_at", "expected_at")
"""What an error may carry for machines."""


def oip_status(kind: type[BaseException]) -> int:
    """The status of an error of this type by the Open Inference Protocol."""
    status, _ = PROBLEMS.get(kind, INTERNAL)  # type: ignore[arg-type]
    return status if issubclass(kind, OIP_NOT_FOUND) else OIP_STATUSES.get(status, status)


class Problem:
    """What a client is told of an error: a row of the table, and the document of RFC 9457.

    Args:
        words: take out of it where things lie on the server; None = it stays as it is.
        request_id: what the request is called; empty = it is not told.

    Attributes:
        status, code: of an error without a row, a bug of ours, those of ``INTERNAL``.
        request_id: see above.
    """

    __slots__ = ("_error", "_words", "code", "request_id", "status")

    def __init__(self, error: BaseException, words: PublicWords | None = None, request_id: bytes = b"") -> None:
        self._error = error
        self._words = words
        self.request_id = request_id
        self.status, self.code = PROBLEMS.get(type(error), INTERNAL)  # type: ignore[arg-type]

    @property
    def retry_after_seconds(self) -> int | None:
        """When to come back; None where that would not help."""
        return getattr(self._error, "retry_after_seconds", 1) if self.status in (429, 503) else None

    @property
    def row(self) -> dict[str, Any]:
        """The members of one failed row among many: ``code``, ``detail``, and ``field`` or what stands instead."""
        error = self._error
        detail = str(error) if self._words is None else self._words.of(str(error))
        detail = detail[:MAX_DETAIL_LENGTH]
        if not isinstance(error, errors.OstinatoError):
            # An unexpected error's own words stay in the log.
            detail = "an unexpected error; the server's log has it"
        members: dict[str, Any] = {"detail": detail, "code": self.code}
        for extra in EXTRAS if isinstance(error, errors.OstinatoError) else ():
            if (value := getattr(error, extra, None)) is not None:
                members[extra] = value[:MAX_DETAIL_LENGTH] if isinstance(value, str) else value
        return members

    @property
    def document(self) -> dict[str, Any]:
        """The members of the problem document."""
        return {
            "type": f"urn:ostinato:problem:{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            **self.row,
            **({"request_id": self.request_id.decode()} if self.request_id else {}),
        }

    @property
    def sentence(self) -> str:
        """All of it in one sentence, as the Open Inference Protocol has errors: with the place, and what is needed."""
        row = self.row
        field, expected_seq = row.get("field"), row.get("expected_seq")
        before = f"{field}: " if field else ""
        behind = "" if expected_seq is None else f" (expected_seq {expected_seq})"
        return f"{before}{row['detail']}{behind}"

    def response_to(self, path: str) -> Response:
        """The whole answer as the routes word it of which ``path`` is one."""
        if not path.startswith("/v2/") and path != "/v2":
            return self.response()
        return Response(
            oip_status(type(self._error)), json_line({"error": self.sentence}), JSON, self._headers, is_plain=True
        )

    def response(self) -> Response:
        """The whole answer, with ``Retry-After``, ``Allow``, ``Accept-Encoding`` or ``Upgrade`` where the error calls
        for it.
        """
        return Response(self.status, json_line(self.document), MEDIA_TYPE, self._headers)

    @property
    def _headers(self) -> tuple[tuple[bytes, bytes], ...]:
        error = self._error
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(error, errors.MethodNotAllowed):
            headers.append((b"allow", ", ".join(error.allowed).encode()))
        if isinstance(error, errors.Unauthenticated):
            headers.append((b"www-authenticate", b'Bearer realm="ostinato"'))
        if isinstance(error, errors.UnsupportedCoding):
            headers.append((b"accept-encoding", ", ".join(CODINGS).encode()))
        if isinstance(error, errors.UpgradeRequired):
            headers += [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
        if self.retry_after_seconds is not None:
            headers.append((b"retry-after", str(self.retry_after_seconds).encode()))
        if isinstance(error, errors.Draining):
            headers.append((b"connection", b"close"))
        return tuple(headers)
