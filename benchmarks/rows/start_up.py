"""Target 9: from `ostinato serve` to ready."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.subjects import Ostinato


def start_up(bench: Bench) -> None:
    """Start the service with one model, several times, with nothing else running."""
    for _ in range(bench.options.starts):
        subject = Ostinato(bench.repository, bench.scratch)
        with bench.judged(subject.title, "start"):
            try:
                subject.start()
                bench.figures.add("start/seconds", subject.seconds_to_ready)
                bench.say(f"  ready after {subject.seconds_to_ready:.2f} s")
            finally:
                subject.stop()
