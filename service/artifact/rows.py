"""Rows: how the tensors of one step lie behind each other, so that all of a step is one row of one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.tensors import Input, Output

Part = TypeVar("Part", Input, Output)

_ALIGNMENT_BYTES = 8
"""Each tensor of several begins at a multiple of this: no dtype has larger numbers."""


class RowLayout(Generic[Part]):
    """The layout of a model's steps, on their way in or out: sequences, queues, answers and records hold rows.

    Of one tensor a row is its numbers. Of several it is their bytes, behind each other, so whatever only carries steps
    need not know how many tensors they are.

    Args:
        parts: in the manifest's order; none where a graph takes nothing a step.

    Attributes:
        dtype: of an array of rows: that of the only tensor, or uint8.
        width: numbers of a row, so that rows are arrays ``[..., width]``.
        is_single: whether there is one tensor.
        is_flat: whether it is the only one, and a step of it a list of numbers.
        delay: of outputs that speak of a step before; by name where there are several; None where none does.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts: tuple[Part, ...] = tuple(parts)
        self.is_single = len(self.parts) == 1
        self.is_flat = self.is_single and len(self.parts[0].row_shape) <= 1
        self._delays: list[int] = [getattr(part, "delay", 0) for part in self.parts]  # inputs have none
        late = {part.name: delay for part, delay in zip(self.parts, self._delays, strict=True) if delay}
        self.delay: int | dict[str, int] | None = None
        if late:
            self.delay = next(iter(late.values())) if self.is_single else late
        self._places: list[slice] = []
        end = 0
        for part in self.parts:
            start = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
            end = start + part.num_features * np.dtype(part.dtype).itemsize
            self._places.append(slice(start, end))
        has_steps = [part.time_axis is not None for part in self.parts]
        self._is_once = [any(has_steps) and not each for each in has_steps]
        if self.is_single:
            self.dtype, self.width = np.dtype(self.parts[0].dtype), self.parts[0].num_features
        else:
            self.dtype, self.width = np.dtype(np.uint8), -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES

    def zeros(self, *shape: int) -> NDArray[Any]:
        """Rows ``[*shape, width]`` of zeros."""
        return np.zeros((*shape, self.width), self.dtype)

    def pack(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Rows ``[..., width]`` of one array ``[..., *row_shape]`` for each tensor, in its dtype."""
        if self.is_single:
            (tensor,) = tensors
            return tensor.reshape(*self._leading(tensor), self.width)
        rows = self.zeros(*self._leading(tensors[0]))
        for flat, tensor in zip(self.flat(rows), tensors, strict=True):
            flat[...] = tensor.reshape(flat.shape)
        return rows

    def flat(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """Views ``[..., F]`` of rows ``[..., width]``, one for each tensor."""
        if self.is_single:
            return [rows]
        return [rows[..., place].view(part.dtype) for place, part in zip(self._places, self.parts, strict=True)]

    def unpack(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        """What rows ``[..., width]`` hold, one array ``[..., *row_shape]`` for each tensor; views where numpy can."""
        views = zip(self.flat(rows), self.parts, strict=True)
        return [flat.reshape(*flat.shape[:-1], *part.row_shape) for flat, part in views]

    def words(self, rows: NDArray[Any], *, of_many: bool = False) -> Any:
        """What an answer has of rows ``[n, width]``, or of one row: arrays, nested as the tensors are, by name where
        there are several. Of a sequence a tensor that is made once a run has one row, the last step's; ``of_many``: the
        rows are one step each of many sequences.
        """
        if self.is_flat:
            return rows
        if self.is_single:
            return self.unpack(rows)[0]
        named = {}
        for part, flat, is_once in zip(self.parts, self.flat(rows), self._is_once, strict=True):
            tensor = flat.reshape(*flat.shape[:-1], *part.row_shape) if len(part.row_shape) > 1 else flat
            named[part.name] = np.ascontiguousarray(
                tensor[-1:] if is_once and rows.ndim > 1 and not of_many else tensor
            )
        return named

    def align(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Of rows ``[n, width]`` the answers by the steps that they speak of: of n steps without the last D, where D is
        the longest delay, since nothing speaks of those yet.
        """
        longest = max(self._delays, default=0)
        if self.is_single or not longest:
            return rows[longest:]
        aligned = self.zeros(max(len(rows) - longest, 0))
        for place, delay, is_once in zip(self._places, self._delays, self._is_once, strict=True):
            first = longest if is_once else delay
            aligned[:, place] = rows[first : first + len(aligned), place]
        return aligned

    def settle(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows ``[..., n, width]`` in which a tensor that is made once a run, among others that are made at each step,
        stands in the last only: however the steps were cut into runs, these are the same.
        """
        for place, is_once in zip(self._places, self._is_once, strict=True):
            if is_once:
                rows[..., :-1, place] = 0
        return rows

    def _leading(self, tensor: NDArray[Any]) -> tuple[int, ...]:
        """The axes of the first tensor that are not of one step."""
        return tensor.shape[: tensor.ndim - len(self.parts[0].row_shape)]
