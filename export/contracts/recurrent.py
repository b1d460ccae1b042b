"""The exporter's contract: ``forward(x, *state) -> (y, *state)`` and ``initial_state(batch_size)``.

A module is looked at by running it on a few sizes: which axis follows the batch, which the steps, what each state
begins with.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias, TypeVar, cast

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ostinato.export.contracts.adapter import Adapter
from ostinato.export.contracts.adapting import adapt
from ostinato.export.contracts.axes import from_axes, to_axes
from ostinato.export.contracts.codes import check_declared, find_codes
from ostinato.export.contracts.contract import Contract, ask_module
from ostinato.export.contracts.forward import attempt, check_signature, initial_states
from ostinato.export.contracts.frames import check_rate, in_answer_frames, in_frames
from ostinato.export.contracts.naming import check_apart
from ostinato.export.contracts.preparation import name_of, prepared
from ostinato.export.contracts.probes import draw_sequences, likely_step
from ostinato.export.contracts.repeats import check_repeats
from ostinato.export.contracts.symbols import PROBE_SIZES, Axes, dtype_name, symbolic_shape
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Dtype, Input, Nested, Output, State

AnyTensor = TypeVar("AnyTensor", Input, Output)
FeatureNames: TypeAlias = Sequence[str] | Mapping[str, Sequence[str]]

OUTPUT_NAME = "outputs"
# Rows and steps over which it is seen what is not finite in outputs and states.
_TRIED_ROWS, _TRIED_LENGTHS = 32, (1, 2, 12)


def inspect_module(
    module: nn.Module,
    inputs: Input | Sequence[Input],
    output_features: FeatureNames = (),
    state_names: Sequence[str] = (),
    context: Sequence[Input] = (),
    steps_per_answer: int = 1,
) -> Contract:
    """Find the outputs' and the states' names, dtypes and symbolic shapes, on a copy of the module.

    Args:
        module: keeps the contract, or takes and returns its tensors in another structure.
        inputs: what goes in; its shape has ``T`` where the module takes many steps at once.
        output_features: names of the output's numbers; ``output_0``, ... where none are given. Of several outputs, by
            the name of each.
        state_names: names of the states; those of ``forward``'s arguments where none are given.
        context: what is the same in all steps of a sequence.
        steps_per_answer: how many steps the module takes for one answer.

    Raises:
        ExportError: the module breaks the contract; the message says where.
    """
    given = (inputs,) if isinstance(inputs, Input) else tuple(inputs)
    _check_inputs(given, context)
    module = prepared(module)
    if steps_per_answer > 1:
        given = tuple(in_frames(part, steps_per_answer) for part in given)
        module = in_answer_frames(adapt(module, given, tuple(context), in_frames=True), given, context)
    else:
        check_rate(module, given, context)
        module = _adapted(module, given, tuple(context))
    parts = (*given, *context)
    num_outputs = module.num_outputs if isinstance(module, Adapter) else 1
    names = _state_names(module, tuple(state_names), len(initial_states(module, 1)))
    check_repeats(module, lambda: initial_states(module, 1), "initial_state")
    found = []
    for place, part in enumerate(parts):
        ask = partial(ask_module, module, parts, num_outputs, place)
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
    """The module itself where it keeps the contract as it is, or in an adapter.

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
        except Exception:  # what it lacks as it is says more
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


def _state_names(module: nn.Module, given: tuple[str, ...], num_states: int) -> tuple[str, ...]:
    """Those given, or the names of ``forward``'s arguments, or ``state_0``, ... where it takes ``*state``."""
    if isinstance(module, Adapter):
        named = module.state_names
    else:
        parameters = list(inspect.signature(module.forward).parameters.values())[1:]
        named = tuple(parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD)
    if given and len(given) != num_states:
        raise ExportError(f"{len(given)} state names for the {num_states} states of {name_of(module)}.initial_state")
    check_apart("states", given)
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
        drawn = to_axes(sequence if part.time_axis is not None else sequence[:, :1], part)
        made.append(torch.from_numpy(np.ascontiguousarray(drawn)))  # as a user's `view` has it
    return made


def _find_outputs(module: nn.Module, answers: list[tuple[Tensor, ...]], features: FeatureNames) -> tuple[Output, ...]:
    names = module.output_names if isinstance(module, Adapter) else (OUTPUT_NAME,)
    by_name = _features_by_name(names, features)
    made = []
    for index, name in enumerate(names):
        place = "the output" if len(names) == 1 else f"output {name!r}"
        shape = symbolic_shape(place, [tuple(answer[index].shape) for answer in answers])
        num_features = int(np.prod([size for size in shape if isinstance(size, int)], dtype=np.int64))
        stem = "output" if len(names) == 1 else name
        numbers = (name,) if len(names) > 1 and num_features == 1 else _numbered(stem, num_features)
        named = _in_frame(by_name.get(name, ()), module, index) or numbers
        made.append(_checked_output(name, shape, dtype_name(place, answers[0][index]), named))
    return tuple(made)


def _features_by_name(names: Sequence[str], features: FeatureNames) -> Mapping[str, Sequence[str]]:
    if isinstance(features, Mapping):
        if unknown := sorted(set(features) - set(names)):
            raise ExportError(f"no output is called {unknown[0]!r}; the module gives {', '.join(names)}")
        return features
    if features and len(names) > 1:
        raise ExportError(f"of several outputs say whose features: the module gives {', '.join(names)}")
    return {names[0]: features}


def _in_frame(names: Sequence[str], module: nn.Module, output: int) -> tuple[str, ...]:
    """The names of an output's numbers; of several answers in a step, those of each by its place."""
    number = module.answers_in_frame(output) if isinstance(module, Adapter) else 1
    return tuple(names) if number == 1 else tuple(f"{name}_{step}" for step in range(number) for name in names)


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
