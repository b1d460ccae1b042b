"""The start of a server: what is checked before there is a worker, and what the log says of it."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import threading
from pathlib import Path

import ostinato
from ostinato.service.catalogue.repository import find_versions
from ostinato.service.catalogue.verdicts import Verdicts
from ostinato.service.config import PREFIX, Settings, read_settings, redacted, unknown_variables
from ostinato.service.errors import ModelRejected, StateStoreUnavailable
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


def settings_or_exit() -> Settings:
    """The settings of the environment.

    Raises:
        SystemExit: one of them cannot be, as is said in one line.
    """
    try:
        return read_settings({})
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


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
        raise ValueError(f"{error}".removesuffix("; nothing was applied")) from error


def begin(settings: Settings) -> None:
    """What BentoML's parent process does before it starts workers: it checks, says what is to be served, and has the
    workers looked after.

    Raises:
        SystemExit: the server cannot start so, as is said in one line.
    """
    from ostinato.service.supervisor import supervise  # and circus with it

    logging.getLogger("ostinato").setLevel(logging.INFO)
    # It says that it listens before anything does.
    logging.getLogger("bentoml.serve").setLevel(logging.WARNING)
    try:
        check_store(settings)
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

    def announce(place: str) -> None:
        if announcement is None:
            logger.info("Ostinato listens on %s", place)
        else:
            sys.stdout.write(announcement + "\n")
            sys.stdout.flush()

    verdicts = Verdicts.begin(settings)
    # While the workers import what they need; whoever comes to a version that is being tried waits for that.
    threading.Thread(target=verdicts.check_all, name="ostinato-trials", daemon=True).start()
    supervise(announce, verdicts.descriptor)


def _shown(settings: Settings, name: str) -> str:
    value = most_sessions(settings) if name == "max_sessions" else getattr(settings, name)
    return str(value.human_readable()) if hasattr(value, "human_readable") else f"{value}"


def _models(repository: Path) -> str:
    try:
        versions = find_versions(repository)
    except (ModelRejected, OSError) as error:
        return str(error)
    shown = ", ".join(f"{version.parent.name}/{version.name}" for version in versions)
    return f"{shown or 'none'} in {repository}"
