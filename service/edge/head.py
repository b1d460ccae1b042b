"""The head of a request: its limits, and what is wrong with one that cannot be read."""

from __future__ import annotations

from ostinato.service.errors import HeadTooLarge, MalformedRequest, OstinatoError

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100
WHOLE_SERVER = "/*"
"""As which path ``OPTIONS *`` is answered, whose target is none."""


def too_large() -> HeadTooLarge:
    """The error of a head over a limit."""
    return HeadTooLarge(f"a request's head may have {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers")


def other_version() -> MalformedRequest:
    """The error of a request in another version of HTTP."""
    return MalformedRequest("HTTP/1.1 is spoken here, and no other version than that and 1.0")


def fault_of(error: Exception) -> OstinatoError:
    """What the parser of uvicorn found, in its own words, which quote nothing of the request."""
    text = str(error)
    if "HTTP version" in text or "PRI" in text or "HTTP/2" in text:
        return other_version()
    return MalformedRequest(f"this is no HTTP request: {text}")
