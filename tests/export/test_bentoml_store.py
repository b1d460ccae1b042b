from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests import networks

PROGRAM = """
import sys
from pathlib import Path
import bentoml
from ostinato.export.bentoml_store import save_to_store

tag = save_to_store(Path(sys.argv[1]))
model = bentoml.models.get(tag)
print(tag, model.info.labels["version"], model.path)
"""


def test_a_version_is_kept_whole_in_the_bentoml_store(tmp_path: Path) -> None:
    directory = networks.lstm().named("Lstm", "7").write(tmp_path / "repository", np.ones((2, 5, 3), np.float32))
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "true"}
    # In a process of its own, since BentoML reads where its store is when it is imported.
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory)], env=environment, capture_output=True, text=True, check=True
    )
    tag, version, path = ran.stdout.split()
    assert tag.startswith("lstm:")
    assert version == "7"
    for file in ("model.json", "model.onnx", "golden.safetensors"):
        assert (Path(path) / file).read_bytes() == (directory / file).read_bytes()
