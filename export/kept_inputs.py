"""Kept inputs: a version whose sessions keep their last steps, by which another version may go on from there."""

from __future__ import annotations

from dataclasses import replace

from pydantic import ValidationError

from ostinato.export.errors import ExportError
from ostinato.export.version_directory import Exported
from ostinato.service.artifact.manifest import Manifest


def keeping_inputs(exported: Exported, number: int) -> Exported:
    """The same version, of which a session keeps so many steps, 1 to 100,000.

    Raises:
        ExportError: its sessions cannot: it has none, or framing. The version stays as it is.
    """
    members = {**exported.manifest.model_dump(), "keep_inputs": number}
    members.pop("batch_invariant", None)  # which follows from the promise
    try:
        manifest = Manifest(**members)
    except ValidationError as error:
        faults = "; ".join(str(fault["msg"]).removeprefix("Value error, ") for fault in error.errors())
        raise ExportError(f"--keep-inputs {number}: {faults}; the version was exported without") from error
    manifest.write(exported.directory)
    return replace(exported, manifest=manifest)
