"""Tags: what a request is called, by its sender or by us, in its answer, in problems, in the log and in traces."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote

from ostinato.service.tracing import TraceParent

MAX_SHOWN = 512
"""Characters of a path that the log shows."""
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_TRACE_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class Tag(NamedTuple):
    """What one request is called.

    Attributes:
        request_id: what its sender calls it, or we do; empty = it has no name yet.
        trace: whose part it is; None = nobody says.
    """

    request_id: bytes = b""
    trace: TraceParent | None = None

    @property
    def label(self) -> str:
        """What the log has of it behind the request; empty where there is nothing."""
        told = [f"request id {self.request_id.decode()}"] if self.request_id else []
        told += [f"trace {self.trace.trace_id}"] if self.trace else []
        return f" ({', '.join(told)})" if told else ""

    @property
    def fields(self) -> dict[str, str]:
        """The same, as members of a line of the log."""
        fields = {"request_id": self.request_id.decode()} if self.request_id else {}
        return fields | ({"trace_id": self.trace.trace_id} if self.trace else {})


NO_TAG = Tag()


class RequestIds:
    """Makes ids for requests that come without one: no two are the same, of any server's workers."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6).encode()
        self._numbers = count()

    def make(self) -> bytes:
        """One more."""
        return b"%b-%x" % (self._prefix, next(self._numbers))


def printable(path: str) -> str:
    """A path as one word of the log: what is no letter, digit or mark of a path is ``%``-encoded, as it was sent, and a
    long one is cut.
    """
    shown = quote(path, safe="/~:@!$&'()*+,;=-._{}%")
    return shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."


def peer_of(address: Any) -> str:
    """Where requests come from, as ``127.0.0.1:53124``; empty = nobody knows. ``address``: as a socket has it."""
    if not isinstance(address, tuple | list) or len(address) < 2:
        return ""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def request_id(values: Sequence[bytes]) -> bytes:
    """What a header says; empty where it says nothing, or what cannot be told again: over 128 characters, or others
    than visible ones of ASCII.
    """
    return values[0] if values and _REQUEST_ID.fullmatch(values[0]) else b""


def trace_parent(values: Sequence[bytes]) -> TraceParent | None:
    """What the header says; None where it is not as it should be, or there are several: then a trace begins anew."""
    found = _TRACE_PARENT.fullmatch(values[0].decode("latin-1").strip()) if len(values) == 1 else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    is_known = version != "ff" and (version != "00" or not more)
    if not is_known or not int(trace_id, 16) or not int(parent_id, 16):
        return None
    return TraceParent(trace_id, parent_id, int(flags, 16))
