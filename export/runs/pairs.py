"""Export of networks that write one text for another."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.generation_exporter import export_encoder_decoder
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label, vocabularies_of
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.pairs import load_run
from ostinato.service.artifact.manifest import Limits
from ostinato.service.artifact.tensors import Input


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the encoder-decoder of a run directory: text in, another text out.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_encoder_decoder``.
    """
    run = load_run(run_directory)
    vocabularies = vocabularies_of(run_directory, run.content)
    sources = vocabularies["source"]
    return export_encoder_decoder(
        run.network,
        Input(name="source", dtype="int64", shape=("B", "S"), features=("code",), num_codes=len(sources.symbols)),
        repository,
        version=version,
        start=run.content["start"],
        stop=run.content["stop"],
        vocabularies=vocabularies,
        examples=run.content["examples"],
        limits=Limits(**run.content["limits"]),
        force=force,
        report=report,
        **label(run.content, name),
    )
