"""Whole sequences, ``[B, T, ...]`` with zeros behind the ends of shorter ones: requests without a sequence id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.access.meter import UNMETERED, Meter
from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.oip.datatypes import datatype_of
from ostinato.service.edge.oip.interface import (
    ModelInterface,
    as_text,
    check_bools,
    check_datatype,
    interface_of,
    leading_axes,
    num_bytes_to_read,
    numbers_of,
    plain,
)
from ostinato.service.edge.oip.messages import InferRequest, InferResponse, NamedTensor
from ostinato.service.edge.oip.options import PredictParameters, read_options
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.sequence.engine import SequenceEngine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.prediction import Prediction, predict
from ostinato.service.inputs.rows import to_context
from ostinato.service.inputs.sequences import check_state
from ostinato.service.inputs.turns import in_thread

_LENGTHS = ("INT32", "INT64")


async def infer_sequences(
    engine: Engine | SequenceEngine, request: InferRequest, meter: Meter = UNMETERED
) -> InferResponse:
    """Run whole sequences.

    Raises:
        InvalidInput: an input, an output or a parameter is not what the model takes; names it.
        TooLarge, Overloaded, Draining, RunFailed: as ``predict``.
    """
    options = read_options(request.parameters, PredictParameters, request.version)
    interface = interface_of(engine)
    engine.check_room()
    names = interface.requested(request.outputs, interface.last_states)
    if options.return_state:
        if not interface.last_states:
            raise InvalidInput("a model without states gives none: leave it out", "return_state")
        names = [*names, *(name for name in interface.last_states if name not in names)]
    found = interface.by_name(request.inputs, interface.context, interface.states, (interface.lengths,))
    tensors = interface.steps(found)
    num_rows, num_steps = _axes(tensors, interface)
    engine.check_rows(num_rows)
    engine.check_length(num_steps, tensors[0].name)
    lengths = _lengths_of(found.get(interface.lengths), num_rows, num_steps)
    num_bytes = num_bytes_to_read(tensors)
    rows = await in_thread(num_bytes, _rows, interface, tensors, lengths, num_steps)
    sequences = [each[:length] for each, length in zip(rows, lengths, strict=True)]
    if options.go_backwards:
        sequences = [np.ascontiguousarray(sequence[::-1]) for sequence in sequences]
    beginnings = _beginnings(engine, interface, found, num_rows)
    with_states = any(name in interface.last_states for name in names)
    with meter.asked(int(sum(lengths))):
        made = await predict(engine, sequences, beginnings, with_states=with_states)
    outputs = await in_thread(num_bytes, _outputs, interface, names, made, options)
    parameters = _told(interface, lengths, made, options)
    return InferResponse(request.model, interface.version, request.id, parameters, outputs)


def _axes(tensors: Sequence[NamedTensor], interface: ModelInterface) -> tuple[int, int]:
    """How many sequences there are, and of how many steps."""
    axes = [leading_axes(tensor, part) for tensor, part in zip(tensors, interface.given.parts, strict=True)]
    for tensor, each in zip(tensors, axes, strict=True):
        if len(each) != 2:
            raise InvalidInput(
                f"shape {list(tensor.shape)}: without a sequence_id it has sequences and steps: [B, T, ...]",
                tensor.name,
            )
        if 0 in each:
            what = "step" if each[0] else "sequence"
            raise InvalidInput(f"there is no {what} in it; send at least one", tensor.name)
    if len(set(axes)) > 1:
        told = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in tensors)
        raise InvalidInput(f"the inputs differ in their sequences or steps: {told}")
    return axes[0][0], axes[0][1]


def _lengths_of(tensor: NamedTensor | None, num_rows: int, num_steps: int) -> list[int]:
    if tensor is None:
        return [num_steps] * num_rows
    if tensor.datatype not in _LENGTHS:
        raise InvalidInput(f"lengths have datatype INT32 or INT64, not {tensor.datatype}", tensor.name)
    if tensor.shape not in ((num_rows,), (num_rows, 1)):
        raise InvalidInput(f"shape {list(tensor.shape)} where there are {num_rows} sequences", tensor.name)
    lengths: list[int] = tensor.data.reshape(-1).tolist()
    for row, length in enumerate(lengths):
        if not 1 <= length <= num_steps:
            raise InvalidInput(f"{length} steps; a sequence has 1 to {num_steps} of them", f"{tensor.name}[{row}]")
    return lengths


def _rows(
    interface: ModelInterface, tensors: Sequence[NamedTensor], lengths: Sequence[int], num_steps: int
) -> NDArray[Any]:
    """The steps as rows ``[B, T, width]``, checked as far as each sequence has any."""
    if min(lengths) < num_steps:
        tensors = [_with_filling(tensor, lengths) for tensor in tensors]
    rows = interface.rows(tensors)
    return rows.reshape(len(lengths), num_steps, -1)


def _with_filling(tensor: NamedTensor, lengths: Sequence[int]) -> NamedTensor:
    """A tensor whose sequences are filled up with their first step, in the place of whatever is behind their ends."""
    data = tensor.data.reshape(len(lengths), max(tensor.shape[1], 1), -1).copy()
    for row, length in zip(data, lengths, strict=True):
        row[length:] = row[0]
    return tensor._replace(data=data)


def _beginnings(
    engine: Engine | SequenceEngine, interface: ModelInterface, found: Mapping[str, NamedTensor], num_rows: int
) -> list[list[NDArray[Any]] | None]:
    """What each sequence begins with: its states, and behind them its context; None = the model's own."""
    given = [name for name in interface.states if name in found]
    if not given and not interface.context:
        return [None] * num_rows
    states: list[Any] = [[state] * num_rows for state in engine.initial_states]
    if given:
        if absent := [name for name in interface.states if name not in found]:
            raise InvalidInput(f"state {absent[0]!r} is absent; give all: {', '.join(interface.states)}", given[0])
        states = [_states_of(found[name], state, num_rows) for name, state in interface.states.items()]
    context = [_context_of(found.get(name), part, num_rows) for name, part in interface.context.items()]
    return [list(each) for each in zip(*states, *context, strict=True)]


def _states_of(tensor: NamedTensor, state: Any, num_rows: int) -> NDArray[Any]:
    """A state of each sequence, ``[B, *row_shape]``."""
    check_datatype(tensor, state)
    wanted = (num_rows, *state.row_shape)
    if tensor.shape != wanted:
        raise InvalidInput(f"shape {list(tensor.shape)} where the states have {list(wanted)}", tensor.name)
    data = tensor.data.reshape(wanted)
    check_bools(data, tensor.name)
    check_state(data, state, tensor.name)
    return data


def _context_of(tensor: NamedTensor | None, part: Input, num_rows: int) -> Sequence[NDArray[Any]]:
    """A context of each sequence, ``[B, *row_shape]``."""
    if tensor is None:
        return to_context({}, [part], "inputs") * num_rows
    axes = leading_axes(tensor, part)
    if axes not in ((num_rows,), (1,), ()):
        raise InvalidInput(
            f"shape {list(tensor.shape)}: a context is one row of {list(part.row_shape)} for each sequence, or for all",
            tensor.name,
        )
    rows = numbers_of(tensor, part).reshape(-1, *part.row_shape)
    return list(rows) if len(rows) == num_rows else [rows[0]] * num_rows


def _outputs(
    interface: ModelInterface, names: Sequence[str], made: Sequence[Prediction], options: PredictParameters
) -> list[NamedTensor]:
    align = options.align
    answers = [interface.answers(interface.made.align(each.outputs) if align else each.outputs) for each in made]
    tensors = []
    for name in names:
        place = interface.last_states.get(name)
        if place is not None:
            data = np.stack([each.states[place] for each in made])
            tensors.append(NamedTensor(name, datatype_of(data.dtype), data.shape, data))
        elif options.return_sequences:
            tensors.append(interface.tensor(name, _padded([answer[name] for answer in answers])))
        else:
            tensors.append(interface.tensor(name, _last([answer[name] for answer in answers], name)))
    return tensors


def _padded(answers: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Answers ``[m, ...]`` to sequences as one array ``[B, M, ...]``, with zeros behind the shorter ones."""
    longest = max(len(answer) for answer in answers)
    if all(len(answer) == longest for answer in answers):
        return np.stack(answers)
    padded = np.zeros((len(answers), longest, *answers[0].shape[1:]), answers[0].dtype)
    for row, answer in zip(padded, answers, strict=True):
        row[: len(answer)] = answer
    return padded


def _last(answers: Sequence[NDArray[Any]], name: str) -> NDArray[Any]:
    for row, answer in enumerate(answers):
        if not len(answer):
            raise InvalidInput(
                f"sequence {row} has no answer of {name!r}, and so no last one: leave return_sequences out",
                "return_sequences",
            )
    return np.stack([answer[-1] for answer in answers])


def _told(
    interface: ModelInterface, lengths: Sequence[int], made: Sequence[Prediction], options: PredictParameters
) -> dict[str, Any]:
    """The steps that the answers of framed models are of, as the routes under ``/v1`` tell them, in JSON."""
    layout = interface.made
    if layout.framing is None:
        return {}
    ends = [layout.ends_of(length, len(each.outputs)) for length, each in zip(lengths, made, strict=True)]
    if not options.return_sequences:
        ends = [each[-1:] for each in ends]
    return {"output_steps": as_text([plain(layout.steps_of(each)) for each in ends])}
