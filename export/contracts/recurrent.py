"""The exporter's contract: ``forward(x, *state) -> (y, *state)`` and ``initial_state(batch_size)``.

A module is looked at by running it on a few sizes: which axis follows the batch, which the steps, what each state
begins with.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ostinato.export.contracts.adapter import Adapter
from ostinato.export.contracts.adapting import adapt
from ostinato.export.contracts.axes import Array, States, StepFunction, failed_rows, from_axes, run_in_chunks, to_axes
from ostinato.export.contracts.codes import check_declared, find_codes
from ostinato.export.contracts.forward import attempt, check_signature, initial_states, run
from ostinato.export.contracts.preparation import name_of, prepared
from ostinato.export.contracts.probes import draw_sequences, likely_step
from ostinato.export.contracts.repeats import check_repeats
from ostinato.export.contracts.symbols import PROBE_SIZES, Axes, dtype_name, symbolic_shape
from ostinato.export.errors import ExportError
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Dtype, Input, Nested, Output, State
from ostinato.service.artifact.tensors import Tensor as TensorAxes

AnyTensor = TypeVar("AnyTensor", Input, Output)
Features: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]

OUTPUT_NAME = "outputs"
# Rows and steps over which it is seen what is not finite in outputs and states.
_TRIED_ROWS, _TRIED_LENGTHS = 32, (1, 2, 12)


@dataclass(frozen=True)
class Contract:
    """A module in evaluation mode, what it takes, and what was found of its outputs and states.

    All of a step of several inputs is one row of bytes, as the service has it: ``inputs`` and ``output`` describe rows,
    which are the only input's and the only output's numbers where there is one. Contexts lie in the rows, too, the same
    in each step of a sequence.

    Attributes:
        given, context: what goes in at each step, and what is constant for a sequence.
        made: what comes out.
        notes: what a user must know of what was inferred.
    """

    module: nn.Module
    given: tuple[Input, ...]
    made: tuple[Output, ...]
    states: tuple[State, ...]
    context: tuple[Input, ...] = ()
    notes: tuple[str, ...] = ()

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
        return _ask(self.module, (*self.given, *self.context), len(self.made), place, row)

    def example(self, batch_size: int, num_steps: int) -> tuple[Tensor, ...]:
        """Inputs, contexts and states to trace the module with."""
        num_steps = num_steps if self.inputs.time_axis is not None else 1
        sequence = self.draw(np.random.default_rng(0), batch_size, num_steps)
        tensors = self.tensors(to_axes(sequence, self.inputs))
        return (
            *(torch.from_numpy(np.ascontiguousarray(each)) for each in tensors),
            *initial_states(self.module, batch_size),
        )


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


def inspect_module(
    module: nn.Module,
    inputs: Input | Sequence[Input],
    output_features: Features = (),
    state_names: Sequence[str] = (),
    context: Sequence[Input] = (),
) -> Contract:
    """Find the outputs' and the states' names, dtypes and symbolic shapes, on a copy of the module.

    Args:
        module: keeps the contract, or takes and returns its tensors in another structure.
        inputs: what goes in; its shape has ``T`` where the module takes many steps at once.
        output_features: names of the output's numbers; ``output_0``, ... where none are given. Of several outputs, by
            the name of each.
        state_names: names of the states; those of ``forward``'s arguments where none are given.
        context: what is the same in all steps of a sequence.

    Raises:
        ExportError: the module breaks the contract; the message says where.
    """
    given = (inputs,) if isinstance(inputs, Input) else tuple(inputs)
    _check_inputs(given, context)
    module = _adapted(prepared(module), given, tuple(context))
    parts = (*given, *context)
    num_outputs = module.num_outputs if isinstance(module, Adapter) else 1
    names = _state_names(module, tuple(state_names), len(initial_states(module, 1)))
    check_repeats(module, lambda: initial_states(module, 1), "initial_state")
    found = []
    for place, part in enumerate(parts):
        ask = partial(_ask, module, parts, num_outputs, place)
        check_declared(part, likely_step(part), ask)
        found.append(find_codes(part, likely_step(part), ask))
    tried = _answered(module, parts, tuple(found), num_outputs)
    check_repeats(module, lambda: _probe(module, tried, *PROBE_SIZES[0], num_outputs))
    answers = [_probe(module, tried, *sizes, num_outputs) for sizes in PROBE_SIZES]
    states = tuple(
        _find_state(module, name, position, [answer[position + num_outputs] for answer in answers])
        for position, name in enumerate(names)
    )
    made = _find_outputs(module, [answer[:num_outputs] for answer in answers], output_features)
    notes = module.notes if isinstance(module, Adapter) else ()
    contract = Contract(module, tuple(found[: len(given)]), made, states, tuple(found[len(given) :]), notes)
    return _with_infinities(contract)


def _check_inputs(given: tuple[Input, ...], context: Sequence[Input]) -> None:
    if not given:
        raise ExportError("a recurrent module takes an input at each step, and none was described")
    if len({part.time_axis is None for part in given}) > 1:
        without = next(part.name for part in given if part.time_axis is None)
        raise ExportError(f"{without!r} has no 'T' and other inputs have: what is the same in all steps is context")
    if timed := [part.name for part in context if part.time_axis is not None]:
        raise ExportError(f"context {timed[0]!r} has 'T' in its shape: it is given once, and the same in all steps")


def _adapted(module: nn.Module, given: tuple[Input, ...], context: tuple[Input, ...]) -> nn.Module:
    """The module itself where it keeps the contract as it stands, or in an adapter.

    Raises:
        ExportError: it does not, and none was found.
    """
    has_states = callable(getattr(module, "initial_state", None))
    if not has_states and callable(getattr(module, "encode", None)) and callable(getattr(module, "decode", None)):
        raise ExportError(
            f"{name_of(module)} is an encoder-decoder: call export_encoder_decoder of "
            "ostinato.export.generation_exporter, as docs/encoder_decoder.md shows"
        )
    if not has_states or len(given) > 1 or context:
        return adapt(module, given, context)
    try:
        begin = initial_states(module, 1)
        check_signature(module, _example(given, 1, 1)[0], begin)
        _probe(module, given, *PROBE_SIZES[0])
    except ExportError as error:
        try:
            return adapt(module, given, context)
        except Exception:  # what it lacks as it stands says more
            if error.__cause__ is not None and not isinstance(error.__cause__, TypeError):
                return module
            raise error from None
    return module


def _with_infinities(contract: Contract) -> Contract:
    """The contract with what is not finite in outputs and states over likely sequences, where the output is a number.

    Raises:
        ExportError: the output is plus infinity, which no step is answered with.
    """
    made, states = list(contract.made), list(contract.states)
    for num_steps in _TRIED_LENGTHS:
        steps = num_steps if contract.inputs.time_axis is not None else 1
        sequences = contract.draw(np.random.default_rng(0), _TRIED_ROWS, steps)
        try:
            y, after = contract(to_axes(sequences, contract.inputs), contract.initial_states(_TRIED_ROWS))
        except ExportError:  # the proof meets it, and says of what size it was
            break
        outputs = contract.named(from_axes(y, contract.output))
        sound = ~contract.failed_rows(from_axes(y, contract.output))
        for index, (place, numbers) in enumerate(outputs.items()):
            if numbers.dtype.kind != "f":
                continue
            if (numbers[sound] == np.inf).any():
                raise ExportError(
                    f"the network's {place.removeprefix('the ')} is plus infinity for likely inputs, and no step could "
                    "be answered with that: bound it, as by clamp"
                )
            if (numbers[sound] == -np.inf).any():
                made[index] = made[index].model_copy(update={"minus_infinity": True})
        for index, (state, made_state) in enumerate(zip(states, after, strict=True)):
            kept = np.moveaxis(made_state, state.batch_axis, 0)[sound]
            if kept.dtype.kind == "f" and not np.isfinite(kept).all():
                update = {
                    "missing": state.missing or bool(np.isnan(kept).any()),
                    "infinite": state.infinite or bool(np.isinf(kept).any()),
                }
                states[index] = state.model_copy(update=update)
    return replace(contract, made=tuple(made), states=tuple(states))


def one_step(contract: Contract) -> Contract:
    """The same module, given one step at a time: the ``T`` of its input and output goes.

    Raises:
        ExportError: step by step the module answers otherwise than over the whole sequence, so it is not recurrent.
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
            f"{name_of(contract.module)} answers otherwise step by step than over a whole sequence: its states do not "
            "carry all that its output depends on, so it cannot be served in sessions"
        )
    return short


def _same_steps(contract: Contract, whole: Array, steps: Array) -> bool:
    """Whether one run answered as steps did; of many, what is made once a run is that of the last."""
    pairs = zip(contract.named(whole).values(), contract.named(steps).values(), contract.made, strict=True)
    for one, each, part in pairs:
        ends = one[:, -1:] if part.time_axis is None else one
        if not np.allclose(ends, each[:, -ends.shape[1] :], rtol=1e-4, atol=1e-4, equal_nan=True):
            return False
    return True


def _state_names(module: nn.Module, given: tuple[str, ...], num_states: int) -> tuple[str, ...]:
    """Those given, or the names of ``forward``'s arguments, or ``state_0``, ... where it takes ``*state``."""
    if isinstance(module, Adapter):
        named = module.state_names
    else:
        parameters = list(inspect.signature(module.forward).parameters.values())[1:]
        named = tuple(parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD)
    if given and len(given) != num_states:
        raise ExportError(f"{len(given)} state names for the {num_states} states of {name_of(module)}.initial_state")
    if given or len(named) >= num_states:
        return given or named[:num_states]
    return tuple(f"state_{index}" for index in range(num_states))


def _answered(
    module: nn.Module, parts: tuple[Input, ...], found: tuple[Input, ...], num_outputs: int
) -> tuple[Input, ...]:
    """What to draw probes from: the inputs as declared, or as they were found where the module fails on that."""
    if found != parts:
        try:
            for sizes in PROBE_SIZES:
                _probe(module, parts, *sizes, num_outputs)
        except ExportError:
            return found
    return parts


def _probe(
    module: nn.Module, parts: Sequence[Input], batch_size: int, num_steps: int, num_outputs: int = 1
) -> tuple[Tensor, ...]:
    given = _example(parts, batch_size, num_steps)
    return attempt(module, given, initial_states(module, batch_size), num_outputs)


def _example(parts: Sequence[Input], batch_size: int, num_steps: int) -> list[Tensor]:
    made = []
    for part in parts:
        sequence = draw_sequences(part, np.random.default_rng(0), batch_size, num_steps)
        made.append(torch.from_numpy(to_axes(sequence if part.time_axis is not None else sequence[:, :1], part)))
    return made


def _ask(module: nn.Module, parts: Sequence[Input], num_outputs: int, place: int, row: Array) -> list[bytes] | None:
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


def _find_outputs(module: nn.Module, answers: list[tuple[Tensor, ...]], features: Features) -> tuple[Output, ...]:
    names = module.output_names if isinstance(module, Adapter) else (OUTPUT_NAME,)
    by_name = _features_by_name(names, features)
    made = []
    for index, name in enumerate(names):
        place = "the output" if len(names) == 1 else f"output {name!r}"
        shape = symbolic_shape(place, [tuple(answer[index].shape) for answer in answers])
        num_features = int(np.prod([size for size in shape if isinstance(size, int)], dtype=np.int64))
        stem = "output" if len(names) == 1 else name
        numbers = (name,) if len(names) > 1 and num_features == 1 else _numbered(stem, num_features)
        named = tuple(by_name.get(name, ())) or numbers
        made.append(_checked_output(name, shape, dtype_name(place, answers[0][index]), named))
    return tuple(made)


def _features_by_name(names: Sequence[str], features: Features) -> Mapping[str, Sequence[str]]:
    if isinstance(features, Mapping):
        if unknown := sorted(set(features) - set(names)):
            raise ExportError(f"no output is called {unknown[0]!r}; the module gives {', '.join(names)}")
        return features
    if features and len(names) > 1:
        raise ExportError(f"of several outputs say whose features: the module gives {', '.join(names)}")
    return {names[0]: features}


def _numbered(stem: str, number: int) -> tuple[str, ...]:
    return tuple(f"{stem}_{index}" for index in range(number))


def _checked_output(name: str, shape: Axes, dtype: Dtype, features: tuple[str, ...]) -> Output:
    try:
        return Output.model_validate({"name": name, "dtype": dtype, "shape": shape, "features": features})
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
