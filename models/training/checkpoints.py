"""Checkpoints: what a training would lose if its process died now, in one safetensors file, after each epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ostinato.models.errors import RunError

CHECKPOINT_FILE = "checkpoint.safetensors"
_ANY_FILE = "checkpoint*.safetensors"
# Prefixes of the tensors' names, and the key of all that is no tensor.
_WEIGHTS, _BEST, _OPTIMIZER, _CONTENT = "weights/", "best/", "optimizer/", "content"


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A training after one of its epochs.

    ``weights``, ``best``: of the network now, and after its best epoch.
    ``optimizer``: for each weight, in order, what the optimiser remembers of it.
    ``content``: what JSON can hold: epochs, history.
    """

    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]]
    content: dict[str, Any]

    def restore(self, network: nn.Module, optimizer: Optimizer) -> None:
        """Give a network and its optimiser what they had.

        Raises:
            RunError: they are of another shape.
        """
        try:
            network.load_state_dict(self.weights)
            state: dict[str, Any] = optimizer.state_dict()
            state["state"] = {int(place): dict(kept) for place, kept in self.optimizer.items()}
            optimizer.load_state_dict(state)
        except (RuntimeError, ValueError) as error:
            raise RunError(f"the checkpoint is of another network: {error}") from error


@dataclass(frozen=True)
class Checkpoints:
    """The place of a training's checkpoint; of a training without a directory there is none.

    ``identity``: what must be the same for a training to go on, such as its recipe.
    ``resume``: whether to begin with the checkpoint that is there.
    ``member``: which of an ensemble's networks is trained; each has a file of its own, kept until all have ended.
    """

    directory: Path | None = None
    identity: str = ""
    resume: bool = False
    member: int = 0

    def read(self) -> TrainingCheckpoint | None:
        """What to go on from; None to begin with.

        Raises:
            RunError: the checkpoint is damaged, or of another recipe or data.
        """
        if self.directory is None or not self.resume or not (path := self.directory / self._file).exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                told = json.loads(file.metadata()[_CONTENT])
                tensors = {name: file.get_tensor(name) for name in file.offset_keys()}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path}: is damaged: {error}; without --resume training begins anew") from error
        if told.pop("identity", None) != self.identity:
            # The first member's was asked first: what others have left is of a training that was begun before.
            if self.member:
                return None
            raise RunError(
                f"{path}: is of another recipe, seed or data: --resume goes on with what was begun; leave it out, or "
                "give another --output, to begin anew"
            )
        optimizer: dict[str, dict[str, Tensor]] = {}
        for name, tensor in _under(_OPTIMIZER, tensors).items():
            place, _, key = name.partition("/")
            optimizer.setdefault(place, {})[key] = tensor
        return TrainingCheckpoint(_under(_WEIGHTS, tensors), _under(_BEST, tensors), optimizer, told)

    def write(self, network: nn.Module, best: dict[str, Tensor], optimizer: Optimizer, content: dict[str, Any]) -> None:
        """Put the training in the place of its former checkpoint: one rename, so that one of them is always whole."""
        if self.directory is None:
            return
        remembered = {
            f"{place}/{key}": torch.as_tensor(kept)
            for place, of_weight in optimizer.state_dict()["state"].items()
            for key, kept in of_weight.items()
            if kept is not None
        }
        groups = ((_WEIGHTS, network.state_dict()), (_BEST, best), (_OPTIMIZER, remembered))
        # Each a tensor of its own: safetensors refuses two names for one memory.
        tensors = {
            f"{prefix}{name}": tensor.detach().cpu().clone().contiguous()
            for prefix, group in groups
            for name, tensor in group.items()
        }
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / self._file
        written = path.with_suffix(".tmp")
        save_file(tensors, written, {_CONTENT: json.dumps({**content, "identity": self.identity})})
        written.replace(path)

    def remove(self) -> None:
        """The training has ended."""
        if self.directory is not None:
            for path in self.directory.glob(_ANY_FILE):
                path.unlink(missing_ok=True)

    @property
    def _file(self) -> str:
        return f"checkpoint-{self.member}.safetensors" if self.member else CHECKPOINT_FILE


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
