"""Programs that tests run and that are not Python's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "kubectl": "kubernetes-client",
    "mosquitto": "mosquitto",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
}


def tool(name: str) -> str:
    """Where a program is; the test fails where it is absent."""
    # `.ci/install-tools` puts what PATH lacks beside the interpreter, or in place of what stands there.
    beside = Path(sys.executable).parent
    places = os.environ.get("PATH", os.defpath), beside.parent / "lib" / "tools" / "bin", beside, "/usr/sbin"
    program = shutil.which(name, path=os.pathsep.join(map(str, places)))
    if program is None:
        pytest.fail(f"{name} is not on PATH: run .ci/install-tools, or install Debian's package {PACKAGES[name]}")
    return program


def run_tool(name: str, *arguments: str | Path, input_text: str | None = None, is_silent: bool = False) -> str:
    """What the program printed; the test fails with its output where it exits with an error, or where it is absent.

    Args:
        is_silent: whether a warning is an error, too.
    """
    done = subprocess.run(
        [tool(name), *map(str, arguments)], input=input_text, capture_output=True, text=True, timeout=60, check=False
    )
    output = done.stdout + done.stderr
    if done.returncode != 0 or (is_silent and done.stderr):
        pytest.fail(f"{name} {' '.join(map(str, arguments))} exited {done.returncode}:\n{output}")
    return done.stdout
