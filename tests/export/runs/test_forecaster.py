from __future__ import annotations

import math
from pathlib import Path

import pytest

from ostinato.export.runs.registry import export_run
from tests.training import train_run

RECIPE = """
kind = "forecaster"
name = "waves"
description = "a wave"
[data]
file = "wave.csv"
target = "level"
features = ["level", "wind"]
categorical = ["wind"]
time = ["time"]
validation_from = 2024-01-11
test_from = 2024-01-14
season_steps = 12
[network]
cell = "gru"
hidden_size = 4
forecast = "attention"
memory_steps = 12
memory_size = 3
[training]
loss = "pinball"
num_streams = 4
window_steps = 12
max_epochs = 1
horizon_steps = 3
"""


@pytest.mark.usefixtures("quick")
def test_a_run_is_exported_with_its_quantiles_by_name(tmp_path: Path) -> None:
    rows = [
        f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00,{10 + math.sin(hour / 2):.3f},{'NE' if hour % 3 else 'SW'}"
        for hour in range(400)
    ]
    (tmp_path / "wave.csv").write_text("\n".join(["time,level,wind", *rows]) + "\n", encoding="utf-8")
    (tmp_path / "waves.toml").write_text(RECIPE, encoding="utf-8")
    run, _ = train_run(tmp_path / "waves.toml", tmp_path / "run")
    exported = export_run(run, tmp_path / "repository")
    manifest = exported.manifest
    assert exported.directory == tmp_path / "repository" / "waves" / "1"
    assert manifest.outputs[0].features == ("level_p10", "level_p50", "level_p90")
    assert manifest.feedback == {"level_p50": "level"}
    assert {state.name: state.shape for state in manifest.states} == {
        "last_seen": ("B", 2),
        "h": (1, "B", 4),
        "memory": ("B", 12, 3),
        "num_remembered": ("B",),
    }
    assert manifest.batch_invariant
    assert manifest.inputs[0].missing
    assert manifest.provenance["metrics"]["quantiles"] == [0.1, 0.5, 0.9]
