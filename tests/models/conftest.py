from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.models.data.series_recipe import DataRecipe
from ostinato.models.networks.forecaster_recipe import ForecasterNetwork, ForecasterTraining, Recipe

WriteCsv = Callable[[str], Path]


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    def write(text: str) -> Path:
        path = tmp_path / "series.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def wave_recipe(tmp_path: Path) -> Recipe:
    """A tiny network on 400 hours of a wave, two holes in it: what persistence misses by far can be learned."""
    rows = ["time,level,wind"]
    for hour in range(400):
        level = "NA" if hour in (50, 390) else f"{10 + 5 * math.sin(hour * math.pi / 6):.4f}"
        rows.append(f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00,{level},{'NE' if hour % 3 else 'SW'}")
    (tmp_path / "wave.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Recipe(
        name="wave",
        data=DataRecipe.model_validate(
            {
                "file": tmp_path / "wave.csv",
                "target": "level",
                "features": ["level", "wind"],
                "categorical": ["wind"],
                "time": ["time"],
                "validation_from": "2024-01-11T00:00",
                "test_from": "2024-01-14T00:00",
                "season_steps": 12,
            }
        ),
        network=ForecasterNetwork(cell="gru", hidden_size=8),
        training=ForecasterTraining(
            seed=3, batch_size=4, window_steps=12, max_epochs=30, patience_epochs=30, learning_rate=2e-2
        ),
    )
