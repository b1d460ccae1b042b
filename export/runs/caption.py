"""Export of captioners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ostinato.export.generation_exporter import export_encoder_decoder
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label, vocabularies_of
from ostinato.export.version_directory import Exported
from ostinato.models.data.digits import IMAGE_SIZE, NAMES, PIXELS
from ostinato.models.kinds.caption import load_run
from ostinato.service.artifact.manifest import Limits
from ostinato.service.artifact.tensors import Input, Statistics

# Far more than the longest name has letters.
MAX_OUTPUT_STEPS = 4 * max(map(len, NAMES))


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the captioner of a run directory: pixels in, letters out.

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
        state_names=("h",),
        vocabularies=vocabularies_of(run_directory, run.content),
        limits=Limits(max_output_steps=MAX_OUTPUT_STEPS),
        force=force,
        report=report,
        **label(run.content, name),
    )


def picture(content: dict[str, Any]) -> Input:
    """A picture as it is sent, 8 rows of 8 pixels from the top left, 0 (paper) to 16 (ink)."""
    return Input(
        name="pixels",
        dtype="float32",
        shape=("B", IMAGE_SIZE, IMAGE_SIZE),
        features=PIXELS,
        statistics=Statistics.model_validate(content["statistics"]),
    )
