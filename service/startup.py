"""The start of a server: what is checked before there is a worker, and what the log says of it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import ostinato
from ostinato.extras import require
from ostinato.printable import printable
from ostinato.service import logs
from ostinato.service.access.key_file import read_keys
from ostinato.service.access.keys import warning_of
from ostinato.service.access.meter import shared_memory as memory_of_meters
from ostinato.service.catalogue.repository import find_versions, place_of
from ostinato.service.catalogue.verdicts import Verdicts
from ostinato.service.config import (
    PREFIX,
    Settings,
    handed_on,
    names_files,
    read_configuration,
    redacted,
    unknown_variables,
    variable_of,
)
from ostinato.service.edge.certificates import check_files
from ostinato.service.edge.connection_shares import shared_memory as memory_of_shares
from ostinato.service.edge.local_guard import check_exposure
from ostinato.service.edge.oip.grpc.port import address_of, hold_port
from ostinato.service.errors import FetchFailed, KeysUnreadable, ModelRejected, StateStoreUnavailable
from ostinato.service.fetching.bento_models import repository_of, sources_of
from ostinato.service.fetching.sources import read_sources
from ostinato.service.state.address import most_sessions, open_store

ANNOUNCEMENT = "_OSTINATO_ANNOUNCEMENT"
"""The variable with what is printed when the server listens; ``ostinato serve`` sets it."""
LIMITS = (
    "workers",
    "memory_budget",
    "max_batch_size",
    "max_queue_rows",
    "max_sessions",
    "max_chunk_steps",
    "max_body_bytes",
    "deadline_seconds",
    "ttl_seconds",
)

logger = logging.getLogger(__name__)


def check_system(system: str = sys.platform) -> None:
    """A server is Linux's: workers share memory, sockets and locks, and end with their parent, by what it alone has.

    Raises:
        ValueError: this is another system.
    """
    if system != "linux":
        raise ValueError(
            f"a server needs Linux, and this is {system!r}: run it in a container or on a Linux machine. The client, "
            "training, export and offline runs need none (docs/platforms.md)"
        )


def settings_or_exit() -> Settings:
    """The settings of the environment, and of the file that it names; processes that this one starts read the same.

    Raises:
        SystemExit: one of them cannot be, or no server runs on this system, as is said in one line.
    """
    try:
        check_system()
        configuration = read_configuration({}, os.environ)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    if names_files(os.environ):
        variables = handed_on(configuration, os.environ, Path.cwd())
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)
    return configuration.settings


def check_store(settings: Settings) -> None:
    """Open the store and close it again.

    Raises:
        ValueError: there is no such store, or it cannot be used; says why.
        ModuleNotFoundError: a library of its kind is missing.
    """

    async def try_out() -> None:
        await open_store(settings).stop()

    try:
        asyncio.run(try_out())
    except StateStoreUnavailable as error:
        raise ValueError(error.cause) from error


def check_grpc(settings: Settings) -> None:
    """See that gRPC can be served as the settings want it; nothing is asked where it is off.

    Raises:
        ValueError: a file of its credentials is not what it should be, or the port is that of HTTP.
        ModuleNotFoundError: a library is missing.
    """
    check_files(settings)
    if settings.grpc_port is not None:
        if settings.grpc_port == settings.port and settings.port:
            raise ValueError(f"--grpc-port {settings.grpc_port}: it is that of HTTP (--port); give another")
        for library in ("grpc", "grpc_health", "grpc_reflection"):
            require(library, "--grpc-port")


def check_traces(settings: Settings) -> None:
    """See that traces can be sent.

    Raises:
        ModuleNotFoundError: a library is missing.
    """
    if settings.traces:
        require("opentelemetry.exporter.otlp.proto.http", "--traces")


def check_device(settings: Settings) -> None:
    """See that the device is there, without taking any of its memory: that is for the workers.

    Raises:
        ValueError: it is not; says what to do.
        ModuleNotFoundError: a library is missing.
    """
    if settings.device == "cuda":
        require("cupy", "--device cuda")
        from ostinato.service.artifact.cuda import check_cuda

        check_cuda()


def check_keys(settings: Settings) -> None:
    """Read the file of keys.

    Raises:
        ValueError: it is none; names the line.
    """
    if settings.keys is None:
        return
    try:
        if not read_keys(settings.keys):
            logger.warning("%s has no keys: nobody may ask anything; 'ostinato keys new' makes one", settings.keys)
    except KeysUnreadable as error:
        raise ValueError(f"--keys {error}") from error
    if (warning := warning_of(settings.keys)) is not None:
        logger.warning("%s", warning)


def hold_grpc_port(settings: Settings) -> socket.socket | None:
    """The port for gRPC, kept for the workers; None = it is off.

    Raises:
        ValueError: somebody else has it.
    """
    if settings.grpc_port is None:
        return None
    try:
        return hold_port(settings.host, settings.grpc_port)
    except OSError as error:
        raise ValueError(
            f"--grpc-port {settings.grpc_port} at {settings.host}: {(error.strerror or str(error)).lower()}; 0 takes "
            "any free one"
        ) from error


def fetch_models(settings: Settings, bento: Any = None) -> Settings:
    """Fetch the models that the settings name, and those that a Bento names.

    Returns:
        the settings with the repository that has them; processes that this one starts read the same.

    Raises:
        FetchFailed: one cannot be fetched; says why and what to do.
    """
    of_bento = sources_of(bento)
    sources = [*read_sources(settings.models), *of_bento]
    repository = settings.repository
    if of_bento and not repository.is_dir():
        repository = repository_of(bento, Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml"))
    if sources:
        from ostinato.service.fetching.fetching import fetch_all  # and the HTTP client with it

        for fetched in fetch_all(sources, repository):
            logger.info("%s", fetched)
    if repository != settings.repository:
        os.environ[variable_of("repository")] = str(repository)
    return settings.model_copy(update={"repository": repository})


def begin(settings: Settings, bento: Any = None) -> None:
    """What BentoML's parent process does before it starts workers: it checks, fetches models, says what is to be
    served, and has the workers looked after.

    Args:
        bento: that the service was started from, as BentoML has it; None = from none.

    Raises:
        SystemExit: the server cannot start so, as is said in one line.
    """
    from ostinato.service.supervisor import supervise  # and circus with it

    logs.configure(settings)
    # It says that it listens before anything does.
    logging.getLogger("bentoml.serve").setLevel(logging.WARNING)
    try:
        check_exposure(settings)
        check_grpc(settings)
        check_keys(settings)
        check_traces(settings)
        check_device(settings)
        held = hold_grpc_port(settings)
        check_store(settings)
        settings = fetch_models(settings, bento)
    except FetchFailed as error:
        raise SystemExit(f"error: {printable(str(error))}") from None
    except (ValueError, ModuleNotFoundError) as error:
        # Here there are no flags: what came as one is a variable by now.
        sentence = re.sub(
            r"--([a-z]+(?:-[a-z]+)*)", lambda flag: PREFIX + flag[1].replace("-", "_").upper(), str(error)
        )
        raise SystemExit(f"error: {sentence}") from None
    for sentence in unknown_variables(os.environ):
        logger.warning("%s", sentence)
    logger.info("Ostinato %s, Python %s", ostinato.__version__, sys.version.partition(" ")[0])
    logger.info("store: %s", redacted(settings.state))
    logger.info("limits: %s", ", ".join(f"{name} {_shown(settings, name)}" for name in LIMITS))
    logger.info("models: %s", _models(settings.repository))
    announcement = os.environ.pop(ANNOUNCEMENT, None)

    grpc_port = None if held is None else int(held.getsockname()[1])

    def announce(place: str) -> None:
        if announcement is None or settings.log_format == "json":
            also = "" if grpc_port is None else f", and for gRPC on {address_of(settings.host, grpc_port)}"
            logger.info("Ostinato listens on %s%s", place, also)
        else:
            sys.stdout.write(announcement + "\n")
            sys.stdout.flush()

    verdicts = Verdicts.begin(settings)
    # While the workers import what they need; anyone who comes to a version that is being tried waits for that.
    threading.Thread(target=verdicts.check_all, name="ostinato-trials", daemon=True).start()
    meters = None if settings.keys is None else memory_of_meters()
    shares = memory_of_shares(settings.workers) if settings.workers > 1 else None
    supervise(announce, verdicts.descriptor, held, meters, shares, partial(_check_address, settings))


def _check_address(settings: Settings, host: str) -> None:
    """Refuse an address that came from elsewhere than the settings, as BentoML's own flag."""
    try:
        check_exposure(settings, host)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


def _shown(settings: Settings, name: str) -> str:
    value = most_sessions(settings) if name == "max_sessions" else getattr(settings, name)
    return str(value.human_readable()) if hasattr(value, "human_readable") else f"{value}"


def _models(repository: Path) -> str:
    try:
        versions = find_versions(repository)
    except (ModelRejected, OSError) as error:
        return str(error)
    shown = ", ".join(f"{'/'.join(place_of(version, repository))}" for version in versions)
    return f"{shown or 'none'} in {repository}"
