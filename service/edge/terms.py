"""Terms of a request, by its head: the codings of its body and its answer, what it is called, whose page asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

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
from ostinato.service.edge.tags import Tag, request_id, trace_parent

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


def values_of(name: bytes, headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The values of the headers of one name, which is in small letters."""
    return [value.decode("latin-1") for each, value in headers if each == name]


class Terms:
    """The terms of one request.

    Args:
        noted: its headers that are ``HEEDED``, of its body's none but the coding.

    Attributes:
        tag: what its sender calls it, and whose part it is.
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
        "spares_small",
        "tag",
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
        parent = trace_parent(given[b"traceparent"]) if b"traceparent" in given else None
        self.tag = Tag(request_id(given.get(b"x-request-id", ())), parent)
        is_told = bool(self._origin) or origins.vary
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
        headers: Headers = []
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
