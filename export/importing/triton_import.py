"""Import of a version of a repository of Triton: its configuration is put into the arguments of ``import_graph``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ostinato.export.errors import ExportError
from ostinato.export.importing.importer import import_graph
from ostinato.export.importing.reading import read_graph
from ostinato.export.importing.triton import TritonModel, told
from ostinato.export.version_directory import Exported


def import_triton(found: TritonModel, repository: Path, **options: Any) -> Exported:
    """Make a version of one of Triton's, under its name and version.

    Args:
        options: of ``import_graph``, of which states, axes, inputs and first states are told by the configuration.

    Raises:
        ExportError: the model is refused; graph and configuration do not fit; or as ``import_graph``.
    """
    if found.refused:
        raise ExportError(f"{found.name}: {found.refused}")
    model = read_graph(found.path)
    try:
        known = told(found.config, model, found.folder)
    except ExportError as error:
        raise ExportError(f"{found.name}/{found.version}: {error}") from error
    return import_graph(
        found.path,
        repository,
        name=found.name,
        version=found.version,
        model=model,
        states=known.states,
        initial=known.initial,
        axes=known.axes,
        inputs=known.inputs,
        notes=known.notes,
        **options,
    )
