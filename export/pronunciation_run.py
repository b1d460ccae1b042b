"""What a run directory of the kind ``pronunciation`` says to the exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.exporter import Exported
from export.generation_exporter import export_encoder_decoder
from export.parity import Report
from models.pronunciation import PronunciationRun, load_pronunciation_run
from service.manifest import Limits
from service.tensors import Input
from service.vocabulary import Vocabulary

# The longest word of CMUdict has 34 letters.
MAX_SOURCE_STEPS = 64
MAX_OUTPUT_STEPS = 128


def export_pronunciation(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: Report
) -> Exported:
    """Export the speller of a run directory: letters in, phonemes out.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_encoder_decoder``.
    """
    run = load_pronunciation_run(run_directory)
    recipe = run.content["recipe"]
    letters, phonemes = (Vocabulary.model_validate(run.content["vocabularies"][side]) for side in ("source", "target"))
    return export_encoder_decoder(
        run.network,
        Input(name="source", dtype="int64", shape=("B", "S"), features=("letter",), num_codes=len(letters.symbols)),
        repository,
        name=name or recipe["name"],
        version=version,
        start=run.content["start"],
        stop=run.content["stop"],
        vocabularies={"source": letters, "target": phonemes},
        limits=Limits(max_source_steps=MAX_SOURCE_STEPS, max_output_steps=MAX_OUTPUT_STEPS),
        description=recipe["description"],
        provenance=_provenance(run),
        force=force,
        report=report,
    )


def _provenance(run: PronunciationRun) -> dict[str, Any]:
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
