from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ostinato.models.data.series import load_dataset
from ostinato.models.errors import RunError
from ostinato.models.kinds.runs import load_run, save_run
from ostinato.models.recipe import Recipe
from ostinato.models.training.forecasting import Trained, train


@pytest.fixture
def saved(wave_recipe: Recipe, tmp_path: Path) -> tuple[Path, Trained]:
    short = wave_recipe.model_copy(update={"training": wave_recipe.training.model_copy(update={"max_epochs": 1})})
    dataset = load_dataset(short.data)
    trained = train(short, dataset)
    save_run(tmp_path / "run", short, dataset, trained)
    return tmp_path / "run", trained


def test_a_loaded_run_forecasts_what_the_trained_network_does(saved: tuple[Path, Trained]) -> None:
    directory, trained = saved
    run = load_run(directory)
    x = torch.randn(2, 9, 2)
    with torch.no_grad():
        for loaded, kept in zip(
            run.network(x, *run.network.initial_state(2)),
            trained.network(x, *trained.network.initial_state(2)),
            strict=True,
        ):
            assert torch.equal(loaded, kept)
    assert run.features == trained.features


def test_a_run_says_what_it_was_made_of(saved: tuple[Path, Trained]) -> None:
    directory, trained = saved
    content = json.loads((directory / "run.json").read_text())
    assert content["metrics"]["mae"] == trained.test.mae
    assert content["recipe"]["training"]["seed"] == 3
    assert content["libraries"]["torch"].startswith("2.")
    assert len(content["data"]["sha256"]) == 64
    assert content["data"]["test"]["first"] == "2024-01-14T00:00:00"


def test_a_run_does_not_tell_where_its_data_lay(saved: tuple[Path, Trained]) -> None:
    directory, _ = saved
    content = (directory / "run.json").read_text()
    assert json.loads(content)["recipe"]["data"]["file"] == "wave.csv"
    assert str(directory.parent) not in content


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run directory.*make one with `ostinato train`"):
        load_run(tmp_path)


@pytest.mark.parametrize("file", ["run.json", "model.safetensors"])
def test_a_file_cut_short_is_refused(saved: tuple[Path, Trained], file: str) -> None:
    directory, _ = saved
    content = (directory / file).read_bytes()
    (directory / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="is damaged"):
        load_run(directory)
