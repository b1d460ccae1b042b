"""Requests with their bodies read, and answers: what handlers take and give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from ostinato.service.inputs.turns import SLICE_NUMBERS

JSON = "application/json"
OCTETS = "application/octet-stream"
FORM = "application/x-www-form-urlencoded"
"""What ``curl -d`` says of any body; and what a browser's page says of one, unasked."""
UNASKED = frozenset({"", FORM, "text/plain", "multipart/form-data"})
"""What a browser lets a page of any site post without asking the server beforehand (WHATWG Fetch, section 2.2.2)."""
_LINE = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


@dataclass(slots=True)
class Request:
    """A whole request.

    ``name``: the variable part of its path, empty where it has none. ``headers``: as they came, the names in small
    letters.
    """

    name: str
    query_string: bytes
    media_type: str
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(slots=True)
class Response:
    """A whole answer; ``is_plain``: it leaves uncoded, whatever its client says that it takes."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    is_plain: bool = False


@dataclass(slots=True)
class EventStream:
    """An answer of server-sent events, written as they are made (WHATWG HTML, section 9.2).

    ``events``: each an ``event`` of the format, whole; closed when nobody reads any more. It does not raise.
    """

    events: AsyncGenerator[bytes]
    status: int = 200
    media_type: str = "text/event-stream"
    headers: tuple[tuple[bytes, bytes], ...] = ()


def event(name: str, content: object) -> bytes:
    """A server-sent event with ``content`` as JSON, which never holds a line break."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json(content))


def json_response(content: object, status: int = 200) -> Response:
    """An answer in JSON; see ``json_line``."""
    return Response(status, json_line(content))


def json_line(content: object) -> bytes:
    """``content`` as the body of an answer in JSON: with a line feed at its end, so that a terminal's prompt is not
    glued to it. See ``to_json``.
    """
    return orjson.dumps(content, option=_LINE, default=_plain)


def to_json(content: object) -> bytes:
    """``content`` as JSON; floating arrays are written with as few digits as give the same bits back."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY, default=_plain)


async def json_in_slices(content: dict[str, Any], status: int = 200) -> Response:
    """``json_response``, of which a large one is written a slice of ``SLICE_NUMBERS`` at a time."""
    if _num_values(content) <= SLICE_NUMBERS:
        return json_response(content, status)
    parts: list[bytes] = []
    await _write(content, parts)
    parts.append(b"\n")
    return Response(status, b"".join(parts))


async def _write(value: Any, parts: list[bytes]) -> None:
    if _num_values(value) <= SLICE_NUMBERS or not isinstance(value, dict | list | np.ndarray):
        parts.append(to_json(value))
        await asyncio.sleep(0)
    elif isinstance(value, dict):
        for index, (key, member) in enumerate(value.items()):
            parts.append(b"%b%b:" % (b"," if index else b"{", to_json(key)))
            await _write(member, parts)
        parts.append(b"}")
    else:
        # As many elements as make a slice; one that is larger alone.
        separator, start = b"[", 0
        while start < len(value):
            end, num_values = start + 1, _num_values(value[start])
            if isinstance(value, np.ndarray):
                end = max(end, start + SLICE_NUMBERS // max(1, num_values))
            else:
                while end < len(value) and num_values <= SLICE_NUMBERS:
                    num_values += _num_values(value[end])
                    end += num_values <= SLICE_NUMBERS
            parts.append(separator)
            if end == start + 1:
                await _write(value[start], parts)
            else:
                parts.append(to_json(value[start:end])[1:-1])
                await asyncio.sleep(0)
            separator, start = b",", end
        parts.append(b"]")


def _num_values(value: object) -> int:
    """About how many values are to be written of it, at least 1."""
    if isinstance(value, np.ndarray):
        return value.size or 1
    if isinstance(value, dict):
        return 1 + sum(map(_num_values, value.values()))
    return 1 + sum(map(_num_values, value)) if isinstance(value, list) else 1


def _plain(value: object) -> object:
    # orjson itself writes only arrays whose rows lie one after another.
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
