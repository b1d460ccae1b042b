"""The exporter's contract with a module: what it takes, gives and carries, and how its steps lie in rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array, States, StepFunction, failed_rows, from_axes, run_in_chunks, to_axes
from ostinato.export.contracts.forward import attempt, initial_states
from ostinato.export.contracts.probes import draw_sequences, likely_step
from ostinato.export.errors import ExportError
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Constant, Input, Output, State
from ostinato.service.artifact.tensors import Tensor as TensorAxes


@dataclass(frozen=True)
class Contract:
    """A module in evaluation mode, what it takes, and what was found of its outputs and states.

    All of a step of several inputs is one row of bytes, as the service has it: ``inputs`` and ``output`` describe rows,
    which are the only input's and the only output's numbers where there is one. Contexts lie in the rows, too, the same
    in each step of a sequence.

    Attributes:
        given, context: what goes in at each step, and what is constant for a sequence.
        made: what comes out.
        constants: what else its graph takes, the same in every run.
        num_weights: of a foreign network, whose steps may be dear though what goes in and out is little.
        notes: what a user must know of what was inferred.
    """

    module: nn.Module
    given: tuple[Input, ...]
    made: tuple[Output, ...]
    states: tuple[State, ...]
    context: tuple[Input, ...] = ()
    notes: tuple[str, ...] = ()
    constants: tuple[Constant, ...] = ()
    num_weights: int = 0

    @cached_property
    def rows(self) -> RowLayout[Input]:
        """How a step's inputs and the contexts lie in a row."""
        return RowLayout((*self.given, *self.context))

    @cached_property
    def answers(self) -> RowLayout[Output]:
        """How a step's outputs lie in a row."""
        return RowLayout(self.made)

    @cached_property
    def inputs(self) -> TensorAxes:
        """The rows that go in."""
        return self.given[0] if self.rows.is_single else _row(self.rows, self.given)

    @cached_property
    def output(self) -> TensorAxes:
        """The rows that come out."""
        return self.made[0] if self.answers.is_single else _row(self.answers, self.made)

    def initial_states(self, batch_size: int) -> States:
        """The states of ``batch_size`` sequences that have not begun, as the module gives them."""
        return tuple(state.numpy() for state in initial_states(self.module, batch_size))

    def draw(self, generator: np.random.Generator, batch_size: int, num_steps: int) -> Array:
        """Likely sequences, rows ``[B, T, ...]``."""
        return _draw_rows(self.rows, self.given, self.context, generator, (batch_size, num_steps))

    def tensors(self, x: Array) -> tuple[Array, ...]:
        """What rows hold in the graph's axes: each input, each context."""
        if self.rows.is_single:
            return (x,)
        parts = zip((*self.given, *self.context), self.rows.unpack(x if x.ndim == 3 else x[:, None]), strict=True)
        return tuple(to_axes(array if part.time_axis is not None else array[:, :1], part) for part, array in parts)

    def answer(self, made: Sequence[Array]) -> Array:
        """Rows of what a run made, in the axes of ``output``: what is made once a run stands in the last step."""
        if self.answers.is_single:
            return made[0]
        arrays = [from_axes(array, part) for part, array in zip(self.made, made, strict=True)]
        num_steps = max(array.shape[1] for array in arrays)
        wide = [_last_of(array, num_steps) for array in arrays]
        rows = self.answers.pack([np.ascontiguousarray(array) for array in wide])
        return rows if self.output.time_axis is not None else rows[:, 0]

    def named(self, y: Array) -> dict[str, Array]:
        """The outputs of rows ``[B, T, ...]``, by what a message calls them."""
        if self.answers.is_single:
            return {"the output": y}
        parts = zip(self.made, self.answers.unpack(y), strict=True)
        return {f"output {part.name!r}": array for part, array in parts}

    def failed_rows(self, y: Array) -> Array:
        """Rows ``[B, T, ...]`` with NaN, bool ``[B]``: the service does not answer such a row, but fails it."""
        failed = [failed_rows(array) for array in self.named(y).values()]
        return np.asarray(np.logical_or.reduce(failed))

    def run(
        self, step: StepFunction, sequence: Array, states: States, cuts: Sequence[int] = ()
    ) -> tuple[Array, States]:
        """``run_in_chunks`` over rows; what is made once a run is that of the last."""
        y, after = run_in_chunks(step, self.inputs, self.output, sequence, states, cuts)
        return (y if self.answers.is_single else self.answers.settle(np.array(y))), after

    def __call__(self, x: Array, states: States) -> tuple[Array, States]:
        """One run of the module (a ``StepFunction``)."""
        made = self.run_module(self.tensors(x), states)
        return self.answer(made[: len(self.made)]), made[len(self.made) :]

    def run_module(self, tensors: Sequence[Array], states: States) -> tuple[Array, ...]:
        """The module's outputs and states, in its own axes, for inputs and contexts in theirs."""
        given = [torch.from_numpy(np.ascontiguousarray(each)) for each in tensors]
        before = tuple(torch.from_numpy(state) for state in states)
        return tuple(each.numpy() for each in attempt(self.module, given, before, len(self.made)))

    def ask_of(self, place: int, row: Array) -> list[bytes] | None:
        """What the module makes of a step ``[F]`` of the input or context at a place, the others as they are likely to
        be: outputs and states; None where it raises.
        """
        return ask_module(self.module, (*self.given, *self.context), len(self.made), place, row)

    def example(self, batch_size: int, num_steps: int) -> tuple[Tensor, ...]:
        """Inputs, contexts and states to trace the module with."""
        num_steps = num_steps if self.inputs.time_axis is not None else 1
        sequence = self.draw(np.random.default_rng(0), batch_size, num_steps)
        tensors = self.tensors(to_axes(sequence, self.inputs))
        return (
            *(torch.from_numpy(np.ascontiguousarray(each)) for each in tensors),
            *initial_states(self.module, batch_size),
        )


def ask_module(
    module: nn.Module, parts: Sequence[Input], num_outputs: int, place: int, row: Array
) -> list[bytes] | None:
    """What a module makes of a step ``[F]`` of the part at a place; None where it raises."""
    rows = [row if index == place else likely_step(part) for index, part in enumerate(parts)]
    given = [
        torch.from_numpy(to_axes(each.reshape(1, 1, *part.row_shape).astype(part.dtype), part))
        for part, each in zip(parts, rows, strict=True)
    ]
    try:
        made = attempt(module, given, initial_states(module, 1), num_outputs)
        return [tensor.numpy().tobytes() for tensor in made]
    except (ExportError, TypeError):  # of a dtype that numpy does not know, which is refused in its place
        return None


def _row(layout: RowLayout[Any], parts: Sequence[TensorAxes]) -> TensorAxes:
    """A row of several tensors as one of bytes, with ``T`` where one of them has it."""
    has_steps = any(part.time_axis is not None for part in parts)
    return TensorAxes(name="rows", dtype="uint8", shape=("B", *(("T",) if has_steps else ()), layout.width))


def _draw_rows(
    layout: RowLayout[Input],
    given: Sequence[Input],
    context: Sequence[Input],
    generator: np.random.Generator,
    size: tuple[int, int],
) -> Array:
    if layout.is_single:
        return draw_sequences(given[0], generator, *size)
    batch_size, num_steps = size
    arrays = [draw_sequences(part, generator, batch_size, num_steps) for part in given]
    constants = [draw_sequences(part, generator, batch_size, 1) for part in context]
    arrays += [np.repeat(each, num_steps, axis=1) for each in constants]
    return layout.pack(arrays)


def _last_of(array: Array, num_steps: int) -> Array:
    """``[B, 1, ...]`` as the last of so many steps, zeros before it."""
    if array.shape[1] == num_steps:
        return array
    wide = np.zeros((len(array), num_steps, *array.shape[2:]), array.dtype)
    wide[:, -1:] = array
    return wide
