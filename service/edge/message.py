"""Requests with their bodies read, and answers: what handlers take and give."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

import numpy as np
import orjson

JSON = "application/json"


@dataclass(slots=True)
class Request:
    """A whole request; ``name`` is the variable part of its path, empty where it has none."""

    name: str
    query_string: bytes
    media_type: str
    body: bytes


@dataclass(slots=True)
class Response:
    """A whole answer."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(slots=True)
class EventStream:
    """An answer of server-sent events, written as they are made (WHATWG HTML, section 9.2).

    ``events``: each an ``event`` of the format, whole; closed when nobody reads any more. It does not raise.
    """

    events: AsyncGenerator[bytes]
    status: int = 200
    media_type: str = "text/event-stream"


def event(name: str, content: object) -> bytes:
    """A server-sent event with ``content`` as JSON, which never holds a line break."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json(content))


def json_response(content: object, status: int = 200) -> Response:
    """An answer in JSON; see ``to_json``."""
    return Response(status, to_json(content))


def to_json(content: object) -> bytes:
    """``content`` as JSON; floating arrays are written with as few digits as give the same bits back."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY, default=_plain)


def _plain(value: object) -> object:
    # orjson itself writes only arrays whose rows lie behind each other.
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
