"""What a run directory of the kind ``caption`` says to the exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ostinato.export.exporter import Exported
from ostinato.export.generation_exporter import export_encoder_decoder
from ostinato.export.proofs.recurrent import Report
from ostinato.export.runs.content import provenance_of
from ostinato.export.runs.text import vocabularies_of
from ostinato.models.data.digits import NAMES, PIXELS
from ostinato.models.kinds.caption import load_caption_run
from ostinato.models.networks.caption import IMAGE_SIZE
from ostinato.service.artifact.manifest import Limits
from ostinato.service.artifact.tensors import Input, Statistics

# Far more than the longest name has letters.
MAX_OUTPUT_STEPS = 4 * max(map(len, NAMES))


def export_caption(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: Report
) -> Exported:
    """Export the captioner of a run directory: pixels in, letters out.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_encoder_decoder``.
    """
    run = load_caption_run(run_directory)
    return export_encoder_decoder(
        run.network,
        picture(run.content),
        repository,
        name=name or run.content["recipe"]["name"],
        version=version,
        start=run.content["start"],
        stop=run.content["stop"],
        state_names=("h",),
        vocabularies=vocabularies_of(run_directory, run.content),
        limits=Limits(max_output_steps=MAX_OUTPUT_STEPS),
        description=run.content["recipe"]["description"],
        provenance=provenance_of(run.content),
        force=force,
        report=report,
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
