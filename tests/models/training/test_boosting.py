from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ostinato.models.data.series import load_dataset
from ostinato.models.errors import DataError
from ostinato.models.kinds.forecaster import load_run, train
from ostinato.models.networks.boosted import BoostedForecaster
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.run_files import write_run
from ostinato.models.training.fitting import reproducible
from ostinato.models.training.forecasting import answers_of, futures, origins_of
from ostinato.models.training.job import Job

TREES = {"lags": 12, "num_leaves": 4, "max_depth": 3, "max_trees": 20, "patience_trees": 20}


def with_trees(recipe: Recipe, network: dict[str, Any] | None = None, **training: Any) -> Recipe:
    content = recipe.model_dump()
    content["network"] |= network or {}
    content["training"] |= {"max_epochs": 2, "patience_epochs": None, "learning_rate": 1e-4} | training
    return Recipe.model_validate(content | {"trees": TREES})


def trained(recipe: Recipe, directory: Path) -> BoostedForecaster:
    with reproducible(recipe.training):
        write_run(directory, recipe, train(recipe, Job()))
    network: object = load_run(directory).network
    assert isinstance(network, BoostedForecaster)
    return network


def test_trees_and_two_members_share_the_answer_by_weights_that_the_validation_part_chose(
    wave_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = with_trees(wave_recipe, members=2)
    network = trained(recipe, tmp_path / "run")
    dataset = load_dataset(recipe.data)
    [(series, origins)] = origins_of(dataset, "validation", 1)
    truth = futures(series.truth[: series.test_start], 1)[origins.start : origins.stop].numpy()
    chosen = float(network.weight)

    def error(weight: float) -> float:
        network.weight.fill_(weight)
        answers = answers_of(network, [(series, origins.start, origins.stop)])[0][..., 0].numpy()
        return float(np.nanmean(np.abs(answers - truth)))

    errors = {weight: error(weight) for weight in np.linspace(0, 1, 11)}
    assert min(errors, key=errors.__getitem__) == pytest.approx(chosen)
    # The wave is easier for trees that read a whole turn of it than for a network that has hardly learned.
    assert chosen < 0.5
    assert errors[0.0] < errors[1.0] / 2
    assert load_run(tmp_path / "run").content["validation"] == pytest.approx(min(errors.values()), rel=1e-5)


def test_quantiles_of_several_steps_have_boosters_of_their_own(wave_recipe: Recipe, tmp_path: Path) -> None:
    recipe = with_trees(wave_recipe, {"forecast": "direct"}, loss="pinball", horizon_steps=2)
    network = trained(recipe, tmp_path / "run")
    assert network.weight.shape == (2, 1, 1)
    _, trees = network.members
    assert len(trees.trees.num_trees) == 6  # type: ignore[union-attr, arg-type]
    assert trees.trees.leaf.any(dim=-1).all()  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("network", "training", "words"),
    [
        ({"forecast": "attention"}, {"loss": "pinball"}, "trees: what a decoder feeds back"),
        ({}, {"loss": "gaussian"}, "trees: are of training.loss absolute, squared or pinball"),
    ],
)
def test_trees_that_cannot_be_are_refused(wave_recipe: Recipe, network: Any, training: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        with_trees(wave_recipe, network, **training)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("test_from", "2024-01-12T06:00", "the validation part has 30 steps with a target 1 ahead; trees need 50"),
        ("validation_from", "2024-01-02T12:00", "the training part has 35 steps with a target 1 ahead; trees need 50"),
    ],
)
def test_a_part_that_is_too_short_for_trees_is_refused_before_networks_are_trained(
    wave_recipe: Recipe, name: str, value: str, words: str
) -> None:
    content = wave_recipe.model_dump()
    content["data"][name] = value
    recipe = with_trees(Recipe.model_validate(content))
    told: list[int] = []
    with pytest.raises(DataError, match=words):
        train(recipe, Job(lambda _done, total, _text: told.append(total)))
    assert not any(told)
