"""What the document promises, held against a server by schemathesis: every check, whatever is sent.

``python -m tests.process.contract URL`` goes on for longer, against a server of yours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

CONFIGURATION = """
# A body of the right form may still not fit the model that is named, and a session may be gone.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 404, 409, 410, 413, 422, 426, 429]
[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 409, 410, 413, 415, 422, 426, 429]
"""


def hold_contract(
    url: str, folder: Path, *, seed: int, max_examples: int, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it over every operation; the exit status is 0 where all checks passed.

    Args:
        folder: where its configuration goes.
        max_examples: drawn for each operation, besides those at the bounds.
    """
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    options = ["--checks", "all", "--max-examples", str(max_examples), "--seed", str(seed), "--continue-on-failure"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-examples", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        told = hold_contract(options.url, Path(folder), seed=options.seed, max_examples=options.max_examples)
    sys.stdout.write(told.stdout)
    return told.returncode


if __name__ == "__main__":
    sys.exit(main())
