"""onnxruntime keeps an id of the machine and a database under HOME, unless it is told not to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

EXPORT = """
import sys
from torch import nn

from ostinato.export.exporter import export_module
from tests.export.modules import Stacked, amounts

export_module(Stacked(nn.LSTM), amounts(), sys.argv[1], name="net")
"""
SERVED = """
import sys
from pathlib import Path

from ostinato.service.catalogue.loading import load_version
from ostinato.service.config import Settings

load_version(Path(sys.argv[1]) / "net" / "1", Settings())
"""


def test_a_program_that_exports_or_loads_a_model_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(home / "cache")}
    for program in (EXPORT, SERVED):
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "repository")], env=environment, check=True)
    assert [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()] == []
