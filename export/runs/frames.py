"""Export of networks of frames."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.frames import load_run
from ostinato.models.networks.frames import answers_frames
from ostinato.service.artifact.tensors import Input, Statistics


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the network of a run directory: frames in raw units go in, and the next frames, which feed back whole, or
    the classes' probabilities come out.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_module``.
    """
    run = load_run(run_directory)
    pixels = run.form.names
    is_frame = answers_frames(run.network)
    given = Input(
        name="inputs",
        dtype="float32",
        shape=("B", "T", *run.form.shape),
        features=pixels,
        statistics=Statistics.model_validate(run.content["statistics"]),
    )
    return export_module(
        run.network,
        given,
        repository,
        version=version,
        output_features=pixels if is_frame else tuple(run.content["classes"]),
        state_names=run.network.state_names,
        feedback={pixel: pixel for pixel in pixels} if is_frame else {},
        force=force,
        report=report,
        **label(run.content, name),
    )
