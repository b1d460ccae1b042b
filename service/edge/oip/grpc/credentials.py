"""Credentials of the gRPC port: a certificate and its key in files, which may be replaced while it is served."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

from ostinato.service.config import Settings

logger = logging.getLogger(__name__)

FILES = ("grpc_certificate", "grpc_key", "grpc_client_authorities")


def check_files(settings: Settings) -> None:
    """Refuse files that no client could be served with; nothing is asked of them where TLS is off.

    Raises:
        ValueError: one is absent, or is not what it should be; names the setting.
    """
    certificate, key, authorities = (getattr(settings, name) for name in FILES)
    if certificate is None and key is None and authorities is None:
        return
    if settings.grpc_port is None:
        raise ValueError("--grpc-certificate, --grpc-key and --grpc-client-authorities are for --grpc-port")
    if certificate is None or key is None:
        raise ValueError("--grpc-certificate and --grpc-key belong together: give both")
    for name in FILES:
        path = getattr(settings, name)
        if path is not None:
            _check_readable(f"--{name.replace('_', '-')}", path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--grpc-certificate {certificate}, --grpc-key {key}: no certificate with its own key, both in PEM: {error}"
        ) from error
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except OSError as error:
            raise ValueError(f"--grpc-client-authorities {authorities}: no certificates in PEM: {error}") from error


def _check_readable(flag: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise ValueError(f"{flag} {path}: {(error.strerror or str(error)).lower()}") from error


def _refuse_password() -> str:
    raise ValueError("the key has a password, which nobody is there to type")


class ServerFiles:
    """The files as they are, read again where one has changed since; files that are not good change nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._paths = [path for name in FILES if (path := getattr(settings, name)) is not None]
        self._marks = self._look()

    def credentials(self) -> Any:
        """What gRPC serves with; None = without TLS."""
        import grpc

        if self._settings.grpc_certificate is None:
            return None
        needs_client = self._settings.grpc_client_authorities is not None
        return grpc.dynamic_ssl_server_credentials(self._read(), self.changed, needs_client)

    def changed(self) -> Any:
        """What to serve new connections with; None = the same as before. gRPC asks at each, in a thread of its own."""
        marks = self._look()
        if marks == self._marks:
            return None
        self._marks = marks
        try:
            check_files(self._settings)
            found = self._read()
        except (OSError, ValueError) as error:
            logger.error("the gRPC port goes on with the certificate that it has: %s", error)
            return None
        logger.info("the gRPC port has a new certificate")
        return found

    def _read(self) -> Any:
        import grpc

        certificate, key, authorities = (getattr(self._settings, name) for name in FILES)
        trusted = None if authorities is None else authorities.read_bytes()
        return grpc.ssl_server_certificate_configuration([(key.read_bytes(), certificate.read_bytes())], trusted)

    def _look(self) -> list[tuple[int, int, int] | None]:
        """What tells the files from others in their places; a link that leads elsewhere now is seen, too."""
        marks: list[tuple[int, int, int] | None] = []
        for path in self._paths:
            try:
                seen = path.stat()
            except OSError:
                marks.append(None)
            else:
                marks.append((seen.st_ino, seen.st_size, seen.st_ctime_ns))
        return marks
