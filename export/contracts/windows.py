"""A module that is given windows as one that is given frames of new steps: what windows share is a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.forward import initial_states, run
from ostinato.export.errors import ExportError
from ostinato.service.artifact.framing import Framing, rows_first
from ostinato.service.artifact.tensors import Axis, FeatureRange, Input, State


class Frames(nn.Module):
    """A module of windows, given a frame a run: the steps before it, which its window has too, are its last states.

    Args:
        parts: its inputs, of steps.
        num_outputs: of the module.
    """

    def __init__(self, module: nn.Module, parts: Sequence[Input], framing: Framing, num_outputs: int) -> None:
        super().__init__()
        self.module = module
        self.parts = tuple(parts)
        self.framing = framing
        self.num_outputs = num_outputs
        self.axes = tuple(part.time_axis or 0 for part in parts)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """That of the module, and zeros for the steps before the first."""
        return (*initial_states(self.module, batch_size), *self._pasts(batch_size))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Frames, contexts, states and what came before to the outputs, the states, and what comes before the next."""
        count, past, size = len(self.axes), self.framing.past, self.framing.size
        frames, rest = tensors[:count], tensors[count:]
        if not past:
            first = size - self.framing.window
            windows = [frame.narrow(axis, first, size - first) for frame, axis in zip(frames, self.axes, strict=True)]
            return tuple(run(self.module, windows, rest, self.num_outputs))
        pasts, rest = rest[-count:], rest[:-count]
        windows = [torch.cat(pair, dim=axis) for *pair, axis in zip(pasts, frames, self.axes, strict=True)]
        made = run(self.module, windows, rest, self.num_outputs)
        after = [window.narrow(axis, size, past) for window, axis in zip(windows, self.axes, strict=True)]
        return (*made, *(each.contiguous() for each in after))

    def _pasts(self, batch_size: int) -> list[Tensor]:
        if not self.framing.past:
            return []
        shapes = [_past_shape(part, self.framing) for part in self.parts]
        sizes = [[batch_size if axis == "B" else int(axis) for axis in shape] for shape in shapes]
        dtypes = [getattr(torch, part.dtype) for part in self.parts]
        return [torch.zeros(size, dtype=dtype) for size, dtype in zip(sizes, dtypes, strict=True)]


def windows_of(given: Sequence[Input], framing: Framing) -> tuple[Input, ...]:
    """Inputs of steps, as windows that a module takes one a run.

    Raises:
        ExportError: one has no ``T``, or sizes before it.
    """
    for part in given:
        if part.time_axis is None:
            raise ExportError(f"{part.name!r} has no 'T' in its shape, so there are no steps to make a window of")
        if not rows_first(part):
            raise ExportError(f"{part.name!r}: with framing 'T' comes before all sizes in its shape")
    return tuple(Framing(window=framing.window, hop=framing.window).frame_of(part) for part in given)


def in_frames_of(contract: Contract, given: Sequence[Input], framing: Framing) -> Contract:
    """The contract of a module of windows as that of one of frames; ``given``: its inputs, of steps."""
    module = Frames(contract.module, given, framing, len(contract.made)).eval()
    found = [steps_found(part, window) for part, window in zip(given, contract.given, strict=True)]
    pasts = ()
    if framing.past:
        pasts = tuple(_past(part, framing) for part in found)  # type: ignore[assignment]
    frames = tuple(framing.frame_of(part) for part in found)
    return replace(contract, module=module, given=frames, states=(*contract.states, *pasts))


def steps_found(part: Input, window: Input) -> Input:
    """An input of steps with what was found of it in a window, or a frame, of them."""
    ranges: dict[str, FeatureRange] = {}
    for place, name in enumerate(part.features):
        each = [
            window.ranges[named] for named in window.features[place :: len(part.features)] if named in window.ranges
        ]
        if each:
            least, most = max(one.least for one in each), min(one.most for one in each)
            ranges[name] = FeatureRange(least=least, most=most, whole=any(one.whole for one in each))
    update: Mapping[str, Any] = {"num_codes": window.num_codes, "missing": window.missing, "ranges": ranges}
    return part.model_copy(update=update)


def _past(part: Input, framing: Framing) -> State:
    name = f"{part.name}_past"
    shape = _past_shape(part, framing)
    return State(name=name, input=name, output=f"{name}_next", shape=shape, dtype=part.dtype, missing=part.missing)


def _past_shape(part: Input, framing: Framing) -> tuple[Axis, ...]:
    return tuple(framing.past if axis == "T" else axis for axis in part.shape)
