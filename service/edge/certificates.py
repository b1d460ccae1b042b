"""Certificates of both ports, and their keys, in files that may be replaced while they are served."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from pathlib import Path
from typing import Any

import uvicorn

from ostinato.service.config import Settings

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
FILES = ("certificate", "certificate_key", "client_authorities")


def check_files(settings: Settings) -> None:
    """Refuse files that no client could be served with; nothing is asked of them where TLS is off.

    Raises:
        ValueError: one is absent, or is not what it should be; names the setting.
    """
    certificate, key, authorities = (getattr(settings, name) for name in FILES)
    if certificate is None and key is None and authorities is None:
        return
    if certificate is None or key is None:
        raise ValueError("--certificate and --certificate-key belong together: give both")
    for name in FILES:
        path = getattr(settings, name)
        if path is not None:
            _check_readable(f"--{name.replace('_', '-')}", path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"--certificate {certificate}, --certificate-key {key}: no certificate with its own key, both in PEM: "
            f"{error}"
        ) from error
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except OSError as error:
            raise ValueError(f"--client-authorities {authorities}: no certificates in PEM: {error}") from error


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

    def has_changed(self) -> bool:
        """Whether there are others now, and good ones; those that are not are told to the log, and change nothing."""
        marks = self._look()
        if marks == self._marks:
            return False
        self._marks = marks
        try:
            check_files(self._settings)
        except (OSError, ValueError) as error:
            logger.error("the server continues with the certificate that it has: %s", error)
            return False
        logger.info("there is a new certificate")
        return True

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


def tls_options(settings: Settings) -> dict[str, Any]:
    """What BentoML is told of TLS at the HTTP port; nothing where there is none."""
    if settings.certificate is None:
        return {}
    told: dict[str, Any] = {
        "enabled": True,
        "certfile": str(settings.certificate),
        "keyfile": str(settings.certificate_key),
    }
    if settings.client_authorities is not None:
        told |= {"ca_certs": str(settings.client_authorities), "cert_reqs": int(ssl.CERT_REQUIRED)}
    return {"ssl": told}


def context_of_server() -> ssl.SSLContext | None:
    """What uvicorn, which this process runs, serves new connections with; None = without TLS."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    context = server.config.ssl if isinstance(server, uvicorn.Server) else None
    return context if isinstance(context, ssl.SSLContext) else None


async def follow_files(settings: Settings, context: ssl.SSLContext) -> None:
    """Have new connections served with what is in the files by then, for ever."""
    files = ServerFiles(settings)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if await asyncio.to_thread(files.has_changed):
            assert settings.certificate is not None
            context.load_cert_chain(settings.certificate, settings.certificate_key)
            if settings.client_authorities is not None:
                context.load_verify_locations(settings.client_authorities)
