from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ostinato.commands.train import train
from ostinato.models.errors import RecipeError
from ostinato.models.recipe import Recipe

RECIPE = """
name = "wave"
[data]
file = "wave.csv"
target = "level"
features = ["level", "wind"]
categorical = ["wind"]
time = ["time"]
validation_from = 2024-01-11
test_from = 2024-01-14
[network]
cell = "lstm"
hidden_size = 4
[training]
num_streams = 4
window_steps = 12
max_epochs = 2
"""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(train)
    return app


def test_train_writes_a_run_and_shows_the_scores(app: typer.Typer, wave_recipe: Recipe, tmp_path: Path) -> None:
    assert wave_recipe.data.file.parent == tmp_path
    (tmp_path / "recipe.toml").write_text(RECIPE)
    result = CliRunner().invoke(app, [str(tmp_path / "recipe.toml"), "--output", str(tmp_path / "run"), "--seed", "5"])
    assert result.exit_code == 0, result.output
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"run.json", "model.safetensors"}
    assert '"seed": 5' in (tmp_path / "run" / "run.json").read_text()
    for word in ("network", "persistence", "seasonal naive (24 steps)"):
        assert word in result.output


def test_an_absent_recipe_is_an_error_for_the_command_line_to_show(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path / "nowhere.toml")])
    assert isinstance(result.exception, RecipeError)
    assert str(result.exception) == f"{tmp_path}/nowhere.toml: cannot be read: No such file or directory"
