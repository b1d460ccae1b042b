"""Export of taggers."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.proofs.proof import ProofReport
from ostinato.export.runs.labels import export_classifier
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.tags import load_run


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the tagger of a run directory; its outputs have the tags' names, and are their probabilities.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_sequence``, and ``export_module`` of one that streams.
    """
    run = load_run(run_directory)
    return export_classifier(run, repository, name=name, version=version, force=force, report=report)
