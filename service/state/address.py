"""Addresses of stores, and the stores that they name."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from ostinato.service.config import Settings
from ostinato.service.state.base import Store
from ostinato.service.state.document import Document, MemoryDocument
from ostinato.service.state.durable import MAX_SESSIONS
from ostinato.service.state.lmdb.document import FileDocument
from ostinato.service.state.lmdb.store import LmdbStore
from ostinato.service.state.memory import MemoryStore
from ostinato.service.state.redis.address import SCHEMES, redis_address

EXAMPLES = "memory://, lmdb://PATH, redis://HOST:PORT/DB, redis+sentinel:// or redis+cluster://"
MAX_SESSIONS_IN_MEMORY = 100_000
"""Live sessions of a model version in ``memory://``, unless the operator says otherwise."""


def open_store(settings: Settings) -> Store:
    """The store that ``settings.state`` names.

    Raises:
        ValueError: there is no such store, or it does not serve so many workers.
        ModuleNotFoundError: the libraries of a Redis are not installed.
        StateStoreUnavailable: its files cannot be used.
    """
    scheme, _, rest = settings.state.partition("://")
    if scheme == "memory" and not rest:
        if settings.workers > 1:
            raise ValueError(
                f"--workers {settings.workers}: memory:// serves one worker, since workers share no memory; lmdb:// "
                "serves any number"
            )
        return MemoryStore(tombstone_seconds=settings.tombstone_seconds, max_sessions=most_sessions(settings))
    if scheme == "lmdb":
        return _open_lmdb(settings)
    if scheme in SCHEMES:
        from ostinato.service.state.redis.store import RedisStore

        return RedisStore(
            redis_address(settings.state),
            tombstone_seconds=settings.tombstone_seconds,
            memory_budget=settings.memory_budget,
            record_schema=settings.record_schema,
            max_sessions=most_sessions(settings),
        )
    # Only what cannot hold a password is repeated.
    shown = re.match("[a-z+]{1,20}://|", settings.state)[0]  # type: ignore[index]  # it matches anything
    raise ValueError(f"--state {shown}...: there is no such store; there is {EXAMPLES}")


def open_document(settings: Settings) -> Document:
    """The document of the store that ``settings.state`` names, which is one that there is."""
    scheme = settings.state.partition("://")[0]
    if scheme == "memory":
        return MemoryDocument()
    if scheme == "lmdb":
        return FileDocument(_folder(settings.state.removeprefix("lmdb://").partition("?")[0]))
    from ostinato.service.state.redis.document import RedisDocument

    return RedisDocument(redis_address(settings.state))


def most_sessions(settings: Settings) -> int:
    """How many sessions of a model version may be live in the store that ``settings.state`` names."""
    if settings.max_sessions is not None:
        return settings.max_sessions
    return MAX_SESSIONS_IN_MEMORY if settings.state.startswith("memory:") else MAX_SESSIONS


def _open_lmdb(settings: Settings) -> LmdbStore:
    folder, _, query = settings.state.removeprefix("lmdb://").partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    sync, recover = options.pop("sync", "second"), options.pop("recover", "no")
    if not folder or options or sync not in ("second", "always") or recover not in ("no", "yes"):
        raise ValueError(
            f"--state {settings.state!r}: it is lmdb://PATH, with ?sync=always to have each answer wait for the disk, "
            "and with ?recover=yes to take what is there of a folder that is damaged or not whole"
        )
    return LmdbStore(
        _folder(folder),
        tombstone_seconds=settings.tombstone_seconds,
        memory_budget=settings.memory_budget,
        sync_always=sync == "always",
        recovers=recover == "yes",
        record_schema=settings.record_schema,
        max_sessions=most_sessions(settings),
    )


def _folder(written: str) -> Path:
    """lmdb://state is a folder here, lmdb:///var/state is one from the root."""
    return Path(unquote(written))
