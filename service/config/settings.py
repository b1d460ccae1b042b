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
        "Folder that is served: in it is a folder <model>/<version>/ for each version. One that is a version itself, "
        "or whose folders are, as KServe mounts it, is served under the names in its manifests.",
        Topic.MODELS,
    )
    models: str = setting(
        "",
        "Sources of models that are fetched into the repository before the server starts, separated by commas or "
        "spaces. Each is a folder, an archive, https://, s3://, oci:// or bentoml:NAME:TAG, with #sha256:HEX after it "
        "to check it. docs/sources.md has them all.",
        Topic.MODELS,
        left_out="nothing is fetched",
        secret=True,
        absolute=absolute_sources,
    )
    require_models: bool = setting(
        False,
        "Whether a version that failed a check keeps the service unready. Otherwise the others are served meanwhile.",
        Topic.MODELS,
    )
    watch: bool = setting(
        False,
        "Whether versions that come to the repository are loaded by themselves. One is loaded when its folder has all "
        "its files and has not changed for two seconds. Those that go stay served until the server ends.",
        Topic.MODELS,
    )
    load_seconds: Seconds = setting(
        60.0,
        "How long a version may take to be loaded and checked, in a process of its own, before it is given up; 0 = for "
        "ever. A second more for each megabyte of its files.",
        Topic.MODELS,
    )
    load_memory: ByteCount | None = setting(
        None,
        "Memory that a version may take to be loaded and checked, as 16GiB. Never more than the machine, or the "
        "container, has left.",
        Topic.MODELS,
        left_out="8GiB, and 8 bytes for each of its files",
    )

    device: Literal["cpu", "cuda"] = setting(
        "cpu",
        "Where models with sessions run: cpu, or cuda, the first GPU that CUDA sees (the extra cuda). On a GPU every "
        "run has one shape, live and offline, and the states are in its memory. docs/device.md has the promise "
        "there.",
        Topic.MODELS,
    )
    device_rows: RunRows | None = setting(
        None,
        "Rows of every run on a GPU. With another number answers differ in their last bits, so servers and offline "
        "runs whose answers must be equal need the same. No more than max_queue_rows of them are ever in use.",
        Topic.MODELS,
        left_out="measured once, and kept next to the version",
    )

    state: str = setting(
        "lmdb://state",
        "Store of the sessions: lmdb://PATH, redis://HOST:PORT/DB, or memory:// (lost at exit). lmdb:// is files of "
        "this machine that its workers share, with ?sync=always on the disk before each answer and else within a "
        "second. redis://, redis+sentinel://HOST,HOST/SERVICE/DB and redis+cluster://HOST,HOST are shared by any "
        "number of replicas. memory:// serves one worker.",
        Topic.SESSIONS,
        secret=True,
        absolute=absolute_address,
    )
    record_schema: Positive = setting(
        3,
        "Schema of the records that are written to the store. This release's own, or the one before, as long as "
        "replicas of the release before are live. Both are read.",
        Topic.SESSIONS,
    )
    memory_budget: ByteCount = setting(
        ByteSize(1024**3),
        "Memory for the sessions used last, in each worker, as 512MiB. The others come back from the store. memory:// "
        "has no other place and ignores it.",
        Topic.SESSIONS,
    )
    max_sessions: Positive | None = setting(
        None,
        "Live sessions per model version in the whole store, inclusive; memory:// is the store where it is used. One "
        "more is refused with 429: opened, forked or begun by its first chunk. Where several workers or replicas open "
        "sessions at once, there may be some more: each counts the others' now and then.",
        Topic.SESSIONS,
        left_out="100000 in memory://, 10000000 else",
    )
    ttl_seconds: LifeSeconds = setting(
        3600.0,
        "How long a session lives without a chunk, a reset or a state that is set, unless it was opened with another; "
        "0 = for ever. Otherwise at least a millisecond.",
        Topic.SESSIONS,
    )
    tombstone_seconds: Seconds = setting(
        300.0, "How long a closed or expired session's id answers 410 before it is forgotten.", Topic.SESSIONS
    )

    host: str = setting(
        "127.0.0.1", "IPv4 or IPv6 address to listen on; 0.0.0.0 = every one of this machine.", Topic.ADDRESSES
    )
    port: PortNumber = setting(3000, "TCP port to listen on; 0 = any free one.", Topic.ADDRESSES)
    workers: Positive = setting(1, "Processes that share the port.", Topic.ADDRESSES)
    grpc_port: PortNumber | None = setting(
        None, "TCP port for gRPC at the same address; 0 = any free one.", Topic.ADDRESSES, left_out="no gRPC"
    )
    certificate: Path | None = setting(
        None,
        "File in PEM with the certificate, and those that signed it, for TLS at both ports. A file that replaces it is "
        "used for new connections.",
        Topic.ACCESS,
        left_out="no TLS",
    )
    certificate_key: Path | None = setting(
        None, "File in PEM with the key of that certificate.", Topic.ACCESS, left_out="no TLS"
    )
    client_authorities: Path | None = setting(
        None,
        "File with certificates in PEM: only clients with a certificate that these signed are let in.",
        Topic.ACCESS,
        left_out="any client",
    )
    open: bool = setting(
        False,
        "Whether anyone who reaches the server may use it, though there are no keys. Without keys, and without this, "
        "it listens at this machine's own addresses alone, answers to their names, and takes no post of unnamed "
        "content.",
        Topic.ACCESS,
    )
    allow_host: str = setting(
        "",
        "Names that a server which is neither open nor has keys answers to, in addition to this machine's own, "
        "separated by commas. A proxy on this machine sends such a name as Host.",
        Topic.ACCESS,
        left_out="localhost, 127.0.0.1, [::1]",
    )
    keys: Path | None = setting(
        None,
        "File of the keys that every request must show, as 'ostinato keys new' makes it. It is read again when it "
        "changes. Left out, anyone who reaches the server may use it: those of this machine, or, with open, all.",
        Topic.ACCESS,
        left_out="no keys",
    )
    allow_origin: AllowedOrigins = setting(
        "",
        "Sites whose pages may use this server from a browser, as https://a.example, separated by commas; * = all. The "
        "server's own may, and so may clients that send no Origin: all except browsers.",
        Topic.ACCESS,
        left_out="the server's own",
    )

    console: bool = setting(
        True,
        "Whether /console is a page in the browser to look through: models, sessions, streams, forecasts; and /docs/ "
        "these pages, where they are built in. Both need no key to be loaded, and whatever the console then asks does, "
        "as of any client.",
        Topic.ACCESS,
    )

    max_batch_size: Positive = setting(256, "Rows in one iteration, inclusive.", Topic.LIMITS)
    max_iteration_steps: Positive = setting(
        64, "Steps that one iteration runs of a chunk or sequence, inclusive.", Topic.LIMITS
    )
    max_queue_rows: Positive = setting(
        4096,
        "Rows (a session's chunk, a sequence of predict) accepted and not yet answered, per model version. One more is "
        "refused with 429.",
        Topic.LIMITS,
    )
    max_chunk_steps: Positive = setting(10_000, "Steps of one chunk or one sequence, inclusive.", Topic.LIMITS)
    max_horizon: Positive = setting(1_000, "Steps of one forecast, inclusive.", Topic.LIMITS)
    max_source_steps: Positive = setting(
        1_000, "Steps of what an encoder reads, or symbols of a prompt, inclusive.", Topic.LIMITS
    )
    max_output_steps: Positive = setting(
        1_000,
        "Steps of one output that is generated, inclusive. As many are made where a request names no number and no "
        "symbol stops them.",
        Topic.LIMITS,
    )
    max_beams: Positive = setting(64, "Beams, or outputs for one input, inclusive.", Topic.LIMITS)
    max_body_bytes: Positive = setting(
        16 * 1024 * 1024,
        "Size of a request's body in bytes, inclusive. In it the rows, sequences and inputs are counted before one is "
        "read, and more than max_queue_rows are refused with 413.",
        Topic.LIMITS,
    )
    max_connections: Positive = setting(
        10_000,
        "Connections that are open at once, in each worker, inclusive. One more is refused with 503. Fewer where the "
        "system's limit on open files (which is raised to the hard one) is lower.",
        Topic.LIMITS,
    )
    max_stream_frames: Positive = setting(
        1024,
        "Frames of one WebSocket stream, or requests of one gRPC stream, accepted and not yet answered, inclusive. "
        "Further ones wait in its connection.",
        Topic.LIMITS,
    )

    head_seconds: Seconds = setting(
        10.0,
        "How long a request's head may take from its first byte, and a new connection until it; 0 = for ever.",
        Topic.TIMES,
    )
    connection_seconds: Seconds = setting(
        0.0,
        "How old a connection may get; then it ends with its next answer (one of gRPC with its last call), and its "
        "client makes another, perhaps to a replica that came later. 0 = any age. WebSocket streams continue.",
        Topic.TIMES,
    )
    deadline_seconds: Seconds = setting(
        30.0,
        "How long a request may take from its arrival, and its answer stay unread; 0 = for ever. A body that does not "
        "come, and an answer that is not read, then have 60 times head_seconds.",
        Topic.TIMES,
    )
    stream_idle_seconds: Seconds = setting(
        300.0,
        "How long a stream may have no message of its client and nothing under way; 0 = for ever. Then it is closed.",
        Topic.TIMES,
    )
    stream_ping_seconds: Seconds = setting(
        20.0,
        "How often a stream's client is pinged, and how long its pong may take; 0 = it is not pinged.",
        Topic.TIMES,
    )
    busy_poll_seconds: Seconds = setting(
        0.0,
        "How long a worker looks for the next step after the last one before it sleeps, as 0.001: steps of few clients "
        "are answered sooner. While there are any the worker takes a whole core, and what it does in a thread (large "
        "requests, stores of files) waits longer for its turn. 0 = it sleeps at once.",
        Topic.TIMES,
    )
    drain_seconds: Seconds = setting(25.0, "How long work in flight may take after SIGTERM.", Topic.TIMES)
    inline_run_seconds: Seconds = setting(
        0.005,
        "Graphs of which one step of a full batch takes longer run in a thread, so that the event loop stays free to "
        "read and write.",
        Topic.TIMES,
    )

    log_format: Literal["text", "json"] = setting(
        "text",
        "How a line of the log is written. In JSON it is one object, with the request's id, trace and key where it "
        "is about one.",
        Topic.LOGS,
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "The least level of the lines that are written.", Topic.LOGS
    )
    access_log: Share = setting(
        0.0,
        "Share of the requests of which the log has a line each; 1 = all. Unless it is 0, those that fail with a "
        "status of 500 and more are all there.",
        Topic.LOGS,
    )
    traces: CollectorUrl = setting(
        "",
        "Collector of OpenTelemetry that spans of requests are sent to by OTLP over HTTP, as http://collector:4318. "
        "The variables OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and OTEL_EXPORTER_OTLP_HEADERS "
        "are used.",
        Topic.LOGS,
        left_out="no traces",
    )
