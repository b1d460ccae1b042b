"""The demo of streams: sensors over MQTT, a connector, a service, webhooks; two kills, and every answer judged.

Run after `make models` as ``python -m examples.demo_stream``; ``make demo-stream`` does both.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from examples.demo_stream.play import Plan, play
from examples.demo_stream.sensors import Sensors
from ostinato.errors import CommandError

REPOSITORY = Path("runs") / "stream-repository"
MODEL = "beijing-lstm"


def main() -> int:
    console = Console()
    began_at = time.perf_counter()
    if not (REPOSITORY / MODEL / "1" / "model.json").is_file():
        console.print(f"[red]{MODEL} not found in {REPOSITORY}/:[/] run [bold]make demo-stream[/]")
        return 1
    plan = Plan(REPOSITORY, MODEL, Sensors())
    try:
        with tempfile.TemporaryDirectory(prefix="ostinato-stream-") as folder:
            is_good = play(plan, Path(folder), console)
    except CommandError as error:
        console.print(f"[red]error:[/] {error}", markup=True, highlight=False)
        return 1
    except KeyboardInterrupt:
        console.print("[yellow]stopped[/]")
        return 130
    console.print(f"the demo took {time.perf_counter() - began_at:.0f} s; docs/connectors.md tells what it is made of")
    return 0 if is_good else 1


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
