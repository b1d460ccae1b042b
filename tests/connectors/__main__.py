"""``python -m tests.connectors``: connectors and services are killed by a seed, and every answer is judged."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from ostinato.commands.progress import progress_bar, reporter
from tests.connectors.faults import Plan, play

RULES = (("apply", 0.0), ("drop", 0.0), ("hold", 3.0), ("replay", 3.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; each further one has the next")
    parser.add_argument("--runs", type=int, default=12, help="runs, over the late rules in turn")
    parser.add_argument("--kills", type=int, default=20, help="in each run")
    given = parser.parse_args()
    for number in range(given.runs):
        rule, window_seconds = RULES[number % len(RULES)]
        plan = Plan(given.seed + number, given.kills, rule, window_seconds, num_readings=800 * (given.kills + 1))
        with (
            tempfile.TemporaryDirectory(prefix="ostinato-connect-") as folder,
            progress_bar(Console(stderr=True), "kills", has_remaining=True, transient=True) as bar,
        ):
            counts = play(plan, Path(folder), reporter(bar, f"seed {plan.seed}, {rule}"))
        sys.stdout.write(f"seed {plan.seed}, {rule}: {counts}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
