"""The settings of a server, each written once: a flag of ``ostinato serve``, an environment variable
``OSTINATO_<NAME>`` and a member of the configuration file are made of it, and so are help and docs/configuration.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ByteSize, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ostinato.service.config.collector import CollectorUrl
from ostinato.service.config.origins import AllowedOrigins
from ostinato.service.config.places import absolute_address, absolute_sources
from ostinato.service.config.times import LifeSeconds, Seconds
from ostinato.service.config.traits import PREFIX, Topic, setting

Positive = Annotated[int, Field(ge=1)]
PortNumber = Annotated[int, Field(ge=0, le=65535)]
RunRows = Annotated[int, Field(ge=1, le=65_536)]
Share = Annotated[float, Field(ge=0, le=1)]
ByteCount = Annotated[ByteSize, Field(ge=1)]
"""As ``512MiB``."""


class Settings(BaseSettings):
    """What the operator decides; every default works. Each text says the unit, what 0 means, and what is inclusive."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    repository: Path = setting(
        Path("repository"),
        "Folder that is served. It has a folder <model>/<version>/ for each version. A folder that is a version "
        "itself, or whose folders are, as KServe mounts it, is served under the names in its manifests.",
        Topic.MODELS,
    )
    models: str = setting(
        "",
        "Sources of models that are fetched into the repository before the server starts, separated by commas or "
        "spaces. Each is a folder, an archive, https://, s3://, oci:// or bentoml:NAME:TAG. #sha256:HEX after a "
        "source is its checksum. docs/sources.md lists all forms.",
        Topic.MODELS,
        left_out="nothing is fetched",
        secret=True,
        absolute=absolute_sources,
    )
    require_models: bool = setting(
        False,
        "Whether a version that failed a check keeps the service from being ready. Otherwise the other versions are "
        "served.",
        Topic.MODELS,
    )
    watch: bool = setting(
        False,
        "Whether versions that are added to the repository are loaded without a command. A version is loaded when its "
        "folder has all its files and has not changed for two seconds. Versions that are removed stay served until "
        "the server ends.",
        Topic.MODELS,
    )
    load_seconds: Seconds = setting(
        60.0,
        "How long a version may take to be loaded and checked in a process of its own; 0 = any time. One second is "
        "added for each megabyte of its files.",
        Topic.MODELS,
    )
    load_memory: ByteCount | None = setting(
        None,
        "Memory that a version may use while it is loaded and checked, as 16GiB. It never gets more than the machine, "
        "or the container, has left.",
        Topic.MODELS,
        left_out="8GiB, and 8 bytes for each of its files",
    )

    device: Literal["cpu", "cuda"] = setting(
        "cpu",
        "Where models with sessions run: on the CPU, or with cuda on the first GPU that CUDA finds (this needs the "
        "extra cuda). On a GPU every run has one shape, live and offline, and the states are in its memory. "
        "docs/device.md says what is promised there.",
        Topic.MODELS,
    )
    device_rows: RunRows | None = setting(
        None,
        "Rows of every run on a GPU. With another number, answers differ in their last bits. So servers and offline "
        "runs whose answers must be equal need the same number. No more than max_queue_rows of them are ever in use.",
        Topic.MODELS,
        left_out="measured once, and kept next to the version",
    )

    state: str = setting(
        "lmdb://state",
        "Store of the sessions: lmdb://PATH, redis://HOST:PORT/DB, or memory:// (lost at exit). lmdb:// keeps files "
        "on this machine, which its workers share. Commits are on the disk within a second, or with ?sync=always "
        "before each answer. redis://, redis+sentinel://HOST,HOST/SERVICE/DB and redis+cluster://HOST,HOST are shared "
        "by any number of replicas. memory:// serves one worker.",
        Topic.SESSIONS,
        secret=True,
        absolute=absolute_address,
    )
    record_schema: Positive = setting(
        3,
        "Schema of the records that are written to the store: this release's own, or the one before while replicas of "
        "the release before are live. Both are read.",
        Topic.SESSIONS,
    )
    memory_budget: ByteCount = setting(
        ByteSize(1024**3),
        "Memory in each worker for the sessions that were used last, as 512MiB. The others are read from the store "
        "when they are used. memory:// has no other place and ignores it.",
        Topic.SESSIONS,
    )
    max_sessions: Positive | None = setting(
        None,
        "The most live sessions of a model version in the whole store, inclusive. One more is refused with 429, "
        "whether it is opened, forked or begun by its first chunk. There may be a few more where several workers or "
        "replicas open sessions at the same time, because each counts the others' sessions only from time to time.",
        Topic.SESSIONS,
        left_out="100000 in memory://, 10000000 else",
    )
    ttl_seconds: LifeSeconds = setting(
        3600.0,
        "How long a session lives after its last chunk, reset or change of state, unless it was opened with a time of "
        "its own; 0 = for ever. Any other time is at least a millisecond.",
        Topic.SESSIONS,
    )
    tombstone_seconds: Seconds = setting(
        300.0,
        "How long the id of a closed or expired session is answered with 410, before it is forgotten.",
        Topic.SESSIONS,
    )

    host: str = setting(
        "127.0.0.1", "IPv4 or IPv6 address to listen on; 0.0.0.0 = all addresses of this machine.", Topic.ADDRESSES
    )
    port: PortNumber = setting(3000, "TCP port to listen on; 0 = any free port.", Topic.ADDRESSES)
    workers: Positive = setting(1, "Worker processes that share the port.", Topic.ADDRESSES)
    grpc_port: PortNumber | None = setting(
        None, "TCP port for gRPC at the same address; 0 = any free port.", Topic.ADDRESSES, left_out="no gRPC"
    )
    certificate: Path | None = setting(
        None,
        "PEM file with the certificate, and those that signed it, for TLS on both ports. A file that replaces it is "
        "used for new connections.",
        Topic.ACCESS,
        left_out="no TLS",
    )
    certificate_key: Path | None = setting(
        None, "PEM file with the key of that certificate.", Topic.ACCESS, left_out="no TLS"
    )
    client_authorities: Path | None = setting(
        None,
        "PEM file with certificates of authorities. Only clients with a certificate that one of them signed are "
        "accepted.",
        Topic.ACCESS,
        left_out="any client",
    )
    open: bool = setting(
        False,
        "Whether anyone who can reach the server may use it, although there are no keys. Without keys and without "
        "this, it listens only on this machine's own addresses, answers only to their names, and refuses a POST "
        "without a Content-Type.",
        Topic.ACCESS,
    )
    allow_host: str = setting(
        "",
        "Names to which a server answers that is not open and has no keys, in addition to this machine's own names, "
        "separated by commas. A proxy on this machine sends such a name as Host.",
        Topic.ACCESS,
        left_out="localhost, 127.0.0.1, [::1]",
    )
    keys: Path | None = setting(
        None,
        "File with the keys that are accepted, as 'ostinato keys new' writes it. Every request must show one of them. "
        "The file is read again when it changes.",
        Topic.ACCESS,
        left_out="no keys",
    )
    allow_origin: AllowedOrigins = setting(
        "",
        "Sites whose pages may use this server from a browser, as https://a.example, separated by commas; * = all. "
        "The server's own pages always may, and so may clients that send no Origin, as all programs except browsers.",
        Topic.ACCESS,
        left_out="the server's own",
    )

    console: bool = setting(
        True,
        "Whether /console serves a page that shows models, sessions, streams and forecasts, and /docs/ these pages, "
        "if they are built in. The pages need no key, but the requests of the console do, as those of any client.",
        Topic.ACCESS,
    )

    max_batch_size: Positive = setting(256, "Rows in one iteration, inclusive.", Topic.LIMITS)
    max_iteration_steps: Positive = setting(
        64, "Steps of a chunk or sequence that one iteration runs, inclusive.", Topic.LIMITS
    )
    max_queue_rows: Positive = setting(
        4096,
        "Rows that are accepted and not yet answered, of each model version. A row is a session's chunk or a sequence "
        "of predict. One more is refused with 429.",
        Topic.LIMITS,
    )
    max_chunk_steps: Positive = setting(10_000, "Steps of one chunk or one sequence, inclusive.", Topic.LIMITS)
    max_horizon: Positive = setting(1_000, "Steps of one forecast, inclusive.", Topic.LIMITS)
    max_source_steps: Positive = setting(
        1_000, "Steps of a source that an encoder reads, or symbols of a prompt, inclusive.", Topic.LIMITS
    )
    max_output_steps: Positive = setting(
        1_000,
        "Steps of one output that is generated, inclusive. An output has so many if the request names no number and "
        "no symbol ends it.",
        Topic.LIMITS,
    )
    max_beams: Positive = setting(64, "Beams, or outputs for one input, inclusive.", Topic.LIMITS)
    max_body_bytes: Positive = setting(
        16 * 1024 * 1024,
        "Size of a request's body in bytes, inclusive. Its rows, sequences and inputs are counted before one is read, "
        "and more than max_queue_rows are refused with 413.",
        Topic.LIMITS,
    )
    max_connections: Positive = setting(
        10_000,
        "Connections that are open at the same time in each worker, inclusive. One more is refused with 503. There "
        "are fewer if the system's hard limit on open files is lower.",
        Topic.LIMITS,
    )
    max_stream_frames: Positive = setting(
        1024,
        "Frames of one WebSocket stream, or requests of one gRPC stream, that are accepted and not yet answered, "
        "inclusive. Later ones wait in the connection.",
        Topic.LIMITS,
    )

    head_seconds: Seconds = setting(
        10.0,
        "How long a new connection may take until its first byte, and the head of a request from its first byte; 0 = "
        "any time.",
        Topic.TIMES,
    )
    connection_seconds: Seconds = setting(
        0.0,
        "How old a connection may get; 0 = any age. Then it ends with its next answer (with gRPC, its last call), and "
        "the client opens another, perhaps to a newer replica. WebSocket streams continue.",
        Topic.TIMES,
    )
    deadline_seconds: Seconds = setting(
        30.0,
        "How long a request may take from its arrival, and how long its answer may stay unread; 0 = any time. With 0, "
        "a body that does not come and an answer that is not read still have only 60 times head_seconds.",
        Topic.TIMES,
    )
    stream_idle_seconds: Seconds = setting(
        300.0,
        "How long a stream may be without a message of its client and without work under way; 0 = any time. Then it "
        "is closed.",
        Topic.TIMES,
    )
    stream_ping_seconds: Seconds = setting(
        20.0,
        "Time between two pings to the client of a stream, and how long its pong may take; 0 = no pings.",
        Topic.TIMES,
    )
    busy_poll_seconds: Seconds = setting(
        0.0,
        "How long a worker looks for the next step before it sleeps, as 0.001; 0 = it sleeps at once. Steps of few "
        "clients are then answered sooner. Meanwhile the worker uses a whole core, and its threads (large requests, "
        "stores in files) wait longer for their turn.",
        Topic.TIMES,
    )
    drain_seconds: Seconds = setting(25.0, "How long work that was accepted may take after SIGTERM.", Topic.TIMES)
    inline_run_seconds: Seconds = setting(
        0.005,
        "A graph runs in a thread if one step of a full batch takes longer than this, so that the event loop stays "
        "free to read and write.",
        Topic.TIMES,
    )

    log_format: Literal["text", "json"] = setting(
        "text",
        "Form of the lines of the log. In JSON a line is one object, with the id, trace and key of the request that "
        "it is about.",
        Topic.LOGS,
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "The lowest level of the lines that are written.", Topic.LOGS
    )
    access_log: Share = setting(
        0.0,
        "Share of the requests that are logged; 0 = none, 1 = all. Unless it is 0, all requests that fail with a "
        "status of 500 or more are logged.",
        Topic.LOGS,
    )
    traces: CollectorUrl = setting(
        "",
        "OpenTelemetry collector that gets the spans of requests by OTLP over HTTP, as http://collector:4318. The "
        "variables OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_EXPORTER_OTLP_HEADERS "
        "are used.",
        Topic.LOGS,
        left_out="no traces",
    )
