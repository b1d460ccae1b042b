"""What a run directory of the kind ``language_model`` says to the exporter."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.exporter import Exported
from ostinato.export.generation_exporter import export_generator
from ostinato.export.proofs.recurrent import Report
from ostinato.export.runs.content import provenance_of
from ostinato.export.runs.text import vocabularies_of
from ostinato.models.kinds.language_model import load_language_model_run
from ostinato.service.artifact.manifest import Limits

# The longest word of CMUdict has 34 letters.
MAX_PROMPT_STEPS = 64
MAX_OUTPUT_STEPS = 128


def export_language_model(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: Report
) -> Exported:
    """Export the language model of a run directory: letters out, from a prompt or from nothing.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_generator``.
    """
    run = load_language_model_run(run_directory)
    return export_generator(
        run.network,
        repository,
        name=name or run.content["recipe"]["name"],
        version=version,
        start=run.content["start"],
        stop=run.content["stop"],
        vocabularies=vocabularies_of(run_directory, run.content),
        limits=Limits(max_source_steps=MAX_PROMPT_STEPS, max_output_steps=MAX_OUTPUT_STEPS),
        description=run.content["recipe"]["description"],
        provenance=provenance_of(run.content),
        force=force,
        report=report,
    )
