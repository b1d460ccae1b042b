from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ostinato.models.data.series import load_dataset
from ostinato.models.errors import DataError, RecipeError, RunError
from ostinato.models.kinds.forecaster import load_run
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.rivals.rival import NETWORK
from tests.training import judged, train, train_run

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
cell = "gru"
hidden_size = 4
[training]
seed = 3
num_streams = 4
window_steps = 12
max_epochs = 2
"""


@pytest.fixture
def recipe(wave_recipe: Recipe, tmp_path: Path) -> Path:
    """On the wave of 400 hours."""
    assert wave_recipe.data.file.parent == tmp_path
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path / "recipe.toml"


@pytest.fixture
def directory(recipe: Path, tmp_path: Path) -> Path:
    written, _ = train_run(recipe, tmp_path / "run")
    return written


def test_a_loaded_run_forecasts_what_the_trained_network_does(recipe: Path, directory: Path) -> None:
    plan = Recipe.read(recipe)
    dataset = load_dataset(plan.data)
    network, _ = train(plan, dataset)
    run = load_run(directory)
    x = torch.randn(2, 9, 2)
    with torch.no_grad():
        loaded = run.network(x, *run.network.initial_state(2))
        kept = network(x, *network.initial_state(2))
    assert all(torch.equal(one, other) for one, other in zip(loaded, kept, strict=True))
    assert run.features == Features.of(dataset)


def test_a_run_says_what_it_was_made_of(recipe: Path, directory: Path) -> None:
    plan = Recipe.read(recipe)
    dataset = load_dataset(plan.data)
    network, fitted = train(plan, dataset)
    content = json.loads((directory / "run.json").read_text())
    assert content["kind"] == "forecaster"
    [scores] = judged(network, plan, dataset)
    assert content["metrics"]["mae"] == scores.mean_mae(NETWORK)
    assert (content["num_epochs"], content["best_epoch"]) == (fitted.num_epochs, fitted.best_epoch)
    assert content["recipe"]["training"]["seed"] == 3
    assert content["libraries"]["torch"].startswith("2.")
    assert content["num_parameters"] == sum(weight.numel() for weight in network.parameters())
    assert len(content["data"]["sha256"]) == 64
    assert content["data"]["training"] == {
        "num_steps": 240,
        "first": "2024-01-01T00:00:00",
        "last": "2024-01-10T23:00:00",
    }
    assert content["data"]["test"]["first"] == "2024-01-14T00:00:00"


def test_a_run_does_not_tell_where_its_data_lay(directory: Path) -> None:
    content = (directory / "run.json").read_text()
    assert json.loads(content)["recipe"]["data"]["file"] == "wave.csv"
    assert str(directory.parent) not in content


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run directory.*make one with `ostinato train`"):
        load_run(tmp_path)


@pytest.mark.parametrize("file", ["run.json", "model.safetensors"])
def test_a_file_cut_short_is_refused(directory: Path, file: str) -> None:
    content = (directory / file).read_bytes()
    (directory / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="is damaged"):
        load_run(directory)


def run_of(recipe: Path, name: str, *changes: tuple[str, str]) -> dict[str, Any]:
    """The content of the run of the recipe with some of its lines changed."""
    text = recipe.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    changed = recipe.with_name(f"{name}.toml")
    changed.write_text(text)
    directory, _ = train_run(changed, recipe.with_name(name))
    assert load_run(directory).recipe.network.cell
    content: dict[str, Any] = json.loads((directory / "run.json").read_text())
    return content


def test_each_loss_trains_and_says_how_sure_it_is(recipe: Path) -> None:
    training = "max_epochs = 2"
    gaussian = run_of(recipe, "gaussian", (training, 'max_epochs = 2\nloss = "gaussian"'))
    assert gaussian["metrics"]["quantiles"] == [0.1, 0.5, 0.9]
    assert 0.0 < gaussian["metrics"]["interval_coverage"][0] <= 1.0
    quantiles = run_of(
        recipe, "quantiles", (training, 'max_epochs = 2\nloss = "pinball"'), ("hidden_size = 4", "quantiles = [0.5]")
    )
    assert quantiles["metrics"]["quantiles"] == [0.5]
    for loss in ('loss = "squared"', 'loss = "counts"', 'loss = "counts"\ncounts = "poisson"'):
        assert run_of(recipe, "other", (training, f"max_epochs = 2\n{loss}"))["metrics"]["mae"] > 0.0


def test_a_rival_that_fails_costs_no_training_and_the_report_says_why(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(np.linalg, "solve", fail)
    directory, [table] = train_run(recipe, tmp_path / "run")
    metrics = load_run(directory).content["metrics"]
    assert metrics["mae"] > 0.0
    assert "linear_autoregression_mae" not in metrics
    told = "the rival 'linear autoregression' is left out, since it failed: LinAlgError: Singular matrix"
    assert table.note.count(told) == 1
    assert "LinAlgError: Singular matrix" in (directory / "report.html").read_text()


def test_fed_back_and_direct_are_scored_at_each_step_ahead(recipe: Path) -> None:
    ahead = ("max_epochs = 2", "max_epochs = 2\nhorizon_steps = 3")
    for name, network in (("fed-back", 'cell = "elman"'), ("direct", 'cell = ["gru", "rnn"]\nforecast = "direct"')):
        content = run_of(recipe, name, ahead, ('cell = "gru"', network))
        assert [len(maes) for maes in content["metrics"]["mae"].values()] == [3, 3, 3, 3]


def test_counts_are_not_negative(recipe: Path) -> None:
    file = recipe.with_name("wave.csv")
    file.write_text(file.read_text().replace("T05:00,", "T05:00,-"))
    with pytest.raises(DataError, match=r"training\.loss is 'counts', and 'level' goes down to -"):
        run_of(recipe, "counts", ("max_epochs = 2", 'max_epochs = 2\nloss = "counts"'))


def test_an_earlier_releases_run_is_told_to_be_trained_again(directory: Path) -> None:
    content = json.loads((directory / "run.json").read_text())
    del content["features"]["targets"]
    (directory / "run.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="it was trained by an earlier release; train it again"):
        load_run(directory)


@pytest.mark.parametrize(
    ("network", "training"),
    [
        ({"forecast": "fed_back"}, {"loss": "pinball"}),
        ({"forecast": "direct"}, {"loss": "absolute"}),
        ({"forecast": "direct", "quantiles": (0.5,)}, {"loss": "pinball"}),
    ],
)
def test_widths_that_cannot_adapt_are_refused(
    wave_recipe: Recipe, network: dict[str, Any], training: dict[str, Any]
) -> None:
    content = wave_recipe.model_dump()
    content["network"] |= {"adaptive_rate": 0.01} | network
    content["training"] |= {"horizon_steps": 3} | training
    with pytest.raises(ValidationError, match=r"network\.adaptive_rate: is of a forecast 'direct' of three quantiles"):
        Recipe.model_validate(content)


def test_a_direct_forecast_that_is_told_of_the_future_is_refused(recipe: Path) -> None:
    known = ('time = ["time"]', 'time = ["time"]\nknown_future = ["wind"]')
    with pytest.raises(RecipeError, match=r"data\.known_future: what is forecast by 'direct' reads nothing"):
        run_of(recipe, "direct", known, ('cell = "gru"', 'cell = "gru"\nforecast = "direct"'))
    run_of(recipe, "fed-back", known, ("max_epochs = 2", "max_epochs = 1\nhorizon_steps = 2"))
