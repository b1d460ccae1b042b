"""Export of language models."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.generation_exporter import export_generator
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label, vocabularies_of
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.language_model import load_run
from ostinato.service.artifact.manifest import Limits

# The longest word of CMUdict has 34 letters.
MAX_PROMPT_STEPS = 64
MAX_OUTPUT_STEPS = 128


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the language model of a run directory: letters out, from a prompt or from nothing.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_generator``.
    """
    run = load_run(run_directory)
    return export_generator(
        run.network,
        repository,
        version=version,
        start=run.content["start"],
        stop=run.content["stop"],
        vocabularies=vocabularies_of(run_directory, run.content),
        limits=Limits(max_source_steps=MAX_PROMPT_STEPS, max_output_steps=MAX_OUTPUT_STEPS),
        force=force,
        report=report,
        **label(run.content, name),
    )
