"""The benchmark of connectors: it carries what it says, and its answers are those of the offline run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.server import CHECKOUT


@pytest.mark.long
@pytest.mark.xdist_group("connectors")
def test_the_benchmark_carries_readings_and_holds_their_answers_to_the_offline_run() -> None:
    command = [sys.executable, "-m", "benchmarks.connect", "--readings", "1200", "--keys", "7", "--batch", "100"]
    done = subprocess.run(command, capture_output=True, cwd=CHECKOUT, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "readings a second that a core carries" in done.stdout
