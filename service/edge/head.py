"""The head of a request: its limits, and what is wrong with one that cannot be read."""

from __future__ import annotations

from ostinato.service.errors import HeadTooLarge, MalformedRequest, OstinatoError, UnknownHttpVersion

MAX_HEAD_BYTES = 65_536
MAX_HEADERS = 100


def too_large() -> HeadTooLarge:
    """The error of a head over a limit."""
    return HeadTooLarge(f"a request's head may have {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers")


def fault_of(error: Exception) -> OstinatoError:
    """What the parser of uvicorn found, in its own words, which quote nothing of the request."""
    text = str(error)
    if "HTTP version" in text or "PRI" in text or "HTTP/2" in text:
        return UnknownHttpVersion("HTTP/1.1 is spoken here")
    return MalformedRequest(f"this is no HTTP request: {text}")
