"""The files of a run directory, of any kind: what was trained and how (JSON), and the weights (safetensors)."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ostinato.models.errors import RunError

RUN_FILE = "run.json"
WEIGHTS_FILE = "model.safetensors"
_LIBRARIES = ("torch", "numpy", "safetensors")


def write_run(directory: Path, network: nn.Module, content: dict[str, Any]) -> None:
    """Write ``model.safetensors`` and ``run.json``: the content, the network's size and the libraries' versions.

    The directory is made where it does not exist.
    """
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.contiguous() for name, weight in network.state_dict().items()}, directory / WEIGHTS_FILE)
    whole = {
        **content,
        "num_parameters": sum(weight.numel() for weight in network.parameters()),
        "libraries": {"python": platform.python_version(), **{name: library_version(name) for name in _LIBRARIES}},
    }
    text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
    (directory / RUN_FILE).write_text(text + "\n", encoding="utf-8")


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


def load_weights(directory: Path, network: nn.Module) -> None:
    """Give a network the weights of a run directory; it is in evaluation mode after.

    Raises:
        RunError: they are absent or not this network's.
    """
    try:
        network.load_state_dict(load_file(directory / WEIGHTS_FILE))
    except OSError as error:
        raise RunError(f"{directory}: is not a run directory: {error}; make one with `ostinato train`") from error
    except (RuntimeError, SafetensorError) as error:
        raise RunError(f"{directory}: {WEIGHTS_FILE} is damaged: {error}") from error
    network.eval()
