"""Training of the trees of a forecaster, and of how much of its answers is theirs, by LightGBM.

Ke et al., 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree". Each answered number has boosters of
its own, which learn the change from the last seen value by the loss of the recipe. The validation part says when to
stop, and how much the network weighs.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.extras import require
from ostinato.models.data.parts import PartName
from ostinato.models.data.series import Dataset, Floats, Series
from ostinato.models.errors import DataError, RecipeError
from ostinato.models.networks.boosted import BoostedForecaster, TreeForecaster
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.forecasting import answers_of, futures, judge_of, origins_of, validation_loss
from ostinato.models.training.job import Job
from ostinato.models.training.lightgbm_trees import CompleteTree, boosted, plant
from ostinato.models.training.losses import ForecastLoss

_LEAST_ROWS = 50
_WEIGHTS = np.linspace(0.0, 1.0, 11)


def check_library() -> None:
    """Whether there is what learns trees; asked before networks are trained.

    Raises:
        RecipeError: it is not installed, or cannot be loaded: it is linked against the system's OpenMP.
    """
    try:
        require("lightgbm", "[trees]")
        import_module("lightgbm")
    except (ImportError, OSError) as error:
        raise RecipeError(f"trees: LightGBM learns them, and cannot be loaded: {error}") from error


def check_rows(recipe: Recipe, dataset: Dataset) -> None:
    """Whether there is enough to learn trees from, and to choose them by; asked before networks are trained.

    Raises:
        DataError: a part has too few steps.
    """
    num_steps = Forecasts.of(recipe).num_steps
    parts: tuple[PartName, ...] = ("training", "validation")
    for part in parts:
        counts = sum((~_ahead(series, part, num_steps).isnan()).sum(dim=0) for series in dataset.series)
        for ahead, number in enumerate(torch.as_tensor(counts).amin(dim=1).tolist(), start=1):
            if number < _LEAST_ROWS:
                raise DataError(
                    f"trees: the {part} part has {number} steps with a target {ahead} ahead; trees need "
                    f"{_LEAST_ROWS}: leave [trees] out"
                )


def with_trees(
    network: nn.Module, fitted: Fitted, recipe: Recipe, dataset: Dataset, job: Job
) -> tuple[BoostedForecaster, Fitted]:
    """A trained forecaster, or an ensemble, together with trees, and the validation error of both together."""
    assert recipe.trees is not None
    features, forecasts = Features.of(dataset), Forecasts.of(recipe)
    trees = _learned(features, forecasts, recipe, dataset, job)
    both = BoostedForecaster(network, trees)
    _weigh(both, dataset)
    judge, _ = judge_of(recipe, dataset)
    return both, replace(fitted, validation=validation_loss(both, dataset, judge))


def _learned(features: Features, forecasts: Forecasts, recipe: Recipe, dataset: Dataset, job: Job) -> TreeForecaster:
    plan, first = recipe.trees, recipe.training.seed
    assert plan is not None
    bare = TreeForecaster(features, forecasts, plan.lags, (1,), 1, recipe.data.cycles)
    training, validation = (_Part(dataset, part, bare) for part in ("training", "validation"))
    levels = forecasts.quantiles if forecasts.loss == "pinball" else (0.5,)
    groups: list[list[CompleteTree]] = []
    outputs = list(product(range(forecasts.num_steps), range(len(bare.places)), levels))
    for ahead, target, level in outputs:
        job.report(len(groups), len(outputs), "boosted trees")
        groups.append(
            boosted(
                _settings(recipe, level),
                training.column(ahead, target),
                validation.column(ahead, target),
                range(first, first + plan.members),
                plan.max_trees,
                plan.patience_trees,
            )
        )
    job.report(len(outputs), len(outputs), "boosted trees")
    num_trees = [len(group) for group in groups]
    trees = TreeForecaster(features, forecasts, plan.lags, num_trees, plan.max_depth, recipe.data.cycles)
    plant(trees.trees, groups)
    return trees


def _settings(recipe: Recipe, level: float) -> dict[str, Any]:
    plan = recipe.trees
    assert plan is not None
    objective = {"absolute": "l1", "squared": "l2", "pinball": "quantile"}[recipe.training.loss]
    return {
        "objective": objective,
        **({"alpha": level} if objective == "quantile" else {}),
        "num_leaves": plan.num_leaves,
        "max_depth": plan.max_depth,
        "learning_rate": plan.learning_rate,
        "feature_fraction": plan.feature_fraction,
        "num_threads": recipe.training.num_threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


class _Part:
    """The rows of a part, and how much each target changes behind them."""

    def __init__(self, dataset: Dataset, part: PartName, trees: TreeForecaster) -> None:
        rows, changes = [], []
        for series in dataset.series:
            steps = _steps(series, part)
            x = torch.from_numpy(series.values[: steps.stop + 1]).unsqueeze(0)
            made, filled = trees.rows(x, *trees.initial_state(1))
            now = filled[0, trees.num_lags :, trees.places].unsqueeze(1)
            rows.append(made[0, steps.start : steps.stop].numpy())
            changes.append((_ahead(series, part, trees.forecasts.num_steps) - now[steps.start : steps.stop]).numpy())
        self._rows, self._changes = np.concatenate(rows), np.concatenate(changes)

    def column(self, ahead: int, target: int) -> tuple[Floats, Floats]:
        """The rows for which it is known, and it."""
        change = self._changes[:, ahead, target]
        known = ~np.isnan(change)
        return self._rows[known], change[known]


def _steps(series: Series, part: PartName) -> range:
    """The steps after which the next one is in a part."""
    start, end = series.span(part)
    return range(max(start - 1, 0), max(end - 1, 0))


def _ahead(series: Series, part: PartName, num_steps: int) -> Tensor:
    """What comes after each of these steps within the part, ``[n, H, K]``."""
    steps = _steps(series, part)
    return futures(series.truth[: steps.stop + 1], num_steps)[steps.start : steps.stop]


@torch.no_grad()
def _weigh(both: BoostedForecaster, dataset: Dataset) -> None:
    """Give the network the weight that is best in the validation part, for each step ahead and target."""
    forecasts, num_steps = both.forecasts, both.forecasts.num_steps
    found = origins_of(dataset, "validation", 1)
    spans = [(series, origins.start, origins.stop) for series, origins in found]
    truth = torch.cat(
        [futures(one.truth[: one.test_start], num_steps)[origins.start : origins.stop] for one, origins in found]
    )
    answers = []
    for weight in (1.0, 0.0):
        both.weight.fill_(weight)
        answers.append(torch.cat(answers_of(both, spans)))
    scale = ForecastLoss(forecasts, torch.ones(1, 1))

    def loss(weight: float, ahead: int, target: int) -> Tensor:
        own, trees = (part[:, ahead : ahead + 1, target : target + 1] for part in answers)
        mixed = weight * own + (1.0 - weight) * trees
        return scale(mixed.double(), truth[:, ahead : ahead + 1, target : target + 1].double())

    for ahead, target in product(range(num_steps), range(both.num_targets)):
        losses = [float(loss(weight, ahead, target)) for weight in _WEIGHTS]
        both.weight[ahead, target] = float(_WEIGHTS[int(np.argmin(losses))])
