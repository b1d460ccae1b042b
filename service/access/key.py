"""Keys: who may ask, for whom, what, and how much of it. What is kept of a key is its digest."""

from __future__ import annotations

import re
import secrets
import zlib
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of a key, and of a tenant."""
PREFIX = "ostinato_"
"""What every key of ours begins with, so that it is recognised where it should not be, as in a repository."""
SECRET_BYTES = 32


class Right(Enum):
    """What a key lets its holder do; none of them implies another.

    ``STEP``: open sessions, step them, forecast, reset, fork, set and close them, predict and generate. ``READ``: look
    at sessions, list them and take their state. ``ADMIN``: load and unload models, say which versions are served, and
    name other tenants. ``METRICS``: read ``/metrics``. What models there are, and what they take, is for all of them
    but the last.
    """

    STEP = "step"
    READ = "read"
    ADMIN = "admin"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Key:
    """A key.

    Attributes:
        name: of the key, for people; it is no secret.
        tenant: whose sessions it names and sees; empty = those that a service without keys has.
        rights: at least one.
        digest: SHA-256 of the key.
        rate: steps a second that it may ask for in the long run; None = any number.
        sessions: live sessions that its tenant may have when it opens one more, inclusive; None = any number.
    """

    name: str
    tenant: str
    rights: frozenset[Right]
    digest: bytes
    rate: float | None = None
    sessions: int | None = None

    @property
    def shown_rights(self) -> str:
        """As a file has them."""
        return ",".join(right.value for right in Right if right in self.rights)


def new_secret() -> str:
    """A key that nobody has: 256 bits, and a checksum by which a mistyped one is told from an unknown one."""
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    return f"{secret}_{zlib.crc32(secret.encode()):08x}"


def is_mistyped(presented: bytes) -> bool:
    """Whether a key has the form of ours, and is not as it was made."""
    secret, _, check = presented.rpartition(b"_")
    return presented.startswith(PREFIX.encode()) and b"%08x" % zlib.crc32(secret) != check


def digest_of(secret: bytes) -> bytes:
    """What is kept of a key. It is 256 random bits, so no slow function makes it any harder to guess."""
    return sha256(secret).digest()
