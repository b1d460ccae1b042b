"""Pages of other sites (WHATWG Fetch, section 3.2): what a browser lets them ask here, and read of what is answered."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ostinato.service.config import ALL_ORIGINS, origins_of, plain_origin
from ostinato.service.errors import OriginRefused

Headers = list[tuple[bytes, bytes]]

MAX_AGE_SECONDS = 600
"""How long a browser need not ask again what it may send."""
EXPOSED = b"Allow, Inference-Header-Content-Length, Location, Retry-After, X-Request-ID"
"""What a page may read of an answer, besides what every page may."""
_TOKENS = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_MAX_ASKED_BYTES = 1024


class Origins:
    """The sites whose pages may use this server, besides its own.

    Args:
        setting: ``allow_origin``.

    Attributes:
        vary: whether an answer depends on whose page asks.
    """

    def __init__(self, setting: str) -> None:
        self._allowed = origins_of(setting)
        self._are_all = ALL_ORIGINS in self._allowed
        self.vary = bool(self._allowed) and not self._are_all

    def allows(self, origin: str) -> bool:
        """Whether a page of that site may ask, and read what it is answered."""
        return self._are_all or plain_origin(origin) in self._allowed

    def check(self, origins: Sequence[str], hosts: Sequence[str]) -> None:
        """Refuse a page of a site that is neither this server's own nor allowed; ``origins`` and ``hosts`` are the
        values of the headers. Anyone who is no browser sends no ``Origin``.

        Raises:
            OriginRefused.
        """
        if not origins or self._are_all:
            return
        origin = plain_origin(origins[0])
        scheme = origin.partition("://")[0]
        is_own = len(hosts) == 1 and origin == plain_origin(f"{scheme}://{hosts[0]}")
        if len(origins) > 1 or not (is_own or origin in self._allowed):
            raise OriginRefused(
                f"pages of {origin[:100]} may not do this here; --allow-origin (OSTINATO_ALLOW_ORIGIN) lets them"
            )

    def headers(self, origin: bytes) -> Headers:
        """What tells a browser that a page of ``origin`` may read the answer; nothing where it may not."""
        if not self.allows(origin.decode("latin-1")):
            return []
        return [
            (b"access-control-allow-origin", b"*" if self._are_all else origin),
            (b"access-control-expose-headers", EXPOSED),
        ]

    def preflight(self, origin: bytes, allowed: bytes, asked: bytes) -> Headers:
        """The answer to a browser that asks what a page may send.

        Args:
            allowed: the methods of the route.
            asked: the headers that it would send, all of which it may.
        """
        headers = self.headers(origin)[:1]
        if headers:
            headers.append((b"access-control-allow-methods", allowed))
            headers.append((b"access-control-max-age", b"%d" % MAX_AGE_SECONDS))
            if len(asked) <= _MAX_ASKED_BYTES and _TOKENS.fullmatch(asked):
                headers.append((b"access-control-allow-headers", asked))
        return headers
