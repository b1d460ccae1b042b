"""Graphs and versions tried in a process of their own, before they are opened in this one."""

from __future__ import annotations

import atexit
import functools
from pathlib import Path
from typing import NamedTuple

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.trial import Allowances, Trial
from ostinato.service.config import Settings

OPEN = "ostinato.service.catalogue.trial_of_graph:open_file"
LOAD = "ostinato.service.catalogue.trial_of_version:load"
_SECRETS = {"state", "models"}
"""They may hold passwords, and no trial opens a store, or fetches."""


class TriedVersion(NamedTuple):
    """A version that the child has loaded and checked.

    Attributes:
        golden_difference, step_seconds: as of a ``LoadedModel``.
        warnings: of its checks, in sentences.
    """

    manifest: Manifest
    golden_difference: float
    step_seconds: float
    warnings: tuple[str, ...]


def shared_trial(settings: Settings | None = None) -> Trial:
    """The trial of this process, for all who allow the same."""
    return _trial(Allowances.of(settings or Settings()))


@functools.cache
def _trial(allowances: Allowances) -> Trial:
    trial = Trial(allowances)
    atexit.register(trial.close)
    return trial


def try_graph(path: Path, trial: Trial | None = None) -> str:
    """Have a graph file opened and run once, over a little of nothing, in the child.

    Returns:
        why that run failed, which may be the inputs' fault; empty where it did not.

    Raises:
        ModelRejected: it cannot be opened, or the child died, took too long or too much memory.
    """
    return str((trial or shared_trial()).call(OPEN, str(path), place=path, doing="opened").made)


def try_version(directory: Path, settings: Settings, trial: Trial | None = None) -> TriedVersion:
    """Have a version loaded and checked in the child, as the service would do it; on the CPU, whatever the device: a
    child's memory is counted, and a GPU's driver takes more of addresses than any.

    Raises:
        ModelRejected: a check failed, or the child died, took too long or too much memory.
    """
    given = settings.model_dump(mode="json", exclude=_SECRETS) | {"device": "cpu"}
    trial = trial or shared_trial(settings)
    made, warnings = trial.call(LOAD, str(directory), given, place=directory)
    manifest = Manifest.model_validate(made["manifest"])
    return TriedVersion(manifest, made["golden_difference"], made["step_seconds"], warnings)
