"""The guard of a server that has no keys and is not open: what pages in the browsers of this machine could make of it.

Anyone who can open a connection to such a server sits at this machine, and so do the pages of any site in its
browsers. A site can give its own name this machine's address (DNS rebinding), and its pages are then of one origin
with the server: the name tells them apart. And a page may post without asking beforehand what has no media type.
"""

from __future__ import annotations

import ipaddress
import re

from ostinato.service.config import Settings
from ostinato.service.errors import HostRefused, UnsupportedMediaType

_PORT = re.compile(r":[0-9]{0,5}\Z")
MAX_KEPT = 64
"""Names of one server that are remembered; a client with more of them is asked each time."""


def is_loopback(host: str) -> bool:
    """Whether an address, or the name of one, is reached from this machine alone."""
    name = host.strip().lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def is_guarded(settings: Settings) -> bool:
    """Whether a server is for this machine alone."""
    return settings.keys is None and not settings.open


def check_exposure(settings: Settings, host: str | None = None) -> None:
    """Refuse to listen where others reach a server that lets everybody in unasked; ``host``: where it listens.

    Raises:
        ValueError: says both ways out.
    """
    host = settings.host if host is None else host
    if is_guarded(settings) and not is_loopback(host):
        raise ValueError(
            f"--host {host}: others reach this server there, and it has no keys: give it some (--keys FILE, which "
            "'ostinato keys new' makes), or let in anyone who comes (--open)"
        )


class LocalGuard:
    """What is refused there.

    Args:
        allowed: further names that the server answers to, with commas between them.
    """

    def __init__(self, allowed: str = "") -> None:
        self._allowed = {name.strip().lower() for name in allowed.split(",") if name.strip()}
        self.passed: set[bytes] = set()

    def check_host(self, value: bytes) -> None:
        """Refuse a request that was sent to another name than this machine's; ``value``: of its ``Host``.

        Raises:
            HostRefused.
        """
        host = value.decode("latin-1").strip().lower()
        name = _PORT.sub("", host) if host.count(":") == 1 or host.startswith("[") else host
        if not is_loopback(name) and name not in self._allowed and host not in self._allowed:
            raise HostRefused(
                f"this server has no keys, and answers to its machine's own names, not to {host[:100]!r}; --allow-host "
                "(OSTINATO_ALLOW_HOST) adds one, --keys or --open lift this"
            )
        if len(self.passed) < MAX_KEPT:
            self.passed.add(value)

    def check_body(self, media_type: str, has_body: bool) -> None:
        """Refuse a body that does not say what it is.

        Raises:
            UnsupportedMediaType.
        """
        if has_body and not media_type:
            raise UnsupportedMediaType(
                "say what the body is: this server reads application/json (curl: -H 'Content-Type: application/json')"
            )
