"""Sizes: what a number of sessions takes, from what one worker was measured to do. Nothing here asks a machine."""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple

StoreKind = Literal["redis", "lmdb", "memory"]

MIB, GIB = 1 << 20, 1 << 30
SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}
UNIT_SECONDS = {"s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "hour": 3600, "d": 86_400, "day": 86_400}

PARENT_BYTES, WORKER_BYTES = 160 * MIB, 260 * MIB
"""What the parent of the workers takes, and each of them with its models, its sessions apart."""
KEY_BYTES = 230
"""What Redis takes for a session in addition to its record: key, entry and expiry."""
PAGE_BYTES = 4096
LEAF_RECORD_BYTES = 2000
"""A larger record has pages of its own in LMDB."""
LEAF_FILL = 0.38
"""The share of LMDB's pages that smaller records fill when their ids come in no order."""
JOURNAL_BYTES = 512 * MIB
"""At most what `lmdb://` has in its journal."""


class Demand(NamedTuple):
    """What is asked: live ``sessions``, and the steps a second of all of them together."""

    sessions: int
    steps_per_second: float


class SessionBytes(NamedTuple):
    """Bytes of one session: of its ``record`` in a store, and in a worker's ``memory``."""

    record: int
    memory: int


class Margins(NamedTuple):
    """How full things are to be.

    Attributes:
        busy: share of a worker's, and of a shard's, most that is planned for; the rest is for bursts, and for who takes
            over when one fails.
        spare: replicas beyond what the load takes.
        memory_budget: bytes for the sessions used last, in each worker.
        shard_bytes: memory of one Redis server.
        shard_changes: changes a second of one Redis server at most.
        copies: of each shard, its own included.
    """

    busy: float = 0.5
    spare: int = 1
    memory_budget: int = GIB
    shard_bytes: int = 16 * GIB
    shard_changes: float = 75_000.0
    copies: int = 2


class Capacity(NamedTuple):
    """What it takes. Bytes and counts are of all together, but for ``replica_bytes``.

    Attributes:
        replicas: of one worker and one core each; of `lmdb://` and `memory://`, the workers of one machine.
        replica_bytes: memory of each.
        resident: share of the sessions that the workers' memory holds together.
        shards: Redis servers that have keys; 0 = no Redis.
        redis_bytes, redis_servers: of all, with their copies.
        changes_per_second, reads_per_second: what Redis is asked.
        disk_bytes: of `lmdb://`.
        core_seconds: of a processor for a million steps: what is planned, and not what is used.
        memory_bytes: of all machines.
    """

    replicas: int
    replica_bytes: int
    resident: float
    shards: int
    redis_bytes: int
    redis_servers: int
    changes_per_second: float
    reads_per_second: float
    disk_bytes: int
    core_seconds: float
    memory_bytes: int


def size_of(demand: Demand, model: SessionBytes, store: StoreKind, worker_rate: float, limits: Margins) -> Capacity:
    """What a demand takes.

    Args:
        worker_rate: steps a second of one worker at most, as measured with this store.
    """
    workers = max(1, math.ceil(demand.steps_per_second / (worker_rate * limits.busy)))
    replicas = workers + limits.spare if store == "redis" else workers
    everything = demand.sessions * model.memory
    held = everything if store == "memory" else min(everything, replicas * limits.memory_budget)
    replica_bytes = PARENT_BYTES + WORKER_BYTES + math.ceil(held / replicas)
    resident = held / everything if everything else 1.0
    shards = redis_bytes = redis_servers = 0
    reads = 0.0
    if store == "redis":
        stored = demand.sessions * (model.record + KEY_BYTES)
        reads = demand.steps_per_second * (1 - resident)
        by_memory = stored / limits.shard_bytes
        by_rate = (demand.steps_per_second + reads) / (limits.shard_changes * limits.busy)
        shards = max(1, math.ceil(max(by_memory, by_rate)))
        redis_bytes, redis_servers = stored * limits.copies, shards * limits.copies
    disk_bytes = demand.sessions * disk_bytes_of(model.record) + JOURNAL_BYTES if store == "lmdb" else 0
    memory_bytes = replicas * replica_bytes + redis_bytes
    # A shard is one core, busy or not.
    cores = replicas + redis_servers
    core_seconds = cores / demand.steps_per_second * 1e6 if demand.steps_per_second else math.inf
    changes = demand.steps_per_second if store == "redis" else 0.0
    return Capacity(
        replicas,
        replica_bytes,
        resident,
        shards,
        redis_bytes,
        redis_servers,
        changes,
        reads,
        disk_bytes,
        core_seconds,
        memory_bytes,
    )


def cost_of(size: Capacity, demand: Demand, core_hour: float, gib_hour: float) -> float:
    """What a million steps cost, by the price of a core and of a GiB of memory for an hour."""
    memory = size.memory_bytes / GIB * gib_hour / 3600 / demand.steps_per_second * 1e6
    return size.core_seconds / 3600 * core_hour + memory


def disk_bytes_of(record: int) -> int:
    """What a record takes in the database of `lmdb://`, all pages counted."""
    if record <= LEAF_RECORD_BYTES:
        return math.ceil(record / LEAF_FILL)
    return math.ceil((record + 16) / PAGE_BYTES) * PAGE_BYTES + math.ceil(64 / LEAF_FILL)


def read_count(text: str) -> int:
    """A number of sessions, as ``250000``, ``10M`` or ``2.5k``.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"([0-9][0-9_,]*\.?[0-9]*|\.[0-9]+)([kKmMbBgG]?)", text.strip())
    count = float(re.sub("[_,]", "", found[1])) * SUFFIXES[found[2].lower()] if found else 0.0
    if count < 1:
        raise ValueError(f"{text!r} is no number of sessions, as 250000, 10M or 2.5k are")
    return round(count)


def read_rate(text: str) -> float:
    """Steps a second, from ``4/s``, ``1/min``, ``0.5/h`` or a number.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"([0-9]*\.?[0-9]+)(?:\s*/\s*([a-z]+))?", text.strip().lower())
    if not found or float(found[1]) <= 0 or (found[2] or "s") not in UNIT_SECONDS:
        raise ValueError(f"{text!r} is no rate, as 4/s, 1/min, 0.5/h or 3/day are")
    return float(found[1]) / UNIT_SECONDS[found[2] or "s"]
