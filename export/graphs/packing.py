"""Packed sequences within ``forward``, traced as what they were packed from: padded rows and their lengths.

What ``pack_padded_sequence`` makes has as many numbers as all rows have steps, which no graph can say. So while a
module is traced its data stay ``[T, B, ...]``, and continue with the lengths to the recurrent layers, which heed them,
and to ``pad_packed_sequence``, which gives them back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

_LENGTHS = "ostinato_lengths"
_PACK, _PAD = "_pack_padded_sequence", "_pad_packed_sequence"
"""What torch's functions of like names call, wherever a module has them from."""


class PaddedPacking(TorchFunctionMode):
    """While it is entered, packing leaves the steps where they are."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == _PACK:
            return _pack(*args)
        if name == _PAD and lengths_of(args[1]) is not None:
            return _pad(*args)
        return func(*args, **(kwargs or {}))


def lengths_of(batch_sizes: Tensor) -> Tensor | None:
    """The lengths of the rows of a packed sequence, int64 ``[B]``; None where it was not packed here."""
    lengths: Tensor | None = getattr(batch_sizes, _LENGTHS, None)
    return lengths


def repacked(data: Tensor, packed: PackedSequence) -> PackedSequence:
    """Other data ``[T, B, ...]`` of the same rows."""
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


def _pack(padded: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    data = padded.transpose(0, 1) if batch_first else padded
    batch_sizes = _is_within(data, lengths).sum(dim=1)
    setattr(batch_sizes, _LENGTHS, lengths)
    return data, batch_sizes


def _pad(data: Tensor, batch_sizes: Tensor, batch_first: bool, value: float, _num_steps: int) -> tuple[Tensor, Tensor]:
    lengths = lengths_of(batch_sizes)
    assert lengths is not None
    within = _is_within(data, lengths).reshape(*data.shape[:2], *[1] * (data.dim() - 2))
    padded = torch.where(within, data, torch.full((), value, dtype=data.dtype))
    return padded.transpose(0, 1) if batch_first else padded, lengths


def _is_within(data: Tensor, lengths: Tensor) -> Tensor:
    """Which steps are before the end of their row, bool ``[T, B]``."""
    return torch.arange(data.shape[0])[:, None] < lengths[None, :]
