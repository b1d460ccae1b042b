"""wrk with prebuilt requests: the load generator for plain HTTP."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.errors import SubjectFailed

SCRIPT = Path(__file__).with_name("replay.lua")


class WrkLoad(NamedTuple):
    """What wrk saw: answers 2xx a second, percentiles in seconds, and its own use of its core."""

    num_answers: int
    rate: float
    p50: float
    p99: float
    longest: float
    num_failed: int
    cpu_fraction: float


def encode_requests(requests: Sequence[bytes]) -> bytes:
    """Requests as the script reads them."""
    return b"".join(b"%d\n%s" % (len(request), request) for request in requests)


def command(port: int, num_connections: int, seconds: float, requests_file: Path, core: int) -> list[str]:
    """The command line: one thread, on the load generator's own core."""
    return [
        *("taskset", "-c", str(core), "wrk", "--threads", "1", "--connections", str(num_connections)),
        *("--duration", f"{max(1, round(seconds))}s", "--timeout", "30s", "--script", str(SCRIPT)),
        *(f"http://127.0.0.1:{port}/", "--", str(requests_file)),
    ]


def run(
    port: int, requests: Sequence[bytes], num_connections: int, seconds: float, scratch: Path, core: int
) -> WrkLoad:
    """Send the requests in turn, each connection the next when its last was answered.

    Raises:
        SubjectFailed: wrk is absent, or failed.
    """
    if shutil.which("wrk") is None:
        raise SubjectFailed("wrk is not on PATH: install it (on Debian and Ubuntu: apt-get install wrk)")
    requests_file = scratch / "requests"
    requests_file.write_bytes(encode_requests(requests))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_at = time.perf_counter()
    done = subprocess.run(
        command(port, num_connections, seconds, requests_file, core), capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - began_at
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summaries = [line for line in done.stdout.splitlines() if line.startswith("summary ")]
    if done.returncode or not summaries:
        raise SubjectFailed(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return read_summary(summaries[0], cpu / wall)


def read_summary(line: str, cpu_fraction: float) -> WrkLoad:
    """The script's last line, whose times are microseconds."""
    summary = json.loads(line.removeprefix("summary "))
    num_failed = summary["not_ok"] + summary["broken"]
    num_ok = summary["answers"] - summary["not_ok"]
    return WrkLoad(
        num_answers=summary["answers"],
        rate=num_ok / (summary["microseconds"] / 1e6),
        p50=summary["p50"] / 1e6,
        p99=summary["p99"] / 1e6,
        longest=summary["max"] / 1e6,
        num_failed=num_failed,
        cpu_fraction=cpu_fraction,
    )
