"""The conditions under which histories are played: every store, alone and shared, calm and disturbed."""

from __future__ import annotations

from tests.histories.play import FEW_IN_MEMORY, SHORT_LIVES, SOON_FORGOTTEN, Conditions

SHORT = (
    Conditions("alone-memory", "memory", num_clients=1),
    Conditions("alone-lmdb", "lmdb", num_replicas=2, num_clients=1),
    Conditions("alone-redis", "redis", num_replicas=2, num_clients=1),
    Conditions("memory", "memory"),
    Conditions("memory-crowded", "memory", settings={"max_sessions": 2}),
    Conditions("lmdb", "lmdb", settings=FEW_IN_MEMORY),
    Conditions("lmdb-two", "lmdb", num_replicas=2),
    Conditions("redis", "redis", settings=FEW_IN_MEMORY),
    Conditions("redis-two", "redis", num_replicas=2),
    Conditions("redis-lossy", "redis", num_replicas=2, lost_to_clients=0.01, lost_to_store=0.04),
    Conditions("memory-expiry", "memory", settings=SOON_FORGOTTEN, ttl_seconds=SHORT_LIVES),
    Conditions("lmdb-expiry", "lmdb", num_replicas=2, settings=SOON_FORGOTTEN, ttl_seconds=SHORT_LIVES),
    Conditions("redis-expiry", "redis", num_replicas=2, settings=SOON_FORGOTTEN, ttl_seconds=SHORT_LIVES),
)
"""Within one process, in seconds."""

LONG = (
    Conditions("memory", "memory", lost_to_clients=0.01, settings={"tombstone_seconds": 2.0}),
    Conditions(
        *("lmdb", "lmdb"),
        num_replicas=2,
        lost_to_clients=0.01,
        settings=FEW_IN_MEMORY | {"tombstone_seconds": 2.0},
        pauses=True,
        kill_share=0.02,
    ),
    Conditions(
        *("redis", "redis"),
        num_replicas=2,
        lost_to_clients=0.01,
        lost_to_store=0.02,
        settings={"tombstone_seconds": 2.0},
        pauses=True,
        kill_share=0.02,
    ),
)
"""Servers, which are paused and, where sessions outlive them, killed, for each store."""
