"""Weights from a checkpoint file: what trainers save, put into a network whose code makes it anew."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ostinato.export.contracts.preparation import unwrapped
from ostinato.export.errors import ExportError, first_line

# Under which of its keys a checkpoint holds the weights: of Lightning, and of loops that people write.
_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
_NUM_NAMED = 3


def load_weights(module: nn.Module, path: Path) -> nn.Module:
    """The network itself, with the weights of a file: ``.safetensors``, or what ``torch.save`` wrote of a
    ``state_dict`` or a dict that holds one.

    What is before all names of the network's, as ``model.`` in Lightning's checkpoints and ``_orig_mod.`` of
    ``torch.compile``, is taken off. Nothing in the file is run: ``torch.load`` is called with ``weights_only``.

    Raises:
        ExportError: the file cannot be read, or its weights are not the network's; names them.
    """
    network = unwrapped(module)
    wanted = network.state_dict()
    given = _named_as(_read(path), wanted)
    missing, unknown = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or unknown:
        raise ExportError(f"{path}: {_difference(missing, unknown)}")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            raise ExportError(
                f"{path}: {name} is {list(tensor.shape)} there and {list(wanted[name].shape)} in the network: make it "
                "with the sizes that it was trained with"
            )
    network.load_state_dict(given)
    return module


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{path}: {getattr(error, 'strerror', None) or first_line(error)}") from error
    except Exception as error:  # of a pickle anything may be wrong
        raise ExportError(
            f"{path}: it holds other things than tensors, numbers and words, and loading them would run code: save "
            f"network.state_dict() alone, by torch.save or safetensors ({first_line(error)})"
        ) from error
    return _tensors_in(content, path)


def _tensors_in(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping):
        for key in _KEYS:
            if isinstance(content.get(key), Mapping):
                return _tensors_in(content[key], path)
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        raise ExportError(f"{path}: no weights in it, under none of {', '.join(_KEYS)}; it has {_few(list(content))}")
    raise ExportError(f"{path}: holds {type(content).__name__} and not a state_dict")


def _named_as(given: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by the network's names: under the prefix by which most of them fit."""
    ends = {name.removesuffix(own) for name in given for own in wanted if name.endswith(f".{own}") or name == own}
    fitting = {
        prefix: {name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
        for prefix in sorted({"", *ends}, key=len)
    }
    best = max(fitting, key=lambda prefix: len(set(fitting[prefix]) & set(wanted)))
    return fitting[best]


def _difference(missing: list[str], unknown: list[str]) -> str:
    words = []
    for name in missing[:_NUM_NAMED]:
        near = difflib.get_close_matches(name, unknown, 1, 0.5)
        words.append(f"it has no {name}" + (f", but {near[0]}" if near else ""))
    more = f" and {len(missing) - _NUM_NAMED} more" if len(missing) > _NUM_NAMED else ""
    if not missing:
        words = [f"the network has no {_few(unknown)}"]
    return f"{'; '.join(words)}{more}: its weights are of another network than the function returns"


def _few(names: list[Any]) -> str:
    more = f" and {len(names) - _NUM_NAMED} more" if len(names) > _NUM_NAMED else ""
    return ", ".join(map(str, names[:_NUM_NAMED])) + more
