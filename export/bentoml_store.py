"""The BentoML model store, for those who keep their models there."""

from __future__ import annotations

import shutil
from pathlib import Path

from ostinato.extras import require
from ostinato.service.artifact.manifest import Manifest


def save_to_store(directory: Path) -> str:
    """Copy a version's directory into the store, under the model's name in lower case.

    Returns:
        the tag, ``name:version``; the version is the store's own, the model's is among the labels.
    """
    require("bentoml", __name__)
    import bentoml  # its import takes seconds, and only some exports want it

    manifest = Manifest.read(directory)
    labels = {"model": manifest.name, "version": manifest.version, "task": manifest.task}
    metadata: dict[str, bool | float] = {"batch_invariant": manifest.batch_invariant}
    if manifest.parity is not None:
        metadata["max_difference"] = manifest.parity.max_difference
    with bentoml.models.create(manifest.name.lower(), labels=labels, metadata=metadata) as model:
        shutil.copytree(directory, model.path, dirs_exist_ok=True)
        return str(model.tag)
