"""Export of captioners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ostinato.export.generation_exporter import export_encoder_decoder
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label, vocabularies_of
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.captions import load_run
from ostinato.service.artifact.manifest import Limits
from ostinato.service.artifact.tensors import Input, Statistics


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the captioner of a run directory: pixels in, symbols out.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_encoder_decoder``.
    """
    run = load_run(run_directory)
    return export_encoder_decoder(
        run.network,
        picture(run.content),
        repository,
        version=version,
        start=run.content["start"],
        stop=run.content["stop"],
        state_names=run.network.state_names,
        vocabularies=vocabularies_of(run_directory, run.content),
        # Far more than the longest text has.
        limits=Limits(max_output_steps=max(16, 4 * run.content["max_symbols"])),
        force=force,
        report=report,
        **label(run.content, name),
    )


def picture(content: dict[str, Any]) -> Input:
    """A picture as it is sent: rows of pixels from the top left, in the channel's own list where there are several."""
    channels, height, width = content["pictures"]["shape"]
    return Input(
        name="pixels",
        dtype="float32",
        shape=("B", height, width) if channels == 1 else ("B", channels, height, width),
        features=tuple(content["pictures"]["names"]),
        statistics=Statistics.model_validate(content["statistics"]),
    )
