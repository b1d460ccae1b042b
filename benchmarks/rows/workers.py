"""Targets 21 and 22: what a second worker brings, and what traces cost; 256 sessions, one step a request."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.rows.http_steps import measure
from benchmarks.workloads import NUM_SESSIONS


def two_workers(bench: Bench) -> None:
    """One worker and two, both over lmdb, since workers share sessions by a store.

    Where there are two cores the load takes a part of the second worker's: what is judged is the processor's time for a
    step, which says what each of them could do on a core of its own.
    """
    measure(bench, NUM_SESSIONS, "workers", "ostinato-lmdb", "ostinato-two-workers")


def traces(bench: Bench) -> None:
    """Without traces, with those of a hundredth of the requests, and of all."""
    measure(bench, NUM_SESSIONS, "traces", "ostinato", "ostinato-sampled", "ostinato-traced")
