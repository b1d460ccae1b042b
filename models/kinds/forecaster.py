"""Forecasters of any table: several targets, several series, one step fed back or many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch

from ostinato.models.data.columns import breaks_of_cycle
from ostinato.models.data.first_look import begin_series
from ostinato.models.data.series import (
    Dataset,
    Floats,
    Series,
    check_target,
    load_dataset,
    moment_words,
    tell_notes,
)
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError, RecipeError
from ostinato.models.networks.adaptive import AdaptiveForecaster
from ostinato.models.networks.boosted import BoostedForecaster, TreeForecaster
from ostinato.models.networks.ensemble import joined
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecaster_recipe import ForecasterTraining, Recipe
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.multi_horizon import AnyMultiHorizon, build_multi_horizon
from ostinato.models.networks.recurrent import Forecaster, build_forecaster
from ostinato.models.run_files import Trained, read_run
from ostinato.models.scores import forecaster as scores
from ostinato.models.scores.forecast_report import forecast_sections
from ostinato.models.training.boosting import check_library, check_rows, with_trees
from ostinato.models.training.fitting import Fitted, reproducible
from ostinato.models.training.folds import rolling_origins
from ostinato.models.training.forecasting import answers_of, fit, judge_of, origins_of, validation_loss
from ostinato.models.training.job import Job
from ostinato.models.training.members import train_members
from ostinato.models.training.multi_horizon import fit as fit_multi_horizon
from ostinato.models.training.multi_horizon import forecast_origins
from ostinato.models.training.origins import feed_back

RECIPE = Recipe
AnyForecaster: TypeAlias = Forecaster | AnyMultiHorizon
ONE_STEP = "one step, fed back"
# Fed back, a step of a forecast is a run: so many forecasts are made at most.
_MAX_FED_BACK = 4000


@dataclass(frozen=True)
class ForecasterRun:
    """A trained network, ready to export, with the content of ``run.json``."""

    network: AnyForecaster
    features: Features
    recipe: Recipe
    content: dict[str, Any]

    @property
    def forecasts(self) -> Forecasts:
        """What the network answers at each step."""
        return Forecasts.of(self.recipe)


def train(recipe: Recipe, job: Job) -> Trained:
    """Train on the training part, stop by the validation part, score once on the test part (models/kinds/registry.py).

    Raises:
        TrainingError: the data cannot be used, or training fails.
    """
    if recipe.trees is not None:
        check_library()
    dataset = load_dataset(recipe.data)
    tell_notes(dataset, job.tell)
    check_target(dataset)
    check_series(dataset, recipe)
    if recipe.trees is not None:
        check_rows(recipe, dataset)
    scores.check_scores(dataset, recipe.training.horizon_steps, recipe.data.season_steps)
    others = {} if recipe.one_step is None else {ONE_STEP: _one_step(recipe.one_step, recipe, dataset, job)}
    if recipe.training.horizon_steps > 1:
        job.tell("after the last epoch the rivals of the report learn, some of them a model for each step ahead")

    network, fitted = _trained(recipe, dataset, job)
    of_the_kind = {"features": asdict(Features.of(dataset)), "categories": dataset.categories}
    whole: object = network
    if isinstance(whole, AdaptiveForecaster):
        whole = whole.members[0]
    if isinstance(whole, BoostedForecaster):
        of_the_kind["trees"] = whole.sizes
    judged = scores.judge(
        forecast_of(network, recipe, dataset),
        Forecasts.of(recipe),
        dataset,
        _origins(recipe, dataset),
        recipe.training.horizon_steps,
        recipe.data.season_steps,
        others,
        (*recipe.data.cycles, *recipe.data.known_future),
    )
    metrics = {one.target: one.metrics() for one in judged}
    validation = "validation_mae" if "MAE" in fitted.label else "validation_loss"
    return Trained(
        network,
        fitted,
        data=dataset.parts(),
        metrics={
            **(metrics[dataset.targets[0]] if len(metrics) == 1 else {"targets": metrics}),
            validation: fitted.validation,
        },
        sections=forecast_sections(judged, recipe.data.season_steps, fitted.sentence()),
        of_the_kind=of_the_kind,
    )


def load_run(directory: Path) -> ForecasterRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def begin(file: Path) -> Draft:
    """A recipe for a table, by its columns (``ostinato train --init``).

    Raises:
        DataError: it is no table, or nothing in it can be forecast.
    """
    return begin_series(file)


def folds(recipe: Recipe, number: int) -> Sequence[Recipe]:
    """The recipes of a backtest by rolling origins.

    Raises:
        DataError: the file is too short for so many.
    """
    return rolling_origins(recipe, load_dataset(recipe.data), number)


def check_series(dataset: Dataset, recipe: Recipe) -> None:
    """Whether the recipe's words hold for the series: there is a whole forecast in each part, and cycles are cycles.

    Raises:
        DataError: they do not.
    """
    horizon_steps = recipe.training.horizon_steps
    training, validation, test = (
        max(end - start for start, end in (series.span(part) for series in dataset.series))
        for part in ("training", "validation", "test")
    )
    lengths = [("training.horizon_steps", horizon_steps)]
    if recipe.network.forecast == "attention":
        lengths.append(("network.memory_steps", recipe.network.memory_steps))
    for key, num_steps in lengths:
        if num_steps >= training:
            raise DataError(f"{key} is {num_steps}, and the training part has {training} steps: lower it")
    if min(validation, test) < horizon_steps:
        raise DataError(
            f"training.horizon_steps is {horizon_steps}, and the validation and test parts have {validation} "
            f"and {test} steps: a forecast must end in its part"
        )
    if recipe.training.loss == "counts":
        least = dict(zip(dataset.targets, dataset.target_statistics.minimum, strict=True))
        if negative := [name for name in dataset.targets if least[name] < 0]:
            raise DataError(
                f"training.loss is 'counts', and {negative[0]!r} goes down to {least[negative[0]]:g}: a count is not "
                "negative; take another loss"
            )
    for name in recipe.data.cycles:
        for series in dataset.series:
            _check_cycle(name, series, dataset)


def _check_cycle(name: str, series: Series, dataset: Dataset) -> None:
    codes = series.values[: series.validation_start, dataset.features.index(name)]
    if (wrong := breaks_of_cycle(codes, len(dataset.categories[name]))).size:
        before, after = (series.times[wrong[0] + place] for place in (0, 1))
        raise DataError(
            f"cycles: the codes of {name!r} do not count on by one at each step: not from "
            f"{moment_words(before)} to {moment_words(after)}"
        )


def _build(content: dict[str, Any]) -> ForecasterRun:
    if "targets" not in content["features"]:
        raise ValueError("it was trained by an earlier release; train it again")
    recipe = Recipe.model_validate(content["recipe"])
    features = Features.of_content(content["features"])
    members = [_network(features, recipe) for _ in range(recipe.training.members)]
    network = joined(members)
    if recipe.trees is not None:
        told = content["trees"]
        if isinstance(told["num_trees"], int):
            raise ValueError("it was trained by an earlier release; train it again")
        sizes = recipe.trees.lags, told["num_trees"], told["depth"]
        trees = TreeForecaster(features, Forecasts.of(recipe), *sizes, recipe.data.cycles)
        network = cast(AnyForecaster, BoostedForecaster(network, trees))
    if recipe.network.adaptive_rate:
        network = cast(AnyForecaster, AdaptiveForecaster(network, recipe.network.adaptive_rate))
    return ForecasterRun(network, features, recipe, content)


def _network(features: Features, recipe: Recipe) -> AnyForecaster:
    if recipe.network.forecast == "attention":
        return build_multi_horizon(features, recipe.network, recipe.data.cycles, recipe.data.least)
    return build_forecaster(features, recipe.network, Forecasts.of(recipe), recipe.data.cycles, recipe.network.head)


def _trained(recipe: Recipe, dataset: Dataset, job: Job) -> tuple[AnyForecaster, Fitted]:
    """All that a recipe's answers are made of: a network, or members; trees; and widths that adapt."""

    def train_one(training: ForecasterTraining, own: Job) -> tuple[AnyForecaster, Fitted]:
        return _fit(recipe.model_copy(update={"training": training}), dataset, own)

    network, fitted = train_members(recipe.training, job, train_one)
    if recipe.trees is not None:
        both, fitted = with_trees(network, fitted, recipe, dataset, job)
        network = cast(AnyForecaster, both)
    return _adapting(network, fitted, recipe, dataset) if recipe.network.adaptive_rate else (network, fitted)


def _fit(recipe: Recipe, dataset: Dataset, job: Job) -> tuple[AnyForecaster, Fitted]:
    if recipe.network.forecast == "attention":
        return fit_multi_horizon(recipe, dataset, job)
    return fit(recipe, dataset, job)


def _adapting(network: AnyForecaster, fitted: Fitted, recipe: Recipe, dataset: Dataset) -> tuple[AnyForecaster, Fitted]:
    """A trained forecaster whose widths adapt, and its validation error then."""
    adapting = AdaptiveForecaster(network, recipe.network.adaptive_rate)
    judge, _ = judge_of(recipe, dataset)
    loss = validation_loss(adapting, dataset, judge)
    return cast(AnyForecaster, adapting), replace(fitted, validation=loss)


def _origins(recipe: Recipe, dataset: Dataset) -> list[tuple[Series, range]]:
    found = origins_of(dataset, "test", recipe.training.horizon_steps)
    if recipe.network.forecast != "fed_back" or recipe.training.horizon_steps == 1:
        return found
    every = -(-sum(len(origins) for _, origins in found) // _MAX_FED_BACK)
    return [(series, origins[::every]) for series, origins in found]


def forecast_of(network: AnyForecaster, recipe: Recipe, dataset: Dataset) -> scores.ForecastOf:
    """How a network forecasts after some steps of a series, ``[n, H, K, P]``."""
    num_steps = recipe.training.horizon_steps
    if recipe.network.forecast == "attention":
        attends = cast(AnyMultiHorizon, network)
        return lambda series, origins: _array(
            forecast_origins(attends, series.values, origins, num_steps).unsqueeze(-2)
        )
    steps = cast(Forecaster, network)
    if num_steps == 1 or recipe.network.forecast == "direct":
        return lambda series, origins: _array(answers_of(steps, [(series, origins.start, origins.stop)])[0])
    known = (*recipe.data.cycles, *recipe.data.known_future)
    return lambda series, origins: _array(feed_back(steps, dataset.features, series, origins, num_steps, known))


def _array(tensor: torch.Tensor) -> Floats:
    array: Floats = tensor.numpy()
    return array


def _one_step(path: Path, recipe: Recipe, dataset: Dataset, job: Job) -> scores.ForecastOf:
    """A network of one step to compare with, trained by a recipe of its own."""
    plan = Recipe.read(path)
    if plan.network.forecast == "attention":
        raise RecipeError(f"one_step: {path} forecasts by attention, and one step is fed back: take 'fed_back'")
    own = load_dataset(plan.data)
    # Compared with each other, neither may have learned from what the other is scored on.
    if _scored_on(own) != _scored_on(dataset):
        raise RecipeError(f"one_step: {path} has another file, target or test part")
    if plan.trees is not None:
        check_library()
        check_rows(plan, own)
    with reproducible(plan.training):
        network = cast(Forecaster, _trained(plan, own, job.relay(plan.name))[0])
    known = (*recipe.data.cycles, *recipe.data.known_future)
    series_of = {series.name: series for series in own.series}

    def forecast(series: Series, origins: range) -> Floats:
        features = [name for name in known if name in own.features]
        same = series_of[series.name]
        answers = feed_back(network, own.features, same, origins, recipe.training.horizon_steps, features)
        point = Forecasts.of(plan).point
        return _array(answers[..., point : point + 1])

    return forecast


def _scored_on(dataset: Dataset) -> tuple[str, tuple[str, ...], list[tuple[str, int]]]:
    return dataset.sha256, dataset.targets, [(series.name, series.test_start) for series in dataset.series]
