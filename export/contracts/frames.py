"""Frames of steps: of a module that answers once in k steps, as a convolution with stride does, a frame is one step."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.export.contracts.adapter import Adapter, Call, Slot
from ostinato.export.contracts.axes import to_axes
from ostinato.export.contracts.beginnings import begin_of
from ostinato.export.contracts.calls import Parameters, bindings, ways_to_give, with_states
from ostinato.export.contracts.preparation import name_of
from ostinato.export.contracts.probes import draw_sequences
from ostinato.export.contracts.structures import flatten
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input

_ROWS, _LENGTHS, _FRAMES = 3, (120, 240), (6, 7)


def in_frames(part: Input, num_steps: int) -> Input:
    """An input whose step is a frame of ``num_steps`` of its steps, each behind the one before."""
    axis = part.time_axis
    if axis is None:
        raise ExportError(f"{part.name!r} has no 'T' in its shape, so there are no steps to take together")
    shape = (*part.shape[: axis + 1], num_steps, *part.shape[axis + 1 :])
    features = tuple(f"{name}_{step}" for step in range(num_steps) for name in part.features)
    of_each = {f"{name}_{step}": name for step in range(num_steps) for name in part.features}
    update = {
        "shape": shape,
        "features": features,
        "categories": {each: part.categories[name] for each, name in of_each.items() if name in part.categories},
        "ranges": {each: part.ranges[name] for each, name in of_each.items() if name in part.ranges},
        "statistics": None,
    }
    return part.model_copy(update=update)


def in_answer_frames(adapter: Adapter, inputs: Sequence[Input], context: Sequence[Input]) -> Adapter:
    """The same, where an output has several answers for each frame: those of one frame are one step's, side by side."""
    shapes = []
    for num_frames in _FRAMES:
        with torch.no_grad():
            made = adapter(*_drawn(inputs, context, num_frames), *adapter.initial_state(_ROWS))
        shapes.append([tuple(tensor.shape) for tensor in made[: adapter.num_outputs]])
    frames = tuple(_answers_in(*each) for each in zip(*shapes, strict=True))
    return adapter.framed(frames) if any(frames) else adapter


def _answers_in(fewer: tuple[int, ...], more: tuple[int, ...]) -> tuple[int, int] | None:
    """The axis along which there are several answers for each frame, and how many."""
    for axis, sizes in enumerate(zip(fewer, more, strict=False)):
        number = sizes[1] - sizes[0]
        if number > 1 and sizes == (_FRAMES[0] * number, _FRAMES[1] * number):
            return axis, number
    return None


def check_rate(module: nn.Module, inputs: Sequence[Input], context: Sequence[Input]) -> None:
    """Refuse a module that answers once in several steps, where it shows.

    Raises:
        ExportError: says in how many, and what to say to export it.
    """
    if any(part.time_axis is None for part in inputs):
        return
    short, long = (_shapes(module, inputs, context, num_steps) for num_steps in _LENGTHS)
    sizes = [pair for shapes in zip(short, long, strict=False) for pair in zip(*shapes, strict=False)]
    for one, other in sizes:
        if 0 < one < _LENGTHS[0] and other == 2 * one and _LENGTHS[0] % one == 0:
            rate = _LENGTHS[0] // one
            raise ExportError(
                f"{name_of(module)} gives {one} answers for {_LENGTHS[0]} steps, one in {rate}: export it with "
                f"steps_per_answer={rate} (--steps-per-answer {rate}): a step of a session is then {rate} of its steps"
            )


def _shapes(
    module: nn.Module, inputs: Sequence[Input], context: Sequence[Input], num_steps: int
) -> list[tuple[int, ...]]:
    """Of all that is answered to sequences that begin; none where that cannot be asked."""
    module = copy.deepcopy(module)  # one that keeps something in itself is told so of its first run
    parameters = Parameters(module)
    tensors = _drawn(inputs, context, num_steps)
    for slots in bindings(parameters, inputs, context):
        try:
            with torch.no_grad():
                for call, states in _calls(module, parameters, slots, len(tensors)):
                    return [tuple(each.shape) for _, each in flatten(call.ask(module, [*tensors, *states]))[0]]
        except Exception:  # a user's module may raise anything; anyone who needs its answer says so
            continue
    return []


def _calls(
    module: nn.Module, parameters: Parameters, slots: dict[str, Slot], first: int
) -> Iterator[tuple[Call, list[Tensor]]]:
    begin = begin_of(module)
    if begin is None:
        yield parameters.call(slots), []
        return
    begun = begin(_ROWS)
    for values in ways_to_give(parameters, parameters.free(slots), begun):
        yield with_states(parameters, slots, values, first), [tensor for _, tensor in flatten(begun)[0]]


def _drawn(inputs: Sequence[Input], context: Sequence[Input], num_steps: int) -> list[Tensor]:
    generator = np.random.default_rng(0)
    made = []
    for part in (*inputs, *context):
        steps = num_steps if part.time_axis is not None else 1
        made.append(torch.from_numpy(to_axes(draw_sequences(part, generator, _ROWS, steps), part)))
    return made
