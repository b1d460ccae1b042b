"""A second device for machines that have none: tensors on it are counted on the CPU, and refuse those that are not.

Torch has no accelerator that every machine can pretend to. Here each tensor is remembered to be on the device that the
code asked for, and what real devices refuse is refused: an operation over both, ``numpy()`` of what is not on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

NAME = "cuda"
# What reads a number or copies, and what is given sizes or places on the CPU, as on a real device.
_FREE = (
    "copy_",
    "__setitem__",
    "_pack_padded_sequence",
    "_pad_packed_sequence",
    "_has_compatible_shallow_copy_type",
    "__set__",
    "lstm",
    "gru",
    "rnn_tanh",
    "rnn_relu",
    "__repr__",
)
_TO_CPU = ("cpu", "tolist", "item")


class SecondDevice(TorchFunctionMode):
    """While it is on, the device ``cuda`` can be trained on; ``num_tensors``: how many there were of it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_tensors = 0
        self._is_there = WeakTensorKeyDictionary()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name, owner = dict(kwargs or {}), _name(func), getattr(func, "__self__", None)
        if name == "_parse_to":
            return func(*args, **kwargs)
        if owner is Tensor.device:
            return torch.device(NAME if self._there(args[0]) else "cpu")
        tensors = list(_tensors((args, kwargs)))
        there = [self._there(tensor) for tensor in tensors]
        if name == "numpy" and any(there):
            raise TypeError(f"can't convert {NAME} device type tensor to numpy: use Tensor.cpu()")
        wanted = _device(args, kwargs)
        if name == "to" and len(tensors) > 1:
            wanted = NAME if there[1] else "cpu"
        elif name not in _FREE and any(there):
            self._check(name, tensors, there)
        made = func(*_on_cpu(args), **_on_cpu(kwargs))
        if (wanted or name == "cpu") and tensors and made is tensors[0]:
            # What is nothing on one device is a copy between two.
            made = made.clone()
        if owner is Tensor.data and name == "__set__":
            self._put(tensors[0], there[1])
        is_there = wanted == NAME if wanted else any(there) and name not in _TO_CPU
        if name in ("_pack_padded_sequence", "_pad_packed_sequence"):
            self._put(made[0], there[0])
            return made
        if name not in ("copy_", "__setitem__", "__set__"):
            for tensor in _tensors(made):
                self._put(tensor, is_there)
        return made

    def _check(self, name: str, tensors: list[Tensor], there: list[bool]) -> None:
        """Whether a real device would do it."""
        others = [one for one, is_there in zip(tensors, there, strict=True) if not is_there and one.dim()]
        if name == "__getitem__" and there[0]:
            return
        if others:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {NAME} and cpu")

    def _there(self, tensor: Tensor) -> bool:
        return bool(self._is_there.get(tensor, False))  # type: ignore[no-untyped-call]

    def _put(self, tensor: Tensor, is_there: bool) -> None:
        self.num_tensors += is_there
        self._is_there[tensor] = is_there


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__name__", func))


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, dict):
        yield from _tensors(list(given.values()))
    elif isinstance(given, (list, tuple)):
        for each in given:
            yield from _tensors(each)


def _device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The device that a call names, if it does."""
    named = [each for each in (*args, kwargs.get("device")) if isinstance(each, torch.device)]
    named += [each for each in (kwargs.get("device"), *args[1:2]) if each in (NAME, "cpu")]
    return str(named[0]).partition(":")[0] if named else ""


def _on_cpu(given: Any) -> Any:
    if isinstance(given, dict):
        return {key: _on_cpu(each) for key, each in given.items()}
    if isinstance(given, tuple):
        return tuple(map(_on_cpu, given))
    if isinstance(given, Tensor):
        return given
    return (
        torch.device("cpu") if isinstance(given, torch.device) or (isinstance(given, str) and given == NAME) else given
    )
