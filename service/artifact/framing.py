"""Framing: of a graph that takes a frame of several steps at a time, how the steps of a session become frames."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ostinato.service.artifact.tensors import Axis, Input, Output, Part, State, Statistics, Tensor
from ostinato.service.errors import InvalidInput

MAX_STEPS = 1_000_000
"""Of a window, and of a frame: what is left over of one is a part of each session's state."""

MAX_CHUNK_FRAMES = 10_000
MAX_TOGETHER = 2**24
"""Steps in all frames of a chunk or a sequence."""

_AS_WRITTEN = "a window and its hop are two whole numbers, as 576:512, and perhaps 'full' behind them, as 576:512:full"


class Framing(Part):
    """How steps become frames. A model with framing is sent steps (samples), and its graph takes a frame of them at a
    time.

    The network sees a window, the last ``window`` steps, each time that ``hop`` steps are new. With ``begin`` =
    ``zeros`` the first window ends after ``hop`` steps, and zeros come before the first step. With ``full`` the first
    window is there after ``window`` steps.

    A frame is what the graph is given, ``size`` steps. With ``zeros`` these are the ``hop`` new ones: the graph carries
    the past of its window as one of its states, and looks at the end of a frame where windows do not touch. With
    ``full`` they are the whole window.

    The inputs of the manifest are those of a step, with ``T`` for the steps. In the graph the axis of a frame is in the
    place of ``T``. Where a run of the graph takes many frames (``many``), it follows ``T``.

    ``window``: steps of a window.
    ``hop``: new steps of a window.
    ``begin``: how the first window begins.
    ``many``: whether a run of the graph takes many frames.
    """

    window: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    hop: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    begin: Literal["zeros", "full"] = "zeros"
    many: bool = False

    @classmethod
    def parse(cls, text: str) -> Framing:
        """Of ``WINDOW:HOP`` or ``WINDOW:HOP:full``, as ``576:512``.

        Raises:
            InvalidInput: it is no such text.
        """
        window, _, rest = text.partition(":")
        hop, colon, begin = rest.partition(":")
        numbers = [int(each) if each.isascii() and each.isdigit() else 0 for each in (window, hop)]
        if not all(1 <= number <= MAX_STEPS for number in numbers) or begin not in (
            ["zeros", "full"] if colon else [""]
        ):
            raise InvalidInput(f"{text[:60]!r}: {_AS_WRITTEN}, each from 1 to {MAX_STEPS}", field="framing")
        return cls(window=numbers[0], hop=numbers[1], begin="full" if begin == "full" else "zeros")

    def __str__(self) -> str:
        return f"{self.window}:{self.hop}" + (":full" if self.begin == "full" else "")

    @property
    def size(self) -> int:
        """The steps of a frame."""
        return self.window if self.begin == "full" else self.hop

    @property
    def past(self) -> int:
        """The steps before a frame that its window begins with, which the graph carries."""
        return self.window - self.size if self.window > self.size else 0

    @property
    def overlap(self) -> int:
        """The steps of a frame that are of the next one, too."""
        return self.size - self.hop if self.size > self.hop else 0

    @property
    def max_chunk_steps(self) -> int:
        """The limit that a version is written with: as many frames in a request as other models have steps."""
        return MAX_CHUNK_FRAMES * self.hop

    @property
    def most_steps(self) -> int:
        """The steps that may come together, whatever the limits are: overlapping frames have each of them often."""
        return max(self.hop, MAX_TOGETHER // self.size * self.hop)

    def count(self, steps: int) -> int:
        """The frames that are complete after so many steps."""
        return max(0, (steps - self.size) // self.hop + 1)

    def end(self, frame: int) -> int:
        """The steps after which a frame is complete; the first is frame 0."""
        return frame * self.hop + self.size

    def held(self, steps: int) -> int:
        """Of so many steps, those that are of a frame that is not complete: the last ones, if any."""
        return max(0, steps - self.count(steps) * self.hop)

    def completes(self, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of sessions with ``steps`` [R], whether one step more completes a frame."""
        behind = steps + 1 - self.size
        complete: NDArray[np.bool_] = (behind >= 0) & (behind % self.hop == 0)
        return complete

    def frame_of(self, part: Input) -> Input:
        """An input of the steps, as the graph takes it: ``size`` of them behind each other are one."""
        times = range(self.size)
        names = {f"{name}_{step}": name for step in times for name in part.features}
        update = {
            "shape": self._in_graph(part.shape, self.size),
            "features": tuple(names),
            "categories": {each: part.categories[name] for each, name in names.items() if name in part.categories},
            "unknown": {each: part.unknown[name] for each, name in names.items() if name in part.unknown},
            "ranges": {each: part.ranges[name] for each, name in names.items() if name in part.ranges},
            "statistics": None if part.statistics is None else _repeated(part.statistics, self.size),
        }
        return part.model_copy(update=update)

    def answer_of(self, part: Output) -> Output:
        """An output, as the graph gives it: where it has several rows a frame, those are one."""
        if part.per_frame == 1:
            return part
        features = tuple(f"{name}_{row}" for row in range(part.per_frame) for name in part.features)
        update = {"shape": self._in_graph(part.shape, part.per_frame), "features": features, "per_frame": 1}
        return part.model_copy(update=update)

    def left_over_of(self, part: Input) -> State:
        """What a session keeps of an incomplete frame: the steps, behind each other, and zeros behind them."""
        return State(
            name=f"{part.name}.left_over",
            input="",
            output="",
            shape=("B", self.size - 1, *part.row_shape),
            dtype=part.dtype,
            missing=part.missing,
        )

    def _in_graph(self, shape: tuple[Axis, ...], number: int) -> tuple[Axis, ...]:
        at = shape.index("T")
        return (*shape[: at + self.many], number, *shape[at + 1 :])

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        return {key: value for key, value in content.items() if value not in (False, "zeros")}


def rows_first(part: Tensor) -> bool:
    """Whether the steps of a frame lie whole behind each other: no size stands before ``T``."""
    return not any(isinstance(axis, int) for axis in part.shape[: part.shape.index("T")])


def _repeated(statistics: Statistics, times: int) -> Statistics:
    update = {name: tuple(np.tile(numbers, times).tolist()) for name, numbers in statistics if numbers}
    return statistics.model_copy(update=update)
