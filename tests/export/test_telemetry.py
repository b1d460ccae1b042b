"""onnxruntime keeps an id of the machine and a database under HOME, unless it is told not to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

EXPORTED = """
import onnxruntime
from torch import nn

from tests.export.modules import Stacked


def net():
    return Stacked(nn.LSTM)
"""
EXPORTS = """
import sys

from ostinato.cli import app

app(["export", "net.py:net", "--input-shape", "B,T,3", "--repository", sys.argv[1]])
"""
LOADS = """
import sys
from pathlib import Path

from ostinato.service.catalogue.loading import load_version
from ostinato.service.config import Settings

load_version(Path(sys.argv[1]) / "net" / "1", Settings())
"""
ASKS = """
from ostinato import Client
import onnxruntime
"""


def test_a_program_that_exports_loads_or_asks_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(home / "cache")}
    (tmp_path / "net.py").write_text(EXPORTED)
    for program in (EXPORTS, LOADS, ASKS):
        command = [sys.executable, "-c", program, str(tmp_path / "repository")]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    assert [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()] == []
