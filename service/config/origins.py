"""Origins: the sites whose pages may use a server, as the operator writes them and as they are compared."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

ALL_ORIGINS = "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}


def plain_origin(origin: str) -> str:
    """A site as it is compared with others: in small letters, and without the port that it has anyway."""
    plain = origin.strip().lower().removesuffix("/")
    return plain.removesuffix(_DEFAULT_PORTS.get(plain.partition("://")[0], " "))


def origins_of(setting: str) -> frozenset[str]:
    """The sites that ``allow_origin`` names."""
    return frozenset(plain_origin(origin) for origin in setting.split(",") if origin.strip())


def _check_origins(setting: str) -> str:
    for origin in sorted(origins_of(setting)):
        if origin == "null":
            raise ValueError("'null' is what any page may call itself; * lets all of them")
        if origin != ALL_ORIGINS and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no site, as https://a.example or http://localhost:8080 are; * = all")
    return setting


AllowedOrigins = Annotated[str, AfterValidator(_check_origins)]
