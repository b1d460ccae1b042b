"""Targets 21 and 22: what a second worker brings, and what traces cost; 256 sessions, one step a request."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.rows.http_steps import measure
from benchmarks.workloads import NUM_SESSIONS


def two_workers(bench: Bench) -> None:
    """One worker and two, both over lmdb, since workers share sessions by a store."""
    measure(bench, NUM_SESSIONS, "workers", "ostinato-lmdb", "ostinato-two-workers")


def traces(bench: Bench) -> None:
    """Without traces and with them."""
    measure(bench, NUM_SESSIONS, "traces", "ostinato", "ostinato-traced")
