"""Multi-horizon forecasters, quantiles of many steps ahead on any CSV (``kind = "multi_horizon"``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.models.data.series import Dataset, check_target, load_dataset, tell_notes
from ostinato.models.data.series_recipe import Recipe
from ostinato.models.errors import DataError, RecipeError
from ostinato.models.networks.multi_horizon import AnyMultiHorizon, build_multi_horizon
from ostinato.models.networks.multi_horizon_recipe import MultiHorizonRecipe
from ostinato.models.networks.recurrent import AnyForecaster, Features
from ostinato.models.run_files import Trained, read_run
from ostinato.models.scores.multi_horizon import check_scores, score, score_tables
from ostinato.models.training.fitting import reproducible
from ostinato.models.training.forecasting import fit as fit_one_step
from ostinato.models.training.job import Job
from ostinato.models.training.multi_horizon import fit

RECIPE = MultiHorizonRecipe


@dataclass(frozen=True)
class MultiHorizonRun:
    """A trained network, ready to export, with the content of ``run.json``."""

    network: AnyMultiHorizon
    features: Features
    recipe: MultiHorizonRecipe
    content: dict[str, Any]


def train(recipe: MultiHorizonRecipe, job: Job) -> Trained:
    """Train on the training part, stop by the validation part, score once on the test part (models/kinds/registry.py).

    Raises:
        TrainingError: the data cannot be used, or training fails.
    """
    dataset = load_dataset(recipe.data)
    tell_notes(dataset, job.tell)
    check_target(dataset)
    check_series(dataset, recipe)
    check_scores(dataset, num_steps=recipe.training.horizon_steps, season_steps=recipe.data.season_steps)
    one_step = None if recipe.one_step is None else _one_step(recipe.one_step, dataset, job)
    network, fitted = fit(recipe, dataset, job)
    scores = score(
        network,
        recipe.network.quantiles,
        dataset,
        num_steps=recipe.training.horizon_steps,
        season_steps=recipe.data.season_steps,
        one_step=one_step,
        cycles=recipe.data.cycles,
    )
    return Trained(
        network,
        fitted,
        data=dataset.parts(),
        metrics={
            "mean_mae": {name: scores.mean_mae(name) for name in scores.mae},
            **asdict(scores),
            "validation_loss": fitted.validation,
        },
        sections=score_tables(scores, recipe.data.target),
        of_the_kind={"features": asdict(Features.of(dataset)), "categories": dataset.categories},
    )


def load_run(directory: Path) -> MultiHorizonRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def _build(content: dict[str, Any]) -> MultiHorizonRun:
    recipe = MultiHorizonRecipe.model_validate(content["recipe"])
    features = Features.of_content(content["features"])
    network = build_multi_horizon(features, recipe.network, recipe.data.cycles, recipe.data.least)
    return MultiHorizonRun(network, features, recipe, content)


def check_series(dataset: Dataset, recipe: MultiHorizonRecipe) -> None:
    """Whether the recipe's words hold for the series: there is a whole forecast in each part, and cycles are cycles.

    Raises:
        DataError: they do not.
    """
    horizon_steps = recipe.training.horizon_steps
    training_steps = dataset.validation_start
    for key, num_steps in (
        ("training.horizon_steps", horizon_steps),
        ("network.memory_steps", recipe.network.memory_steps),
    ):
        if num_steps >= training_steps:
            raise DataError(f"{key} is {num_steps}, and the training part has {training_steps} steps: lower it")
    validation_steps, test_steps = (
        dataset.test_start - dataset.validation_start,
        len(dataset.values) - dataset.test_start,
    )
    if min(validation_steps, test_steps) < horizon_steps:
        raise DataError(
            f"training.horizon_steps is {horizon_steps}, and the validation and test parts have {validation_steps} "
            f"and {test_steps} steps: a forecast must end in its part"
        )
    for name in recipe.data.cycles:
        codes = dataset.values[: dataset.validation_start, dataset.features.index(name)]
        moved = (codes[1:] - codes[:-1]) % len(dataset.categories[name])
        if (wrong := np.flatnonzero(~np.isnan(moved) & (moved != 1))).size:
            before, after = (dataset.times[wrong[0] + place] for place in (0, 1))
            raise DataError(
                f"cycles: the codes of {name!r} do not count on by one at each step: not from {before} to {after}"
            )


def _one_step(recipe: Path, multi_horizon: Dataset, job: Job) -> tuple[AnyForecaster, Dataset]:
    plan = Recipe.read(recipe)
    dataset = load_dataset(plan.data)
    # Compared with each other, neither may have learned from what the other is scored on.
    if _scored_on(dataset) != _scored_on(multi_horizon):
        raise RecipeError(f"one_step: {recipe} has another file, target or test part")
    with reproducible(plan.training):
        network, _ = fit_one_step(plan, dataset, job.relay(plan.name))
    return network, dataset


def _scored_on(dataset: Dataset) -> tuple[str, str, int]:
    return dataset.sha256, dataset.target, dataset.test_start
