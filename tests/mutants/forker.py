"""``python tests/mutants/forker.py``: a process that has imported the libraries once, and forks for each run of pytest.

It never imports what is under test: each run finds that in the folder in which the forker stands, as it is by then.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("pytest", "hypothesis", "numpy", "onnx", "onnxruntime", "pyarrow.ipc", "safetensors.numpy", "torch"),
    *(
        "bentoml",
        "hiredis",
        "httpx",
        "lmdb",
        "prometheus_client",
        "pydantic",
        "rich.table",
        "typer",
        "uvicorn",
        "wsproto",
    ),
)
"""What takes long to import, and what many tests need."""

LATE = -1
"""The status of a run that did not end in time."""


def main() -> None:
    """Answer each line of stdin, a run as JSON, with a line: its exit status."""
    sys.path[0] = str(Path.cwd())
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):  # the test that needs it says so
            importlib.import_module(name)
    gc.freeze()
    for line in sys.stdin:
        run = json.loads(line)
        child = os.fork()
        if not child:
            _run(run["arguments"], run["output"], writes_bytecode=run["writes_bytecode"])
        status = _wait(child, run["limit_seconds"])
        with contextlib.suppress(ProcessLookupError):  # servers that a failed test has left behind
            os.killpg(child, signal.SIGKILL)
        print(status, flush=True)  # noqa: T201  # it is the answer


def _run(arguments: list[str], output: str, *, writes_bytecode: bool) -> None:
    os.setpgid(0, 0)
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, to in ((0, os.open(os.devnull, os.O_RDONLY)), (1, said), (2, said)):
        os.dup2(to, number)
    sys.dont_write_bytecode = not writes_bytecode
    pytest: Any = importlib.import_module("pytest")
    sys.exit(int(pytest.main(arguments)))


def _wait(child: int, limit_seconds: float) -> int:
    ends_at = time.monotonic() + limit_seconds
    while time.monotonic() < ends_at:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return max(os.waitstatus_to_exitcode(status), 1 if status else 0)  # one that a signal ended has failed
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return LATE


if __name__ == "__main__":
    main()
