"""Export of forecasters."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label, series_input
from ostinato.export.told_time import ToldTime, with_time
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.forecaster import AnyForecaster, ForecasterRun, load_run
from ostinato.service.artifact.tensors import Input, Statistics

CONTEXT_NAME = "static"


class ToldOnce(nn.Module):
    """A forecaster whose ``forward`` names what is known of a series as a whole, as the exporter looks for it.

    Members and trees hand it on among other tensors.
    """

    def __init__(self, network: AnyForecaster) -> None:
        super().__init__()
        self.network = network

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The network's."""
        return self.network.initial_state(batch_size)

    def forward(self, x: Tensor, static: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """The network's, ``static [B, S]``."""
        return self.network(x, static, *states)  # type: ignore[no-any-return]


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the forecaster of a run directory.

    An output feature has the name of its target, behind it the quantile in percent, as ``pm2.5_p10``, or ``_mean`` and
    ``_std``, and of several steps ahead ``_ahead_3``. What is forecast of a target one step ahead feeds back into it.
    Columns that are the same in all steps of a series are the context ``static``. A table with times gives the manifest
    its ``time``.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_module``.
    """
    run = load_run(run_directory)
    targets = tuple(target.name for target in run.features.targets)
    context = _context(run)
    exported = export_module(
        ToldOnce(run.network) if context else run.network,
        series_input(run.features, run.content),
        repository,
        version=version,
        context=context,
        state_names=run.network.state_names,
        output_features=run.forecasts.names(targets),
        feedback=_feedback(run),
        force=force,
        report=report,
        **label(run.content, name),
    )
    return with_time(exported, ToldTime())


def _context(run: ForecasterRun) -> tuple[Input, ...]:
    static = run.features.static
    if not static.names:
        return ()
    categories = {name: words for name, words in run.content["categories"].items() if name in static.names}
    return (
        Input(
            name=CONTEXT_NAME,
            dtype="float32",
            shape=("B", len(static.names)),
            features=static.names,
            missing=True,
            categories=categories,
            statistics=Statistics(**asdict(static.statistics)),
        ),
    )


def _feedback(run: ForecasterRun) -> dict[str, str]:
    forecasts = run.forecasts
    if forecasts.num_steps > 1:
        return {}
    part = forecasts.parts[forecasts.point]
    return {f"{target.name}{part}": target.name for target in run.features.targets if target.place is not None}
