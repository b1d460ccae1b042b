"""A CfC over an irregular series, trained, exported with its interval, and served by times: to the bit as offline."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from ostinato.export.runs.registry import export_run
from ostinato.export.told_time import ToldTime, with_time
from ostinato.service.artifact.manifest import ANY
from tests.export.writers import small_proofs
from tests.networks import offline
from tests.server import running_server
from tests.training import train_run

RECIPE = """
name = "levels"
[data]
file = "levels.csv"
target = "level"
features = ["level", "gap"]
gaps = "ignore"
validation_from = 300
test_from = 350
[network]
cell = "cfc"
hidden_size = 6
num_layers = 2
interval = "gap"
[training]
num_streams = 2
window_steps = 12
max_epochs = 2
"""


@pytest.mark.long
def test_sessions_by_times_answer_as_the_table_with_its_intervals_does(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    gaps = generator.exponential(20.0, 400)
    levels = np.sin(np.cumsum(gaps) / 60)
    rows = [f"{level:.4f},{gap:.3f}" for level, gap in zip(levels, gaps, strict=True)]
    (tmp_path / "levels.csv").write_text("\n".join(["level,gap", *rows]) + "\n")
    (tmp_path / "levels.toml").write_text(RECIPE)
    run, _ = train_run(tmp_path / "levels.toml", tmp_path / "run")
    with small_proofs():
        exported = with_time(export_run(run, tmp_path / "repository"), ToldTime(interval="gap:minute:0"))
    assert exported.manifest.promise == ANY
    minutes = [0.0, 0.5, 120.0, 121.5, 1500.0]
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    at = [(begin + timedelta(minutes=minute)).isoformat() for minute in minutes]
    told = [[0.1 * number] for number in range(5)]
    with running_server(tmp_path / "repository", tmp_path) as server, server.client() as client:
        client.post("/v1/models/levels/sessions", json={"session_id": "s"})
        made = []
        for first, end in ((0, 1), (1, 4), (4, 5)):
            answer = client.post("/v1/sessions/s/step", json={"inputs": told[first:end], "at": at[first:end]})
            assert answer.status_code == 200, answer.text
            made += answer.json()["outputs"]
    table = np.array([[row[0], gap] for row, gap in zip(told, np.diff([0.0, *minutes]), strict=True)], np.float32)
    assert np.array(made, np.float32).tobytes() == offline(exported.directory, table).tobytes()
    # What came later than the others is answered otherwise than what came at once.
    soon = table.copy()
    soon[:, 1] = 1.0
    assert not np.array_equal(offline(exported.directory, soon), offline(exported.directory, table))
