"""What a run directory of ``ostinato train`` says to the exporter."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.exporter import Exported, export_module
from export.parity import Report
from models.runs import Run, load_run
from service.tensors import Input, Statistics


def export_run(
    run_directory: Path,
    repository: Path,
    *,
    name: str = "",
    version: str = "1",
    force: bool = False,
    report: Report = lambda _done, _total: None,
) -> Exported:
    """Export the forecaster of a run directory; its name is the recipe's where none is given.

    The forecast's feature has the target's name, and feeds back into it.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_module``.
    """
    run = load_run(run_directory)
    recipe = run.content["recipe"]
    target = run.features.names[run.features.target_index]
    return export_module(
        run.network,
        run_input(run),
        repository,
        name=name or recipe["name"],
        version=version,
        output_features=(target,),
        feedback={target: target},
        description=recipe["description"],
        provenance=run_provenance(run),
        force=force,
        report=report,
    )


def run_input(run: Run) -> Input:
    """Rows as the recipe orders their features, in raw units, holes allowed."""
    return Input(
        name="inputs",
        dtype="float32",
        shape=("B", "T", len(run.features.names)),
        features=run.features.names,
        missing=True,
        categories=run.content["categories"],
        statistics=Statistics(**asdict(run.features.statistics)),
    )


def run_provenance(run: Run) -> dict[str, Any]:
    """Data, licence and scores: what a reader of the manifest asks first."""
    content = run.content
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
