"""Export of next-number networks."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label
from ostinato.export.version_directory import Exported
from ostinato.service.artifact.tensors import Input
from tests.toy_kind.kinds.next_number import load_run


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    run = load_run(run_directory)
    return export_module(
        run.network,
        Input(name="inputs", dtype="float32", shape=("B", "T", 1), features=("number",)),
        repository,
        version=version,
        output_features=("number",),
        feedback={"number": "number"},
        force=force,
        report=report,
        **label(run.content, name),
    )
