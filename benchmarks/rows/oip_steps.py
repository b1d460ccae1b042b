"""Target 20: one step a request by the Open Inference Protocol, in binary tensors, beside /v1 and Triton."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.rows.http_steps import measure
from benchmarks.workloads import NUM_SESSIONS

SUBJECTS = ("ostinato", "ostinato-v2", "triton", "triton-binary")


def many_sessions(bench: Bench) -> None:
    """256 sessions in closed loop, each with a connection of its own."""
    measure(bench, NUM_SESSIONS, "oip/256", *SUBJECTS)


def one_session(bench: Bench) -> None:
    """One client, one session."""
    measure(bench, 1, "oip/1", *SUBJECTS)
