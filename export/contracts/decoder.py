"""The step of a decoder, found by running ``decode(previous, states, memory, lengths)`` on a few sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array
from ostinato.export.contracts.module import Arrays, Tensors, run_decoder
from ostinato.export.contracts.naming import check_apart
from ostinato.export.contracts.repeats import check_repeats
from ostinato.export.contracts.symbols import PROBE_SIZES, Axes, dtype_name, symbolic_shape
from ostinato.export.errors import ExportError
from ostinato.service.artifact.decoder import Decoder, Memory
from ostinato.service.artifact.tensors import Input, Nested, Output, State

LENGTHS_NAME = "lengths"
ATTENTION_NAME = "attention"


class Decoded(NamedTuple):
    """One step of a decoder: the output ``[B, V]`` or ``[B, O]``, the states after it, attention ``[B, S]`` or None."""

    output: Array
    states: Arrays
    attention: Array | None


class Decode(Protocol):
    """The decoder's step: that of the trained network, or its graph."""

    def decode(self, previous: Array | None, states: Arrays, memory: Arrays, lengths: Array | None) -> Decoded:
        """One step of all rows. Arrays have the axes that the manifest tells."""
        ...


@dataclass(frozen=True)
class DecoderOptions:
    """What of a decoder no run of it can tell.

    ``num_codes``: how many codes it chooses from; None where its output is numbers.
    ``feedback``: a decoder of numbers takes the output of the step before, of as many numbers as ``output_features``.
    ``start``, ``stop``: as in the manifest.
    ``output_features``: names of the output's numbers; ``output_0``, ... where none are given.
    ``state_names``, ``memory_names``: ``state_0``, ... and ``memory_0``, ... where none are given.
    """

    num_codes: int | None = None
    feedback: bool = False
    start: Nested = 0
    stop: int | None = None
    output_features: tuple[str, ...] = ()
    state_names: tuple[str, ...] = ()
    memory_names: tuple[str, ...] = ()

    @property
    def previous(self) -> Input | None:
        """The decoder's input for what the step before chose.

        Raises:
            ExportError: it takes numbers and nobody says how many.
        """
        if self.num_codes is not None:
            content: dict[str, Any] = {"dtype": "int64", "shape": ("B",), "features": ("code",)}
            return Input.model_validate({"name": "previous", "num_codes": self.num_codes, **content})
        if not self.feedback:
            return None
        if not self.output_features:
            raise ExportError("with feedback, output_features must name the decoder's numbers: that is how many go in")
        shape = ("B", len(self.output_features))
        return Input.model_validate(
            {"name": "previous", "dtype": "float32", "shape": shape, "features": self.output_features}
        )


def find_decoder(
    module: nn.Module,
    begun: Sequence[tuple[Tensors, Tensors, Tensor | None]],
    options: DecoderOptions,
    *,
    states: tuple[State, ...],
    memory: tuple[Memory, ...],
    lengths: str,
    begun_by: Mapping[str, str],
    lengths_made_by: str = "",
) -> Decoder:
    """Run one step after each of the probes' states, memory and lengths, and describe the decoder.

    Raises:
        ExportError: the step fails, or its states are not those that it was given.
    """
    previous = options.previous
    first = first_previous(previous, options.start, int(PROBE_SIZES[0][0])), *begun[0]
    check_repeats(module, lambda: _flat(_probe_decoder(module, *first)), "decode")
    answers = [
        _probe_decoder(module, first_previous(previous, options.start, int(sizes[0])), *given)
        for sizes, given in zip(PROBE_SIZES, begun, strict=True)
    ]
    for position, state in enumerate(states):
        _check_state_kept(state, [given[0][position] for given in begun], [answer[1][position] for answer in answers])
    output = _find_output([answer[0] for answer in answers], options)
    attention = _find_attention([answer[2] for answer in answers], memory)
    return valid_decoder(
        previous=previous,
        start=options.start,
        stop=options.stop,
        output=output,
        states=states,
        begun_by=dict(begun_by),
        memory=memory,
        lengths=lengths,
        lengths_made_by=lengths_made_by,
        attention=attention,
    )


def valid_decoder(**fields: Any) -> Decoder:
    """The manifest's decoder of these fields.

    Raises:
        ExportError: it would not be valid.
    """
    try:
        return Decoder.model_validate(fields)
    except ValidationError as error:
        raise ExportError(f"the decoder: {_fault(error)}") from error


def attention_shape(decoder: Decoder) -> Axes:
    """``[B, S]``, or ``[B, M]`` where the memory has a fixed number of places."""
    return _places(decoder.memory)


def find_states(probes: Sequence[Tensors], names: Sequence[str]) -> tuple[State, ...]:
    """The decoder's states, from what three runs begin it with."""
    found = named("states", names, "state", len(probes[0]))
    states = []
    for position, name in enumerate(found):
        place = f"state {name!r}"
        shape = symbolic_shape(place, [tuple(probe[position].shape) for probe in probes], "S")
        if "S" in shape:
            raise ExportError(f"{place} has an axis of the source's steps: what has one belongs into the memory")
        dtype = dtype_name(place, probes[0][position])
        content = {"name": name, "input": name, "output": f"{name}_next", "shape": shape, "dtype": dtype}
        states.append(State.model_validate(content))
    return tuple(states)


def first_previous(previous: Input | None, start: Nested, batch_size: int) -> Tensor | None:
    """What stands for the step before the first."""
    if previous is None:
        return None
    row_shape = previous.row_shape
    try:
        row = np.broadcast_to(np.asarray(start, previous.dtype), row_shape)
    except ValueError as error:
        raise ExportError(f"start {start!r} does not fit the decoder's input of shape {list(row_shape)}") from error
    return torch.from_numpy(np.repeat(row[None], batch_size, axis=0))


def named(what: str, names: Sequence[str], stem: str, number: int) -> tuple[str, ...]:
    """The names given, or numbered ones."""
    if names and len(names) != number:
        raise ExportError(f"{len(names)} names for {number} {what}")
    check_apart(what, names)
    return tuple(names) or tuple(f"{stem}_{index}" for index in range(number))


def _probe_decoder(
    module: nn.Module, previous: Tensor | None, states: Tensors, memory: Tensors, lengths: Tensor | None
) -> tuple[Tensor, Tensors, Tensor | None]:
    try:
        with torch.no_grad():
            return run_decoder(module, previous, states, memory, lengths)
    except ExportError:
        raise
    except Exception as error:  # a user's module may raise anything
        shape = None if previous is None else f"{previous.dtype} {list(previous.shape)}"
        raise ExportError(
            f"{type(module).__name__}.decode fails on previous {shape}, states "
            f"{[list(state.shape) for state in states]} and memory {[list(part.shape) for part in memory]}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _flat(answer: tuple[Tensor, Tensors, Tensor | None]) -> Tensors:
    output, states, attention = answer
    return (output, *states, *(() if attention is None else (attention,)))


def _find_output(answers: list[Tensor], options: DecoderOptions) -> Output:
    shape = _step_shape("the decoder's output", answers)
    num_features = int(np.prod([size for size in shape if isinstance(size, int)], dtype=np.int64))
    names = options.output_features or tuple(f"output_{index}" for index in range(num_features))
    name = "outputs" if options.num_codes is None else "scores"
    content = {"name": name, "dtype": dtype_name("the decoder's output", answers[0]), "shape": shape, "features": names}
    try:
        return Output.model_validate(content)
    except ValidationError as error:
        raise ExportError(f"the decoder's output: {_fault(error)}") from error


def _step_shape(place: str, answers: list[Tensor]) -> Axes:
    shape = symbolic_shape(place, [tuple(answer.shape) for answer in answers], "S")
    if shape[0] != "B" or "S" in shape:
        raise ExportError(f"{place} has shape {list(shape)}: it must be one step, [B, ...], with numbers behind the B")
    return shape


def _find_attention(answers: list[Tensor | None], memory: tuple[Memory, ...]) -> str:
    weights = [answer for answer in answers if answer is not None]
    if len(weights) != len(answers):
        return ""
    shape = symbolic_shape("the attention", [tuple(answer.shape) for answer in weights], "S")
    if not memory or shape != _places(memory):
        wanted = f", {list(_places(memory))}" if memory else ""
        raise ExportError(
            f"the attention has shape {list(shape)}: it must be [B, S], as the memory's first two axes{wanted}"
        )
    return ATTENTION_NAME


def _places(memory: Sequence[Memory]) -> Axes:
    shapes = [part.shape[:2] for part in memory]
    return ("B", "S") if ("B", "S") in shapes else shapes[0]


def _check_state_kept(state: State, before: list[Tensor], after: list[Tensor]) -> None:
    kinds = [(str(tensor.dtype), list(tensor.shape)) for tensor in (before[0], after[0])]
    if [each.shape for each in before] != [each.shape for each in after] or kinds[0] != kinds[1]:
        raise ExportError(
            f"state {state.name!r} is {kinds[0][0]} {kinds[0][1]} before a step of decode and {kinds[1][0]} "
            f"{kinds[1][1]} after it: they must be alike"
        )


def _fault(error: ValidationError) -> str:
    return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
