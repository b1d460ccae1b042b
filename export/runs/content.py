"""What the content of a run directory says to any exporter: where a model comes from, and what a series' rows are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ostinato.models.networks.recurrent import Features
from ostinato.service.artifact.tensors import Input, Statistics


def series_input(features: Features, content: dict[str, Any]) -> Input:
    """Rows as the recipe orders their features, in raw units, holes allowed."""
    return Input(
        name="inputs",
        dtype="float32",
        shape=("B", "T", len(features.names)),
        features=features.names,
        missing=True,
        missing_words=content["recipe"]["data"]["missing"],
        categories=content["categories"],
        statistics=Statistics(**asdict(features.statistics)),
    )


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
