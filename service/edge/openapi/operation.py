"""Operations: what the document says of one route, in the types that its handler reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ostinato.service import errors
from ostinato.service.edge.access import PUBLIC
from ostinato.service.edge.message import JSON

JsonSchema = dict[str, Any]
Contents = Mapping[str, Any]
"""By media type: a type, or a schema."""

BINARY: JsonSchema = {"type": "string", "format": "binary"}
EVENTS: Contents = {"text/event-stream": {}}
"""Of server-sent events the description tells: what is in them this version of the form cannot say."""

EVERY = (
    errors.MalformedRequest,
    errors.HostRefused,
    errors.TooLarge,
    errors.UnsupportedCoding,
    errors.HeadTooLarge,
    errors.RequestTimeout,
    errors.TooManyConnections,
)
"""What any request may be refused with, before its route looks at it."""
ROUTED = (*EVERY, errors.DeadlineExceeded)
MODEL = (errors.UnknownRoute, errors.UnknownModel, errors.Starting)
BODY = (errors.InvalidInput, errors.UnsupportedMediaType)
STORE = (errors.StateStoreUnavailable, errors.RecordUnreadable)
SESSION = (*MODEL, errors.UnknownSession, errors.SessionExpired, errors.SessionClosed, *STORE)
WORK = (errors.Overloaded, errors.Draining, errors.RunFailed)


@dataclass(frozen=True)
class Success:
    """An answer with a status of success.

    Attributes:
        headers: name -> what it says.
    """

    description: str
    contents: Contents = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A route's method.

    Attributes:
        id: its name in generated clients.
        path: the pattern, as ``Routes`` has it; ``names`` of its variable parts, in their order.
        query: its parameters; ``query_needs`` says when they may be given, where that is not always.
        bodies: what it reads; none = no body.
        headers: of the request, by name: what each says.
        answers: by status.
        refuses: what its route may refuse; ``raises`` has what is refused of its method, too.
    """

    id: str
    method: str = "GET"
    path: str
    names: tuple[str, ...] = ()
    tag: str
    summary: str
    description: str = ""
    query: type[msgspec.Struct] | None = None
    query_needs: str = ""
    bodies: Contents = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    answers: Mapping[int, Success]
    refuses: tuple[type[errors.OstinatoError], ...] = EVERY

    @property
    def needs_body(self) -> bool:
        """Whether it must be sent a body: one that is absent is read as an empty object."""
        if (kind := self.bodies.get(JSON)) is None:
            return True
        return any(field.required for field in msgspec.structs.fields(kind))

    @property
    def is_public(self) -> bool:
        """Whether it needs no key where there are keys."""
        return self.path in PUBLIC

    @property
    def raises(self) -> tuple[type[errors.OstinatoError], ...]:
        """The errors that it may refuse with."""
        keys = () if self.is_public else (errors.Unauthenticated, errors.Forbidden)
        limits = (errors.RateLimited,) if errors.Overloaded in self.refuses else ()
        # A page of another site may post without asking beforehand.
        return (*self.refuses, *keys, *limits, *((errors.OriginRefused,) if self.method == "POST" else ()))

    @property
    def is_of_protocol(self) -> bool:
        """Whether it is one of the Open Inference Protocol, which words refusals in its own way."""
        return self.path.startswith("/v2")

    @property
    def place(self) -> str:
        """The path with its names, as documents write it."""
        parts = self.path.split("{}")
        return "".join(f"{part}{{{name}}}" for part, name in zip(parts, self.names, strict=False)) + parts[-1]


def answer(kind: Any, description: str) -> dict[int, Success]:
    """One answer in JSON, with status 200."""
    return {200: Success(description, {JSON: kind})}
