from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ostinato.models.data.series import load_dataset
from ostinato.models.errors import RecipeError
from ostinato.models.kinds import forecaster
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.trainer import Wishes, train_recipe
from ostinato.models.training.forecasting import answers_of, origins_of
from tests.training import silent

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
dropout = 0.1
[training]
seed = 5
batch_size = 4
window_steps = 12
max_epochs = 2
"""


class Interrupted(Exception):
    """As if the process died."""


@pytest.fixture
def recipe(wave_recipe: Recipe, tmp_path: Path) -> Path:
    assert wave_recipe.data.file.parent == tmp_path
    (tmp_path / "alone.toml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "two.toml").write_text(f"{RECIPE}members = 2\n", encoding="utf-8")
    return tmp_path / "two.toml"


def test_members_are_the_networks_that_their_seeds_give_alone_and_the_answer_is_their_mean(
    recipe: Path, tmp_path: Path
) -> None:
    directory, _ = train_recipe(recipe, Wishes(tmp_path / "two"), silent)
    both = load_file(directory / "model.safetensors")
    runs = [
        train_recipe(tmp_path / "alone.toml", Wishes(tmp_path / str(seed), seed=seed), silent)[0] for seed in (5, 6)
    ]
    for number, run in enumerate(runs):
        alone = load_file(run / "model.safetensors")
        assert len(both) == 2 * len(alone)
        assert all(torch.equal(weight, both[f"members.{number}.{name}"]) for name, weight in alone.items())
    content = json.loads((directory / "run.json").read_text())
    told = [json.loads((run / "run.json").read_text()) for run in runs]
    assert [member["seed"] for member in content["members"]] == [5, 6]
    assert [member["history"] for member in content["members"]] == [run["history"] for run in told]
    assert content["validation"] == pytest.approx(np.mean([run["validation"] for run in told]))
    assert content["num_epochs"] == 4
    dataset = load_dataset(Recipe.read(recipe).data)
    [(series, origins)] = origins_of(dataset, "test", 1)
    found, first, second = (
        answers_of(forecaster.load_run(run).network, [(series, origins.start, origins.stop)])[0].numpy()
        for run in (directory, *runs)
    )
    np.testing.assert_array_equal(found, (first + second) / np.float32(2))
    report = (directory / "report.html").read_text(encoding="utf-8")
    assert "2 members, 4 epochs in" in report
    assert "loss of member 1" in report


@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_ensemble_is_resumed_with_the_member_that_was_under_way(
    recipe: Path, tmp_path: Path, after: int
) -> None:
    whole, _ = train_recipe(recipe, Wishes(tmp_path / "whole"), silent)
    epochs = 0

    def interrupt(_done: int, total: int, text: str) -> None:
        nonlocal epochs
        # On a slow machine batches are reported, too.
        epochs += bool(total) and "validation" in text and "batch" not in text
        if epochs > after:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_recipe(recipe, Wishes(tmp_path / "run"), interrupt)
    told: list[str] = []
    directory, _ = train_recipe(
        recipe, Wishes(tmp_path / "run", resume=True), lambda _done, _total, text: told.append(text)
    )
    assert sum(text.startswith("resumed after epoch") for text in told) == (1 if after == 1 else 2)
    weights = [load_file(run / "model.safetensors") for run in (whole, directory)]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    assert not list(directory.glob("checkpoint*"))


def test_seeds_have_no_member_in_common(recipe: Path, tmp_path: Path) -> None:
    directory, _ = train_recipe(recipe, Wishes(tmp_path / "run", num_seeds=2), silent)
    assert sorted(run.name for run in (directory / "seeds").iterdir()) == ["5", "7"]


def test_a_recipe_without_members_is_refused(recipe: Path) -> None:
    recipe.write_text(RECIPE + "members = 0\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"training\.members"):
        Recipe.read(recipe)
