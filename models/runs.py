"""A run directory: what training leaves behind and the exporter reads. JSON and safetensors, nothing that runs code."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.data import Dataset, Statistics
from models.errors import RunError
from models.recipe import Recipe
from models.recurrent import AnyForecaster, Features, build_forecaster
from models.training import Trained

RUN_FILE = "run.json"
WEIGHTS_FILE = "model.safetensors"
_LIBRARIES = ("torch", "numpy", "safetensors")


@dataclass(frozen=True)
class Run:
    """A trained network, ready to export, with the content of ``run.json``."""

    network: AnyForecaster
    features: Features
    content: dict[str, Any]


def save_run(directory: Path, recipe: Recipe, dataset: Dataset, trained: Trained) -> None:
    """Write ``model.safetensors`` and ``run.json``; the directory is made where it does not exist."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file(trained.network.state_dict(), directory / WEIGHTS_FILE)
    content = {
        "recipe": portable(recipe),
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
        "num_parameters": sum(weight.numel() for weight in trained.network.parameters()),
        "libraries": {"python": platform.python_version(), **{name: library_version(name) for name in _LIBRARIES}},
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    (directory / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def load_run(directory: Path) -> Run:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    try:
        content = json.loads((directory / RUN_FILE).read_text(encoding="utf-8"))
        recipe = Recipe.model_validate(content["recipe"])
        features = features_of(content["features"])
        network = build_forecaster(features, recipe.network)
        network.load_state_dict(load_file(directory / WEIGHTS_FILE))
    except OSError as error:
        raise RunError(f"{directory}: is not a run directory: {error}; make one with `ostinato train`") from error
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise RunError(f"{directory}: {RUN_FILE} or {WEIGHTS_FILE} is damaged: {error}") from error
    network.eval()
    return Run(network, features, content)


def portable(recipe: Recipe) -> dict[str, Any]:
    """The recipe without where on this machine its data lay."""
    content = recipe.model_dump(mode="json")
    content["data"]["file"] = recipe.data.file.name
    return content


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
