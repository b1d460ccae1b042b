"""What a run directory of a multi-horizon forecaster says to the exporter."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.exporter import Exported, export_module
from ostinato.export.proofs.recurrent import Report
from ostinato.export.runs.content import provenance_of, series_input
from ostinato.models.kinds.multi_horizon import load_run


def export_multi_horizon(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: Report
) -> Exported:
    """Export the forecaster of a run directory.

    A quantile's feature has the target's name and the percent, as ``pm2.5_p10``; the median foretells the target.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_module``.
    """
    run = load_run(run_directory)
    target = run.recipe.data.target
    quantiles = tuple(f"{target}_p{100 * quantile:g}" for quantile in run.recipe.network.quantiles)
    return export_module(
        run.network,
        series_input(run.features, run.content),
        repository,
        name=name or run.recipe.name,
        version=version,
        output_features=quantiles,
        feedback={quantiles[len(quantiles) // 2]: target},
        description=run.recipe.description,
        provenance=provenance_of(run.content),
        force=force,
        report=report,
    )
