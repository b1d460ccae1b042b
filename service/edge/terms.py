"""Terms of a request, by its head: the codings of its body and its answer, its id, its trace, whose page asks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from ostinato.service.edge.codings import (
    INLINE_BYTES,
    MIN_CODED_BYTES,
    accepted_coding,
    coding_of,
    decoded,
    encoded,
    encoded_at_once,
)
from ostinato.service.edge.cross_origin import Headers, Origins
from ostinato.service.edge.message import EventStream, Response

HEEDED = frozenset(
    {
        b"accept-encoding",
        b"access-control-request-headers",
        b"access-control-request-method",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"origin",
        b"traceparent",
        b"x-request-id",
    }
)
"""Headers that anybody here looks at; most requests have few of them, and none but those that say what the body is."""

_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
_TRACE_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceParent(NamedTuple):
    """Whose part a request is (W3C Trace Context): 32 and 16 hexadecimal digits, and a byte of flags."""

    trace_id: str
    parent_id: str
    flags: int


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


def values_of(name: bytes, headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The values of the headers of one name, which is in small letters."""
    return [value.decode("latin-1") for each, value in headers if each == name]


class Terms:
    """The terms of one request.

    Args:
        noted: its headers that are ``HEEDED``, of its body's none but the coding.

    Attributes:
        request_id: what its sender calls it, at most 128 visible characters; empty = nothing, or what cannot be told
            again.
        trace: whose part it is; None = nobody says.
        codings: what its body is in, as the headers have it.
        spares_small: whether an answer of less than ``MIN_CODED_BYTES`` is as it would be without them.
    """

    __slots__ = (
        "_asked",
        "_least",
        "_origin",
        "_origins",
        "_prefers",
        "codings",
        "request_id",
        "spares_small",
        "trace",
    )

    def __init__(self, noted: Iterable[tuple[bytes, bytes]], origins: Origins) -> None:
        given: dict[bytes, list[bytes]] = {}
        for name, value in noted:
            given.setdefault(name, []).append(value)
        self._origins = origins
        self._prefers, self._least = accepted_coding(b",".join(given.get(b"accept-encoding", [])))
        self._origin = (given.get(b"origin") or [b""])[0]
        is_preflight = self._origin and b"access-control-request-method" in given
        self._asked = b",".join(given.get(b"access-control-request-headers", [])) if is_preflight else None
        self.codings = given.get(b"content-encoding", [])
        request_id = (given.get(b"x-request-id") or [b""])[0]
        self.request_id = request_id if _REQUEST_ID.fullmatch(request_id) else b""
        self.trace = trace_parent(given[b"traceparent"]) if b"traceparent" in given else None
        is_told = bool(self.request_id or self._origin) or origins.vary
        self.spares_small = not is_told and self._least in (0, MIN_CODED_BYTES)

    @classmethod
    def of(cls, noted: Sequence[tuple[bytes, bytes]], origins: Origins) -> Terms:
        """The terms of a request; those of most are the same, and made once."""
        if len(noted) == 1 and noted[0][0] == b"accept-encoding":
            return _accepting(noted[0][1], origins)
        return cls(noted, origins)

    @property
    def has_origin(self) -> bool:
        """Whether a browser's page asks, of whatever site."""
        return bool(self._origin)

    @property
    def label(self) -> str:
        """What the log has of it behind the request: its id and its trace; empty where it has none."""
        told = [f"request id {self.request_id.decode()}"] if self.request_id else []
        told += [f"trace {self.trace.trace_id}"] if self.trace else []
        return f" ({', '.join(told)})" if told else ""

    async def unpack(self, body: bytes, max_bytes: int) -> bytes:
        """What a body holds; see ``decoded``."""
        coding = coding_of(self.codings)
        return await decoded(body, coding, max_bytes) if coding else body

    def takes_long(self, response: Response) -> bool:
        """Whether an answer is so large that it is coded in a thread."""
        return len(response.body) > INLINE_BYTES and self._is_to_be_coded(response)

    async def apply(self, response: Response) -> Response:
        """An answer as it is asked for: coded where that is wanted, with what belongs into its head. The one that was
        given stays as it is, since it may be given again.
        """
        coded = await encoded(response.body, self._prefers) if self._is_to_be_coded(response) else None
        return self._applied(response, coded)

    def apply_at_once(self, response: Response) -> Response:
        """``apply`` to an answer that does not take long."""
        coded = encoded_at_once(response.body, self._prefers) if self._is_to_be_coded(response) else None
        return self._applied(response, coded)

    def apply_to_events(self, response: EventStream) -> None:
        """The same for events, which are never coded: each has to leave when it is made."""
        response.headers += tuple(self.headers(response.headers, 0))

    def headers(self, given: Iterable[tuple[bytes, bytes]], num_bytes: int = 0) -> Headers:
        """What belongs into the head of an answer of so many bytes, which has the headers ``given``."""
        headers = self.handshake()
        vary = [b"Accept-Encoding"] if num_bytes >= MIN_CODED_BYTES else []
        if self._origins.vary:
            vary.append(b"Origin")
        if self._asked is not None:
            allowed = dict(given).get(b"allow", b"")
            headers += self._origins.preflight(self._origin, allowed, self._asked)
            vary += [b"Access-Control-Request-Method", b"Access-Control-Request-Headers"]
        elif self._origin:
            headers += self._origins.headers(self._origin)
        if vary:
            headers.append((b"vary", b", ".join(vary)))
        return headers

    def handshake(self) -> Headers:
        """What belongs into the head of an answer to a WebSocket's handshake."""
        return [(b"x-request-id", self.request_id)] if self.request_id else []

    def _is_to_be_coded(self, response: Response) -> bool:
        return bool(self._prefers) and len(response.body) >= self._least and not response.is_plain

    def _applied(self, response: Response, coded: bytes | None) -> Response:
        body = response.body
        headers = [*response.headers, *self.headers(response.headers, len(body))]
        if coded is not None and (len(coded) < len(body) or self._least < MIN_CODED_BYTES):
            body = coded
            headers.append((b"content-encoding", self._prefers.encode()))
        return Response(response.status, body, response.media_type, tuple(headers))


@lru_cache(maxsize=256)
def _accepting(value: bytes, origins: Origins) -> Terms:
    return Terms([(b"accept-encoding", value)], origins)
