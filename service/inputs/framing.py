"""Steps become frames: what is left over of a session's last steps, and new ones behind it. Pure: it keeps nothing.

What is left over is one array ``[size - 1, ...]`` for each input, with the steps of an incomplete frame in front and
zeros behind, so that the same steps always leave the same behind. Where a frame is one step nothing ever is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest

LeftOver: TypeAlias = Sequence[NDArray[Any]]


class Framer:
    """Makes the frames of one model version.

    Attributes:
        framing: the version's.
    """

    def __init__(self, manifest: Manifest) -> None:
        assert manifest.framing is not None
        self.framing = manifest.framing
        self._given, self._taken = manifest.given, manifest.of_graph.given

    def num_frames(self, steps: int, num_steps: int) -> int:
        """The frames that ``num_steps`` steps complete, behind ``steps``."""
        return self.framing.count(steps + num_steps) - self.framing.count(steps)

    def frames(self, samples: NDArray[Any], left_over: LeftOver, steps: int) -> tuple[NDArray[Any], LeftOver]:
        """The frames that one session's new steps complete, and what they leave over.

        Args:
            samples: rows ``[n, width]`` of the manifest's ``given``.
            left_over: of the ``steps`` steps before them, arrays ``[size - 1, ...]``.

        Returns:
            frames, rows ``[k, width]`` of the ``given`` of ``of_graph``, contiguous; k may be 0.
        """
        framing, begin = self.framing, self.framing.count(steps) * self.framing.hop
        if held := framing.held(steps):
            samples = np.concatenate([self._given.pack([part[:held] for part in left_over]), samples])
        elif begin > steps:  # between two windows that do not touch
            samples = samples[begin - steps :]
        rest = self._given.unpack(samples[framing.count(len(samples)) * framing.hop :])
        return self.whole(samples), [_padded(part, framing.size - 1) for part in rest] if framing.size > 1 else ()

    def whole(self, samples: NDArray[Any]) -> NDArray[Any]:
        """The frames of a sequence from its beginning, rows ``[k, width]``; steps behind the last are of none."""
        return self._pack([self._cut(part) for part in self._given.unpack(samples)])

    def add_steps(self, samples: NDArray[Any], left_over: LeftOver, steps: NDArray[np.int64]) -> LeftOver:
        """What many sessions have left over behind one more step each, none of which completes a frame.

        Args:
            samples: a row of each, ``[R, width]``.
            left_over: of the ``steps`` [R] steps before, arrays ``[R, size - 1, ...]``, which are changed.
        """
        framing = self.framing
        held = steps - np.maximum(0, (steps - framing.size) // framing.hop + 1) * framing.hop
        rows = (held >= 0).nonzero()[0]  # between two windows that do not touch, a step is of none
        for kept, new in zip(left_over, self._given.unpack(samples), strict=framing.size > 1):
            kept[rows, held[rows]] = new[rows]
        return left_over

    def complete(self, samples: NDArray[Any], left_over: LeftOver) -> tuple[NDArray[Any], LeftOver]:
        """The frame of each of many sessions that one more step completes, rows ``[R, width]``, and what is left over.

        ``samples``: a row of each, ``[R, width]``; ``left_over``: arrays ``[R, size - 1, ...]``, full.
        """
        framing, last = self.framing, self._given.unpack(samples)
        if framing.size == 1:
            return self._pack([new[:, None] for new in last]), ()
        whole = [np.concatenate([kept, new[:, None]], axis=1) for kept, new in zip(left_over, last, strict=True)]
        rest = [np.zeros_like(kept) for kept in left_over]
        for kept, frame in zip(rest, whole, strict=True):
            kept[:, : framing.overlap] = frame[:, framing.hop :][:, : framing.overlap]
        return self._pack(whole), rest

    def _cut(self, steps: NDArray[Any]) -> NDArray[Any]:
        """Steps ``[n, ...]`` as frames ``[k, size, ...]``."""
        size, hop, num_frames = self.framing.size, self.framing.hop, self.framing.count(len(steps))
        if size == hop or not num_frames:
            return steps[: num_frames * size].reshape(num_frames, size, *steps.shape[1:])
        return np.moveaxis(sliding_window_view(steps, size, axis=0)[::hop], -1, 1)

    def _pack(self, frames: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Frames ``[k, size, ...]`` of each input as rows ``[k, width]``, contiguous."""
        taken = self._taken
        parts = [part.reshape(len(part), *each.row_shape) for part, each in zip(frames, taken.parts, strict=True)]
        return np.ascontiguousarray(taken.pack(parts))


def _padded(part: NDArray[Any], length: int) -> NDArray[Any]:
    """Steps ``[n, ...]`` with zeros behind them, ``[length, ...]``."""
    padded = np.zeros((length, *part.shape[1:]), part.dtype)
    padded[: len(part)] = part
    return padded
