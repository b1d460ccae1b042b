"""``encode`` and ``decode`` of a user's module, called with care: what they return is checked, every time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array
from ostinato.export.errors import ExportError

Tensors: TypeAlias = tuple[Tensor, ...]
Arrays: TypeAlias = tuple[Array, ...]


def check_methods(module: nn.Module, names: Sequence[str]) -> None:
    """Refuse a module without these methods."""
    for name in names:
        if not callable(getattr(module, name, None)):
            raise ExportError(
                f"{type(module).__name__} has no {name}(...): an encoder-decoder has encode(source, lengths) -> "
                "(memory, states) and decode(previous, states, memory, lengths) -> (output, states, attention)"
            )


def run_encoder(module: nn.Module, source: Tensor, lengths: Tensor | None) -> tuple[Tensors, Tensors]:
    """``encode``, what it returns checked."""
    answer = module.encode(source) if lengths is None else module.encode(source, lengths)  # type: ignore[operator]
    if not isinstance(answer, tuple) or len(answer) != 2 or not all(map(_are_tensors, answer)):
        raise ExportError(
            f"{type(module).__name__}.encode must return (memory, states), two tuples of tensors; it returned "
            f"{_what(answer)}"
        )
    return tuple(answer[0]), tuple(answer[1])


def run_decoder(
    module: nn.Module, previous: Tensor | None, states: Tensors, memory: Tensors, lengths: Tensor | None
) -> tuple[Tensor, Tensors, Tensor | None]:
    """``decode``, what it returns checked."""
    answer = module.decode(previous, states, memory, lengths)  # type: ignore[operator]
    sound = isinstance(answer, tuple) and len(answer) == 3 and isinstance(answer[0], Tensor)
    if not sound or not _are_tensors(answer[1]) or not isinstance(answer[2], Tensor | None):
        raise ExportError(
            f"{type(module).__name__}.decode must return (output, states, attention or None); it returned "
            f"{_what(answer)}"
        )
    if len(answer[1]) != len(states):
        raise ExportError(
            f"{type(module).__name__}.decode returned {len(answer[1])} states and was given {len(states)}"
        )
    return answer[0], tuple(answer[1]), answer[2]


def to_tensor(array: Array | None) -> Tensor | None:
    """None stays None."""
    return None if array is None else torch.from_numpy(np.ascontiguousarray(array))


def to_tensors(arrays: Arrays) -> Tensors:
    """As torch has them."""
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)


def to_arrays(tensors: Tensors) -> Arrays:
    """As numpy has them."""
    return tuple(tensor.contiguous().numpy() for tensor in tensors)


def _are_tensors(value: object) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(part, Tensor) for part in value)


def _what(answer: object) -> str:
    if isinstance(answer, tuple | list):
        return f"{len(answer)} values: ({', '.join(type(part).__name__ for part in answer)})"
    return type(answer).__name__
