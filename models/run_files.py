"""Run directories, of any kind: what was trained and how (JSON), and the weights (safetensors)."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ostinato.models.errors import RunError
from ostinato.models.recipe import RunRecipe
from ostinato.models.report import ReportPart
from ostinato.models.training.fitting import Fitted

RUN_FILE = "run.json"
WEIGHTS_FILE = "model.safetensors"
_LIBRARIES = ("torch", "numpy", "safetensors")


class TrainedRun(Protocol):
    """What a kind makes of a run directory: the network, ready to export, and the content of ``run.json``."""

    @property
    def network(self) -> nn.Module:
        """As the recipe asks for it."""

    @property
    def content(self) -> dict[str, Any]:
        """That of ``run.json``."""


AnyRun = TypeVar("AnyRun", bound=TrainedRun)


@dataclass(frozen=True)
class Trained:
    """What a kind's training gives: all that is written of it.

    ``data``: what the network learned from: its SHA-256 and how much of it is in each part.
    ``metrics``: how good the network is. ``sections``: the same and more, to be shown.
    ``of_the_kind``: what else loading and exporting need, such as vocabularies.
    """

    network: nn.Module
    fitted: Fitted
    data: Mapping[str, Any]
    metrics: Mapping[str, Any]
    sections: Sequence[ReportPart] = ()
    of_the_kind: Mapping[str, Any] = field(default_factory=dict)


def write_run(directory: Path, recipe: RunRecipe, trained: Trained, identity: str = "") -> None:
    """Write ``model.safetensors`` and ``run.json``, the same for each kind: recipe, data, metrics, how training went.

    Args:
        directory: is made where it does not exist.
        identity: of recipe and data, so that a training that has ended is not resumed.
    """
    fitted, network = trained.fitted, trained.network
    content = {
        "kind": recipe.kind,
        "recipe": recipe.portable(),
        **trained.of_the_kind,
        "data": trained.data,
        "metrics": trained.metrics,
        "validation": fitted.validation,
        "num_epochs": fitted.num_epochs,
        "best_epoch": fitted.best_epoch,
        "training_seconds": round(fitted.training_seconds, 1),
        "history": [asdict(past) for past in fitted.history],
        **_of_members(recipe, fitted),
        "num_parameters": sum(weight.numel() for weight in network.parameters()),
        "libraries": {"python": platform.python_version(), **{name: library_version(name) for name in _LIBRARIES}},
        "identity": identity,
    }
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().cpu().contiguous() for name, weight in network.state_dict().items()}
    save_file(weights, directory / WEIGHTS_FILE)
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    (directory / RUN_FILE).write_text(text + "\n", encoding="utf-8")


def _of_members(recipe: RunRecipe, fitted: Fitted) -> dict[str, Any]:
    """How the training of each member of an ensemble went."""
    if not fitted.members:
        return {}
    return {
        "members": [
            {
                "seed": recipe.training.seed + number,
                "validation": member.validation,
                "num_epochs": member.num_epochs,
                "best_epoch": member.best_epoch,
                "history": [asdict(past) for past in member.history],
            }
            for number, member in enumerate(fitted.members)
        ]
    }


def check_directory(directory: Path | None) -> None:
    """Whether a run can be written there, or to ``runs/`` where None: training is long, and writing comes at its end.

    Raises:
        RunError: it cannot.
    """
    place = directory or Path("runs")
    existing = next(parent for parent in (place, *place.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise RunError(f"{place}: a run cannot be written there: {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunError(f"{place}: a run cannot be written there: {existing} may not be written to")


def read_run(directory: Path, build: Callable[[dict[str, Any]], AnyRun]) -> AnyRun:
    """What ``build`` makes of the content of ``run.json``, its network with the weights and in evaluation mode.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    content = read_content(directory)
    try:
        run = build(content)
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(f"{directory}: {RUN_FILE} is damaged: {error}") from error
    _load_weights(directory, run.network)
    return run


def read_content(directory: Path) -> dict[str, Any]:
    """The content of ``run.json``.

    Raises:
        RunError: it is absent or damaged.
    """
    try:
        content = json.loads((directory / RUN_FILE).read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{directory}: is not a run directory: {error}; make one with `ostinato train`") from error
    except ValueError as error:
        raise RunError(f"{directory}: {RUN_FILE} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise RunError(f"{directory}: {RUN_FILE} is damaged: it holds no object")
    return content


def _load_weights(directory: Path, network: nn.Module) -> None:
    try:
        network.load_state_dict(load_file(directory / WEIGHTS_FILE))
    except OSError as error:
        raise RunError(f"{directory}: is not a run directory: {error}; make one with `ostinato train`") from error
    except (RuntimeError, SafetensorError) as error:
        raise RunError(f"{directory}: {WEIGHTS_FILE} is damaged: {error}") from error
    network.eval()
