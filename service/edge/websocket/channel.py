"""Channels between a stream and its connection: messages, and what each asks of the other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, Protocol

# Codes of RFC 6455 (7.4.1), and the reason that goes with them where there is only one.
NORMAL_CLOSURE = 1000
INVALID_DATA = 1007
MESSAGE_TOO_BIG = 1009
INTERNAL_ERROR = 1011
KEY_REVOKED = (1008, "the key was revoked, or changed; connect again")
SHUTTING_DOWN = (1001, "the server is shutting down")

StepColumns = Callable[[str, bytes, bool, Callable[[], object]], Coroutine[Any, Any, bytes]]
"""``(model, message, create_missing, when_placed) -> message``: a columnar message, one step of many sessions, and its
answer.

It calls ``when_placed`` when all rows have been put to their sessions, so that what was sent first is applied first. It
raises an ``OstinatoError`` where the message as a whole cannot be read or taken.
"""


class Channel(Protocol):
    """What a stream asks of its connection."""

    def send(self, message: bytes, *, is_text: bool) -> None:
        """Send a message, together with the others of this iteration of the event loop."""

    def read_more(self, wanted: bool) -> None:
        """Whether to go on reading what the client sends."""

    def close(self, code: int, reason: str) -> None:
        """Send what was to be sent, and begin the closing handshake."""


class Message(NamedTuple):
    """A whole message of the client; ``arrived_at`` in seconds of ``perf_counter``."""

    data: bytes
    is_text: bool
    arrived_at: float
