from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from ostinato.commands.train import score_table, train
from ostinato.models.errors import RecipeError, RunError
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.report import ScoreTable

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
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        "run.json",
        "model.safetensors",
        "report.html",
        "report.json",
    }
    assert '"seed": 5' in (tmp_path / "run" / "run.json").read_text()
    for word in ("network", "persistence", "seasonal naive (24 steps)"):
        assert word in result.output


def test_an_absent_recipe_is_an_error_for_the_command_line_to_show(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(tmp_path / "nowhere.toml")])
    assert isinstance(result.exception, RecipeError)
    said = str(result.exception)
    assert said.startswith(
        f"{tmp_path}/nowhere.toml: cannot be read: No such file or directory; 'ostinato train --init "
    )


def test_gaps_in_time_are_told_before_the_training(app: typer.Typer, wave_recipe: Recipe, tmp_path: Path) -> None:
    lines = wave_recipe.data.file.read_text().splitlines(keepends=True)
    wave_recipe.data.file.write_text("".join([*lines[:100], *lines[107:]]))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    result = CliRunner().invoke(app, [str(tmp_path / "recipe.toml"), "--output", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    told = result.output.index(
        "7 of 400 steps of 1 hour have no row, in 1 gap, the first after line 100, 2024-01-05 03:00"
    )
    assert told < result.output.index("2 epochs in ")
    data = json.loads((tmp_path / "run" / "run.json").read_text())["data"]
    assert (data["step"], data["num_filled_steps"]) == ("1 hour", 7)


@pytest.mark.usefixtures("wave_recipe")
def test_what_only_scoring_or_writing_would_find_is_found_before_the_training(app: typer.Typer, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        RECIPE.replace("[network]", "season_steps = 5000\n[network]").replace("epochs = 2", "epochs = 10000")
    )
    result = CliRunner().invoke(app, [str(recipe), "--output", str(tmp_path / "run")])
    assert str(result.exception).startswith(
        "data.season_steps is 5000, and the history before the test part has 312 steps"
    )
    result = CliRunner().invoke(app, [str(recipe), "--output", str(recipe / "run")])
    assert isinstance(result.exception, RunError)
    assert str(result.exception).endswith(f"a run cannot be written there: {recipe} is a file")


def test_a_table_of_scores_that_is_wider_than_the_screen_loses_no_letter() -> None:
    names = tuple(f"a_long_name_of_column_{place}" for place in range(9))
    console = Console(width=60, record=True, file=StringIO())
    console.print(score_table(ScoreTable("scores", names, (("0.123456789",) * 9,))))
    text = console.export_text()
    assert "…" not in text
    assert text.count("9") >= 9
