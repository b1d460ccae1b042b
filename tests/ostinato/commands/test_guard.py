from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GUARDED = """
import os, sys
from pathlib import Path
import typer
from ostinato.commands.guard import run_in_a_fork
from ostinato.errors import CommandError
try:
    run_in_a_fork(Path("model.onnx"), Path("."))
except typer.Exit as error:
    sys.exit(error.exit_code)
except CommandError as error:
    sys.exit(str(error))
Path(f".export-{os.getpid()}-x").mkdir()
print("in the fork", flush=True)
"""
THEN = {
    "dies": "os.abort()",
    "fails": "sys.exit(3)",
    "does it": "",
}


@pytest.mark.parametrize(
    ("then", "status", "says"),
    [
        ("dies", 1, "model.onnx: the process that ran it was killed by SIGABRT: its graph kills onnxruntime"),
        ("fails", 3, ""),
        ("does it", 0, ""),
    ],
)
def test_a_command_that_dies_of_a_graph_says_so_and_leaves_nothing_behind(
    then: str, status: int, says: str, tmp_path: Path
) -> None:
    made = subprocess.run(
        [sys.executable, "-c", f"{GUARDED}{THEN[then]}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (made.returncode, made.stdout) == (status, "in the fork\n")
    assert says in made.stderr
    assert any(tmp_path.iterdir()) == (then != "dies")
