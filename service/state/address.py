"""Addresses of stores, and the stores that they name."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ostinato.service.config import Settings
from ostinato.service.state.base import Store
from ostinato.service.state.durable import MAX_SESSIONS
from ostinato.service.state.lmdb.store import LmdbStore
from ostinato.service.state.memory import MemoryStore

if TYPE_CHECKING:
    from ostinato.service.state.redis.link import RedisAddress

EXAMPLES = "memory://, lmdb://PATH or redis://HOST:PORT/DB"
REDIS_PORT = 6379
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
        return MemoryStore(
            tombstone_seconds=settings.tombstone_seconds, max_sessions=settings.max_sessions or MAX_SESSIONS_IN_MEMORY
        )
    if scheme == "lmdb":
        return _open_lmdb(settings)
    if scheme in ("redis", "rediss"):
        from ostinato.service.state.redis.store import RedisStore

        return RedisStore(
            redis_address(settings.state),
            tombstone_seconds=settings.tombstone_seconds,
            memory_budget=settings.memory_budget,
            record_schema=settings.record_schema,
            max_sessions=settings.max_sessions or MAX_SESSIONS,
        )
    raise ValueError(f"--state {settings.state!r}: there is no such store; there is {EXAMPLES}")


def absolute_address(address: str) -> str:
    """The address of the same store from any working folder."""
    scheme, separator, rest = address.partition("://")
    if scheme != "lmdb":
        return address
    folder, question, options = rest.partition("?")
    return f"lmdb{separator}{quote(str(_folder(folder).absolute()))}{question}{options}"


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
        max_sessions=settings.max_sessions or MAX_SESSIONS,
    )


def _folder(written: str) -> Path:
    """lmdb://state is a folder here, lmdb:///var/state is one from the root."""
    return Path(unquote(written))


def redis_address(state: str) -> RedisAddress:
    """Where a Redis is, by its URL; user and password are percent-encoded.

    Raises:
        ValueError: it is not one.
    """
    from ostinato.service.state.redis.link import RedisAddress

    parts = urlsplit(state)
    # What is wrong is said without the address, which may hold a password.
    usage = "it is redis://USER:PASSWORD@HOST:PORT/DB?timeout_seconds=2, or rediss:// for TLS, of which HOST is needed"
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = parts.path.strip("/")
    try:
        port = parts.port or REDIS_PORT
        timeout_seconds = float(options.pop("timeout_seconds", RedisAddress._field_defaults["timeout_seconds"]))
    except ValueError:
        raise ValueError(f"--state {parts.scheme}://...: its port or timeout_seconds is no number; {usage}") from None
    if not parts.hostname:
        raise ValueError(f"--state {parts.scheme}://...: it names no host; {usage}")
    if options:
        raise ValueError(f"--state {parts.scheme}://...: there is no option {', '.join(options)}; {usage}")
    if not re.fullmatch("[0-9]{0,6}", database) or parts.fragment:
        raise ValueError(f"--state {parts.scheme}://...: the database is a number; {usage}")
    if not 0 < timeout_seconds < math.inf:
        raise ValueError(f"--state {parts.scheme}://...: timeout_seconds is above 0; {usage}")
    if parts.username and parts.password is None:
        raise ValueError(f"--state {parts.scheme}://...: there is a user and no password; {usage}")
    return RedisAddress(
        host=unquote(parts.hostname),
        port=port,
        database=int(database or 0),
        username=unquote(parts.username) if parts.username else None,
        password=None if parts.password is None else unquote(parts.password),
        is_tls=parts.scheme == "rediss",
        timeout_seconds=timeout_seconds,
    )
