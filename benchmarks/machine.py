"""The machine on which the figures were measured, and the versions of its software."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.subjects import ROOT

PACKAGES = ("ostinato", "bentoml", "onnxruntime", "numpy", "uvicorn", "uvloop", "httptools", "pyarrow")
BASELINES = {"FastAPI": "bench-fastapi", "BentoML": "bench-bentoml", "Triton": "bench-triton"}


def describe_machine() -> dict[str, str]:
    """Processor, cores, memory, system."""
    processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": f"{os.cpu_count()}: the servers on one, the load on another",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
    }


def describe_versions() -> dict[str, str]:
    """Of this project, what it runs on, and the baselines by their pins."""
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    try:
        printed = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
        versions["wrk"] = printed.split(" ")[1]
    except (OSError, IndexError):
        versions["wrk"] = "absent"
    for title, name in BASELINES.items():
        lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        pins = [line.replace("==", " ") for line in lines if not line.startswith("#")]
        versions[f"{title} baseline"] = ", ".join(pins)
    return versions
