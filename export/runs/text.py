"""Export of language models."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.generation_exporter import export_generator
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label, vocabularies_of
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.text import load_run
from ostinato.service.artifact.manifest import Limits


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the language model of a run directory: text out, from a prompt or from nothing.

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
        state_names=run.network.state_names,
        vocabularies=vocabularies_of(run_directory, run.content),
        limits=Limits(**run.content["limits"]),
        force=force,
        report=report,
        **label(run.content, name),
    )
