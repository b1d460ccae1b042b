"""The settings of a server, each an environment variable ``OSTINATO_<NAME>`` and most of them a flag of
``ostinato serve``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ByteSize, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "OSTINATO_"
Positive = Annotated[int, Field(ge=1)]
MIN_TTL_SECONDS, MAX_TTL_SECONDS = 0.001, 1e9
"""Of a session that expires. Less is not seen on a clock; more than 31 years might as well be for ever (0)."""


def is_time_to_live(seconds: float) -> bool:
    """Whether a session can have that, where what it can have is at most ``MAX_TTL_SECONDS``; 0 = it never expires."""
    return seconds == 0 or seconds >= MIN_TTL_SECONDS


def _check_time_to_live(seconds: float) -> float:
    if not is_time_to_live(seconds):
        raise ValueError(f"0, for ever, or at least {MIN_TTL_SECONDS:g} s")
    return seconds


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


NotNegative = Annotated[float, Field(ge=0, le=MAX_TTL_SECONDS, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What the operator decides; every default works.

    Attributes:
        repository: the folder ``<repository>/<model>/<version>/`` that is served.
        require_models: whether a version that failed a check keeps the service unready; else the others are served
            meanwhile.
        state: the store of the sessions: ``lmdb://PATH``, files of this machine that its workers share, with
            ``?sync=always`` on the disk before each answer and else within a second; ``redis://HOST:PORT/DB``,
            ``redis+sentinel://HOST,HOST/SERVICE/DB`` or ``redis+cluster://HOST,HOST``, shared by any number of
            replicas; ``memory://``, which is lost at exit and serves one worker.
        record_schema: schema of the records that are written to the store: this release's own, or the one before, as
            long as replicas of the release before are live. Both are read.
        memory_budget: bytes of memory for sessions, in each worker, as ``512MiB``: those used last are kept there, and
            the others come back from the store. ``memory://`` has no other place and does not heed it.
        host: the IPv4 or IPv6 address that is listened on.
        port: the TCP port that is listened on.
        grpc_port: the TCP port for gRPC at the same address. Left out: there is none; 0 = any free one.
        grpc_certificate: file with the certificate, and those that vouch for it, in PEM, for TLS at that port; one that
            is put in its place is taken for new connections.
        grpc_key: file with its key.
        grpc_client_authorities: file with certificates in PEM: only who has one that these vouch for may come.
        workers: processes that share the port.
        max_batch_size: rows in one iteration, inclusive.
        max_iteration_steps: steps that one iteration runs of a chunk or sequence, inclusive.
        max_queue_rows: rows (a session's chunk, a sequence of ``predict``) accepted and not yet answered, per model
            version; one more is refused with 429.
        max_sessions: live sessions per model version in the whole store, inclusive; one more is refused with 429, be it
            opened, forked or begun by its first chunk. Left out: 100,000 in ``memory://``, which holds them in memory,
            and 10 million in the other stores. Where several workers or replicas open sessions at once, there may be
            some more: each counts the others' now and then.
        max_chunk_steps: steps of one chunk or one sequence, inclusive.
        max_horizon: steps of one forecast, inclusive.
        max_source_steps: steps of what an encoder reads, or symbols of a prompt, inclusive.
        max_output_steps: steps of one output that is generated, inclusive; as many are made where a request says
            nothing and no symbol stops them.
        max_beams: beams, or outputs for one input, inclusive.
        max_body_bytes: size of a request's body, inclusive.
        max_connections: connections that are open at once, in each worker, inclusive; one more is refused with 503.
            Fewer where the system's limit on open files is lower.
        allow_origin: sites whose pages may use this server from a browser, as ``https://a.example``, separated by
            commas; ``*`` = all. The server's own may, and so may whoever sends no ``Origin``, as all but browsers.
        head_seconds: how long a request's head may take from its first byte, and a new connection until it; 0 = for
            ever.
        ttl_seconds: how long a session may go without a chunk, a reset or a state put there, unless it says otherwise;
            at least a millisecond, or 0 = for ever.
        tombstone_seconds: how long a closed or expired id answers 410 before it is forgotten.
        deadline_seconds: how long a request may take from its arrival, and its answer stay unread; 0 = for ever. A body
            that does not come, and an answer that is not read, then have 60 times ``head_seconds``.
        max_stream_frames: frames of one WebSocket stream accepted and not yet answered, inclusive; further ones wait
            in its connection.
        stream_idle_seconds: how long a stream may go without a message of its client's and with nothing under way
            before it is closed; 0 = for ever.
        stream_ping_seconds: how often a stream's client is asked for a sign of life, and how long it may take to give
            one; 0 = it is not asked.
        drain_seconds: how long work in flight may take after SIGTERM.
        load_seconds: how long a version may take to be loaded and checked, in a process of its own, before it is given
            up; a second more for each megabyte of its files, and 0 = for ever.
        load_memory: bytes of memory that this may take, as ``16GiB``. Left out: 8 GiB, and 8 for each byte of the
            version's files. Never more than the machine, or the container, has left.
        inline_run_seconds: graphs of which one step of a full batch takes longer run in a thread next to the event
            loop, so that it stays free to read and write.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    repository: Path = Path("repository")
    require_models: bool = False
    # It may hold a password, which nobody reads in a repr.
    state: Annotated[str, Field(repr=False)] = "lmdb://state"
    record_schema: Positive = 2
    memory_budget: Annotated[ByteSize, Field(ge=1)] = ByteSize(1024**3)
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 3000
    grpc_port: Annotated[int, Field(ge=0, le=65535)] | None = None
    grpc_certificate: Path | None = None
    grpc_key: Path | None = None
    grpc_client_authorities: Path | None = None
    workers: Positive = 1
    max_batch_size: Positive = 256
    max_iteration_steps: Positive = 64
    max_queue_rows: Positive = 4096
    max_sessions: Positive | None = None
    max_chunk_steps: Positive = 10_000
    max_horizon: Positive = 1_000
    max_source_steps: Positive = 1_000
    max_output_steps: Positive = 1_000
    max_beams: Positive = 64
    max_body_bytes: Positive = 16 * 1024 * 1024
    max_connections: Positive = 10_000
    allow_origin: Annotated[str, AfterValidator(_check_origins)] = ""
    head_seconds: NotNegative = 10.0
    ttl_seconds: Annotated[NotNegative, AfterValidator(_check_time_to_live)] = 3600.0
    tombstone_seconds: NotNegative = 300.0
    deadline_seconds: NotNegative = 30.0
    max_stream_frames: Positive = 1024
    stream_idle_seconds: NotNegative = 300.0
    stream_ping_seconds: NotNegative = 20.0
    drain_seconds: NotNegative = 25.0
    load_seconds: NotNegative = 60.0
    load_memory: Annotated[ByteSize, Field(ge=1)] | None = None
    inline_run_seconds: NotNegative = 0.005


def read_settings(flags: Mapping[str, object]) -> Settings:
    """The settings that the environment and ``flags`` make, which go before it.

    Raises:
        ValueError: one of them cannot be; in one sentence, which, what it was and what it may be.
    """
    try:
        return Settings(**flags)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = [
            f"{_as_given(str(fault['loc'][0]), flags)} {redacted(str(fault['input']))!r}: "
            f"{fault['msg'][0].lower()}{fault['msg'][1:]}"
            for fault in error.errors()
        ]
    raise ValueError("; ".join(faults))


def unknown_variables(names: Iterable[str]) -> list[str]:
    """A sentence for each variable that has our prefix and is no setting."""
    sentences = []
    for name in sorted(set(names)):
        # A variable is read whatever its case.
        setting = name.lower().removeprefix(PREFIX.lower())
        if setting != name.lower() and setting not in Settings.model_fields:
            close = difflib.get_close_matches(setting, Settings.model_fields, n=1)
            meant = f"; did you mean {PREFIX}{close[0].upper()}?" if close else ""
            sentences.append(f"{name} is no setting and is not heeded{meant}")
    return sentences


def redacted(text: str) -> str:
    """What may be shown of an address: without what it may hold of a user and of passwords."""
    if text.startswith(("lmdb://", "memory://")):
        return text
    hidden = re.sub(r"^([a-z+]*:/*)?.*@", r"\1***@", text, flags=re.DOTALL | re.IGNORECASE)
    return re.sub(r"((?:pass|secret|token)[a-z_]*=)[^&]*", r"\1***", hidden, flags=re.IGNORECASE)


def _as_given(name: str, flags: Mapping[str, object]) -> str:
    """The setting as the user gave it."""
    return f"--{name.replace('_', '-')}" if name in flags else f"{PREFIX}{name.upper()}"
