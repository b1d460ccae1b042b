"""A small ``wrk``: the options and the last line that ``benchmarks.load.wrk`` knows."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

from ostinato.tools.load import Script, closed_loop

SECONDS = 0.2


def read_requests(content: bytes) -> list[bytes]:
    """Requests as the Lua script reads them: a line with the length, then so many bytes."""
    requests = []
    while content:
        length, _, rest = content.partition(b"\n")
        requests.append(rest[: int(length)])
        content = rest[int(length) :]
    return requests


def main() -> None:
    """Load for a moment, whatever time was asked for."""
    parser = argparse.ArgumentParser()
    for option in ("--threads", "--connections", "--duration", "--timeout", "--script"):
        parser.add_argument(option, required=True)
    parser.add_argument("url")
    parser.add_argument("requests", type=Path)
    asked = parser.parse_args()
    requests, num_connections = read_requests(asked.requests.read_bytes()), int(asked.connections)
    scripts = [Script(requests[first::num_connections]) for first in range(num_connections)]
    load = closed_loop(("127.0.0.1", urlsplit(asked.url).port or 0), scripts, SECONDS)
    times = {name: load.percentile(percent) * 1e6 for name, percent in (("p50", 50), ("p99", 99), ("max", 100))}
    answers = {"answers": len(load.ok), "not_ok": load.num_failed, "broken": 0}
    sys.stdout.write(f"summary {json.dumps({**answers, 'microseconds': load.seconds * 1e6, **times})}\n")


if __name__ == "__main__":
    main()
