"""Credentials of the gRPC port, of the same files as those of HTTP's."""

from __future__ import annotations

from typing import Any

import grpc

from ostinato.service.config import Settings
from ostinato.service.edge.certificates import FILES, ServerFiles


def credentials_of(settings: Settings) -> Any:
    """What gRPC serves with, and asks anew at each connection, in a thread of its own; None = without TLS."""
    if settings.certificate is None:
        return None
    files = ServerFiles(settings)

    def read() -> Any:
        certificate, key, authorities = (getattr(settings, name) for name in FILES)
        trusted = None if authorities is None else authorities.read_bytes()
        return grpc.ssl_server_certificate_configuration([(key.read_bytes(), certificate.read_bytes())], trusted)

    def changed() -> Any:
        try:
            return read() if files.has_changed() else None
        except OSError:  # they are being changed again, and asked for again
            return None

    return grpc.dynamic_ssl_server_credentials(read(), changed, settings.client_authorities is not None)
