"""Export of multi-horizon forecasters."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label, series_input
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.multi_horizon import load_run


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the forecaster of a run directory.

    A quantile's feature has the target's name and the percent, as ``pm2.5_p10``; the median feeds back into the target.

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
        version=version,
        output_features=quantiles,
        feedback={quantiles[len(quantiles) // 2]: target},
        force=force,
        report=report,
        **label(run.content, name),
    )
