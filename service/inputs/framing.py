"""Steps become frames: what is left over of a session's last steps, and new ones behind it. Pure: it keeps nothing.

What is left over is one array ``[hop - 1, ...]`` for each input, of which the first ``steps mod hop`` are steps and the
rest is zeros, so that the same steps always leave the same behind. With a hop of one nothing ever is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest

LeftOver: TypeAlias = Sequence[NDArray[Any]]


class Framer:
    """Makes the frames of one model version.

    Attributes:
        hop: the steps of a frame.
    """

    def __init__(self, manifest: Manifest) -> None:
        assert manifest.framing is not None
        self.hop = manifest.framing.hop
        self._given, self._taken = manifest.given, manifest.of_graph.given

    def num_frames(self, steps: int, num_steps: int) -> int:
        """The frames that ``num_steps`` steps complete, behind ``steps``."""
        return (steps + num_steps) // self.hop - steps // self.hop

    def frames(self, samples: NDArray[Any], left_over: LeftOver, steps: int) -> tuple[NDArray[Any], LeftOver]:
        """The frames that one session's new steps complete, and what they leave over.

        Args:
            samples: rows ``[n, width]`` of the manifest's ``given``.
            left_over: of the ``steps`` steps before them, arrays ``[hop - 1, ...]``.

        Returns:
            frames, rows ``[k, width]`` of the ``given`` of ``of_graph``, contiguous; k may be 0.
        """
        if held := steps % self.hop:
            samples = np.concatenate([self._given.pack([part[:held] for part in left_over]), samples])
        num_frames = len(samples) // self.hop
        rest = self._given.unpack(samples[num_frames * self.hop :])
        return self.whole(samples), [_padded(part, self.hop - 1) for part in rest] if self.hop > 1 else ()

    def whole(self, samples: NDArray[Any]) -> NDArray[Any]:
        """The frames of a sequence from its beginning, rows ``[k, width]``; steps behind the last are of none."""
        num_frames = len(samples) // self.hop
        parts = self._given.unpack(samples[: num_frames * self.hop])
        frames = [
            part.reshape(num_frames, *taken.row_shape) for part, taken in zip(parts, self._taken.parts, strict=True)
        ]
        return np.ascontiguousarray(self._taken.pack(frames))

    def add_steps(self, samples: NDArray[Any], left_over: LeftOver, steps: NDArray[np.int64]) -> LeftOver:
        """What many sessions have left over behind one more step each, none of which completes a frame.

        Args:
            samples: a row of each, ``[R, width]``.
            left_over: of the ``steps`` [R] steps before, arrays ``[R, hop - 1, ...]``, which are changed.
        """
        rows = np.arange(len(samples))
        for kept, new in zip(left_over, self._given.unpack(samples), strict=True):
            kept[rows, steps % self.hop] = new
        return left_over

    def complete(self, samples: NDArray[Any], left_over: LeftOver) -> NDArray[Any]:
        """The frame of each of many sessions that one more step completes, rows ``[R, width]``.

        ``samples``: a row of each, ``[R, width]``; ``left_over``: arrays ``[R, hop - 1, ...]``, full.
        """
        last = self._given.unpack(samples)
        if self.hop > 1:
            whole = [np.concatenate([kept, new[:, None]], axis=1) for kept, new in zip(left_over, last, strict=True)]
        else:
            whole = [new[:, None] for new in last]
        frames = [
            part.reshape(len(samples), *taken.row_shape) for part, taken in zip(whole, self._taken.parts, strict=True)
        ]
        return np.ascontiguousarray(self._taken.pack(frames))


def _padded(part: NDArray[Any], length: int) -> NDArray[Any]:
    """Steps ``[n, ...]`` with zeros behind them, ``[length, ...]``."""
    padded = np.zeros((length, *part.shape[1:]), part.dtype)
    padded[: len(part)] = part
    return padded
