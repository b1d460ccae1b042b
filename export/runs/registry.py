"""The exporters of run directories: one module of this folder for each kind, of the kind's name.

A kind's module has ``export_run(run_directory, repository, *, name, version, force, report)``; it says what the run
directories of its kind (``ostinato/models/kinds/<kind>.py``) mean to an exporter.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ostinato.export import runs
from ostinato.export.errors import ExportError
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.registry import FORECASTER, kind_names
from ostinato.models.run_files import read_content


class RunExporter(Protocol):
    """The module that exports the run directories of a kind."""

    def export_run(
        self, run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
    ) -> Exported:
        """As the function of this name below."""


def export_run(
    run_directory: Path,
    repository: Path,
    *,
    name: str = "",
    version: str = "1",
    force: bool = False,
    report: ProofReport = lambda _done, _total: None,
) -> Exported:
    """Export what a run directory holds; its name is the recipe's where none is given.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: its kind is unknown; or as ``export_module`` and ``export_encoder_decoder``.
    """
    kind = read_content(run_directory).get("kind", FORECASTER)
    if kind not in (known := kind_names()):
        raise ExportError(f"{run_directory}: a run of kind {kind!r}; known are {', '.join(known)}")
    exporter = cast(RunExporter, import_module(f"{runs.__name__}.{kind}"))
    return exporter.export_run(run_directory, repository, name=name, version=version, force=force, report=report)
