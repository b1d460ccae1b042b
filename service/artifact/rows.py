"""Rows: how the tensors of one step lie behind each other, so that all of a step is one row of one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.tensors import Input, Output

Part = TypeVar("Part", Input, Output)

_ALIGNMENT_BYTES = 8
"""Each tensor of several begins at a multiple of this: no dtype has larger numbers."""


class RowLayout(Generic[Part]):
    """The layout of a model's steps, on their way in or out: sequences, queues, answers and records hold rows.

    Of one tensor a row is its numbers. Of several it is their bytes, one after another, so whatever only carries steps
    need not know how many tensors they are.

    Args:
        parts: in the manifest's order; none where a graph takes nothing a step.
        framing: of answers to frames, each a row here; None = a row is of a step.
        shown: with frames, the parts as a client sees them: a row here may be several of those, one after another on
            the first axis.

    Attributes:
        dtype: of an array of rows: that of the only tensor, or uint8.
        width: numbers of a row, so that rows are arrays ``[..., width]``.
        is_single: whether there is one tensor.
        is_flat: whether it is the only one, and a step of it a list of numbers.
        delay: of outputs that speak of a step before; by name where there are several; None where none does.
        framing, shown: as given; without frames the parts are shown as they are.
    """

    def __init__(self, parts: Sequence[Part], framing: Framing | None = None, shown: Sequence[Part] = ()) -> None:
        self.parts: tuple[Part, ...] = tuple(parts)
        self.framing = framing
        self.shown: tuple[Part, ...] = tuple(shown) or self.parts
        self._per_frame: list[int] = [getattr(part, "per_frame", 1) for part in self.shown]  # inputs have none
        self.is_single = len(self.parts) == 1
        self.is_flat = self.is_single and len(self.parts[0].row_shape) <= 1 and self._per_frame[0] == 1
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
        is_sequence = rows.ndim > 1 and not of_many
        if self.is_single:
            return _in_rows(self.unpack(rows)[0], self._per_frame[0], is_sequence)
        named = {}
        for part, flat, is_once, per_frame in zip(
            self.parts, self.flat(rows), self._is_once, self._per_frame, strict=True
        ):
            tensor = flat.reshape(*flat.shape[:-1], *part.row_shape) if len(part.row_shape) > 1 else flat
            tensor = _in_rows(tensor, per_frame, is_sequence)
            named[part.name] = np.ascontiguousarray(tensor[-1:] if is_once and is_sequence else tensor)
        return named

    def ends_of(self, steps: int, num_frames: int) -> NDArray[np.int64]:
        """The steps after which the last frames were complete, of a sequence of ``steps``: int64 ``[num_frames]``."""
        assert self.framing is not None
        last = self.framing.count(steps)
        return np.array([self.framing.end(frame) for frame in range(last - num_frames, last)], np.int64)

    def steps_of(self, ends: NDArray[np.int64], *, of_many: bool = False) -> Any:
        """What ``words`` shows of frames that are complete after ``ends`` [n] steps, row by row the step that it is of:
        of m rows of a frame the last is of its end, and they are equally far apart. By name where there are several
        outputs.
        """
        assert self.framing is not None
        named, hop = {}, self.framing.hop
        for part, is_once, number in zip(self.parts, self._is_once, self._per_frame, strict=True):
            # Rounded up: what a row tells is not there before its steps are.
            steps = ends[:, None] + (-(-np.arange(1, number + 1) * hop // number) - hop)
            if not of_many:
                steps = (steps[-1:] if is_once else steps).reshape(-1)
            named[part.name] = steps[:, 0] if of_many and number == 1 else steps
        return named[self.parts[0].name] if self.is_single else named

    def has_answer(self, seqs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of one step each, behind ``seqs`` [R] others, whether it completes a frame."""
        assert self.framing is not None
        return self.framing.completes(seqs)

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
        is in the last only: however the steps were cut into runs, these are the same.
        """
        for place, is_once in zip(self._places, self._is_once, strict=True):
            if is_once:
                rows[..., :-1, place] = 0
        return rows

    def _leading(self, tensor: NDArray[Any]) -> tuple[int, ...]:
        """The axes of the first tensor that are not of one step."""
        return tensor.shape[: tensor.ndim - len(self.parts[0].row_shape)]


def _in_rows(tensor: NDArray[Any], per_frame: int, is_sequence: bool) -> NDArray[Any]:
    """Answers to frames ``[n, per_frame, ...]`` as rows ``[n x per_frame, ...]``."""
    return tensor.reshape(-1, *(tensor.shape[2:] or (1,))) if per_frame > 1 and is_sequence else tensor
