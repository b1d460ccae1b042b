"""Export of forecasters one step ahead."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label, series_input
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.forecaster import load_run


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the forecaster of a run directory; its output has the target's name, and feeds back into it.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_module``.
    """
    run = load_run(run_directory)
    target = run.features.names[run.features.target_index]
    return export_module(
        run.network,
        series_input(run.features, run.content),
        repository,
        version=version,
        output_features=(target,),
        feedback={target: target},
        force=force,
        report=report,
        **label(run.content, name),
    )
