"""What a run directory of ``ostinato train`` says to the exporter: of any kind, and of a forecaster."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from export.errors import ExportError
from export.exporter import Exported, export_module
from export.parity import Report
from export.pronunciation_run import export_pronunciation
from models.kinds import FORECASTER
from models.run_files import read_content
from models.runs import Run, load_run
from service.tensors import Input, Statistics


class ExportRun(Protocol):
    """What exports the run directories of a kind."""

    def __call__(
        self, run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: Report
    ) -> Exported:
        """As ``export_run``."""
        ...


def export_run(
    run_directory: Path,
    repository: Path,
    *,
    name: str = "",
    version: str = "1",
    force: bool = False,
    report: Report = lambda _done, _total: None,
) -> Exported:
    """Export what a run directory holds; its name is the recipe's where none is given.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: its kind is unknown; or as ``export_module`` and ``export_encoder_decoder``.
    """
    kind = read_content(run_directory).get("kind", FORECASTER)
    if kind not in EXPORTERS:
        raise ExportError(f"{run_directory}: a run of kind {kind!r}; known are {', '.join(sorted(EXPORTERS))}")
    return EXPORTERS[kind](run_directory, repository, name=name, version=version, force=force, report=report)


def export_forecaster(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: Report
) -> Exported:
    """A forecaster; its output has the target's name, and feeds back into it."""
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


EXPORTERS: dict[str, ExportRun] = {FORECASTER: export_forecaster, "pronunciation": export_pronunciation}
"""Each kind of run (``models/kinds.py``) with what exports it."""
