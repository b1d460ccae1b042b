"""An adapter between ``forward`` as people write it and the exporter's contract, tensors in and tensors out.

States in tuples, dicts and dataclasses, several inputs by position or by name, constants of a sequence, outputs in any
structure: all of them are tensors in some order, and the rest of the exporter sees nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.export.contracts.beginnings import begin_of
from ostinato.export.contracts.structures import Rebuild, flatten


@dataclass(frozen=True)
class Slot:
    """What an argument is made of: tensors, by their places among all that are given, and what puts them together."""

    places: tuple[int, ...]
    rebuild: Rebuild

    def value(self, tensors: Sequence[Tensor]) -> Any:
        """The argument."""
        return self.rebuild(iter([tensors[place] for place in self.places]))


@dataclass(frozen=True)
class Call:
    """How ``forward`` is called, and where in its answer outputs and states are.

    Attributes:
        args: of the call, by position.
        kwargs: of the call, by name.
        outputs: places among the tensors of the answer.
        states: the same, in the order in which the states are given.
        frame_axes: of each tensor that is given, where a step is a frame of several: the axis of the frames, and behind
            it that of the steps in one.
        answer_frames: of each output that has several answers for one frame: the axis of all of them, and how many they
            are for each; () = no output has.
        joined: places of outputs whose first axis is batch and steps in one, as ``view(-1, H)`` makes it -> those two
            axes of the first tensor that is given, the outer one first.
    """

    args: tuple[Slot, ...]
    kwargs: Mapping[str, Slot]
    outputs: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    frame_axes: tuple[int | None, ...] = ()
    answer_frames: tuple[tuple[int, int] | None, ...] = ()
    joined: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def parts(self, answer: Any, first: Tensor) -> tuple[list[Tensor], list[Tensor]] | None:
        """Outputs, those of one frame together, and states in an answer to the tensor ``first``; None where it has not
        so many.
        """
        leaves = [tensor for _, tensor in flatten(answer)[0]]
        if max((*self.outputs, *self.states)) >= len(leaves):
            return None
        for place, axes in self.joined.items():
            sizes = [first.shape[axis] for axis in axes]
            leaves[place] = leaves[place].reshape(*sizes, *leaves[place].shape[1:])
        outputs = [leaves[place] for place in self.outputs]
        for place, frames in enumerate(self.answer_frames):
            if frames is not None:
                outputs[place] = torch.unflatten(outputs[place], frames[0], (-1, frames[1]))
        return outputs, [leaves[place] for place in self.states]

    def ask(self, module: nn.Module, tensors: Sequence[Tensor]) -> Any:
        """The answer as the module gives it."""
        if self.frame_axes:
            count = len(self.frame_axes)
            axes = zip(tensors[:count], self.frame_axes, strict=True)
            steps = [tensor if axis is None else tensor.flatten(axis, axis + 1) for tensor, axis in axes]
            tensors = (*steps, *tensors[count:])
        args = [slot.value(tensors) for slot in self.args]
        return module(*args, **{name: slot.value(tensors) for name, slot in self.kwargs.items()})


class Adapter(nn.Module):
    """A module of tensors: ``forward(*inputs, *context, *states) -> (*outputs, *states)`` and ``initial_state``.

    Args:
        module: as it was written.
        call: how it is called.
        begin: the states of one sequence that has not begun, the axis of the batch kept, and that axis; None = the
            module's own method gives them (``begin_of``).
        names: of the outputs, and of the states.
        notes: what a user must know of what was inferred.
    """

    def __init__(
        self,
        module: nn.Module,
        call: Call,
        begin: Sequence[tuple[Tensor, int]] | None,
        names: tuple[tuple[str, ...], tuple[str, ...]],
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.module = module
        self.output_names, self.state_names = names
        self.notes = notes
        self._call = call
        self._begin = None if begin is None else [axis for _, axis in begin]
        for place, (first, _) in enumerate(begin or ()):
            self.register_buffer(f"begin_{place}", first)

    @property
    def num_outputs(self) -> int:
        """How many there are."""
        return len(self.output_names)

    def answers_in_frame(self, output: int) -> int:
        """How many answers an output has in one step."""
        frames = self._call.answer_frames
        of = frames[output] if frames else None
        return 1 if of is None else of[1]

    def framed(self, answer_frames: tuple[tuple[int, int] | None, ...]) -> Adapter:
        """The same with several answers of an output in one step, as ``Call`` has them."""
        call = replace(self._call, answer_frames=answer_frames)
        return self._like(self.module, call)

    def around(self, module: nn.Module) -> Adapter:
        """The same around another module of its class."""
        return self._like(module, self._call)

    def _like(self, module: nn.Module, call: Call) -> Adapter:
        begin = None if self._begin is None else list(zip(self._firsts(), self._begin, strict=True))
        return Adapter(module, call, begin, (self.output_names, self.state_names), self.notes)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The states of ``batch_size`` sequences that have not begun, one by one."""
        if self._begin is None:
            begin = begin_of(self.module)
            assert begin is not None
            leaves, _ = flatten(begin(batch_size))
            return tuple(tensor for _, tensor in leaves)
        return tuple(
            first.repeat([batch_size if each == axis else 1 for each in range(first.dim())])
            for first, axis in zip(self._firsts(), self._begin, strict=True)
        )

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Outputs and states, one by one."""
        parts = self._call.parts(self._call.ask(self.module, tensors), tensors[0])
        assert parts is not None
        return (*parts[0], *parts[1])

    def _firsts(self) -> list[Tensor]:
        return [self.get_buffer(f"begin_{place}") for place in range(len(self._begin or ()))]
