"""Framing: of a graph that takes a frame of several steps at a time, how the steps of a session become frames."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ostinato.service.artifact.tensors import Axis, Input, Output, Part, State, Statistics, Tensor
from ostinato.service.errors import InvalidInput

MAX_STEPS = 1_000_000
"""Of a window, and of a frame: what is left over of one is a part of each session's state."""

MAX_CHUNK_FRAMES = 10_000

_AS_WRITTEN = "a window and its hop are two whole numbers, as 576:512"


class Framing(Part):
    """How steps become frames. A model with it is sent steps (samples), and its graph takes frames of ``hop`` of them.

    A frame is complete when ``hop`` steps have come since the one before, and is answered then. What the network sees
    is a window, the last ``window`` steps; what is before the first step is zeros. Where windows overlap, the graph
    carries their past as one of its states; where they do not touch, the steps between them are sent, and not looked
    at.

    The inputs of the manifest are those of a step, with ``T`` for the steps. In the graph a frame stands in the place
    of ``T``, or where a run of the graph takes many frames (``many``), behind it.
    """

    window: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    hop: Annotated[int, Field(ge=1, le=MAX_STEPS)]
    many: bool = False

    @classmethod
    def parse(cls, text: str) -> Framing:
        """Of ``WINDOW:HOP``, as ``576:512``.

        Raises:
            InvalidInput: it is no such text.
        """
        window, colon, hop = text.partition(":")
        numbers = [int(each) if each.strip().isascii() and each.strip().isdigit() else 0 for each in (window, hop)]
        if not colon or not all(1 <= number <= MAX_STEPS for number in numbers):
            raise InvalidInput(f"{text[:60]!r}: {_AS_WRITTEN}, each from 1 to {MAX_STEPS}", field="framing")
        return cls(window=numbers[0], hop=numbers[1])

    def __str__(self) -> str:
        return f"{self.window}:{self.hop}"

    @property
    def max_chunk_steps(self) -> int:
        """The limit that a version is written with: as many frames in a request as other models have steps."""
        return MAX_CHUNK_FRAMES * self.hop

    @property
    def past(self) -> int:
        """The steps that a window shares with the ones before it."""
        return max(0, self.window - self.hop)

    def num_frames(self, seq: int, steps: int) -> int:
        """The frames that became complete on the way from ``seq`` steps to ``steps``."""
        return steps // self.hop - seq // self.hop

    def frame_of(self, part: Input) -> Input:
        """An input of the steps, as the graph takes it: ``hop`` of them behind each other are one."""
        times = range(self.hop)
        names = {f"{name}_{step}": name for step in times for name in part.features}
        update = {
            "shape": self._in_graph(part.shape, self.hop),
            "features": tuple(names),
            "categories": {each: part.categories[name] for each, name in names.items() if name in part.categories},
            "unknown": {each: part.unknown[name] for each, name in names.items() if name in part.unknown},
            "ranges": {each: part.ranges[name] for each, name in names.items() if name in part.ranges},
            "statistics": None if part.statistics is None else _repeated(part.statistics, self.hop),
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
            shape=("B", self.hop - 1, *part.row_shape),
            dtype=part.dtype,
            missing=part.missing,
        )

    def _in_graph(self, shape: tuple[Axis, ...], number: int) -> tuple[Axis, ...]:
        at = shape.index("T")
        return (*shape[: at + self.many], number, *shape[at + 1 :])

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        return {key: value for key, value in content.items() if key != "many" or value}


def rows_first(part: Tensor) -> bool:
    """Whether the steps of a frame lie whole behind each other: no size stands before ``T``."""
    return not any(isinstance(axis, int) for axis in part.shape[: part.shape.index("T")])


def _repeated(statistics: Statistics, times: int) -> Statistics:
    update = {name: tuple(np.tile(numbers, times).tolist()) for name, numbers in statistics if numbers}
    return statistics.model_copy(update=update)
