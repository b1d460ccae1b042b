"""``python -m tests.benchmarks.play_rows FIRST BEHIND FOLDER``: some rows of the benchmark, tiny and without rivals.

In a process of its own, since a benchmark raises limits of its process. The last line is what came of it, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.__main__ import ROWS, measure
from benchmarks.bench import Bench, Options

RIVALS = ("triton", "triton-binary", "fastapi", "bentoml")
"""Each needs an environment of its own."""


def main(first: int, behind: int, folder: Path) -> None:
    """Measure the rows from ``first`` on up to the one before ``behind``."""
    bench = Bench(Options.tiny(), folder, Console(width=120))
    bench.absent = dict.fromkeys(RIVALS, "left out")
    num_figures = {}
    try:
        for row in ROWS[first:behind]:
            before = sum(map(len, bench.figures.values.values()))
            measure(bench, [row])
            num_figures[row[0]] = sum(map(len, bench.figures.values.values())) - before
    finally:
        bench.stop_subjects()
    absent = {name: why for name, why in bench.absent.items() if name not in RIVALS}
    sys.stdout.write(json.dumps({"num_figures": num_figures, "absent": absent, "failures": bench.failures}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
