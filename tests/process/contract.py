"""What the document promises, held against a server by schemathesis: every check, whatever is sent.

``python -m tests.process.contract`` goes on for longer; with a URL against a server of yours.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests import networks, tensor_networks
from tests.histories.network import KINDS
from tests.sequence_networks import planted
from tests.server import running_server

CONFIGURATION = """
# A body of the right form may still not fit the model that is named, and a session may be gone.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 404, 409, 410, 413, 422, 426, 429]
[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 409, 410, 413, 415, 422, 426, 429]
"""


def hold_contract(
    url: str, folder: Path, *, seed: int, max_examples: int, options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run it over every operation; the exit status is 0 where all checks passed.

    Args:
        folder: where its configuration goes.
        max_examples: drawn for each operation, besides those at the bounds.
        options: further ones of schemathesis.
    """
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    checks = ["--checks", "all", "--max-examples", str(max_examples), "--seed", str(seed), "--continue-on-failure"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", *checks, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def write_repository(folder: Path) -> None:
    """Lay a model of each kind into a repository: recurrent ones of one input and several, nested and framed, and one
    of whole sequences.
    """
    generator = np.random.default_rng(0)
    networks.lstm().write(folder, generator.normal(size=(3, 20, 3)).astype(np.float32))
    networks.accumulator().write(folder, generator.integers(0, 9, (3, 6, 1)).astype(np.float32))
    tensor_networks.panel().write(folder)
    tensor_networks.frames().write(folder)
    planted(folder, "nothing")
    framed = KINDS["framed", "1"]
    framed.network().write(folder, generator.integers(0, 1000, (3, 1, framed.size)).astype(np.float32))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="of a server; without it one is started, with a model of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-examples", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = Path(place)
        url = given.url
        if url is None:
            write_repository(folder / "repository")
            url = stack.enter_context(running_server(folder / "repository", folder)).url
        told = hold_contract(url, folder, seed=given.seed, max_examples=given.max_examples)
    sys.stdout.write(told.stdout + told.stderr)
    return told.returncode


if __name__ == "__main__":
    sys.exit(main())
