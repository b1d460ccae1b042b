"""A module for many steps as one for one step, and its contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.forward import initial_states, run
from ostinato.export.contracts.preparation import name_of
from ostinato.export.errors import ExportError
from ostinato.service.artifact.numbers import largest_of
from ostinato.service.artifact.tensors import Input, Output

AnyTensor = TypeVar("AnyTensor", Input, Output)


class OneStep(nn.Module):
    """A module for many steps, given one: the axis of the steps is put in before it and taken out behind it.

    Args:
        time_axes: of each input; a context has none.
        output_time_axes: of each output.
    """

    def __init__(
        self, module: nn.Module, time_axes: Sequence[int | None], output_time_axes: Sequence[int | None]
    ) -> None:
        super().__init__()
        self.module = module
        self.time_axes = tuple(time_axes)
        self.output_time_axes = tuple(output_time_axes)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """That of the module."""
        return initial_states(self.module, batch_size)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One step of each input ``[B, ...]``, contexts and states to the outputs and the states."""
        count, num_outputs = len(self.time_axes), len(self.output_time_axes)
        given = [
            tensor if axis is None else tensor.unsqueeze(axis)
            for tensor, axis in zip(tensors[:count], self.time_axes, strict=True)
        ]
        made = run(self.module, given, tensors[count:], num_outputs)
        outputs = [
            tensor if axis is None else tensor.squeeze(axis)
            for tensor, axis in zip(made[:num_outputs], self.output_time_axes, strict=True)
        ]
        return (*outputs, *made[num_outputs:])


def one_step(contract: Contract) -> Contract:
    """The same module, given one step at a time: the ``T`` of its input and output goes.

    Raises:
        ExportError: step by step the module answers differently from over the whole sequence, so it is not recurrent.
    """
    if contract.inputs.time_axis is None:
        return contract
    axes = [part.time_axis for part in (*contract.given, *contract.context)]
    module = OneStep(contract.module, axes, [part.time_axis for part in contract.made]).eval()
    short = replace(
        contract,
        module=module,
        given=tuple(map(_without_time, contract.given)),
        made=tuple(map(_without_time, contract.made)),
    )
    sequence = contract.draw(np.random.default_rng(0), 3, 9)
    whole, _ = contract.run(contract, sequence, contract.initial_states(3))
    steps, _ = short.run(short, sequence, short.initial_states(3))
    if not _same_steps(contract, whole, steps):
        raise ExportError(
            f"{name_of(contract.module)} answers differently step by step than over a whole sequence: its states do "
            "not carry all that its output depends on, so it cannot be served in sessions; return what the steps carry "
            "as a state, or, where an answer needs the whole sequence, export it with task 'sequence'"
        )
    return short


def _same_steps(contract: Contract, whole: Array, steps: Array) -> bool:
    """Whether one run answered as steps did; of many, what is made once a run is that of the last."""
    pairs = zip(contract.named(whole).values(), contract.named(steps).values(), contract.made, strict=True)
    for one, each, part in pairs:
        ends = one[:, -1:] if part.time_axis is None else one
        # Next to answers in the tens of thousands, as pixels of 16 bits are, the least are rounded as the largest are.
        largest = largest_of([ends])
        near = max(1e-4, 1e-5 * largest)
        if not np.allclose(ends, each[:, -ends.shape[1] :], rtol=1e-4, atol=near, equal_nan=True):
            return False
    return True


def _without_time(tensor: AnyTensor) -> AnyTensor:
    return tensor.model_copy(update={"shape": tuple(axis for axis in tensor.shape if axis != "T")})
