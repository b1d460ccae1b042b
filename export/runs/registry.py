"""What a run directory of ``ostinato train`` says to the exporter: of any kind, and of a forecaster."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ostinato.export.errors import ExportError
from ostinato.export.exporter import Exported, export_module
from ostinato.export.proofs.recurrent import Report
from ostinato.export.runs.caption import export_caption
from ostinato.export.runs.content import provenance_of, series_input
from ostinato.export.runs.language_model import export_language_model
from ostinato.export.runs.multi_horizon import export_multi_horizon
from ostinato.export.runs.pronunciation import export_pronunciation
from ostinato.models.kinds.registry import FORECASTER
from ostinato.models.kinds.runs import load_run
from ostinato.models.run_files import read_content


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
        series_input(run.features, run.content),
        repository,
        name=name or recipe["name"],
        version=version,
        output_features=(target,),
        feedback={target: target},
        description=recipe["description"],
        provenance=provenance_of(run.content),
        force=force,
        report=report,
    )


EXPORTERS: dict[str, ExportRun] = {
    FORECASTER: export_forecaster,
    "pronunciation": export_pronunciation,
    "multi_horizon": export_multi_horizon,
    "language_model": export_language_model,
    "caption": export_caption,
}
"""Each kind of run (``models/kinds/registry.py``) with what exports it."""
