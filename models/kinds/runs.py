"""A forecaster's run directory: what training leaves behind and the exporter reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ostinato.models.data.series import Dataset, Statistics
from ostinato.models.errors import RunError
from ostinato.models.networks.recurrent import AnyForecaster, Features, build_forecaster
from ostinato.models.recipe import Recipe
from ostinato.models.run_files import RUN_FILE, load_weights, read_content, write_run
from ostinato.models.training.forecasting import Trained


@dataclass(frozen=True)
class Run:
    """A trained network, ready to export, with the content of ``run.json``."""

    network: AnyForecaster
    features: Features
    content: dict[str, Any]


def save_run(directory: Path, recipe: Recipe, dataset: Dataset, trained: Trained) -> None:
    """Write ``model.safetensors`` and ``run.json``; the directory is made where it does not exist."""
    content = {
        "recipe": recipe.portable(),
        "features": asdict(trained.features),
        "categories": dataset.categories,
        "data": data_content(dataset),
        "metrics": {
            **asdict(trained.test),
            "improvement_over_persistence": trained.test.improvement_over_persistence,
            "validation_mae": trained.validation_mae,
        },
        "num_epochs": trained.num_epochs,
        "training_seconds": round(trained.training_seconds, 1),
    }
    write_run(directory, trained.network, content)


def load_run(directory: Path) -> Run:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    content = read_content(directory)
    try:
        recipe = Recipe.model_validate(content["recipe"])
        features = features_of(content["features"])
        network = build_forecaster(features, recipe.network)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(f"{directory}: {RUN_FILE} is damaged: {error}") from error
    load_weights(directory, network)
    return Run(network, features, content)


def data_content(dataset: Dataset) -> dict[str, Any]:
    """What ``run.json`` says of the data."""
    return {
        "sha256": dataset.sha256,
        "num_steps": len(dataset.values),
        "training": _span(dataset, 0, dataset.validation_start),
        "validation": _span(dataset, dataset.validation_start, dataset.test_start),
        "test": _span(dataset, dataset.test_start, len(dataset.values)),
    }


def features_of(content: dict[str, Any]) -> Features:
    """The features that ``run.json`` holds."""
    return Features(
        names=tuple(content["names"]),
        num_codes=tuple(content["num_codes"]),
        target_index=content["target_index"],
        statistics=Statistics(**{name: tuple(numbers) for name, numbers in content["statistics"].items()}),
        change_std=content["change_std"],
    )


def _span(dataset: Dataset, start: int, end: int) -> dict[str, Any]:
    return {"num_steps": end - start, "first": str(dataset.times[start]), "last": str(dataset.times[end - 1])}
