"""The exporter's contract: ``forward(x, *state) -> (y, *state)`` and ``initial_state(batch_size)``.

A module is looked at by running it on a few sizes: which axis follows the batch, which the steps, what each state
begins with.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, cast

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array, States, run_in_chunks, to_axes
from ostinato.export.contracts.codes import check_declared, find_codes
from ostinato.export.contracts.forward import attempt, check_signature, initial_states, run
from ostinato.export.contracts.preparation import name_of, prepared
from ostinato.export.contracts.probes import draw_sequences
from ostinato.export.contracts.repeats import check_repeats
from ostinato.export.contracts.symbols import PROBE_SIZES, Axes, dtype_name, symbolic_shape
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Dtype, Input, Nested, Output, State

AnyTensor = TypeVar("AnyTensor", Input, Output)

OUTPUT_NAME = "outputs"
# Rows and steps over which it is seen what is not finite in outputs and states.
_TRIED_ROWS, _TRIED_LENGTHS = 32, (1, 2, 12)


@dataclass(frozen=True)
class Contract:
    """A module in evaluation mode, the input that it takes, and what was found of its output and states."""

    module: nn.Module
    inputs: Input
    output: Output
    states: tuple[State, ...]

    def initial_states(self, batch_size: int) -> States:
        """The states of ``batch_size`` sequences that have not begun, as the module gives them."""
        return tuple(state.numpy() for state in initial_states(self.module, batch_size))

    def __call__(self, x: Array, states: States) -> tuple[Array, States]:
        """One run of the module (a ``StepFunction``)."""
        y, *after = attempt(self.module, torch.from_numpy(x), tuple(torch.from_numpy(state) for state in states))
        return y.numpy(), tuple(state.numpy() for state in after)

    def likely_step(self) -> Array:
        """A step ``[F]`` without holes, as a probe has it."""
        return _likely_step(self.inputs)

    def ask(self, row: Array) -> list[bytes] | None:
        """What the module makes of one step ``[F]``, output and states; None where it raises."""
        return _ask(self.module, self.inputs, row)

    def example(self, batch_size: int, num_steps: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """An input and states to trace the module with."""
        num_steps = num_steps if self.inputs.time_axis is not None else 1
        sequence = draw_sequences(self.inputs, np.random.default_rng(0), batch_size, num_steps)
        return torch.from_numpy(to_axes(sequence, self.inputs)), initial_states(self.module, batch_size)


class OneStep(nn.Module):
    """A module for many steps, given one: the axis of the steps is put in before it and taken out behind it."""

    def __init__(self, module: nn.Module, time_axis: int, output_time_axis: int | None) -> None:
        super().__init__()
        self.module = module
        self.time_axis = time_axis
        self.output_time_axis = output_time_axis

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """That of the module."""
        return initial_states(self.module, batch_size)

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """One step ``x [B, ...]`` and the states to the output and the states."""
        y, *after = run(self.module, x.unsqueeze(self.time_axis), states)
        return (y if self.output_time_axis is None else y.squeeze(self.output_time_axis), *after)


def inspect_module(
    module: nn.Module, inputs: Input, output_features: Sequence[str] = (), state_names: Sequence[str] = ()
) -> Contract:
    """Find the output's and the states' names, dtypes and symbolic shapes, on a copy of the module.

    Args:
        module: keeps the contract.
        inputs: what goes in; its shape has ``T`` where the module takes many steps at once.
        output_features: names of the output's numbers; ``output_0``, ... where none are given.
        state_names: names of the states; those of ``forward``'s arguments where none are given.

    Raises:
        ExportError: the module breaks the contract; the message says where.
    """
    module = prepared(module)
    if not callable(getattr(module, "initial_state", None)):
        if callable(getattr(module, "encode", None)) and callable(getattr(module, "decode", None)):
            raise ExportError(
                f"{name_of(module)} is an encoder-decoder: call export_encoder_decoder of "
                "ostinato.export.generation_exporter, as docs/encoder_decoder.md shows"
            )
        raise ExportError(
            f"{name_of(module)} has no initial_state(batch_size): add one that returns the states of that many "
            "sequences that have not begun"
        )
    begin = initial_states(module, 1)
    check_signature(module, _example(inputs, 1, 1), begin)
    names = _state_names(module, tuple(state_names), len(begin))
    check_repeats(module, lambda: initial_states(module, 1), "initial_state")
    ask, likely = partial(_ask, module, inputs), _likely_step(inputs)
    check_declared(inputs, likely, ask)
    found = find_codes(inputs, likely, ask)
    tried = _answered(module, inputs, found)
    check_repeats(module, lambda: _probe(module, tried, *PROBE_SIZES[0]))
    answers = [_probe(module, tried, *sizes) for sizes in PROBE_SIZES]
    states = tuple(
        _find_state(module, name, position, [answer[position + 1] for answer in answers])
        for position, name in enumerate(names)
    )
    return _with_infinities(
        Contract(module, found, _find_output([answer[0] for answer in answers], output_features), states)
    )


def _with_infinities(contract: Contract) -> Contract:
    """The contract with what is not finite in outputs and states over likely sequences, where the output is a number.

    Raises:
        ExportError: the output is plus infinity, which no step is answered with.
    """
    output, states = contract.output, list(contract.states)
    for num_steps in _TRIED_LENGTHS:
        steps = num_steps if contract.inputs.time_axis is not None else 1
        sequences = draw_sequences(contract.inputs, np.random.default_rng(0), _TRIED_ROWS, steps)
        try:
            y, after = contract(to_axes(sequences, contract.inputs), contract.initial_states(_TRIED_ROWS))
        except ExportError:  # the proof meets it, and says of what size it was
            break
        numbers = np.moveaxis(y, output.batch_axis, 0).reshape(_TRIED_ROWS, -1)
        if numbers.dtype.kind != "f":
            break
        sound = ~np.isnan(numbers).any(axis=1)
        if (numbers[sound] == np.inf).any():
            raise ExportError(
                "the network's output is plus infinity for likely inputs, and no step could be answered with that: "
                "bound it, as by clamp"
            )
        if (numbers[sound] == -np.inf).any():
            output = output.model_copy(update={"minus_infinity": True})
        for index, (state, made) in enumerate(zip(states, after, strict=True)):
            kept = np.moveaxis(made, state.batch_axis, 0)[sound]
            if kept.dtype.kind == "f" and not np.isfinite(kept).all():
                update = {
                    "missing": state.missing or bool(np.isnan(kept).any()),
                    "infinite": state.infinite or bool(np.isinf(kept).any()),
                }
                states[index] = state.model_copy(update=update)
    return replace(contract, output=output, states=tuple(states))


def one_step(contract: Contract) -> Contract:
    """The same module, given one step at a time: the ``T`` of its input and output goes.

    Raises:
        ExportError: step by step the module answers otherwise than over the whole sequence, so it is not recurrent.
    """
    inputs, output = contract.inputs, contract.output
    if inputs.time_axis is None:
        return contract
    module = OneStep(contract.module, inputs.time_axis, output.time_axis).eval()
    short = replace(contract, module=module, inputs=_without_time(inputs), output=_without_time(output))
    sequence = draw_sequences(inputs, np.random.default_rng(0), 3, 9)
    whole, _ = run_in_chunks(contract, inputs, output, sequence, contract.initial_states(3))
    steps, _ = run_in_chunks(short, short.inputs, short.output, sequence, short.initial_states(3))
    if not np.allclose(whole, steps[:, -whole.shape[1] :], rtol=1e-4, atol=1e-4, equal_nan=True):
        raise ExportError(
            f"{name_of(contract.module)} answers otherwise step by step than over a whole sequence: its states do not "
            "carry all that its output depends on, so it cannot be served in sessions; return what the steps carry as "
            "a state, or, where an answer needs the whole sequence, export it with task 'sequence'"
        )
    return short


def _state_names(module: nn.Module, given: tuple[str, ...], num_states: int) -> tuple[str, ...]:
    """Those given, or the names of ``forward``'s arguments, or ``state_0``, ... where it takes ``*state``."""
    parameters = list(inspect.signature(module.forward).parameters.values())[1:]
    named = tuple(parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD)
    if given and len(given) != num_states:
        raise ExportError(f"{len(given)} state names for the {num_states} states of {name_of(module)}.initial_state")
    if given or len(named) >= num_states:
        return given or named[:num_states]
    return tuple(f"state_{index}" for index in range(num_states))


def _answered(module: nn.Module, inputs: Input, found: Input) -> Input:
    """What to draw probes from: the input as it was declared, or as it was found where the module fails on that."""
    if found != inputs:
        try:
            for sizes in PROBE_SIZES:
                _probe(module, inputs, *sizes)
        except ExportError:
            return found
    return inputs


def _probe(module: nn.Module, inputs: Input, batch_size: int, num_steps: int) -> tuple[Tensor, ...]:
    return attempt(module, _example(inputs, batch_size, num_steps), initial_states(module, batch_size))


def _example(inputs: Input, batch_size: int, num_steps: int) -> Tensor:
    sequence = draw_sequences(inputs, np.random.default_rng(0), batch_size, num_steps)
    return torch.from_numpy(to_axes(sequence if inputs.time_axis is not None else sequence[:, :1], inputs))


def _likely_step(inputs: Input) -> Array:
    whole = inputs.model_copy(update={"missing": False})
    return draw_sequences(whole, np.random.default_rng(0), 1, 1).reshape(-1).astype(np.float64)


def _ask(module: nn.Module, inputs: Input, row: Array) -> list[bytes] | None:
    x = to_axes(row.reshape(1, 1, *inputs.row_shape).astype(inputs.dtype), inputs)
    try:
        return [part.numpy().tobytes() for part in attempt(module, torch.from_numpy(x), initial_states(module, 1))]
    except (ExportError, TypeError):  # of a dtype that numpy does not know, which is refused in its place
        return None


def _find_output(answers: list[Tensor], features: Sequence[str]) -> Output:
    shape = symbolic_shape("the output", [tuple(answer.shape) for answer in answers])
    num_features = int(np.prod([size for size in shape if isinstance(size, int)], dtype=np.int64))
    names = tuple(features) or tuple(f"output_{index}" for index in range(num_features))
    return _checked_output(shape, dtype_name("the output", answers[0]), names)


def _checked_output(shape: Axes, dtype: Dtype, features: tuple[str, ...]) -> Output:
    try:
        return Output.model_validate({"name": OUTPUT_NAME, "dtype": dtype, "shape": shape, "features": features})
    except ValidationError as error:
        raise ExportError(f"the output: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _find_state(module: nn.Module, name: str, position: int, after: list[Tensor]) -> State:
    place = f"state {name!r}"
    before = [initial_states(module, batch_size)[position] for batch_size, _ in PROBE_SIZES]
    shape = symbolic_shape(place, [tuple(state.shape) for state in before])
    if [state.shape for state in before] != [state.shape for state in after] or before[0].dtype != after[0].dtype:
        raise ExportError(
            f"{place} is {before[0].dtype} {list(before[0].shape)} in initial_state and {after[0].dtype} "
            f"{list(after[0].shape)} after a run: they must be alike"
        )
    if "B" not in shape or "T" in shape:
        raise ExportError(f"{place} has shape {list(shape)}: it needs exactly one axis of the size of the batch")
    return State.model_validate(
        {
            "name": name,
            "input": name,
            "output": f"{name}_next",
            "shape": shape,
            "dtype": dtype_name(place, before[0]),
            "initial": _initial_row(place, before[0], shape.index("B")),
        }
    )


def _initial_row(place: str, state: Tensor, batch_axis: int) -> Nested:
    rows = np.moveaxis(state.numpy(), batch_axis, 0)
    if not np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape), equal_nan=True):
        raise ExportError(f"{place}: initial_state gives the rows of a batch different values; all must begin alike")
    if not np.isfinite(rows).all():
        raise ExportError(f"{place}: initial_state holds a value that is not finite")
    first = rows[0]
    uniform = first.size > 0 and (first == first.flat[0]).all()
    return cast("Nested", first.flat[0].item() if uniform else first.tolist())


def _without_time(tensor: AnyTensor) -> AnyTensor:
    return tensor.model_copy(update={"shape": tuple(axis for axis in tensor.shape if axis != "T")})
