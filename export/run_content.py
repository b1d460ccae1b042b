"""Content of a run directory as the exporters take it: name and provenance, a series' rows, vocabularies."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ostinato.models.errors import RunError
from ostinato.models.networks.features import Features
from ostinato.models.run_files import RUN_FILE
from ostinato.service.artifact.tensors import Input, Statistics, TableTimes
from ostinato.service.artifact.vocabulary import Vocabulary


def label(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Name, description and provenance of a version; the name is the recipe's where none is given."""
    recipe = content["recipe"]
    return {
        "name": name or recipe["name"],
        "description": recipe["description"],
        "provenance": provenance_of(content),
    }


def series_input(features: Features, content: dict[str, Any]) -> Input:
    """Rows as the recipe orders their features, in raw units, holes allowed."""
    table = content["recipe"]["data"]
    return Input(
        name="inputs",
        dtype="float32",
        shape=("B", "T", len(features.names)),
        features=features.names,
        missing=True,
        missing_words=table["missing"],
        times=_table_times(table, content.get("data", {}).get("step")),
        categories={name: words for name, words in content["categories"].items() if name in features.names},
        statistics=Statistics(**asdict(features.statistics)),
    )


def _table_times(table: dict[str, Any], step: str | None) -> TableTimes | None:
    # A run of before there were steps took rows as they came, and nobody looked whether any were missing.
    if "gaps" not in table or not table["time"]:
        return None
    return TableTimes(columns=table["time"], step=step, gaps=table["gaps"])


def provenance_of(content: dict[str, Any]) -> dict[str, Any]:
    """Data, licence and scores: what a reader of the manifest asks first."""
    recipe = content["recipe"]
    return {
        "data": {**content["data"], "file": recipe["data"]["file"], "source": recipe["data"]["source"]},
        "licence": recipe["data"]["licence"],
        "metrics": content["metrics"],
        "network": {**recipe["network"], "num_parameters": content["num_parameters"]},
        "training": {
            **recipe["training"],
            "num_epochs": content["num_epochs"],
            "training_seconds": content["training_seconds"],
        },
        "training_libraries": content["libraries"],
    }


def vocabularies_of(run_directory: Path, content: dict[str, Any]) -> dict[str, Vocabulary]:
    """The vocabularies that a run's content names, ``source`` and ``target``.

    Raises:
        RunError: one of them is not valid.
    """
    try:
        return {role: Vocabulary.model_validate(given) for role, given in content["vocabularies"].items()}
    except ValidationError as error:
        fault = error.errors()[0]
        raise RunError(f"{run_directory}: {RUN_FILE} is damaged: vocabularies: {fault['msg']}") from error
